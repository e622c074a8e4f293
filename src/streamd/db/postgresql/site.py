"""A site on PostgreSQL.

Our tables stand in a schema of their own. One connection writes; each of its transactions first locks our row of
`streamd_site`, so that our own writers take turns, also those of other processes. Users' transactions run beside it:
the rows of a document are locked before they are judged and changed.

Ids of changes are given before their transactions commit, so a lower id may appear after a higher one. What is
visible is taken, transaction by transaction, and exactly that is removed afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from streamd.common.instrumentation import record_progress
from streamd.db.base import Changes, Reader, SiteDatabase, Transaction
from streamd.db.books.given_keys import KeyPool, TakenKeys
from streamd.db.bound import bound_tables, rights_missing, wanted_rights
from streamd.db.postgresql import sql
from streamd.db.postgresql.changes import CHANGE, changes_of
from streamd.db.postgresql.errors import SEES_ALL, connected, plain_errors
from streamd.db.postgresql.partitions import differs, our_triggers, unseen
from streamd.db.postgresql.reflect import reflect
from streamd.db.postgresql.session import PostgresqlReader, PostgresqlTransaction, not_taken
from streamd.db.postgresql.triggers import triggers, wanted_digest
from streamd.db.postgresql.values import SESSION
from streamd.db.sockets import keep_alive
from streamd.db.sqlite.driver import to_its_end
from streamd.db.tail import LowWatermark, in_commit_order, whole_transactions
from streamd.errors import Problem, SiteBusy
from streamd.model import Catalogue, Change, Claim, Column, Kind, Table

LOCK_SECONDS = 5
"""How long we wait for a user's lock before we say that the site is busy."""

CONNECT_SECONDS = 10.0
LIVELY_SECONDS = 0.02
"""How often we look for changes for a while after there was one."""

LIVELY_FOR = 2.0
"""How long that while is, in seconds."""

WINDOW = 4
"""How many times as many changes as are wanted are looked through for whole transactions."""


