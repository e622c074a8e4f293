"""Everything arrives over a connection that is cut again and again, in smaller and smaller pages."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from streamd.errors import PeerUnreachable, TransferBroken
from streamd.model import LogEntry
from streamd.pull import Peer, wanted_doctypes
from streamd.settings import ProducerSettings
from streamd.wire import WantedDocument, read_cursor
from tests.support.sites.serving import CONSUMER, ProducerSite, entry

CUT_AFTER = 20_000


@asynccontextmanager
async def unstable_proxy(url: str, cut_after: int) -> AsyncIterator[str]:
    """A proxy to the server that closes each connection after this many bytes of answers. Yields its URL."""
    server_url = urlsplit(url)
    tasks: set[asyncio.Task[None]] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None) -> None:
        left = limit
        while data := await reader.read(1024 if left is None else min(1024, left)):
            writer.write(data)
            await writer.drain()
            if left is not None and (left := left - len(data)) <= 0:
                break
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert server_url.hostname is not None
        server_reader, server_writer = await asyncio.open_connection(server_url.hostname, server_url.port)
        copies = [
            asyncio.create_task(copy(reader, server_writer, None)),
            asyncio.create_task(copy(server_reader, writer, cut_after)),
        ]
        tasks.update(copies)
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        for open_writer in (writer, server_writer):
            open_writer.close()

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def incompressible(number: int, size: int) -> LogEntry:
    """A create event that does not compress."""
    created = entry("Invoice", number, tx=number, data=f'{{"n":"{secrets.token_hex(size)}"}}')
    created.clock = "000000000001.0000.111111111111"
    return created


async def peer_at(hq: ProducerSite, url: str) -> Peer:
    key, secret = await hq.peers.create_key("store")
    settings = ProducerSettings(url=url, api_key=key, api_secret=secret, use_same_name=True, doctypes=("Invoice",))
    return Peer("hq", settings, (key, secret), wanted_doctypes(settings, {}))


async def pull_all(peer: Peer, count: int) -> list[int]:
    sequences: list[int] = []
    cursor = None
    async with asyncio.timeout(60):
        while len(sequences) < count:
            try:
                page = await peer.fetch_page(cursor, cursor, 0, {})
            except PeerUnreachable:
                continue  # the subscriber also retries, after a pause
            sequences += [event.sequence for event in page.events]
            cursor = read_cursor(page.next)
    return sequences


async def test_a_backlog_arrives_over_a_connection_that_is_cut_every_20_kilobytes(hq: ProducerSite) -> None:
    async with unstable_proxy(hq.server.url, CUT_AFTER) as url:
        peer = await peer_at(hq, url)
        try:
            await peer.handshake(CONSUMER, "store")
            await hq.approve("Invoice")
            await hq.append(*(incompressible(number, 200) for number in range(2000)))
            assert await pull_all(peer, 2000) == list(range(1, 2001))
        finally:
            await peer.close()


async def test_documents_and_names_arrive_over_it_too(hq: ProducerSite) -> None:
    with hq.write() as connection:
        connection.executemany(
            "INSERT INTO Invoice VALUES (?, 1, ?)", [(number, f"{number:>200}") for number in range(100, 900)]
        )
    async with unstable_proxy(hq.server.url, 3000) as url:
        peer = await peer_at(hq, url)
        try:
            await peer.handshake(CONSUMER, "store")
            await hq.approve("Invoice")
            wanted = [WantedDocument("Invoice", (number,)) for number in range(100, 900)]
            async with asyncio.timeout(60):
                fetched = await peer.fetch(wanted)
                listed = await peer.names("Invoice", None, 5000)
            assert [document.name for document in fetched.documents] == [(number,) for number in range(100, 900)]
            assert listed.names
        finally:
            await peer.close()


async def test_an_event_that_is_too_large_for_the_connection_is_an_error(hq: ProducerSite) -> None:
    async with unstable_proxy(hq.server.url, 600) as url:
        peer = await peer_at(hq, hq.server.url)
        await peer.handshake(CONSUMER, "store")
        await hq.approve("Invoice")
        await hq.append(incompressible(1, 3000))
        broken = await peer_at(hq, url)
        try:
            with pytest.raises(TransferBroken, match="broke after"):
                await broken.fetch_page(None, None, 0, {})
        finally:
            await peer.close()
            await broken.close()
