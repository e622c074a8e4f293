"""Accepts connections, and closes those that `admission.py` evicts.

aiohttp alone has no timeout for a request's head, and accepts connections until file descriptors run out. So
connections are accepted here, registered before anything is read or decrypted, and then handed to aiohttp.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from streamd.common.addresses import client_network
from streamd.errors import StreamdError
from streamd.serve.connections.admission import HEAD_SECONDS, Admission, Connection, limits_for

BACKLOG = 512
"""Connections that the operating system queues until they are accepted."""

MAX_DESCRIPTORS = 16_384
"""File descriptors that the daemon asks the operating system for."""

PAUSE_SECONDS = 0.1
"""How long to wait before accepting again when file descriptors have run out."""


class ConnectionHandler(web.RequestHandler):
    """aiohttp's side of a connection, linked to its entry in `Admission`."""

    __slots__ = ("admission", "connection")

    def __init__(
        self, server: web.Server, admission: Admission, connection: Connection, logger: logging.Logger
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(server, loop=loop, access_log=None, logger=logger, auto_decompress=False)  # type: ignore[arg-type]  # None is allowed
        self.admission = admission
        self.connection = connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101  # sockets have one
        self.connection.close = transport.abort
        self.connection.unsent_bytes = transport.get_write_buffer_size
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.admission.remove(self.connection)
        super().connection_lost(exc)


@web.middleware
async def track_requests(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell `Admission` when a request begins and ends."""
    protocol = request.protocol
    if not isinstance(protocol, ConnectionHandler):
        return await handler(request)
    protocol.admission.begin_request(protocol.connection)
    try:
        return await handler(request)
    finally:
        protocol.admission.end_request(protocol.connection)


def mark_authenticated(request: web.Request, key: str) -> None:
    """Record that the request's connection carries a valid key."""
    protocol = request.protocol
    if isinstance(protocol, ConnectionHandler):
        protocol.admission.authenticate(protocol.connection, key)


class Listener:
    """The listening sockets of a server, and its connections."""

    def __init__(self, server: web.Server, certificate: ssl.SSLContext | None, logger: logging.Logger) -> None:
        self.admission = Admission(limits_for(raise_descriptor_limit()))
        self._server = server
        self._certificate = certificate
        self._logger = logger
        self._sockets: list[socket.socket] = []
        self._accept_tasks: list[asyncio.Task[None]] = []
        self._handshake_tasks: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int) -> int:
        """Start to accept connections. Returns the port. Raises `OSError`."""
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port, start_serving=False)
        try:
            self._sockets = [bound.dup() for bound in server.sockets]
        finally:
            server.close()
        for bound in self._sockets:
            bound.setblocking(False)
            bound.listen(BACKLOG)
        self._accept_tasks = [asyncio.create_task(self._accept(bound)) for bound in self._sockets]
        return int(self._sockets[0].getsockname()[1])

    def close_overdue(self) -> None:
        """Close overdue connections. If a socket stopped accepting, restart it and raise `StreamdError`."""
        self.admission.close_overdue()
        for index, task in enumerate(self._accept_tasks):
            if task.done() and not task.cancelled():
                self._accept_tasks[index] = asyncio.create_task(self._accept(self._sockets[index]))
                error = task.exception()
                raise StreamdError(
                    f"the API stopped accepting connections: {error}", hint="streamd accepts connections again"
                ) from error

    async def stop(self) -> None:
        """Accept no more connections. Open ones stay open until `Admission.close_all`."""
        tasks = [*self._accept_tasks, *self._handshake_tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for bound in self._sockets:
            bound.close()
        self._sockets, self._accept_tasks = [], []

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, address = await loop.sock_accept(listening)
            except ConnectionError:
                continue  # the client left before its connection was accepted
            except OSError:
                # No file descriptor or no memory: closing a connection frees some.
                self.admission.evict_oldest()
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            self._admit(client, str(address[0]))
            await asyncio.sleep(0)  # let other tasks run, however many connections arrive

    def _admit(self, client: socket.socket, address: str) -> None:
        connection = Connection(client_network(address), client.close)
        if not self.admission.admit(connection):
            client.close()
            return
        task = asyncio.create_task(self._hand_to_aiohttp(client, connection))
        connection.close = task.cancel
        self._handshake_tasks.add(task)
        task.add_done_callback(self._handshake_tasks.discard)

    async def _hand_to_aiohttp(self, client: socket.socket, connection: Connection) -> None:
        tls: dict[str, Any] = {}
        if self._certificate is not None:
            tls = {"ssl": self._certificate, "ssl_handshake_timeout": HEAD_SECONDS}
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: ConnectionHandler(self._server, self.admission, connection, self._logger), client, **tls
            )
        except (OSError, asyncio.CancelledError):
            # The client left, does not speak TLS, or was evicted.
            self.admission.remove(connection)
            client.close()


def raise_descriptor_limit() -> int:
    """Raise the process's limit of file descriptors as far as allowed. Returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # keep the current limit if it cannot be raised
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
