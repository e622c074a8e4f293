"""Takes connections, and ends those that `door.py` does not let stay.

aiohttp waits for a request's head for as long as its sender likes, and takes as many connections as there are
descriptors. So connections are taken here, counted before anything is read or encrypted, and handed to it.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
from contextlib import suppress
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from streamd.errors import StreamdError
from streamd.serve.connections.address import network_of
from streamd.serve.connections.door import HEAD_SECONDS, Door, Visitor, places_for

log = structlog.get_logger("streamd.serve")

WAITING = 512
"""Connections that the system keeps until we take them."""

MOST_DESCRIPTORS = 16_384
"""As many as the daemon asks for, where the system lets it."""

PAUSE_SECONDS = 0.1
"""How long to wait where the system has no descriptor left."""


class Connection(web.RequestHandler):
    """aiohttp's connection, with who came over it."""

    __slots__ = ("door", "visitor")

    def __init__(self, server: web.Server, door: Door, visitor: Visitor, logger: logging.Logger) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(server, loop=loop, access_log=None, logger=logger, auto_decompress=False)  # type: ignore[arg-type]  # None is taken
        self.door = door
        self.visitor = visitor

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101  # of a socket
        self.visitor.end = transport.abort
        self.visitor.unread = transport.get_write_buffer_size
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.door.gone(self.visitor)
        super().connection_lost(exc)


@web.middleware
async def counted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Says to the door when a request begins and ends."""
    connection = request.protocol
    if not isinstance(connection, Connection):
        return await handler(request)
    connection.door.began(connection.visitor)
    try:
        return await handler(request)
    finally:
        connection.door.ended(connection.visitor)


def known(request: web.Request, key: str) -> None:
    """The request has this valid key: its connection is no stranger's."""
    connection = request.protocol
    if isinstance(connection, Connection):
        connection.door.is_known(connection.visitor, key)


class Listener:
    """The listening sockets of a server, and its connections."""

    def __init__(self, server: web.Server, certificate: ssl.SSLContext | None, logger: logging.Logger) -> None:
        self.door = Door(places_for(descriptors()))
        self._server = server
        self._certificate = certificate
        self._logger = logger
        self._sockets: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._arriving: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> int:
        """Begin. Returns the port. Raises `OSError`."""
        bound = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port, start_serving=False)
        try:
            self._sockets = [each.dup() for each in bound.sockets]
        finally:
            bound.close()
        for each in self._sockets:
            each.setblocking(False)
            each.listen(WAITING)
        self._tasks = [asyncio.create_task(self._accept(each)) for each in self._sockets]
        return int(self._sockets[0].getsockname()[1])

    def look(self) -> None:
        """End what is overdue. Raises `StreamdError` where a socket took no more connections; it does again."""
        self.door.sweep()
        for place, task in enumerate(self._tasks):
            if task.done() and not task.cancelled():
                self._tasks[place] = asyncio.create_task(self._accept(self._sockets[place]))
                error = task.exception()
                raise StreamdError(f"connections could not be taken: {error}", hint="it is tried again") from error

    async def stop(self) -> None:
        """Take no more connections. Those that are there stay until the door ends them."""
        tasks = [*self._tasks, *self._arriving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in self._sockets:
            each.close()
        self._sockets, self._tasks = [], []

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                taken, address = await loop.sock_accept(listening)
            except ConnectionError:
                continue  # it left before it was taken
            except OSError:
                # No descriptor, or no memory: what is ended here frees some.
                self.door.make_room()
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            self._take(taken, str(address[0]))
            await asyncio.sleep(0)  # others have their turn, however many come

    def _take(self, taken: socket.socket, address: str) -> None:
        visitor = Visitor(network_of(address), taken.close)
        if not self.door.arrived(visitor):
            taken.close()
            return
        task = asyncio.create_task(self._arrive(taken, visitor))
        visitor.end = task.cancel
        self._arriving.add(task)
        task.add_done_callback(self._arriving.discard)

    async def _arrive(self, taken: socket.socket, visitor: Visitor) -> None:
        secure: dict[str, Any] = {}
        if self._certificate is not None:
            secure = {"ssl": self._certificate, "ssl_handshake_timeout": HEAD_SECONDS}
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(self._server, self.door, visitor, self._logger), taken, **secure
            )
        except (OSError, asyncio.CancelledError):
            # It left, speaks no TLS, or was sent away meanwhile.
            self.door.gone(visitor)
            taken.close()


def descriptors() -> int:
    """How many descriptors the process may have; as many as the system allows are asked for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # then there are as many as there are
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
