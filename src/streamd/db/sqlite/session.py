"""One view of, or one transaction on, a SQLite site."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import aiosqlite

from streamd.db.base import Reader, TableWrite, Transaction
from streamd.db.books.given_keys import Keys, TakenKeys
from streamd.db.keys import storable_names
from streamd.db.moves import ForeignKeys, changes_keys, movements, touching, update_sql
from streamd.db.parts import cells, unlike
from streamd.db.sqlite import sql
from streamd.db.sqlite.errors import is_documents
from streamd.db.sqlite.keys import next_keys
from streamd.db.sqlite.reflect import FOREIGN_KEYS, KEYS, foreign_keys_of
from streamd.db.sqlite.values import binder, bound, short_numbers, travelling, unbindable
from streamd.db.sqltext import quote, write_sql
from streamd.db.statements import AT_ONCE, MORE_AT_ONCE, some_of
from streamd.errors import RowRefused, SchemaChanged, TypeRefused, ValueTaken
from streamd.model import Change, ChangeOp, ChildTable, Claim, Column, DocumentType, Name, Row, Scalar


class SqliteReader(Reader):
    """Reads within the transaction that its connection is in."""

    # As bytes: SQLite stores as TEXT what is not valid text as well.
    CHANGE = "id, tbl, op, CAST(before AS BLOB), CAST(after AS BLOB), coalesce(origin, ''), fingerprint, at"
    KEEPS_IDS = False

    def __init__(self, driver: aiosqlite.Connection) -> None:
        self._driver = driver

    async def _changes(self, rows: Sequence[Sequence[Any]]) -> list[Change]:
        return [change_of(row) for row in rows]

    async def _fetch(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return list(await self._driver.execute_fetchall(statement, values))
        except sqlite3.OperationalError as error:
            if "streamd_" in statement or not is_documents(error):
                raise
            if _GONE.search(str(error)):
                raise _changed(error) from error
            raise await self._refusal(statement, error) from error

    async def _refusal(self, statement: str, error: sqlite3.Error, table: str = "") -> RowRefused:
        """Whom SQLite refused: where the statement cannot even be prepared, the table, whatever the document is.

        So it is where an index, a constraint or a trigger of the table needs what only the user's application has: a
        collation, a function, the module of a virtual table. A trigger that misses a table is for its user to fix.
        """
        if _GONE.search(str(error)):
            return RowRefused(str(error))
        try:
            await self._driver.execute_fetchall(f"EXPLAIN {statement}")
        except sqlite3.OperationalError:
            return TypeRefused(str(error), table=table)
        except sqlite3.ProgrammingError:
            pass  # it was prepared, and lacks its values only
        return RowRefused(str(error))

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if not is_documents(error):
                raise
            raise RowRefused(str(error)) from error

    def _not_taken(self, claim: Claim | None) -> tuple[str, list[Any]]:
        # One writer at a time: ids are in the order of commits.
        return "id > ?", [claim.last_change if claim else 0]

    async def _rows(
        self,
        owner: DocumentType | ChildTable,
        key: Sequence[str],
        names: Sequence[Name],
        where: Sequence[tuple[str, Scalar]] = (),
        order: Sequence[str] = (),
    ) -> Iterable[tuple[Name, bytes]]:
        named, values = _named("t", key, list(storable_names(names)))
        conditions = "".join(f" AND t.{quote(column)} IS ?" for column, _ in where)
        ordering = f" ORDER BY {', '.join(f't.{quote(column)}' for column in order)}" if order else ""
        query = (
            f"SELECT CAST({sql.row_as_json(owner.columns, 't')} AS BLOB), {_columns(key)} "
            f"FROM {quote(owner.table)} AS t WHERE {named}{conditions}{ordering}"
        )
        rows = await self._fetch(query, [*values, *(value for _, value in where)])
        return [(tuple(name), short_numbers(text)) for text, *name in rows]

    async def read_rows(
        self, table: str, columns: Sequence[Column], key: Sequence[Column], keys: Iterable[Name]
    ) -> list[Row]:
        names = [column.name for column in columns]
        rows = await self._kept(table, names, [column.name for column in key], bound(key, list(keys)))
        return [dict(zip(names, map(travelling, row), strict=True)) for row in rows]

    async def not_as_written(
        self, table: str, columns: Sequence[Column], key: Sequence[int], rows: Sequence[tuple[Any, ...]]
    ) -> set[int]:
        # What was given to the driver is what it gives back, if nothing changed it: nothing need be translated.
        given, names = bound(columns, rows), [column.name for column in columns]
        found = await self._kept(table, names, [names[place] for place in key], map(cells(key), given))
        return unlike(given, found, key)

    async def _kept(self, table: str, names: Sequence[str], key: Sequence[str], keys: Iterable[Name]) -> list[Any]:
        """These columns of rows, as the driver gives them: to make JSON of them takes longer than to write them."""
        wanted = ", ".join(f"t.{quote(name)}" for name in names)
        found: list[Any] = []
        for some in some_of(keys, MORE_AT_ONCE if len(key) == 1 else AT_ONCE):
            where, values = _named("t", key, some)
            try:
                found += await self._fetch(f"SELECT {wanted} FROM {quote(table)} AS t WHERE {where}", values)
            except sqlite3.OperationalError as error:
                if "decode" not in str(error):
                    raise
                raise RowRefused(f"a row of {table} was changed into what is no valid text: {error}") from error
        return found

    def _with_names(self, doctype: DocumentType, names: Sequence[Name]) -> tuple[str, list[Any]]:
        return _named("t", doctype.key, list(storable_names(names)))

    def _following(self, doctype: DocumentType, after: Name | None) -> tuple[str, list[Any]]:
        if after is None:
            return "1 = 1", []
        return f"({_columns(doctype.key)}) > ({', '.join('?' * len(after))})", list(after)

    def _holding(self, doctype: DocumentType, wanted: Sequence[tuple[Column, Any]]) -> tuple[str, list[Any]]:
        # The second comparison is exact, whatever the column's collation; the first one finds its index.
        values = [value for column, sought in wanted for value in [_compared(column, sought)] * 2]
        names = [quote(column.name) for column, _ in wanted]
        return " AND ".join(f"t.{name} = ? AND t.{name} = ? COLLATE BINARY" for name in names), values

    async def _select_names(
        self, doctype: DocumentType, where: str, values: Sequence[Any], further: str = ""
    ) -> list[Name]:
        query = f"SELECT {_columns(doctype.key)} FROM {quote(doctype.table)} AS t WHERE {where}{further}"
        return [tuple(row) for row in await self._fetch(query, values)]


class SqliteTransaction(SqliteReader, Transaction):
    """Reads and writes within one write transaction."""

    def __init__(self, driver: aiosqlite.Connection, taken: TakenKeys) -> None:
        SqliteReader.__init__(self, driver)
        Transaction.__init__(self, taken)
        self._otherwise: dict[str, str] = {}

    async def _run(self, statement: str, values: Sequence[Any] = ()) -> int:
        return (await self._driver.execute(statement, values)).rowcount

    async def _run_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        await self._driver.executemany(statement, rows)

    def _put(self, table: str, columns: str, key: str) -> str:
        marks = ", ".join("?" * len(columns.split(",")))
        return f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})"

    def _add(self, table: str, key: str, number: str) -> str:
        return (
            f"INSERT INTO {table} ({key}, {number}) VALUES (?, ?) "
            f"ON CONFLICT ({key}) DO UPDATE SET {number} = {table}.{number} + excluded.{number}"
        )

    async def _next_keys(self, table: str, column: Column, count: int) -> Keys:
        return await next_keys(self, self._taken, table, column, count)

    async def _remove_taken(self, claim: Claim) -> None:
        await self._run("DELETE FROM streamd_change WHERE id <= ?", (claim.last_change,))
        # No user's statement is under way: what is left was in the way of one that was skipped (INSERT OR IGNORE).
        await self._run("DELETE FROM streamd_displaced")

    async def lock_documents(self, doctype: DocumentType, names: Iterable[Name]) -> None:
        return  # the transaction has the only write lock there is

    async def write(self, writes: Sequence[TableWrite]) -> None:
        for write in writes:
            rows = bound((*write.columns, *write.where), write.rows)
            statement = write_sql(write, await self._conflict_clause(write.table))
            async with self._refusals(write, statement):
                if changes_keys(write):
                    found = await self._change_keys(write, rows)
                else:
                    found = await self._execute(statement, rows)
            if write.exactly and found != len(rows):
                raise RowRefused(f"{found} rows were found where {len(rows)} should be: {statement}")

    async def _execute(self, statement: str, rows: Sequence[Sequence[Any]]) -> int:
        if len(rows) == 1:
            return (await self._driver.execute(statement, rows[0])).rowcount
        return (await self._driver.executemany(statement, rows)).rowcount

    async def _change_keys(self, write: TableWrite, rows: Sequence[Sequence[Any]]) -> int:
        """What refers to a row gets its new key first: foreign keys are checked at the transaction's end."""
        found = last = 0
        moved = movements(write, await self.foreign_keys())
        for row in rows:
            for movement in moved:
                statement, places = update_sql(movement)
                last = (await self._driver.execute(statement, [row[place] for place in places])).rowcount
            found += last
        return found

    async def _read_foreign_keys(self) -> ForeignKeys:
        return foreign_keys_of(await self._fetch(FOREIGN_KEYS), await self._fetch(KEYS))

    async def put_again(self, write: TableWrite) -> None:
        rows = bound((*write.columns, *write.where), write.rows)
        where = [column.name for column in write.where]
        changed = [column.name for column in write.columns]
        conditions = " AND ".join(f"t.{quote(name)} = ?" for name in where)
        async with self._refusals(write, write_sql(write)):
            for query, text in touching(write, await self.foreign_keys(), conditions):
                if any([await self._fetch(query, row[len(changed) :]) for row in rows]):
                    raise RowRefused(text)
            columns = await self._fetch("SELECT name, hidden FROM pragma_table_xinfo(?)", (write.table,))
            stored = [name for name, hidden in columns if hidden == 0]
            names = ", ".join(map(quote, stored))
            table = quote(write.table)
            again = []
            before = await self.last_change()
            for row in rows:
                key = row[len(changed) :]
                found = await self._fetch(f"SELECT {names} FROM {table} AS t WHERE {conditions}", key)
                new = dict(zip(changed, row, strict=False))
                again += [[new.get(name, value) for name, value in zip(stored, old, strict=True)] for old in found]
                await self._driver.execute(f"DELETE FROM {table} AS t WHERE {conditions}", key)
            marks = ", ".join("?" * len(stored))
            await self._driver.executemany(f"INSERT OR ABORT INTO {table} ({names}) VALUES ({marks})", again)
            await self._join_changes(write.table, before)
        if write.exactly and len(again) != len(rows):
            raise RowRefused(f"{len(again)} rows of {write.table} were found where {len(rows)} should be")

    async def _join_changes(self, table: str, after: int) -> None:
        """Log rows that were removed and inserted again, both in one order, as the updates that they are.

        Otherwise a batch of capture could end between the two, and tell of a deletion.
        """
        changes = await self._fetch(
            "SELECT id, op FROM streamd_change WHERE id > ? AND tbl = ? ORDER BY id", (after, table)
        )
        removed = [number for number, op in changes if op == ChangeOp.DELETE]
        added = [number for number, op in changes if op == ChangeOp.INSERT]
        if len(removed) == len(added):
            await self._run_many(
                "UPDATE streamd_change SET op = 'U', before = d.before FROM "
                "(SELECT before FROM streamd_change WHERE id = ?) AS d WHERE id = ?",
                list(zip(removed, added, strict=True)),
            )
            await self._run_many("DELETE FROM streamd_change WHERE id = ?", [(number,) for number in removed])

    @asynccontextmanager
    async def _refusals(self, write: TableWrite, statement: str) -> AsyncIterator[None]:
        """Says of what a document's statement raises inside whose it is."""
        try:
            yield
        except sqlite3.Error as error:
            if not is_documents(error):
                raise  # said in plain words where the transaction ends
            if getattr(error, "sqlite_errorcode", None) in _TAKEN:
                columns = tuple(found[1] for found in _COLUMN.finditer(str(error)))
                raise ValueTaken(str(error), columns=columns) from error
            if not isinstance(error, sqlite3.OperationalError):
                raise RowRefused(str(error)) from error
            if _is_gone(error, write):
                raise _changed(error) from error
            raise await self._refusal(statement, error, write.table) from error
        except (OverflowError, UnicodeEncodeError) as error:
            raise unbindable((*write.columns, *write.where), write.rows, error) from error

    async def _conflict_clause(self, table: str) -> str:
        """What a statement has to say so that no conflict clause of the table's own decides what becomes of a row.

        Only where there may be one: a statement's own clause overrides those of the user's triggers as well.
        """
        if table not in self._otherwise:
            ((clauses,),) = await self._fetch(sql.HAS_CONFLICT_CLAUSE, (table,))
            self._otherwise[table] = "OR ABORT" if clauses else ""
        return self._otherwise[table]


