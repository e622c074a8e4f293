"""Clients without a key cannot use up the connections or the request rate of clients with one."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import socket
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from streamd.errors import StreamdError
from streamd.serve.connections.admission import HEAD_SECONDS, UNREAD_SECONDS, ConnectionLimits
from tests.support.sites.serving import CONSUMER, Client, ProducerSite, entry, until

PARTIAL_HEAD = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: "
FLOOD = 400


@pytest.fixture
async def client(hq: ProducerSite) -> Client:
    consumer = await hq.consumer("store", CONSUMER, "Invoice")
    await hq.approve("Invoice")
    return consumer


def admission_of(hq: ProducerSite) -> Any:
    assert hq.server._listener is not None
    return hq.server._listener.admission


def is_answer_unread(hq: ProducerSite) -> bool:
    return any(connection.unsent_bytes() for connection in admission_of(hq)._authenticated)


def set_low_limits(hq: ProducerSite) -> int:
    """Limits as with few file descriptors. Returns the limit of unauthenticated connections per address."""
    admission_of(hq)._limits = ConnectionLimits(800, 200, 100)
    return 100


async def connect(hq: ProducerSite, count: int, data: bytes = PARTIAL_HEAD) -> list[asyncio.StreamWriter]:
    """Open unauthenticated connections, and send the same data over each."""
    writers = []
    for _ in range(count):
        _, writer = await asyncio.open_connection("127.0.0.1", hq.server.port)
        writer.write(data)
        writers.append(writer)
    return writers


def count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_a_flood_of_half_open_requests_uses_few_descriptors_and_consumers_are_served(
    hq: ProducerSite, client: Client
) -> None:
    before = count_descriptors()
    limit = set_low_limits(hq)
    flood = await connect(hq, FLOOD)
    try:
        assert (await client.events()).status == 200
        await until(lambda: len(admission_of(hq)) <= limit + 5, "unauthenticated connections are evicted")
        # Both ends of each connection are in this process.
        assert count_descriptors() - before <= FLOOD + limit + 10
        newcomer = hq.client(client.credential)
        async with aiohttp.ClientSession() as http:
            newcomer._http = http
            assert (await newcomer.events()).status == 200
    finally:
        for writer in flood:
            writer.close()


async def test_a_connection_without_a_complete_head_is_closed_in_time(hq: ProducerSite, client: Client) -> None:
    (writer,) = await connect(hq, 1)
    await until(lambda: len(admission_of(hq)._unauthenticated) == 1, "the connection is accepted")
    admission_of(hq)._now = clock(HEAD_SECONDS + 1)
    await hq.server.close_overdue_connections()
    await until(lambda: not admission_of(hq)._unauthenticated, "it is evicted")
    assert (await client.events()).status == 200
    writer.close()


def clock(ahead: float) -> Any:
    return lambda: time.monotonic() + ahead


async def test_a_connection_whose_client_stops_reading_is_closed(hq: ProducerSite, client: Client) -> None:
    digits = random.Random(1)
    texts = ("".join(digits.choices("abcdefghijklmnop", k=40_000)) for _ in range(80))
    await hq.append(*(entry("Invoice", n, tx=n, data=f'{{"text":"{text}"}}') for n, text in enumerate(texts)))
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect(("127.0.0.1", hq.server.port))
    body = b"{}"
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"Authorization: Bearer {client.credential}\r\n\r\n"
    )
    with closing(reader):
        reader.sendall(head.encode() + body)
        await until(
            lambda: any(each.unsent_bytes() for each in admission_of(hq)._authenticated), "the answer is unread"
        )
        await hq.server.close_overdue_connections()
        count = len(admission_of(hq))
        admission_of(hq)._now = clock(UNREAD_SECONDS - 5)
        await hq.server.close_overdue_connections()
        assert len(admission_of(hq)) == count
        admission_of(hq)._now = clock(2 * UNREAD_SECONDS + 5)
        await hq.server.close_overdue_connections()
        await until(lambda: not is_answer_unread(hq), "the connection is closed")


async def test_wrong_keys_from_an_address_do_not_lock_out_a_valid_key_there_even_after_a_restart(
    start: Any,
) -> None:
    hq = await start(requests_per_minute=100)
    known = await hq.consumer("store", CONSUMER, "Invoice")
    await hq.approve("Invoice")
    await hq.server.stop()
    await hq.server.start()
    key, _, secret = known.credential.partition(":")
    queried: list[str] = []
    authenticate = hq.peers.authenticate

    async def counting(api_key: str, api_secret: str) -> str | None:
        queried.append(api_key)
        return await authenticate(api_key, api_secret)

    hq.peers.authenticate = counting  # type: ignore[method-assign]
    statuses = []
    for number in range(60):
        guess = f"guess{number}:work" if number % 2 else f"{key}:{number}"
        statuses.append((await hq.client(guess).events()).status)
    assert statuses == [401] * 10 + [429] * 50
    assert len(queried) == 10, "guesses beyond the limit must not cost a query"
    assert (await hq.client(f"{key}:{secret}").events()).status == 200
    await hq.peers.revoke_key(key)
    assert (await hq.client(f"{key}:{secret}").events()).status in (401, 429)


async def test_a_request_with_a_valid_key_authenticates_its_connection(hq: ProducerSite, client: Client) -> None:
    await client.events()
    assert [each.key for each in admission_of(hq)._authenticated] == [client.credential.partition(":")[0]]
    await hq.client("wrong:key").events()
    assert (await hq.client().send("GET", "health")).status == 200


async def test_a_server_without_descriptors_evicts_connections_and_continues(hq: ProducerSite, client: Client) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    admission_of(hq)._limits = ConnectionLimits(10_000, 10_000, 10_000)
    assert (await client.events()).status == 200
    flood = await connect(hq, 50)
    await until(lambda: len(admission_of(hq)._unauthenticated) == 50, "all connections are accepted")
    knocking = [socket.socket() for _ in range(5)]
    fillers: list[int] = []
    try:
        # No descriptor can be opened except those that evicted connections free.
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
        with suppress(OSError):
            while True:
                fillers.append(os.dup(0))
        for each in knocking:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", hq.server.port))
        await until(lambda: admission_of(hq).evicted_count > 0, "connections are evicted")
        assert (await client.events()).status == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            os.close(filler)
        for each in knocking:
            each.close()
        for writer in flood:
            writer.close()
    await hq.server.close_overdue_connections()
    async with aiohttp.ClientSession() as http:
        newcomer = hq.client(client.credential)
        newcomer._http = http
        assert (await newcomer.events()).status == 200


async def test_a_socket_that_stops_accepting_is_reported_and_restarted(hq: ProducerSite, client: Client) -> None:
    assert hq.server._listener is not None
    (task,) = hq.server._listener._accept_tasks
    (sockets,) = hq.server._listener._sockets
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    async def broken() -> None:
        raise ValueError("broken")

    hq.server._listener._accept_tasks = [asyncio.create_task(broken())]
    await asyncio.sleep(0)
    with pytest.raises(StreamdError, match="broken"):
        await hq.server.close_overdue_connections()
    await hq.server.close_overdue_connections()
    assert sockets.fileno() >= 0
    async with aiohttp.ClientSession() as http:
        newcomer = hq.client(client.credential)
        newcomer._http = http
        assert (await newcomer.events()).status == 200


async def test_unfinished_tls_handshakes_count_as_unauthenticated_connections(
    start: Any, certificate: tuple[Path, Path]
) -> None:
    pem, key = certificate
    hq = await start(certificate=pem, certificate_key=key)
    set_low_limits(hq)
    flood = await connect(hq, FLOOD, b"\x16\x03\x01")
    await until(lambda: admission_of(hq).evicted_count > 0, "connections are evicted")
    assert len(admission_of(hq)) <= admission_of(hq)._limits.unauthenticated
    for writer in flood:
        writer.close()
