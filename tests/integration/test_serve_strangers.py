"""Whoever has no key takes neither the connections nor the turns of those who have one."""

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
from tests.support.serving import CONSUMER, Client, ProducerSite, entry, until

HALF_A_HEAD = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: "
STRANGERS = 400


@pytest.fixture
async def client(hq: ProducerSite) -> Client:
    made = await hq.consumer("store", CONSUMER, "Invoice")
    await hq.approve("Invoice")
    return made


def admission_of(hq: ProducerSite) -> Any:
    assert hq.server._listener is not None
    return hq.server._listener.admission


def is_answer_unread(hq: ProducerSite) -> bool:
    return any(connection.unsent_bytes() for connection in admission_of(hq)._authenticated)


def have_few_places(hq: ProducerSite) -> int:
    """As where the process may have few descriptors. Returns how many places strangers of one address have."""
    admission_of(hq)._limits = ConnectionLimits(800, 200, 100)
    return 100


async def come(hq: ProducerSite, size: int, said: bytes = HALF_A_HEAD) -> list[asyncio.StreamWriter]:
    """So many connections of a stranger's, over each of which the same was sent."""
    made = []
    for _ in range(size):
        _, writer = await asyncio.open_connection("127.0.0.1", hq.server.port)
        writer.write(said)
        made.append(writer)
    return made


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_half_open_requests_take_few_descriptors_and_consumers_are_served(
    hq: ProducerSite, client: Client
) -> None:
    before = descriptors()
    most = have_few_places(hq)
    strangers = await come(hq, STRANGERS)
    try:
        assert (await client.events()).status == 200
        await until(lambda: len(admission_of(hq)) <= most + 5, "strangers have to go")
        # Each connection has an end of the server's and one of ours, which is in this process as well.
        assert descriptors() - before <= STRANGERS + most + 10
        newcomer = hq.client(client.credential)
        async with aiohttp.ClientSession() as http:
            newcomer._http = http
            assert (await newcomer.events()).status == 200
    finally:
        for writer in strangers:
            writer.close()


async def test_a_head_that_is_not_complete_in_time_ends_the_connection(hq: ProducerSite, client: Client) -> None:
    (writer,) = await come(hq, 1)
    await until(lambda: len(admission_of(hq)._unauthenticated) == 1, "it has come")
    admission_of(hq)._now = clock(HEAD_SECONDS + 1)
    await hq.server.close_overdue_connections()
    await until(lambda: not admission_of(hq)._unauthenticated, "it is sent away")
    assert (await client.events()).status == 200
    writer.close()


def clock(ahead: float) -> Any:
    return lambda: time.monotonic() + ahead


async def test_an_answer_that_nobody_reads_ends_the_connection(hq: ProducerSite, client: Client) -> None:
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
            lambda: any(each.unsent_bytes() for each in admission_of(hq)._authenticated), "the answer waits to be read"
        )
        await hq.server.close_overdue_connections()
        count = len(admission_of(hq))
        admission_of(hq)._now = clock(UNREAD_SECONDS - 5)
        await hq.server.close_overdue_connections()
        assert len(admission_of(hq)) == count
        admission_of(hq)._now = clock(2 * UNREAD_SECONDS + 5)
        await hq.server.close_overdue_connections()
        await until(lambda: not is_answer_unread(hq), "the connection is closed")


async def test_many_wrong_keys_behind_an_address_do_not_lock_out_who_has_one_there_also_after_a_restart(
    start: Any,
) -> None:
    hq = await start(requests_per_minute=100)
    known = await hq.consumer("store", CONSUMER, "Invoice")
    await hq.approve("Invoice")
    await hq.server.stop()
    await hq.server.start()
    key, _, secret = known.credential.partition(":")
    asked: list[str] = []
    authenticate = hq.peers.authenticate

    async def counting(api_key: str, api_secret: str) -> str | None:
        asked.append(api_key)
        return await authenticate(api_key, api_secret)

    hq.peers.authenticate = counting  # type: ignore[method-assign]
    statuses = []
    for number in range(60):
        guess = f"guess{number}:work" if number % 2 else f"{key}:{number}"
        statuses.append((await hq.client(guess).events()).status)
    assert statuses == [401] * 10 + [429] * 50
    assert len(asked) == 10, "guesses beyond the bound must not cost a query"
    assert (await hq.client(f"{key}:{secret}").events()).status == 200
    await hq.peers.revoke_key(key)
    assert (await hq.client(f"{key}:{secret}").events()).status in (401, 429)


async def test_a_connection_over_which_a_request_with_a_key_came_is_no_strangers(
    hq: ProducerSite, client: Client
) -> None:
    await client.events()
    assert [each.key for each in admission_of(hq)._authenticated] == [client.credential.partition(":")[0]]
    await hq.client("wrong:key").events()
    assert (await hq.client().send("GET", "health")).status == 200


async def test_where_no_descriptor_is_left_strangers_go_and_the_server_goes_on(
    hq: ProducerSite, client: Client
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    admission_of(hq)._limits = ConnectionLimits(10_000, 10_000, 10_000)
    assert (await client.events()).status == 200
    strangers = await come(hq, 50)
    await until(lambda: len(admission_of(hq)._unauthenticated) == 50, "all have come")
    knocking = [socket.socket() for _ in range(5)]
    fillers: list[int] = []
    try:
        # What is open stays open, and nothing more can be opened: but what strangers give back.
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
        with suppress(OSError):
            while True:
                fillers.append(os.dup(0))
        for each in knocking:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", hq.server.port))
        await until(lambda: admission_of(hq).evicted_count > 0, "strangers go")
        assert (await client.events()).status == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for filler in fillers:
            os.close(filler)
        for each in knocking:
            each.close()
        for writer in strangers:
            writer.close()
    await hq.server.close_overdue_connections()
    async with aiohttp.ClientSession() as http:
        newcomer = hq.client(client.credential)
        newcomer._http = http
        assert (await newcomer.events()).status == 200


async def test_a_socket_that_takes_no_more_connections_is_said_and_begins_again(
    hq: ProducerSite, client: Client
) -> None:
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


async def test_strangers_that_begin_tls_and_say_no_more_have_places_only_as_strangers(
    start: Any, certificate: tuple[Path, Path]
) -> None:
    pem, key = certificate
    hq = await start(certificate=pem, certificate_key=key)
    have_few_places(hq)
    strangers = await come(hq, STRANGERS, b"\x16\x03\x01")
    await until(lambda: admission_of(hq).evicted_count > 0, "they are too many")
    assert len(admission_of(hq)) <= admission_of(hq)._limits.unauthenticated
    for writer in strangers:
        writer.close()
