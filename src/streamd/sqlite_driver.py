"""SQLite connections for asyncio that a cancellation never leaves half way.

aiosqlite runs statements in a thread. Whoever waits for one can be cancelled, and the statement runs all the same:
a `BEGIN` that nobody waited for would keep the lock from everybody. So whoever is cancelled here waits until the
statement has ended.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import aiosqlite

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
    """The mend for a file that SQLite cannot work with, said by its error's words; empty where they say enough."""
    if "not a database" in words or "malformed" in words:
        return f"look at {setting}: does it name a SQLite file, and is that file whole? Else restore it from a backup"
    if "unable to open" in words or "readonly" in words:
        return f"look at {setting}: may the user of streamd read and write that file and its folder?"
    return ""


class Connection(aiosqlite.Connection):
    """A connection whose statements are waited for, and which is rolled back before it is closed."""

    async def _execute(self, fn: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        result: T = await to_its_end(super()._execute(fn, *args, **kwargs))  # type: ignore[no-untyped-call]
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
