"""Over a line that is cut again and again everything arrives, in smaller and smaller pages."""

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
from tests.support.serving import CONSUMER, ProducerSite, entry

CUT = 20_000


@asynccontextmanager
async def line(url: str, cut: int) -> AsyncIterator[str]:
    """A line to the server that ends each connection once so many bytes have come over it."""
    there = urlsplit(url)
    tasks: set[asyncio.Task[None]] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int | None) -> None:
        left = most
        while data := await reader.read(1024 if left is None else min(1024, left)):
            writer.write(data)
            await writer.drain()
            if left is not None and (left := left - len(data)) <= 0:
                break
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert there.hostname is not None
        upstream, out = await asyncio.open_connection(there.hostname, there.port)
        both = [asyncio.create_task(carry(reader, out, None)), asyncio.create_task(carry(upstream, writer, cut))]
        tasks.update(both)
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        for each in (writer, out):
            each.close()

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def noisy(number: int, size: int) -> LogEntry:
    """A create that compresses badly."""
    made = entry("Invoice", number, tx=number, data=f'{{"n":"{secrets.token_hex(size)}"}}')
    made.clock = "000000000001.0000.111111111111"
    return made


async def peer_at(hq: ProducerSite, url: str) -> Peer:
    key, secret = await hq.peers.create_key("store")
    settings = ProducerSettings(url=url, api_key=key, api_secret=secret, use_same_name=True, doctypes=("Invoice",))
    return Peer("hq", settings, (key, secret), wanted_doctypes(settings, {}))


async def pull_all(peer: Peer, count: int) -> list[int]:
    found: list[int] = []
    cursor = None
    async with asyncio.timeout(60):
        while len(found) < count:
            try:
                page = await peer.events(cursor, cursor, 0, {})
            except PeerUnreachable:
                continue  # as the subscriber does, after a pause
            found += [event.sequence for event in page.events]
            cursor = read_cursor(page.next)
    return found


async def test_a_backlog_passes_a_line_that_is_cut_every_20_kilobytes(hq: ProducerSite) -> None:
    async with line(hq.server.url, CUT) as url:
        peer = await peer_at(hq, url)
        try:
            await peer.handshake(CONSUMER, "store")
            await hq.approve("Invoice")
            await hq.append(*(noisy(number, 200) for number in range(2000)))
            assert await pull_all(peer, 2000) == list(range(1, 2001))
        finally:
            await peer.close()


async def test_documents_and_names_pass_it_too(hq: ProducerSite) -> None:
    with hq.write() as connection:
        connection.executemany(
            "INSERT INTO Invoice VALUES (?, 1, ?)", [(number, f"{number:>200}") for number in range(100, 900)]
        )
    async with line(hq.server.url, 3000) as url:
        peer = await peer_at(hq, url)
        try:
            await peer.handshake(CONSUMER, "store")
            await hq.approve("Invoice")
            names = [WantedDocument(doctype="Invoice", name=[number]) for number in range(100, 900)]
            async with asyncio.timeout(60):
                found = await peer.fetch(names)
                listed = await peer.names("Invoice", None, 5000)
            assert [each.name for each in found.documents] == [(number,) for number in range(100, 900)]
            assert listed.names
        finally:
            await peer.close()


async def test_what_never_passes_is_said(hq: ProducerSite) -> None:
    async with line(hq.server.url, 600) as url:
        peer = await peer_at(hq, hq.server.url)
        await peer.handshake(CONSUMER, "store")
        await hq.approve("Invoice")
        await hq.append(noisy(1, 3000))
        broken = await peer_at(hq, url)
        try:
            with pytest.raises(TransferBroken, match="broke after"):
                await broken.events(None, None, 0, {})
        finally:
            await peer.close()
            await broken.close()
