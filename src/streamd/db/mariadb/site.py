"""A site on MariaDB.

One connection writes; each of its transactions first locks our row of `streamd_site`, so that our own writers take
turns, also those of other processes. Users' transactions run beside it: the rows of a document are locked before they
are judged and changed.

Ids of changes are given before their transactions commit, so a lower id may appear after a higher one. What is
visible is taken in the order of ids, and exactly that is removed afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from streamd.common.values import ranges_of
from streamd.db.base import Changes, Reader, SiteDatabase, Transaction
from streamd.db.books.given_keys import KeyPool, TakenKeys
from streamd.db.bound import bound_tables
from streamd.db.mariadb import sql
from streamd.db.mariadb.checks import blind_spots, missing_rights, warnings
from streamd.db.mariadb.driver import SQL_MODE, TRIGGER_MODE, Session, Sessions
from streamd.db.mariadb.errors import NO_SUCH_TABLE, TRIGGER_ELSEWHERE, number_of, plain_errors
from streamd.db.mariadb.names import Indexes
from streamd.db.mariadb.reflect import reflect
from streamd.db.mariadb.session import CHANGE, MariadbReader, MariadbTransaction, not_taken
from streamd.db.mariadb.truncated import (
    known,
    known_partitions,
    made,
    note_partitions,
    partitions,
    remember,
    truncated_tables,
)
from streamd.db.mariadb.watermark import TransactionWatch
from streamd.db.sqlite.driver import to_its_end
from streamd.errors import Problem, SiteBusy
from streamd.model import Catalogue, Change, Claim, Column, Kind, Table

LIVELY_SECONDS = 0.02
"""How often we look for changes for a while after there was one."""

LIVELY_FOR = 2.0
"""How long that while is, in seconds."""

RANGES_AT_ONCE = 500
"""Ranges of ids in one query."""


class MariadbSite(SiteDatabase):
    """The site's database on a MariaDB server."""

    TEXT_COLUMN = Column("", "text", Kind.TEXT, has_default=True)
    TEXT_TYPE = "TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"

    def __init__(self, url: str) -> None:
        self._sessions = Sessions(url)
        self._where = self._sessions.where
        self._write_lock = asyncio.Lock()
        self._pool = KeyPool()
        self._watch = TransactionWatch()
        self._claim: Claim | None = None
        self._lively_until = 0.0
        self._indexes: Indexes = {}
        self._first_triggers = sql.NOBODY

    async def close(self) -> None:
        async with self._write_lock:
            await self._sessions.close()

    # What there is

    async def tables(self) -> dict[str, Table]:
        async with self._reading() as session:
            _, self._first_triggers = sql.placed(await session.fetch(sql.TRIGGERS))
            return await reflect(session)

    # Installing

    def install_script(self, catalogue: Catalogue, tables: Mapping[str, Table]) -> list[str]:
        # The tables come first: a trigger without its table would refuse users' writes.
        return [
            *sql.TABLES.values(),
            *self._site_statements(sql.NOW_MS, one_row="FROM DUAL "),
            *sql.triggers(catalogue, tables, self._first_triggers).values(),
        ]

    def uninstall_script(self, triggers: Iterable[str], *, keep_tables: bool) -> list[str]:
        statements = [f"DROP TRIGGER IF EXISTS {sql.quote(name)}" for name in triggers]
        if not keep_tables:
            statements += [f"DROP TABLE IF EXISTS {name}" for name in sql.TABLES]
        return statements

    def script_text(self, statements: Sequence[str]) -> str:
        body = "\n$$\n".join(statement.rstrip() for statement in statements)
        return (
            "-- For the client `mariadb`, in the site's database. DELIMITER is a word of the client's: triggers hold "
            "semicolons.\n-- Triggers act with the rights of the user who makes them: that user has to stay.\n"
            f"SET NAMES utf8mb4 COLLATE utf8mb4_bin;\nSET sql_mode = '{TRIGGER_MODE}';\nDELIMITER $$\n{body}\n$$\n"
            "DELIMITER ;"
        )

    async def run_script(self, statements: Sequence[str]) -> None:
        """Run them in order. MariaDB commits each change of tables and triggers at once, so a crash may leave some
        of it undone; each can be run again. Triggers that are as they ought to be are left alone: to make one, its
        table is locked for a moment.
        """
        there = await self.our_triggers()
        async with self._writing() as session:
            for statement in statements:
                trigger = sql.digest_of(statement)
                if trigger is None:
                    await session.run(statement)
                elif there.get(trigger[0]) != trigger[1]:
                    await _make_trigger(session, trigger[0], statement)

    async def our_triggers(self) -> dict[str, str]:
        return sql.placed(await self._fetch(sql.TRIGGERS))[0]

    def wanted_triggers(self, catalogue: Catalogue, tables: Mapping[str, Table]) -> dict[str, str]:
        found = (sql.digest_of(statement) for statement in sql.triggers(catalogue, tables).values())
        return dict(each for each in found if each is not None)

    def outgrown(
        self, ours: Mapping[str, str], catalogue: Catalogue, tables: Mapping[str, Table]
    ) -> dict[str, tuple[str, ...]]:
        # One that fires behind a user's sees everything.
        return super().outgrown({name: text.partition(sql.BEHIND)[0] for name, text in ours.items()}, catalogue, tables)

    async def note_unseen(self, catalogue: Catalogue) -> list[str]:
        tables = bound_tables(catalogue).keys()
        async with self._reading() as session:
            now, parts = await made(session, tables), await partitions(session, tables)
            before, parts_before = await known(session), await known_partitions(session, tables)
        different = {table: each for table, each in now.items() if before.get(table) != each}
        if not different and (parts == parts_before or not (now or parts)):
            return []  # as it was; or nothing may be seen
        gone = truncated_tables(before, different)
        async with self._writing() as session:
            await remember(session, different, gone)
            happened = await note_partitions(session, parts_before, parts)
        said = [f"{table} was emptied (TRUNCATE)" for table in gone]
        return said + [f"{table}: {'; '.join(words)}" for table, words in happened.items()]

    async def warnings(self, catalogue: Catalogue) -> list[str]:
        async with self._reading() as session:
            return await warnings(session)

    async def missing_rights(self, catalogue: Catalogue, written: Collection[str]) -> list[Problem]:
        async with self._reading() as session:
            return await missing_rights(session, catalogue, written)

    async def blind_spots(self, catalogue: Catalogue, tables: Mapping[str, Table]) -> list[str]:
        async with self._reading() as session:
            return await blind_spots(session, catalogue, tables)

    # Capture

    async def wait_for_change(self, idle_seconds: float, timeout: float) -> None:
        """Asks for a change that the last claim did not take; a look costs a fraction of a millisecond."""
        until = time.monotonic() + timeout
        while True:
            now = time.monotonic()
            if await self._something_new():
                self._lively_until = now + LIVELY_FOR
                return
            if now >= until:
                return
            pause = LIVELY_SECONDS if now < self._lively_until else idle_seconds
            await asyncio.sleep(min(pause, until - now))

    async def _something_new(self) -> bool:
        low_watermark = self._low_watermark(self._claim)
        try:
            async with self._reading() as session:
                await self._watch.look(session, self._claim)
                where = not_taken(self._claim, low_watermark)
                rows = await session.fetch(f"SELECT {CHANGE} FROM streamd_change WHERE {where} ORDER BY id LIMIT 1")
                self._watch.saw([Change(*row) for row in rows])
                return bool(rows)
        except SiteBusy:
            return True  # whoever waits here finds out what is the matter, and is patient

    async def read_changes(self, claim: Claim, limit: int) -> Changes:
        where = not_taken(claim, self._low_watermark(claim))
        async with self._reading() as session:
            await self._watch.look(session, claim)
            rows = await session.fetch(
                f"SELECT {CHANGE} FROM streamd_change WHERE {where} ORDER BY id LIMIT {int(limit)}"
            )
            changes = [Change(*row) for row in rows]
            self._watch.saw(changes)
        self._claim = claim
        if changes:
            self._lively_until = time.monotonic() + LIVELY_FOR
        cut = len(changes) >= limit
        return Changes(changes, cut, everything=not cut)

    async def read_claimed(self, claim: Claim) -> Sequence[Change]:
        ranges = ranges_of(claim.ids)
        found: list[Change] = []
        async with self._reading() as session:
            for start in range(0, len(ranges), RANGES_AT_ONCE):
                some = ranges[start : start + RANGES_AT_ONCE]
                where = " OR ".join(f"id BETWEEN {first} AND {last}" for first, last in some)
                rows = await session.fetch(f"SELECT {CHANGE} FROM streamd_change WHERE {where} ORDER BY id")
                found += [Change(*row) for row in rows]
        return found

    # Reading and applying

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Reader]:
        async with self._reading() as session:
            await session.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            await session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
            try:
                yield MariadbReader(session, self._where, self._low_watermark(self._claim))
            finally:
                if session.is_open:
                    await to_its_end(session.run("ROLLBACK"))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        taken = TakenKeys(self._pool)
        with taken.undone_on_error():
            async with self._writing() as session:
                transaction = self._transaction(session, taken)
                yield transaction
                await transaction.clear_marks()

    def _transaction(self, session: Session, taken: TakenKeys) -> MariadbTransaction:
        return MariadbTransaction(
            session, self._where, self._low_watermark(self._claim), self._indexes, taken, self._fetch
        )

    # Connections

    def _low_watermark(self, claim: Claim | None) -> int:
        return self._watch.low_watermark(claim, self._sessions.broken)

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[Session]:
        """A connection for one of our writers at a time, in a transaction of its own that commits at the end."""
        async with self._write_lock:
            with plain_errors(self._where):
                async with self._sessions.session() as session:
                    await session.run(f"SET {sql.APPLYING} = 1")
                    await session.run("START TRANSACTION")
                    try:
                        await _take_turn(session)
                        yield session
                        await to_its_end(session.run("COMMIT"))
                    except BaseException:
                        if session.is_open:
                            await to_its_end(session.run("ROLLBACK"))
                        raise
                    finally:
                        if session.is_open:
                            await to_its_end(session.run(f"SET {sql.APPLYING} = NULL"))

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[Session]:
        with plain_errors(self._where):
            async with self._sessions.session() as session:
                yield session

    async def _fetch(self, statement: str, values: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        async with self._reading() as session:
            return await session.fetch(statement, values)


async def _make_trigger(session: Session, name: str, statement: str) -> None:
    """A trigger runs in the mode in which it was made."""
    await session.run(f"SET sql_mode = '{TRIGGER_MODE}'")
    try:
        await session.run(statement)
    except Exception as error:
        if number_of(error) != TRIGGER_ELSEWHERE:
            raise
        # A table that was renamed took the trigger of this name along.
        await session.run(f"DROP TRIGGER {sql.quote(name)}")
        await session.run(statement)
    finally:
        if session.is_open:
            await session.run(f"SET sql_mode = '{SQL_MODE}'")


async def _take_turn(session: Session) -> None:
    """Wait until no other writer of ours is at work; where nothing is installed there is none."""
    try:
        await session.fetch("SELECT site FROM streamd_site WHERE id = 1 FOR UPDATE")
    except Exception as error:
        if number_of(error) != NO_SUCH_TABLE:
            raise
