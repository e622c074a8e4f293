"""A site on SQLite.

One connection writes, and each write transaction takes its lock first and is durable when it ends
(`synchronous = FULL`, whatever the user's own connections say). Reads have connections of their own. SQLite
has one writer at a time, so the ids of changes are in the order of their commits.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from streamd.db.base import Changes, Reader, SiteDatabase, Transaction
from streamd.db.books.given_keys import KeyPool, TakenKeys
from streamd.db.sqlite import sql
from streamd.db.sqlite.checks import unusable, unwritable
from streamd.db.sqlite.driver import OpenFile, connect, file_state, set_pragmas, to_its_end
from streamd.db.sqlite.errors import PlainErrors
from streamd.db.sqlite.reflect import reflect
from streamd.db.sqlite.session import SqliteReader, SqliteTransaction, change_of
from streamd.db.sqlite.triggers import OURS, outgrown, triggers
from streamd.errors import Problem, SiteError, SiteReplaced
from streamd.model import Catalogue, Change, Claim, Column, Kind, Table

BUSY_SECONDS = 5.0
"""How long we wait for another writer before we say that the site is busy."""

LIVELY_SECONDS = 0.02
"""How often the file is looked at for a while after a change."""

LIVELY_FOR = 2.0
"""How long that while is, in seconds."""

AGAIN_FIRST, AGAIN_FOR = 0.02, 4.0
"""After a change of the files it is looked again, after so many seconds, after twice as many, and so on to the last.

