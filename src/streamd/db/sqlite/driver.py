"""SQLite connections for asyncio that a cancellation never leaves half way.

aiosqlite runs statements in a thread. Whoever waits for one can be cancelled, and the statement runs all the same:
a `BEGIN` that nobody waited for would keep the lock from everybody. So whoever is cancelled here waits until the
statement has ended.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite
from sqlalchemy import Engine, event

from streamd.common.instrumentation import record_progress

T = TypeVar("T")


async def to_its_end(work: Awaitable[T]) -> T:
    """Await something that must not be left half done, also when we are cancelled meanwhile, or whatever happens."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except BaseException:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # nobody else asks for it any more
        raise


def what_to_look_at(words: str, setting: str) -> str:
    """The hint for a file that SQLite cannot work with, said by its error's words; empty where they say enough."""
    if "not a database" in words or "malformed" in words:
        return f"look at {setting}: does it name a SQLite file, and is that file whole? Else restore it from a backup"
    if "unable to open" in words or "readonly" in words:
        return f"look at {setting}: may the user of streamd read and write that file and its folder?"
    return ""


class Connection(aiosqlite.Connection):
    """A connection whose statements are waited for, and which is rolled back before it is closed."""

    async def _execute(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        result: T = await to_its_end(super()._execute(fn, *args, **kwargs))  # type: ignore[no-untyped-call]
        record_progress()
        return result

    async def close(self) -> None:
        # SQLite keeps the transaction of a closed connection for as long as one of its cursors lives, and that may be
        # in the traceback of the very error for which the connection is closed.
        with suppress(ValueError, sqlite3.Error):  # it may be closed already
            await self.rollback()
        await super().close()

    def stop(self) -> asyncio.Future[None] | None:
        """Close the connection without waiting for it. What it had begun is rolled back, as in `close`."""
        connection = self._connection
        if connection is not None:
            self._tx.put_nowait((None, connection.rollback))
        return super().stop()


def connect(path: str, **options: Any) -> Connection:
    """What SQLAlchemy calls for a new connection (`async_creator_fn`); it has to be awaited."""
    connection = Connection(lambda: sqlite3.connect(path, **options), iter_chunk_size=64)
    connection._thread.daemon = True  # as SQLAlchemy does: a connection that is forgotten must not keep the process
    return connection


def set_pragmas(connection: Any, *pragmas: str) -> None:
    """Set these on a new connection (SQLAlchemy's), all at once: nothing is left open if this is cancelled."""
    script = "".join(f"PRAGMA {pragma};" for pragma in pragmas)
    connection.run_async(lambda driver: driver.executescript(script))


class OpenFile:
    """Whether the path of a database still names the file that our connections have open.

    What is written through a connection whose file was removed or replaced is lost, and SQLite does not say so. A look
    costs two `stat` calls.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = path
        self._file: tuple[int, int] | None = None
        self._wal: tuple[int, int] | None = None
        self._open = 0

    def count(self, engine: Engine) -> None:
        """Know of each connection that this engine opens and closes."""
        event.listen(engine, "connect", self._opened)
        event.listen(engine, "close", self._closed)

    def _opened(self, *_: object) -> None:
        self._open += 1
        self._file = self._file or _file_at(self._path)

    def _closed(self, *_: object) -> None:
        self._open -= 1
        if not self._open:
            self._wal = None  # SQLite itself removes the WAL with the last connection

    def reading(self) -> None:
        """A transaction of ours has begun: from here on the WAL that is there, if there is one, has to stay."""
        if self._open and self._wal is None:
            self._wal = _file_at(f"{self._path}-wal")

    def replaced(self) -> str:
        """How the file is another one than the one that is open, in words; empty where all is as it was."""
        now = _file_at(self._path)
        # Looked at before it is opened: where it is replaced in between, that shows.
        self._file = self._file or now
        if self._file is None:
            return ""
        if now is None:
            return "was removed or renamed while the daemon had it open"
        if now != self._file:
            return "was replaced by another file while the daemon had it open"
        if self._wal is not None and _file_at(f"{self._path}-wal") != self._wal:
            return "lost its WAL file (-wal) while the daemon had it open"
        return ""


def file_state(path: str | Path) -> tuple[int, int, int] | None:
    """The time of the last write (ns), the size and the number of a file; None where none can be seen."""
    try:
        found = _stat(path)
    except OSError:
        return None  # whoever opens it says why
    return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)


def _file_at(path: str | Path) -> tuple[int, int] | None:
    found = _stat(path)
    return None if found is None else (found.st_dev, found.st_ino)


def _stat(path: str | Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
