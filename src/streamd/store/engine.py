"""Opens the state database, and gives transactions on it."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from streamd.errors import StateBusy, StateError
from streamd.sqlite_driver import connect, set_pragmas
from streamd.store.migrate import HEAD

BUSY_SECONDS = 10.0
"""How long a writer waits for another one."""


def now_ms() -> int:
    """The wall clock, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class State:
    """The state database. `site` is the UUID with which every key of ours begins."""

    def __init__(self, url: str, site: str) -> None:
        self.site = site
        self.engine = _engine(url)

    async def close(self) -> None:
        await self.engine.dispose()

    def version(self) -> tuple[object, ...]:
        """Changes whenever somebody, in whatever process, may have written here."""
        database = self.engine.url.database or ""
        found: list[object] = []
        for path in (database, f"{database}-wal"):
            try:
                state = os.stat(path)
            except FileNotFoundError:
                found.append(None)
            else:
                found.append((state.st_mtime_ns, state.st_size))
        return tuple(found)

    async def check_revision(self) -> None:
        """Raises `StateError` if the schema is not this release's."""
        async with self.read() as connection:
            try:
                revision = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()
            except OperationalError as error:
                if "no such table" not in str(error.orig):
                    raise
                revision = None
        if revision != HEAD:
            raise StateError(
                f"the state database has schema {revision or 'none'}, and this release needs {HEAD}",
                hint="run `streamd install`, or start `streamd run`, which migrates",
            )

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading; one consistent view of the database while it is open."""
        async with _plain_errors(), self.engine.connect() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may write from its first statement on; durable when it ends."""
        async with _plain_errors(), self.engine.connect() as connection:
            await connection.execution_options(streamd_write=True)
            async with connection.begin():
                yield connection


def _engine(url: str) -> AsyncEngine:
    engine = create_async_engine(
        make_url(url).set(drivername="sqlite+aiosqlite"),
        connect_args={"timeout": BUSY_SECONDS, "async_creator_fn": connect},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions by itself: a write transaction has to take its lock first.
        connection.isolation_level = None
        # Once an entry was served it must not be lost to a power cut: the next cursor would be ahead of the log.
        set_pragmas(connection, "journal_mode = WAL", "synchronous = FULL", "cache_size = -2000")

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Any) -> None:
        writing = connection.get_execution_options().get("streamd_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


@asynccontextmanager
async def _plain_errors() -> AsyncIterator[None]:
    try:
        yield
    except DBAPIError as error:
        words = str(error.orig)
        if "locked" in words or "busy" in words:
            raise StateBusy(
                f"the state database is busy: {words}", hint="another program holds it; it is tried again"
            ) from error
        raise StateError(f"the state database: {words}", hint="see docs/operations.md, “The state database”") from error
