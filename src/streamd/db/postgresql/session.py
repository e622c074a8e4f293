"""One view of, or one transaction on, a PostgreSQL site."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg

from streamd.common.values import ranges_of
from streamd.db.base import Reader, TableWrite, Transaction, WriteKind
from streamd.db.books.given_keys import Keys, TakenKeys
from streamd.db.keys import possible_names
from streamd.db.moves import ForeignKeys, changes_keys, movements, touching
from streamd.db.parts import cells, unlike
from streamd.db.postgresql import sql
from streamd.db.postgresql.changes import CHANGE, changes_of
from streamd.db.postgresql.errors import plain_errors
from streamd.db.postgresql.inserted import Inserted
from streamd.db.postgresql.keys import next_keys
from streamd.db.postgresql.reflect import columns_of, foreign_keys
from streamd.db.postgresql.values import by_json_nulls, is_simple, reader, rows_as_json
from streamd.db.statements import refused_if_unforeseen, some_of
from streamd.errors import RowRefused, SiteError
from streamd.model import Change, ChildTable, Claim, Column, DocumentType, Name, Row, Scalar
from streamd.rows import name_reader
from streamd.wire import read_json, read_lists, read_rows


def not_taken(claim: Claim | None, low_watermark: int) -> tuple[str, list[Any]]:
    """The condition for changes that no claim took. Below `low_watermark` nothing can appear any more."""
    taken = ranges_of(claim.ids) if claim is not None else []
    condition = (
        "id >= ? AND NOT EXISTS (SELECT 1 FROM unnest(?::bigint[], ?::bigint[]) AS taken (first, last) "
        "WHERE id BETWEEN taken.first AND taken.last)"
    )
    return condition, [low_watermark, [first for first, _ in taken], [last for _, last in taken]]


class PostgresqlReader(Reader):
    """Reads within the transaction that its connection is in."""

    CHANGE = CHANGE

    def __init__(self, driver: asyncpg.Connection, low_watermark: int) -> None:
        self._driver = driver
        self._low_watermark = low_watermark

    async def _fetch(self, statement: str, values: Sequence[Any] = ()) -> Sequence[Any]:
        found: Sequence[Any] = await self._driver.fetch(sql.numbered(statement), *values)
        return found

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        # After an error the server takes no further statement, unless it goes back to before it.
        await self._driver.execute("SAVEPOINT streamd_attempt")
        try:
            with plain_errors(of_documents=True):
                yield
        except SiteError:
            if not self._driver.is_closed():
                await self._driver.execute("ROLLBACK TO streamd_attempt")
            raise
        await self._driver.execute("RELEASE streamd_attempt")

    def _not_taken(self, claim: Claim | None) -> tuple[str, list[Any]]:
        return not_taken(claim, self._low_watermark)

    async def _changes(self, rows: Sequence[Any]) -> list[Change]:
        return await changes_of(self._driver, rows)

    async def _rows(
        self,
        owner: DocumentType | ChildTable,
        key: Sequence[str],
        names: Sequence[Name],
        where: Sequence[tuple[str, Scalar]] = (),
        order: Sequence[str] = (),
    ) -> Iterable[tuple[Name, bytes]]:
        read, name_of = reader(owner.columns), name_reader(tuple(key))
        rows = map(read, await self._written_rows(owner, key, names, where, order))
        return [(name, row) for row in rows if (name := name_of(row)) is not None]

    async def _written_rows(
        self,
        owner: DocumentType | ChildTable,
        key: Sequence[str],
        names: Sequence[Name],
        where: Sequence[tuple[str, Scalar]],
        order: Sequence[str],
        lock: str = "",
    ) -> list[bytes]:
        """The rows whose `key` columns hold one of the names, as PostgreSQL writes them."""
        keys = key_columns(owner.columns, key)
        names = list(possible_names(keys, names))
        if not names:
            return []
        conditions = "".join(
            f" AND t.{sql.quote(name)} IS NOT DISTINCT FROM {sql.literal(value)}" for name, value in where
        )
        ordering = f" ORDER BY {', '.join(f't.{sql.quote(name)}' for name in order)}" if order else ""
        rows = await self._driver.fetch(
            f"SELECT {sql.row_of(owner)} FROM {sql.quote(owner.table)} AS t WHERE "
            f"{sql.among(keys, '$1')}{conditions}{ordering}{lock}",
            rows_as_json(keys, names),
        )
        return [row[0].encode() for row in rows]

    async def read_rows(
        self, table: str, columns: Sequence[Column], key: Sequence[Column], keys: Iterable[Name]
    ) -> list[Row]:
        read = reader(tuple(columns))
        query = (
            f"SELECT row_to_json(k.*)::text FROM (SELECT {sql.selected(columns)} FROM {sql.quote(table)} AS t WHERE "
            f"{sql.among(key, '$1')}) AS k"
        )
        found: list[bytes] = []
        for some in some_of(keys):
            found += [read(row[0].encode()) for row in await self._driver.fetch(query, rows_as_json(key, some))]
        return read_rows(found)

    async def not_as_written(
        self, table: str, columns: Sequence[Column], key: Sequence[int], rows: Sequence[tuple[Any, ...]]
    ) -> set[int]:
        named, name = [columns[place] for place in key], cells(key)
        if not all(map(is_simple, columns)):
            read = await self.read_rows(table, columns, named, map(name, rows))
            return unlike(rows, list(map(cells([column.name for column in columns]), read)), key)
        query = (
            f"SELECT json_build_array({sql.written(columns)})::text FROM {sql.quote(table)} AS t WHERE "
            f"{sql.among(named, '$1')}"
        )
        found = await self._driver.fetch(query, rows_as_json(named, list(map(name, rows))))
        return unlike(rows, read_lists([row[0].encode() for row in found]), key)

    async def as_kept(self, column: Column, text: str) -> str:
        if column.declared == "name":
            return text  # it cuts what is longer than a name
        of_any_length = replace(column, declared=re.sub(r"\([0-9,]+\)", "", column.declared))
        query = f"SELECT row_to_json(r.*)::text FROM {sql.rowset([of_any_length], '$1')}"
        (row,) = await self._driver.fetch(query, rows_as_json([column], [(text,)]))
        return str(read_json(reader((column,))(row[0].encode()))[column.name])

    def _with_names(self, doctype: DocumentType, names: Sequence[Name]) -> tuple[str, list[Any]]:
        keys = key_columns(doctype.columns, doctype.key)
        return sql.among(keys, "$1"), [rows_as_json(keys, list(possible_names(keys, names)))]

    def _following(self, doctype: DocumentType, after: Name | None) -> tuple[str, list[Any]]:
        if after is None:
            return "true", []
        keys = key_columns(doctype.columns, doctype.key)
        names = [sql.quote(name) for name in doctype.key]
        last = f"SELECT {', '.join(names)} FROM {sql.rowset(keys, '$1')}"
        return f"({', '.join(f't.{name}' for name in names)}) > ({last})", [rows_as_json(keys, [after])]

    def _holding(self, doctype: DocumentType, wanted: Sequence[tuple[Column, Any]]) -> tuple[str, list[Any]]:
        if any(isinstance(value, str) and "\0" in value for _, value in wanted):
            raise RowRefused("no text of PostgreSQL's has a NUL in it")
        return sql.holding(wanted)

    async def _select_names(
        self, doctype: DocumentType, where: str, values: Sequence[Any], further: str = ""
    ) -> list[Name]:
        read, name_of = reader(key_columns(doctype.columns, doctype.key)), name_reader(doctype.key)
        keys = ", ".join(f"t.{sql.quote(name)}" for name in doctype.key)
        rows = await self._driver.fetch(
            f"SELECT row_to_json(k.*)::text FROM (SELECT {keys} FROM {sql.quote(doctype.table)} AS t "
            f"WHERE {where}{further}) AS k",
            *values,
        )
        return [name for row in rows if (name := name_of(read(row[0].encode()))) is not None]


def key_columns(columns: Iterable[Column], key: Sequence[str]) -> tuple[Column, ...]:
    known = {column.name: column for column in columns}
    return tuple(known[name] for name in key)


_LOCK = " FOR UPDATE OF t"


class PostgresqlTransaction(PostgresqlReader, Transaction):
    """Reads and writes within one write transaction."""

    def __init__(self, driver: asyncpg.Connection, low_watermark: int, taken: TakenKeys) -> None:
        PostgresqlReader.__init__(self, driver, low_watermark)
        Transaction.__init__(self, taken)
        self._inserted = Inserted(driver)

    OURS = " AND tx = pg_current_xact_id()"

    async def fire_deferred(self) -> None:
        with plain_errors():
            await self._driver.execute(sql.FIRE_CONSTRAINT_TRIGGERS)

    async def _run(self, statement: str, values: Sequence[Any] = ()) -> int:
        return found_rows(await self._driver.execute(sql.numbered(statement), *values))

    async def _run_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            await self._driver.executemany(sql.numbered(statement), rows)

    def _put(self, table: str, columns: str, key: str) -> str:
        names = [name.strip() for name in columns.split(",")]
        keys = {name.strip() for name in key.split(",")}
        changes = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys)
        return (
            f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(names))}) "
            f"ON CONFLICT ({key}) DO UPDATE SET {changes}"
        )

    def _add(self, table: str, key: str, number: str) -> str:
        return (
            f"INSERT INTO {table} ({key}, {number}) VALUES (?, ?) "
            f"ON CONFLICT ({key}) DO UPDATE SET {number} = {table}.{number} + excluded.{number}"
        )

    async def _next_keys(self, table: str, column: Column, count: int) -> Keys:
        return await next_keys(self._driver, self._taken, table, column, count)

    async def _remove_taken(self, claim: Claim) -> None:
        ranges = ranges_of(claim.ids)
        await self._driver.execute(
            "DELETE FROM streamd_change USING unnest($1::bigint[], $2::bigint[]) AS taken (first, last) "
            "WHERE id BETWEEN taken.first AND taken.last",
            [first for first, _ in ranges],
            [last for _, last in ranges],
        )

    async def lock_documents(self, doctype: DocumentType, names: Iterable[Name]) -> None:
        for some in some_of(names):
            if not doctype.single:
                await self._written_rows(doctype, doctype.key, some, (), doctype.key, _LOCK)
            for child in doctype.children:
                await self._written_rows(child, child.parent_key, some, child.where, child.key, _LOCK)

    async def not_as_written(
        self, table: str, columns: Sequence[Column], key: Sequence[int], rows: Sequence[tuple[Any, ...]]
    ) -> set[int]:
        found = await self._inserted.rows(table, columns)
        if found is None:
            return await super().not_as_written(table, columns, key, rows)
        return unlike(rows, found, key)

    async def write(self, writes: Sequence[TableWrite]) -> None:
        with refused_if_unforeseen(), plain_errors(of_documents=True):
            await self._inserted.begin(writes)
            mode = sql.PLAN_EACH_TIME
            for write in writes:
                # Of each new row the server looks up what it refers to: that needs no plan of its own each time.
                wanted = sql.PLAN_ONCE if write.kind == WriteKind.INSERT else sql.PLAN_EACH_TIME
                if wanted != mode:
                    await self._driver.execute(wanted)
                    mode = wanted
                with plain_errors(of_documents=True, table=write.table):
                    _all_found(write, await self._write(write))
            if mode != sql.PLAN_EACH_TIME:
                await self._driver.execute(sql.PLAN_EACH_TIME)

    async def _write(self, write: TableWrite) -> int:
        if changes_keys(write):
            return sum([await self._change_key(write, row) for row in write.rows])
        found = 0
        for nulls, some in by_json_nulls(write.columns, write.rows):
            rows, statement = rows_as_json((*write.columns, *write.where), some), sql.write_sql(write, nulls)
            if self._inserted.asks(write):
                found += await self._inserted.run(write, statement, rows)
            else:
                found += found_rows(await self._driver.execute(statement, rows))
        return found

    async def _change_key(self, write: TableWrite, row: Sequence[Any]) -> int:
        """Give a row another key. What refers to it follows in the same statement, if it does not by itself."""
        size = len(write.columns)
        new = rows_as_json(write.columns, [row[:size]])[1:-1]
        old = rows_as_json(write.where, [row[size:]])[1:-1]
        moved = movements(write, await self.foreign_keys())
        if all(each.action == "CASCADE" for each in moved[:-1]):
            return found_rows(await self._driver.execute(sql.rekey_sql(write), new, old))
        found = await self._driver.fetchval(sql.count_sql(write), old)
        await self._driver.execute(sql.move_sql(write, moved), new, old)
        return int(found)

    async def _read_foreign_keys(self) -> ForeignKeys:
        return await foreign_keys(self._driver)

    async def put_again(self, write: TableWrite) -> None:
        with plain_errors():
            await self._inserted.begin([write])
            keys = rows_as_json(write.where, [row[len(write.columns) :] for row in write.rows])
            which = sql.among(write.where, "$1")
            for query, text in touching(write, await self.foreign_keys(), which):
                if await self._driver.fetchval(query, keys):
                    raise RowRefused(text)
            columns = (await columns_of(self._driver, [write.table]))[write.table]
            rows = rows_as_json((*write.columns, *write.where), write.rows)
            _all_found(write, found_rows(await self._driver.execute(sql.put_again_sql(write, columns), rows)))

    @asynccontextmanager
    async def deferred(self) -> AsyncIterator[bool]:
        names = ", ".join(map(sql.quote, [row[0] for row in await self._driver.fetch(sql.DEFERRABLE)]))
        with plain_errors():
            if names:
                await self._driver.execute(f"SET CONSTRAINTS {names} DEFERRED")
            yield bool(names)
            if names:
                await self._driver.execute(f"SET CONSTRAINTS {names} IMMEDIATE")


def _all_found(write: TableWrite, found: int) -> None:
    if write.exactly and found != len(write.rows):
        raise RowRefused(f"{found} rows of {write.table} were found where {len(write.rows)} should be ({write.kind})")


def found_rows(status: str) -> int:
    """The number of rows in a status such as `UPDATE 3`."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0