def change_of(row: Sequence[Any]) -> Change:
    """A change of what `SqliteReader.CHANGE` gave."""
    number, table, op, before, after, *rest = row
    old, new = (None if text is None else short_numbers(text) for text in (before, after))
    return Change(number, table, op, old, new, *rest)


_TAKEN = (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID)
_COLUMN = re.compile(r"[\w ]+\.(\w+)(?:, |$)")
_GONE = re.compile(r"no such table: (?P<table>.+)|no such column: (?P<column>.+)|has no column named (?P<new>.+)")


def _is_gone(error: sqlite3.OperationalError, write: TableWrite) -> bool:
    """Whether what a write names is not there any more. A trigger of the user's may miss something as well."""
    found = _GONE.search(str(error))
    if found is None:
        return False
    columns = {column.name.lower() for column in (*write.columns, *write.where)}
    column = (found["column"] or found["new"] or "").strip('"').lower()
    return (found["table"] or "").strip('"').lower() == write.table.lower() or column in columns


def _changed(error: sqlite3.OperationalError) -> SchemaChanged:
    return SchemaChanged(
        f"the tables are not what they were: {error}", hint="the daemon reads them again; is the configuration right?"
    )


def _compared(column: Column, value: Any) -> Any:
    """What a column is compared with. Whole numbers beyond 64 bits are floats in SQLite. Raises `RowRefused`."""
    far = isinstance(value, int) and not -(1 << 63) <= value < 1 << 63
    return binder(column)(Decimal(value) if far else value)


def _columns(names: Sequence[str]) -> str:
    return ", ".join(f"t.{quote(name)}" for name in names)


def _named(alias: str, columns: Sequence[str], names: Sequence[Name]) -> tuple[str, list[Any]]:
    """A condition that these columns hold one of the names, in a form that uses the key's index."""
    if len(columns) == 1:
        return f"{alias}.{quote(columns[0])} IN ({', '.join('?' * len(names))})", [name[0] for name in names]
    one = "(" + " AND ".join(f"{alias}.{quote(column)} = ?" for column in columns) + ")"
    return "(" + " OR ".join([one] * len(names)) + ")", [part for name in names for part in name]
