"""One view of, or one transaction on, a MariaDB site."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from streamd.common.values import ranges_of
from streamd.db.base import Reader, TableWrite, Transaction, WriteKind
from streamd.db.books.bookkeeping import name_key
from streamd.db.books.given_keys import Keys, TakenKeys
from streamd.db.mariadb import sql
from streamd.db.mariadb.driver import Session
from streamd.db.mariadb.errors import has_rolled_back, plain_errors
from streamd.db.mariadb.keys import Inserts, make_ours, next_keys
from streamd.db.mariadb.moves import Move, move, moved_by_hand, put_again, to_verify, verify
from streamd.db.mariadb.names import Indexes, between, conditions, lock_rows, named
from streamd.db.mariadb.reflect import foreign_keys
from streamd.db.mariadb.values import binder
from streamd.db.moves import ForeignKeys, changes_keys
from streamd.db.parts import cells, unlike
from streamd.db.sqltext import quote, write_sql
from streamd.db.statements import refused_if_unforeseen, some_of
from streamd.errors import RowRefused
from streamd.model import (
    Change,
    ChildTable,
    Claim,
    Column,
    DocumentType,
    Name,
    Row,
    Scalar,
    name_from_text,
    name_text,
)
from streamd.wire import read_lists, read_rows

CHANGE = 'id, tbl, op, CAST("before" AS BINARY), CAST("after" AS BINARY), COALESCE(origin, \'\'), fingerprint, "at", tx'


def not_taken(claim: Claim | None, low_watermark: int) -> str:
    """The condition for changes that no claim took, as ranges of ids. None appears below `low_watermark` any more."""
    parts = []
    first = low_watermark
    for begin, end in ranges_of(claim.ids) if claim is not None else ():
        if first < begin:
            parts.append(f"id BETWEEN {first} AND {begin - 1}")
        first = max(first, end + 1)
    return "(" + " OR ".join([*parts, f"id >= {first}"]) + ")"


class MariadbReader(Reader):
    """Reads within the transaction that its connection is in."""

    CHANGE = CHANGE

    def __init__(self, session: Session, where: str, low_watermark: int) -> None:
        self._session = session
        self._where = where
        self._low_watermark = low_watermark

    async def _fetch(self, statement: str, values: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        with plain_errors(self._where, of_documents=True):
            return await self._session.fetch(statement, values)

    def _not_taken(self, claim: Claim | None) -> tuple[str, list[Any]]:
        return not_taken(claim, self._low_watermark), []

    async def _rows(
        self,
        owner: DocumentType | ChildTable,
        key: Sequence[str],
        names: Sequence[Name],
        where: Sequence[tuple[str, Scalar]] = (),
        order: Sequence[str] = (),
    ) -> Iterable[tuple[Name, bytes]]:
        known = {column.name: column for column in owner.columns}
        found, values = named([known[name] for name in key], names)
        if not values:
            return []
        narrower, more = conditions(where, known)
        ordering = f" ORDER BY {', '.join(f't.{quote(column)}' for column in order)}" if order else ""
        query = (
            f"SELECT CAST({sql.row_as_json(owner.columns, 't')} AS BINARY), "
            f"CAST({sql.name_as_json(key, known, 't')} AS BINARY) "
            f"FROM {quote(owner.table)} AS t WHERE {found}{narrower}{ordering}"
        )
        return [(name_from_text(name), text) for text, name in await self._fetch(query, [*values, *more])]

    async def read_rows(
        self, table: str, columns: Sequence[Column], key: Sequence[Column], keys: Iterable[Name]
    ) -> list[Row]:
        found: list[bytes] = []
        for some in some_of(keys):
            where, values = named(key, some)
            row = sql.row_as_json(columns, "t")
            rows = await self._fetch(f"SELECT CAST({row} AS BINARY) FROM {quote(table)} AS t WHERE {where}", values)
            found += [text for (text,) in rows]
        return read_rows(found)

    async def not_as_written(
        self, table: str, columns: Sequence[Column], key: Sequence[int], rows: Sequence[tuple[Any, ...]]
    ) -> set[int]:
        values = sql.values_as_json(columns, "t")
        found: list[bytes] = []
        wanted, names = [columns[place] for place in key], list(map(cells(key), rows))
        dense = between(wanted, names)
        for where, bound in [dense] if dense is not None else (named(wanted, some) for some in some_of(names)):
            query = f"SELECT CAST({values} AS BINARY) FROM {quote(table)} AS t WHERE {where}"
            found += [text for (text,) in await self._fetch(query, bound) if text is not None]
        return unlike(rows, read_lists(found), key)

    def _with_names(self, doctype: DocumentType, names: Sequence[Name]) -> tuple[str, list[Any]]:
        return named(_key_columns(doctype), names)

    def _following(self, doctype: DocumentType, after: Name | None) -> tuple[str, list[Any]]:
        columns, quoted = _key_columns(doctype), [f"t.{quote(name)}" for name in doctype.key]
        where = [f"{quoted[index]} IS NOT NULL" for index, column in enumerate(columns) if column.nullable]
        values: list[Any] = []
        if after is not None:
            bound = [binder(column)(value) for column, value in zip(columns, after, strict=True)]
            # Written out, because the server finds no place in an index for a comparison of rows.
            where.append(f"{quoted[0]} >= ?")
            values.append(bound[0])
            parts = []
            for index in range(len(columns)):
                parts.append(" AND ".join([*(f"{each} = ?" for each in quoted[:index]), f"{quoted[index]} > ?"]))
                values += bound[: index + 1]
            where.append("(" + " OR ".join(f"({part})" for part in parts) + ")")
        return " AND ".join(where) or "1 = 1", values

    def _holding(self, doctype: DocumentType, wanted: Sequence[tuple[Column, Any]]) -> tuple[str, list[Any]]:
        known = {column.name: column for column in doctype.columns}
        where, values = conditions([(column.name, value) for column, value in wanted], known)
        return f"1 = 1{where}", values

    async def _select_names(
        self, doctype: DocumentType, where: str, values: Sequence[Any], further: str = ""
    ) -> list[Name]:
        name = sql.name_as_json(doctype.key, {column.name: column for column in doctype.columns}, "t")
        query = f"SELECT CAST({name} AS BINARY) FROM {quote(doctype.table)} AS t WHERE {where}{further}"
        return [name_from_text(text) for (text,) in await self._fetch(query, values)]


def _key_columns(doctype: DocumentType) -> list[Column]:
    known = {column.name: column for column in doctype.columns}
    return [known[name] for name in doctype.key]


class MariadbTransaction(MariadbReader, Transaction):
    """Reads and writes within one write transaction."""

    def __init__(
        self,
        session: Session,
        where: str,
        low_watermark: int,
        indexes: Indexes,
        taken: TakenKeys,
        elsewhere: Callable[[str], Awaitable[Sequence[Sequence[Any]]]],
    ) -> None:
        """`elsewhere` runs a query outside of this transaction: it sees what is committed."""
        MariadbReader.__init__(self, session, where, low_watermark)
        Transaction.__init__(self, taken)
        self._elsewhere = elsewhere
        self._indexes = indexes
        self._inserts = Inserts(session)
        self._marks: list[tuple[str, str]] = []
        self._depth = 0

    async def _run(self, statement: str, values: Sequence[Any] = ()) -> int:
        with plain_errors(self._where, of_documents=True):
            return await self._session.run(statement, values)

    async def _run_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        with plain_errors(self._where, of_documents=True):
            await self._session.run_many(statement, rows)

    def _put(self, table: str, columns: str, key: str) -> str:
        names = [name.strip() for name in columns.split(",")]
        keys = {name.strip() for name in key.split(",")}
        changes = ", ".join(f"{name} = VALUES({name})" for name in names if name not in keys)
        return (
            f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(names))}) ON DUPLICATE KEY UPDATE {changes}"
        )

    def _add(self, table: str, key: str, number: str) -> str:
        return (
            f"INSERT INTO {table} ({key}, {number}) VALUES (?, ?) "
            f"ON DUPLICATE KEY UPDATE {number} = {number} + VALUES({number})"
        )

    async def _next_keys(self, table: str, column: Column, count: int) -> Keys:
        with plain_errors(self._where, of_documents=True):
            return await next_keys(self._session, self._taken, table, column, count)

    async def own_changes(self, after: int, *, marked: bool) -> list[Change]:
        found = await super().own_changes(after, marked=marked)
        # What others can see as well was committed by somebody else in the meantime.
        ids = ", ".join(str(change.id) for change in found if not change.origin)
        if not ids:
            return found
        theirs = {number for (number,) in await self._elsewhere(f"SELECT id FROM streamd_change WHERE id IN ({ids})")}
        return [change for change in found if change.id not in theirs]

    async def _remove_taken(self, claim: Claim) -> None:
        # One by one: a scan of a range, or a list that the server reads as one, waits for the row behind it, and that
        # may be one of a user's transaction that goes on for long.
        ids = [(each,) for first, last in ranges_of(claim.ids) for each in range(first, last + 1)]
        await self._run_many("DELETE FROM streamd_change WHERE id = ?", ids)

    async def mark(self, marks: Mapping[tuple[str, Name], str]) -> None:
        await self.clear_marks()
        self._marks = [(doctype, name_key(name)) for doctype, name in marks]
        await self._run_many(
            "INSERT INTO streamd_origin (doctype, name, mark) VALUES (?, ?, ?)",
            [(*key, mark) for key, mark in zip(self._marks, marks.values(), strict=True)],
        )

    async def clear_marks(self) -> None:
        # By their keys: what was removed before stays in the table while somebody reads an old view of it.
        marks, self._marks = self._marks, []
        await self._run_many("DELETE FROM streamd_origin WHERE doctype = ? AND name = ?", marks)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        # Each level has a name of its own: a second one of the same name takes the first one's place.
        self._depth += 1
        name = f"streamd_event_{self._depth}"
        try:
            await self._run(f"SAVEPOINT {name}")
            try:
                with self._taken.undone_on_error():
                    yield
            except BaseException as error:
                # After a deadlock, or without a connection, the savepoint is gone with all the rest.
                if self._session.is_open and not has_rolled_back(error):
                    await self._run(f"ROLLBACK TO {name}")
                    await self._run(f"RELEASE SAVEPOINT {name}")
                raise
            await self._run(f"RELEASE SAVEPOINT {name}")
        finally:
            self._depth -= 1

    def can_remember(self, name: Name) -> bool:
        return len(name_text(name).encode()) <= sql.NAME_BYTES

    async def lock_documents(self, doctype: DocumentType, names: Iterable[Name]) -> None:
        for some in some_of(names):
            if not doctype.single:
                await self._lock(doctype.table, doctype.key, doctype.columns, some, ())
            for child in doctype.children:
                await self._lock(child.table, child.parent_key, child.columns, some, child.where)

    async def _lock(
        self,
        table: str,
        key: Sequence[str],
        columns: Iterable[Column],
        names: Sequence[Name],
        where: Sequence[tuple[str, Scalar]],
    ) -> None:
        known = {column.name: column for column in columns}
        with plain_errors(self._where, of_documents=True):
            further = conditions(where, known)
            await lock_rows(self._session, table, [known[name] for name in key], names, further, self._indexes)

    async def write(self, writes: Sequence[TableWrite]) -> None:
        moves: list[Move] = []
        for write in writes:
            with self._refusals(write.table):
                rows = _bound(write)
                moving = moved_by_hand(write, await self.foreign_keys()) if changes_keys(write) else []
                if write.kind == WriteKind.INSERT:
                    await make_ours(self._inserts, self._taken, write, rows)
                    found = await self._inserts.run(write.table, write_sql(write), rows)
                elif moving:
                    moves += to_verify(write, rows, await self.foreign_keys())
                    found = await move(self._session, moving, rows)
                else:
                    found = await self._session.run_many(write_sql(write), rows)
            await self._all_found(write, found)
        with plain_errors(self._where, of_documents=True):
            for each in moves:
                await verify(self._session, each)

    async def _read_foreign_keys(self) -> ForeignKeys:
        return await foreign_keys(self._session)

    async def put_again(self, write: TableWrite) -> None:
        with self._refusals(write.table):
            found = await put_again(self._session, write, _bound(write), await self.foreign_keys())
        await self._all_found(write, found)

    async def _all_found(self, write: TableWrite, found: int) -> None:
        """Raises `RowRefused` where other rows were found than were named."""
        wanted = len(write.rows)
        if not write.exactly or found == wanted:
            return
        # The server counts the rows that triggers update as well. Which of ours is missing then, reading back tells.
        if found < wanted or not await self._fetch(_USERS_TRIGGERS, (write.table,)):
            raise RowRefused(f"{found} rows of {write.table} were found where {wanted} should be ({write.kind.value})")

    @contextmanager
    def _refusals(self, table: str) -> Iterator[None]:
        with refused_if_unforeseen(), plain_errors(self._where, of_documents=True, table=table):
            yield


_USERS_TRIGGERS = (
    "SELECT 1 FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = DATABASE() AND EVENT_OBJECT_TABLE = ? "
    f"AND LEFT(TRIGGER_NAME, {len(sql.PREFIX)}) <> '{sql.PREFIX}' LIMIT 1"
)


def _bound(write: TableWrite) -> list[list[Any]]:
    """The rows of a write as the driver takes them. Raises `RowRefused`."""
    binders = [binder(column) for column in (*write.columns, *write.where)]
    return [[bind(value) for bind, value in zip(binders, row, strict=True)] for row in write.rows]