What is written shows in the file's time at once; it is committed when the disk has it, which shows in no file. And a
second write within one tick of the file system's clock does not show either.
"""


class SqliteSite(SiteDatabase):
    """The site's database in a SQLite file."""

    enforces_types = False

    # Nobody else can write meanwhile.
    transaction_seconds = 0.04

    TEXT_COLUMN = Column("", "TEXT", Kind.TEXT)
    TEXT_TYPE = "TEXT"

    def __init__(self, url: str) -> None:
        database = make_url(url).database
        if not database:
            raise SiteError("the site's database URL names no file", hint="write sqlite:///file.db")
        self.path = Path(database)
        self._file = OpenFile(self.path)
        self._engine = _engine(self.path, self._file)
        self._writer: AsyncConnection | None = None
        self._write_lock = asyncio.Lock()
        self._pool = KeyPool()
        self._seen: tuple[tuple[int, int, int] | None, ...] = ()
        self._again, self._again_at = AGAIN_FIRST, math.inf
        self._lively_until = 0.0

    async def close(self) -> None:
        async with self._write_lock:
            if self._writer is not None:
                await self._writer.close()
                self._writer = None
            await self._engine.dispose()

    # What there is

    async def tables(self) -> dict[str, Table]:
        async with self._connection() as connection:
            return await connection.run_sync(reflect)

    # Installing

    def install_script(self, catalogue: Catalogue, tables: Mapping[str, Table]) -> list[str]:
        statements = [*sql.TABLES.values(), *self._site_statements(sql.NOW_MS)]
        for name, text in self.wanted_triggers(catalogue, tables).items():
            statements += [f"DROP TRIGGER IF EXISTS {sql.quote(name)}", text]
        return statements

    def uninstall_script(self, triggers: Iterable[str], *, keep_tables: bool) -> list[str]:
        statements = [f"DROP TRIGGER IF EXISTS {sql.quote(name)}" for name in triggers]
        if not keep_tables:
            statements += [
                f"DROP TABLE IF EXISTS {name}" for name, text in sql.TABLES.items() if text.startswith("CREATE TABLE")
            ]
        return statements

    async def run_script(self, statements: Sequence[str]) -> None:
        async with self._writing() as driver:
            for statement in statements:
                try:
                    await driver.execute(statement)
                except sqlite3.OperationalError as error:
                    raise SiteError(f"the site's database refused “{statement[:80]}…”: {error}") from error

    async def our_triggers(self) -> dict[str, str]:
        return dict(await self._fetch(OURS))

    def wanted_triggers(self, catalogue: Catalogue, tables: Mapping[str, Table]) -> dict[str, str]:
        return triggers(catalogue, tables)

    def outgrown(
        self, ours: Mapping[str, str], catalogue: Catalogue, tables: Mapping[str, Table]
    ) -> dict[str, tuple[str, ...]]:
        return outgrown(ours, catalogue, tables)

    async def schema_stamp(self) -> object:
        rows = await self._fetch("PRAGMA schema_version")
        return rows[0][0]

    async def warnings(self, catalogue: Catalogue) -> list[str]:
        found = []
        rows = await self._fetch("PRAGMA journal_mode")
        if rows[0][0] != "wal":
            found.append(
                f"the journal mode is {rows[0][0]}: readers and writers wait for each other; "
                "WAL is advised (PRAGMA journal_mode = WAL, once)"
            )
        async with self._connection() as connection:
            return found + await unusable(await _driver(connection), catalogue)

    async def missing_rights(self, catalogue: Catalogue, written: Collection[str]) -> list[Problem]:
        return unwritable(self.path)

    # Capture

    async def wait_for_change(self, idle_seconds: float, timeout: float) -> None:
        """Watches the times and sizes of the database's files: a look costs microseconds, and no lock."""
        until = time.monotonic() + timeout
        while True:
            now = time.monotonic()
            if self._changed():
                self._require_file()
                self._lively_until = now + LIVELY_FOR
                self._again, self._again_at = AGAIN_FIRST, now + AGAIN_FIRST
                return
            if now >= self._again_at:
                self._again *= 2
                self._again_at = now + self._again if self._again < AGAIN_FOR else math.inf
                return
            if now >= until:
                return
            pause = LIVELY_SECONDS if now < self._lively_until else idle_seconds
            await asyncio.sleep(min(pause, until - now, self._again_at - now))

    def _changed(self) -> bool:
        state = tuple(file_state(f"{self.path}{suffix}") for suffix in ("", "-wal", "-journal"))
        if state == self._seen:
            return False
        self._seen = state
        return True

    async def read_changes(self, claim: Claim, limit: int) -> Changes:
        rows = await self._fetch(
            f"SELECT {SqliteReader.CHANGE} FROM streamd_change WHERE id > ? ORDER BY id LIMIT ?",
            (claim.last_change, limit),
        )
        cut = len(rows) >= limit
        return Changes([change_of(row) for row in rows], cut, everything=not cut)

    async def read_claimed(self, claim: Claim) -> Sequence[Change]:
        rows = await self._fetch(
            f"SELECT {SqliteReader.CHANGE} FROM streamd_change WHERE id > ? AND id <= ? ORDER BY id",
            (claim.previous_change, claim.last_change),
        )
        return [change_of(row) for row in rows]

    # Reading and applying

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Reader]:
        async with self._connection(of_documents=True) as connection:
            driver = await _driver(connection)
            await driver.execute("BEGIN")
            try:
                yield SqliteReader(driver)
            finally:
                await driver.execute("ROLLBACK")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        async with self._writing(of_documents=True) as driver:
            await driver.execute("PRAGMA defer_foreign_keys = ON")
            transaction = SqliteTransaction(driver, TakenKeys(self._pool))
            yield transaction
            await transaction.clear_marks()

    # Connections

    @asynccontextmanager
    async def _writing(self, *, of_documents: bool = False) -> AsyncIterator[aiosqlite.Connection]:
        """The writing connection, in a transaction of its own that commits at the end."""
        async with self._write_lock:
            self._require_file()
            with PlainErrors(self.path, of_documents=of_documents):
                if self._writer is None:
                    self._writer = await self._engine.connect()
                driver = await _driver(self._writer)
                try:
                    await driver.execute("BEGIN IMMEDIATE")
                    self._file.reading()
                    yield driver
                    self._require_file()
                    await to_its_end(driver.execute("COMMIT"))
                except BaseException:
                    # Also when cancelled, while a statement is under way in the driver's thread: this waits behind it,
                    # so that the connection never keeps the lock.
                    await to_its_end(driver.rollback())
                    raise

    @asynccontextmanager
    async def _connection(self, *, of_documents: bool = False) -> AsyncIterator[AsyncConnection]:
        self._require_file()
        with PlainErrors(self.path, of_documents=of_documents):
            async with self._engine.connect() as connection:
                yield connection

    async def _fetch(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        async with self._connection() as connection:
            driver = await _driver(connection)
            return list(await driver.execute_fetchall(statement, values))

    def _require_file(self) -> None:
        """Raises `SiteReplaced` where the path no longer names what our connections have open."""
        try:
            replaced = self._file.replaced()
            there, folder = self.path.is_file(), self.path.is_dir()
        except OSError as error:
            raise SiteError(
                f"{self.path} cannot be looked at: {error.strerror}",
                hint="may the user of streamd enter its folder, and read and write the file?",
            ) from error
        if replaced:
            raise SiteReplaced(f"{self.path} {replaced}", hint="the daemon opens it again as soon as it is there")
        if folder:
            raise SiteError(f"{self.path} is a folder, and no database", hint="name the file in it: sqlite:///file.db")
        if not there:
            raise SiteError(f"there is no database {self.path}", hint="fix site.database, or create the database first")


async def _driver(connection: AsyncConnection) -> aiosqlite.Connection:
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    assert isinstance(driver, aiosqlite.Connection)  # noqa: S101  # the engine below is aiosqlite's
    return driver


def _engine(path: Path, file: OpenFile) -> AsyncEngine:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}", connect_args={"timeout": BUSY_SECONDS, "async_creator_fn": connect}
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        set_pragmas(connection, "synchronous = FULL", "foreign_keys = ON", "cache_size = -2000")

    file.count(engine.sync_engine)
    return engine