class PostgresqlSite(SiteDatabase):
    """The site's database on a PostgreSQL server."""

    TEXT_COLUMN = Column("", "text", Kind.TEXT)
    TEXT_TYPE = "text"

    def __init__(self, url: str) -> None:
        self._engine = open_engine(url)
        self._writer: AsyncConnection | None = None
        self._write_lock = asyncio.Lock()
        self._pool = KeyPool()
        self._claim: Claim | None = None
        self._low_watermark = LowWatermark()
        self._lively_until = 0.0

    async def close(self) -> None:
        async with self._write_lock:
            await self._drop_writer()
            await self._engine.dispose()

    # What there is

    async def tables(self) -> dict[str, Table]:
        async with self._connection() as driver:
            return await reflect(driver)

    # Installing

    def install_script(self, catalogue: Catalogue, tables: Mapping[str, Table]) -> list[str]:
        made = [statement for statements in triggers(catalogue, tables).values() for statement in statements]
        return [*sql.TABLES, *self._site_statements(sql.NOW_MS, f"{sql.SCHEMA}."), *made]

    def uninstall_script(self, triggers: Iterable[str], *, keep_tables: bool) -> list[str]:
        statements = [f"DROP FUNCTION IF EXISTS {sql.SCHEMA}.{sql.quote(name)}() CASCADE" for name in triggers]
        return statements if keep_tables else [*statements, f"DROP SCHEMA IF EXISTS {sql.SCHEMA} CASCADE"]

    def grant_script(self, role: str) -> list[str]:
        return sql.grants(role)

    async def run_script(self, statements: Sequence[str]) -> None:
        async with self._writing() as driver:
            for statement in statements:
                await driver.execute(statement)

    async def our_triggers(self) -> dict[str, str]:
        async with self._connection() as driver:
            return await our_triggers(driver)

    def wanted_triggers(self, catalogue: Catalogue, tables: Mapping[str, Table]) -> dict[str, str]:
        return {name: wanted_digest(statements) for name, statements in triggers(catalogue, tables).items()}

    async def note_unseen(self, catalogue: Catalogue) -> list[str]:
        tables = bound_tables(catalogue).keys()
        async with self._connection() as driver:
            if not await differs(driver, tables):
                return []
        async with self._writing() as driver:
            happened = await unseen(driver, tables)
        return [f"{table}: {'; '.join(words)}" for table, words in happened.items()]

    async def warnings(self, catalogue: Catalogue) -> list[str]:
        found = []
        rows = await self._fetch("SELECT pg_is_in_recovery(), current_setting('fsync')")
        if rows[0][0]:
            found.append("this server is a standby: nothing can be written there; name the primary in site.database")
        if rows[0][1] == "off":
            found.append("fsync is off: after a power cut the database may be damaged, and synced documents lost")
        found += [
            f"row-level security hides rows of {doctype} from the daemon's role: its changes are sent, but its "
            f"documents cannot be read, listed or written; {SEES_ALL}"
            for doctype in sorted(catalogue.stored_in(await self.partly_seen()))
        ]
        return found

    async def missing_rights(self, catalogue: Catalogue, written: Collection[str]) -> list[Problem]:
        asked = list(wanted_rights(catalogue, written))
        rows = await self._fetch(sql.MISSING_RIGHTS, [[table for table, _ in asked], [right for _, right in asked]])
        role, schema = (await self._fetch("SELECT current_user::text, current_schema()::text"))[0]
        ours = (
            [
                Problem(
                    "site.database",
                    "the daemon's role may not use all of streamd's tables",
                    f"run `streamd install --grant {role}` as a role that may",
                )
            ]
            if any(table == sql.SCHEMA for table, _ in rows)
            else []
        )
        users = [(table, right) for table, right in rows if table != sql.SCHEMA]
        return ours + rights_missing(users, f"{sql.quote(schema)}.", sql.quote, sql.quote(role))

    async def partly_seen(self) -> set[str]:
        rows = await self._fetch(
            "SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace "
            "AND relkind IN ('r', 'p') AND relrowsecurity AND row_security_active(oid)"
        )
        return {name for (name,) in rows}

    # Capture

    async def wait_for_change(self, idle_seconds: float, timeout: float) -> None:
        """Looks at the change table, often after a change and seldom otherwise: nothing tells us of commits."""
        until = time.monotonic() + timeout
        while True:
            now = time.monotonic()
            if now >= until:
                return
            pause = min(LIVELY_SECONDS if now < self._lively_until else idle_seconds, until - now)
            await asyncio.sleep(pause)
            where, values = not_taken(self._claim, self._low_watermark.id)
            rows = await self._fetch(f"SELECT EXISTS (SELECT 1 FROM streamd_change WHERE {where})", values)
            if rows[0][0]:
                self._lively_until = time.monotonic() + LIVELY_FOR
                return

    async def read_changes(self, claim: Claim, limit: int) -> Changes:
        self._claim = claim
        size = limit * WINDOW
        async with self._connection() as driver:
            # What is final is looked at before the changes are: then whatever is below it is seen, or will never be.
            await self._raise_low_watermark(driver, claim)
            where, values = not_taken(claim, self._low_watermark.id)
            window = await driver.fetch(
                sql.numbered(f"SELECT id, tx::text::bigint FROM streamd_change WHERE {where} ORDER BY id LIMIT {size}"),
                *values,
            )
            self._low_watermark.saw(window[0][0] if window else None)
            going_on: set[int] = set()
            if len(window) == size:
                last = window[-1][0]
                rows = await driver.fetch(
                    "SELECT DISTINCT tx::text::bigint FROM streamd_change WHERE id > $1 AND id <= $1 + $2", last, size
                )
                going_on = {tx for (tx,) in rows}
            ids, cut = whole_transactions(window, going_on, limit)
            changes = await self._changes(driver, ids)
        return Changes(changes, cut, everything=len(ids) == len(window) < size)

    async def _raise_low_watermark(self, driver: asyncpg.Connection, claim: Claim) -> None:
        if self._low_watermark.wants_look(claim.last_change):
            oldest, following = (
                await driver.fetch(
                    "SELECT pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint "
                    "FROM pg_current_snapshot() AS s"
                )
            )[0]
            self._low_watermark.look(claim.last_change, oldest, following)

    async def read_claimed(self, claim: Claim) -> Sequence[Change]:
        async with self._connection() as driver:
            where, values = not_taken(claim, 0)
            taken = where.replace("AND NOT EXISTS", "AND EXISTS")
            rows = await driver.fetch(sql.numbered(f"SELECT {CHANGE} FROM streamd_change WHERE {taken}"), *values)
            return in_commit_order(await changes_of(driver, rows))

    async def _changes(self, driver: asyncpg.Connection, ids: Sequence[int]) -> list[Change]:
        if not ids:
            return []
        rows = await driver.fetch(f"SELECT {CHANGE} FROM streamd_change WHERE id = ANY($1)", ids)
        return in_commit_order(await changes_of(driver, rows))

    # Reading and applying

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Reader]:
        async with self._connection(of_documents=True) as driver:
            try:
                await driver.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                yield PostgresqlReader(driver, self._low_watermark.id)
            finally:
                if not driver.is_closed():
                    await to_its_end(driver.execute("ROLLBACK"))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        taken = TakenKeys(self._pool)
        with taken.undone_on_error():
            async with self._writing(of_documents=True) as driver:
                await driver.execute("SET CONSTRAINTS ALL DEFERRED")
                transaction = PostgresqlTransaction(driver, self._low_watermark.id, taken)
                yield transaction
                await transaction.clear_marks()

    # Connections

    @asynccontextmanager
    async def _writing(self, *, of_documents: bool = False) -> AsyncIterator[asyncpg.Connection]:
        """The writing connection, in a transaction of its own that commits at the end."""
        async with self._write_lock:
            with plain_errors(of_documents=of_documents):
                driver = await self._writing_driver()
                try:
                    await driver.execute("BEGIN")
                    await self._take_turn(driver)
                    yield driver
                    await to_its_end(driver.execute("COMMIT"))
                except BaseException:
                    await to_its_end(self._undo(driver))
                    raise

    async def _take_turn(self, driver: asyncpg.Connection) -> None:
        if await driver.fetchval(f"SELECT to_regclass('{sql.SCHEMA}.streamd_site')") is not None:
            await driver.execute("SELECT 1 FROM streamd_site WHERE id = 1 FOR UPDATE")

    async def _writing_driver(self) -> asyncpg.Connection:
        if self._writer is not None:
            driver = await driver_of(self._writer)
            if not driver.is_closed():
                return driver
            await self._drop_writer()
        writer = await self._engine.connect()
        try:
            driver = await driver_of(writer)
            await driver.execute(f"SELECT set_config('{sql.APPLYING}', 'on', false)")
        except BaseException:
            # Without that setting our own writes would be captured.
            await to_its_end(_give_up(writer))
            raise
        self._writer = writer
        return driver

    async def _undo(self, driver: asyncpg.Connection) -> None:
        """Roll back; a connection that cannot is not used again."""
        try:
            await driver.execute("ROLLBACK")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            await self._drop_writer()

    async def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            await _give_up(writer)

    @asynccontextmanager
    async def _connection(self, *, of_documents: bool = False) -> AsyncIterator[asyncpg.Connection]:
        with plain_errors(of_documents=of_documents):
            async with self._engine.connect() as connection:
                driver = await driver_of(connection)
                try:
                    yield driver
                finally:
                    # In a transaction that is left open, the next reader would see what was there long ago.
                    if driver.is_closed() or driver.is_in_transaction():
                        await connection.invalidate()

    async def _fetch(self, statement: str, values: Sequence[Any] = ()) -> Sequence[Any]:
        async with self._connection() as driver:
            found: Sequence[Any] = await driver.fetch(sql.numbered(statement), *values)
            return found


async def _give_up(connection: AsyncConnection) -> None:
    """Close a connection, so that nobody gets it from the pool."""
    await connection.invalidate()
    await connection.close()


async def driver_of(connection: AsyncConnection) -> asyncpg.Connection:
    """The driver's connection. Raises `SiteBusy`."""
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    if driver is None:
        raise SiteBusy("the connection to the site's database is gone", hint="it is tried again")
    return driver


def open_engine(url: str) -> AsyncEngine:
    """Connections to a site's database, as our statements need them."""
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"),
        pool_size=5,
        max_overflow=5,
        connect_args={
            "async_creator_fn": connected,
            "timeout": CONNECT_SECONDS,
            "server_settings": SESSION | {"lock_timeout": f"{LOCK_SECONDS}s"},
        },
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        # Our tables are found behind all that the user's own path names.
        set_path = "SELECT set_config('search_path', current_setting('search_path') || ', streamd', false)"

        async def prepare(driver: asyncpg.Connection) -> None:
            keep_alive(driver._transport.get_extra_info("socket"))
            driver.add_query_logger(lambda _: record_progress())
            await driver.execute(set_path)

        connection.run_async(prepare)

    return engine
