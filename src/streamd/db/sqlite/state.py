"""The state in a SQLite file."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event, pool
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from streamd.db.sqlite.driver import OpenFile, connect, file_state, set_pragmas, what_to_look_at
from streamd.db.sqlite.errors import passes
from streamd.db.state import BUSY_SECONDS, DOCUMENTED, StateDatabase
from streamd.errors import StateBusy, StateError, StateReplaced


class SqliteState(StateDatabase):
    """One file; its writers take turns, whichever site they write for."""

    def __init__(self, url: URL) -> None:
        self._path = url.database or ""
        self.where = self._path
        self.engine = create_async_engine(
            url.set(drivername="sqlite+aiosqlite"),
            connect_args={"timeout": BUSY_SECONDS, "async_creator_fn": connect},
        )
        event.listen(self.engine.sync_engine, "connect", _connected)
        event.listen(self.engine.sync_engine, "begin", _begin)
        self._file = OpenFile(self._path)
        self._file.count(self.engine.sync_engine)

    def may_exist(self) -> bool:
        try:
            return file_state(self._path) is not None
        except OSError:
            return True  # whoever looks is told why it cannot be looked at

    def version(self) -> tuple[object, ...]:
        return tuple(file_state(path) for path in (self._path, f"{self._path}-wal"))

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        self._require_file()
        async with self.engine.connect() as connection:
            yield connection
            self._file.reading()

    @asynccontextmanager
    async def writing(self, site: str) -> AsyncIterator[AsyncConnection]:
        self._require_file()
        async with self.engine.connect() as connection:
            await connection.execution_options(streamd_write=True)
            async with connection.begin():
                self._file.reading()
                yield connection
                self._require_file()

    async def settle(self) -> None:
        """Bring what was written into the file itself: a copy of that alone has the keys and approvals in it."""
        if not self.may_exist() or self._file.replaced():
            return
        with suppress(DBAPIError, OSError):  # it is a service to copies; what is in the WAL is durable all the same
            async with self.engine.connect() as connection:
                await connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")

    def _require_file(self) -> None:
        """Raises `StateReplaced` where the path no longer names what our connections have open."""
        if os.path.isdir(self._path):
            raise StateError(
                f"the state database {self.where} is a folder, and no database",
                hint="name a file in it in state.database: sqlite:///state.db",
            )
        replaced = self._file.replaced()
        if replaced:
            raise StateReplaced(
                f"the state database {self.where} {replaced}",
                hint="put it back; if it is lost, run `streamd install`: a new one has no keys and no approvals, and "
                "consumers have to read everything again",
            )

    def upgrade(self, run: Callable[[Connection], None]) -> None:
        if self._path:
            Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(self.engine.url.set(drivername="sqlite"), poolclass=pool.NullPool)
        event.listen(engine, "connect", _by_hand)
        with engine.connect() as connection:
            # One transaction, tables and all: what is stopped in the middle leaves the schema that there was.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            run(connection)
            connection.commit()

    def no_tables(self, error: DBAPIError) -> bool:
        return "no such table" in str(error.orig)

    def in_plain_words(self, error: BaseException) -> StateError:
        original = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        words = (original.strerror if isinstance(original, OSError) else None) or str(original)
        said = f"the state database {self.where}: {words}"
        if passes(original):
            return StateBusy(said, hint=passes(original))
        return StateError(said, hint=what_to_look_at(words, "state.database") or DOCUMENTED)


def _by_hand(connection: Any, _record: Any) -> None:
    # The driver must not begin transactions by itself, and end them before a table is made.
    connection.isolation_level = None


def _connected(connection: Any, _record: Any) -> None:
    # The driver must not begin transactions by itself: a write transaction has to take its lock first.
    connection.isolation_level = None
    # Once an entry was served it must not be lost to a power cut: the next cursor would be ahead of the log.
    set_pragmas(connection, "journal_mode = WAL", "synchronous = FULL", "cache_size = -2000")


def _begin(connection: Any) -> None:
    writing = connection.get_execution_options().get("streamd_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
