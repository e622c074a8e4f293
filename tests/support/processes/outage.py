"""A way to a server that a test can close and open again: for whoever goes there, the server is gone meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from tests.support.database_url import DatabaseUrl
from tests.support.processes.ports import free_port

T = TypeVar("T")
PATIENCE_SECONDS = 10.0
HELD_SECONDS = 0.05
"""How often what is held looks whether it may go on."""


class Passage:
    """Passes connections to its own port on to a server. Works in a thread of its own."""

    def __init__(self, host: str, port: int) -> None:
        self.port = free_port()
        self._target = (host, port)
        self._listener: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._flows = threading.Event()
        self._flows.set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="passage", daemon=True)
        self._thread.start()
        self.open()

    def to(self, database: DatabaseUrl) -> DatabaseUrl:
        """The same database, by this way."""
        return replace(database, host="127.0.0.1", port=self.port)

    def open(self) -> None:
        """The server is there (again)."""
        self._do(self._listen())

    def close(self) -> None:
        """The server goes away: nobody gets in, and who is in is cut off."""
        self._do(self._cut_off())

    def cut(self) -> None:
        """Every connection breaks; a new one can be made at once."""
        self.close()
        self.open()

    def hold(self) -> None:
        """Nothing goes through any more, and nobody is told: connections stay open, and new ones can be made."""
        self._flows.clear()

    def release(self) -> None:
        """What was held goes on its way, and all that comes after it."""
        self._flows.set()

    def end(self) -> None:
        self.release()
        self.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_SECONDS)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECONDS)

    async def _listen(self) -> None:
        assert self._listener is None, "it is open already"
        self._listener = await asyncio.start_server(self._pass, "127.0.0.1", self.port)

    async def _cut_off(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for writer in list(self._open):
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward_reader, onward = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()  # the server itself is not there
            return
        ends = {writer, onward}
        self._open |= ends
        try:
            await asyncio.gather(self._copy(reader, onward), self._copy(onward_reader, writer))
        finally:
            self._open -= ends

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                while not self._flows.is_set():
                    await asyncio.sleep(HELD_SECONDS)
                target.write(data)
                await target.drain()
        target.transport.abort() if source.exception() else target.close()
