"""One view of, or one transaction on, a SQLite site."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiosqlite
import msgspec

from streamd.db import sqlite_sql as sql
from streamd.db.base import RawDocument, Reader, Statement, Transaction
from streamd.errors import Fenced, RowRefused
from streamd.model import (
    Change,
    ChildTable,
    Claim,
    DocumentType,
    Event,
    Name,
    QueuedEvent,
    Record,
    name_from_text,
    name_text,
)

AT_ONCE = 400
"""Names in one query."""

_CLAIM = "log, batch, last_change, digest, clock, previous_change, previous_clock"
_RECORD = "doctype, name, source, remote_name, clock, field_clocks, seen, deleted_at, renamed_to"
_QUEUE = (
    "producer, log, event, state, error, attempts, retry_at, waits_doctype, waits_name, request, tried_at, parked_at"
)
_EVENT = msgspec.json.Decoder(Event)
_TEXTS = msgspec.json.Decoder(dict[str, str])
_NUMBERS = msgspec.json.Decoder(dict[str, int])


class SqliteReader(Reader):
    """Reads within the transaction that its connection is in."""

    def __init__(self, driver: aiosqlite.Connection) -> None:
        self._driver = driver

    async def _fetch(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        return list(await self._driver.execute_fetchall(statement, values))

    async def read_documents(self, doctype: DocumentType, names: Iterable[Name]) -> dict[Name, RawDocument]:
        found: dict[Name, RawDocument] = {}
        row = sql.row_as_json(doctype.columns, "t")
        for some in _some(names):
            where, values = _named("t", doctype.key, some)
            wanted = set(some)
            keys = ", ".join(f"t.{sql.quote(column)}" for column in doctype.key)
            query = f"SELECT CAST({row} AS BLOB), {keys} FROM {sql.quote(doctype.table)} AS t WHERE {where}"
            for text, *key in await self._fetch(query, values):
                name = tuple(key)
                # A collation may find another name than the one that was asked for.
                if name in wanted:
                    found[name] = RawDocument(name, text, {child.field: [] for child in doctype.children})
            if found:
                for child in doctype.children:
                    await self._read_children(child, some, found)
        return found

    async def _read_children(self, child: ChildTable, names: Sequence[Name], found: Mapping[Name, RawDocument]) -> None:
        where, values = _named("t", child.parent_key, names)
        conditions = "".join(f" AND t.{sql.quote(column)} IS ?" for column, _ in child.where)
        parent = ", ".join(f"t.{sql.quote(column)}" for column in child.parent_key)
        order = [child.order_by] if child.order_by else []
        ordering = ", ".join(f"t.{sql.quote(column)}" for column in (*order, *child.key))
        query = (
            f"SELECT CAST({sql.row_as_json(child.columns, 't')} AS BLOB), {parent} "
            f"FROM {sql.quote(child.table)} AS t WHERE ({where}){conditions} ORDER BY {ordering}"
        )
        for text, *key in await self._fetch(query, [*values, *(value for _, value in child.where)]):
            document = found.get(tuple(key))
            if document is not None:
                document.children[child.field].append(text)

    async def existing(self, doctype: DocumentType, names: Iterable[Name]) -> set[Name]:
        keys = ", ".join(f"t.{sql.quote(column)}" for column in doctype.key)
        found: set[Name] = set()
        for some in _some(names):
            where, values = _named("t", doctype.key, some)
            wanted = set(some)
            rows = await self._fetch(f"SELECT {keys} FROM {sql.quote(doctype.table)} AS t WHERE {where}", values)
            found |= wanted & {tuple(row) for row in rows}
        return found

    async def list_names(self, doctype: DocumentType, after: Name | None, limit: int) -> list[Name]:
        keys = ", ".join(sql.quote(column) for column in doctype.key)
        where = ""
        values: list[Any] = list(after or ())
        if after is not None:
            where = f"WHERE ({keys}) > ({', '.join('?' * len(doctype.key))})"
        rows = await self._fetch(
            f"SELECT {keys} FROM {sql.quote(doctype.table)} {where} ORDER BY {keys} LIMIT ?", [*values, limit]
        )
        return [tuple(row) for row in rows]

    async def records(self, doctype: str, names: Iterable[Name]) -> dict[Name, Record]:
        found = {}
        for some in _some(names):
            marks = ", ".join("?" * len(some))
            rows = await self._fetch(
                f"SELECT {_RECORD} FROM streamd_document WHERE doctype = ? AND name IN ({marks})",
                [doctype, *(name_text(name) for name in some)],
            )
            for row in rows:
                record = _record(row)
                found[record.name] = record
        return found

    async def unclaimed(self, after: int) -> list[Change]:
        rows = await self._fetch(
            "SELECT id, tbl, op, CAST(before AS BLOB), CAST(after AS BLOB), '', fingerprint, at "
            "FROM streamd_change WHERE id > ? AND origin IS NULL ORDER BY id",
            (after,),
        )
        return [Change(*row) for row in rows]

    async def last_change(self) -> int:
        rows = await self._fetch("SELECT coalesce(max(id), 0) FROM streamd_change")
        return int(rows[0][0])

    async def last_claim(self) -> Claim | None:
        rows = await self._fetch(f"SELECT {_CLAIM} FROM streamd_capture")
        return Claim(*rows[0]) if rows else None

    async def checkpoint(self, producer: str) -> tuple[str, int, str] | None:
        rows = await self._fetch("SELECT log, sequence, nonce FROM streamd_checkpoint WHERE producer = ?", (producer,))
        return tuple(rows[0]) if rows else None

    async def queued_documents(self) -> set[tuple[str, Name]]:
        rows = await self._fetch("SELECT DISTINCT doctype, name FROM streamd_parked")
        return {(doctype, name_from_text(name)) for doctype, name in rows}

    async def queue(self, doctype: str | None = None, name: Name | None = None) -> list[QueuedEvent]:
        where = "1"
        values: list[Any] = []
        if doctype is not None:
            where, values = where + " AND doctype = ?", [*values, doctype]
        if name is not None:
            where, values = where + " AND name = ?", [*values, name_text(name)]
        rows = await self._fetch(f"SELECT id, {_QUEUE} FROM streamd_parked WHERE {where} ORDER BY id", values)
        return [_queued(row) for row in rows]


class SqliteTransaction(SqliteReader, Transaction):
    """Reads and writes within one write transaction."""

    def __init__(self, driver: aiosqlite.Connection) -> None:
        super().__init__(driver)
        self._marked = False

    async def write(self, statements: Sequence[Statement]) -> None:
        for statement in statements:
            try:
                if len(statement.rows) == 1:
                    cursor = await self._driver.execute(statement.sql, statement.rows[0])
                else:
                    cursor = await self._driver.executemany(statement.sql, statement.rows)
            except (sqlite3.IntegrityError, sqlite3.DataError, OverflowError, UnicodeEncodeError) as error:
                raise RowRefused(str(error)) from error
            except sqlite3.OperationalError as error:
                if "locked" in str(error) or "busy" in str(error):
                    raise
                raise RowRefused(str(error)) from error
            if statement.exactly and cursor.rowcount != len(statement.rows):
                raise RowRefused(
                    f"{cursor.rowcount} rows were found where {len(statement.rows)} should be: {statement.sql}"
                )

    async def mark(self, marks: Mapping[tuple[str, Name], str]) -> None:
        await self.clear_marks()
        if marks:
            self._marked = True
            await self._driver.executemany(
                "INSERT INTO streamd_origin (doctype, name, mark) VALUES (?, ?, ?)",
                [(doctype, sql.name_key(name), mark) for (doctype, name), mark in marks.items()],
            )

    async def clear_marks(self) -> None:
        """No change carries an origin mark from here on."""
        if self._marked:
            await self._driver.execute("DELETE FROM streamd_origin")
            self._marked = False

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        await self._driver.execute("SAVEPOINT streamd_event")
        try:
            yield
        except BaseException:
            await self._driver.execute("ROLLBACK TO streamd_event")
            raise
        finally:
            await self._driver.execute("RELEASE streamd_event")

    async def put_records(self, records: Sequence[Record]) -> None:
        if records:
            await self._driver.executemany(
                f"INSERT OR REPLACE INTO streamd_document ({_RECORD}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        record.doctype,
                        name_text(record.name),
                        record.source,
                        name_text(record.remote_name),
                        record.clock,
                        msgspec.json.encode(record.field_clocks).decode(),
                        msgspec.json.encode(record.seen).decode(),
                        record.deleted_at,
                        None if record.renamed_to is None else name_text(record.renamed_to),
                    )
                    for record in records
                ],
            )

    async def forget_record(self, doctype: str, name: Name) -> None:
        await self._driver.execute(
            "DELETE FROM streamd_document WHERE doctype = ? AND name = ?", (doctype, name_text(name))
        )

    async def put_claim(self, previous: Claim | None, claim: Claim) -> None:
        if previous is None:
            await self._driver.execute("DELETE FROM streamd_capture")
        else:
            cursor = await self._driver.execute(
                "DELETE FROM streamd_capture WHERE log = ? AND batch = ? AND digest = ?",
                (previous.log, previous.batch, previous.digest),
            )
            if cursor.rowcount != 1:
                raise Fenced(
                    "another daemon has claimed changes of this site",
                    hint="stop one of the two; only one daemon may stand beside a database",
                )
        await self._driver.execute(
            f"INSERT INTO streamd_capture (id, {_CLAIM}) VALUES (1, ?, ?, ?, ?, ?, ?, ?)",
            (
                claim.log,
                claim.batch,
                claim.last_change,
                claim.digest,
                claim.clock,
                claim.previous_change,
                claim.previous_clock,
            ),
        )
        await self._driver.execute("DELETE FROM streamd_change WHERE id <= ?", (claim.previous_change,))

    async def put_checkpoint(self, producer: str, log: str, sequence: int, nonce: str) -> None:
        await self._driver.execute(
            "INSERT OR REPLACE INTO streamd_checkpoint (producer, log, sequence, nonce) VALUES (?, ?, ?, ?)",
            (producer, log, sequence, nonce),
        )

    async def enqueue(self, events: Sequence[QueuedEvent]) -> None:
        marks = ", ".join("?" * 15)
        await self._driver.executemany(
            f"INSERT INTO streamd_parked (sequence, doctype, name, {_QUEUE}) VALUES ({marks})",
            [
                (
                    queued.event.sequence,
                    queued.event.doctype,
                    name_text(queued.event.name),
                    queued.producer,
                    queued.log,
                    msgspec.json.encode(queued.event).decode(),
                    *_queue_values(queued),
                    queued.parked_at,
                )
                for queued in events
            ],
        )

    async def update_queue(self, events: Sequence[QueuedEvent]) -> None:
        await self._driver.executemany(
            "UPDATE streamd_parked SET state = ?, error = ?, attempts = ?, retry_at = ?, waits_doctype = ?, "
            "waits_name = ?, request = ?, tried_at = ? WHERE id = ?",
            [(*_queue_values(queued), queued.id) for queued in events],
        )

    async def dequeue(self, ids: Iterable[int]) -> None:
        await self._driver.executemany("DELETE FROM streamd_parked WHERE id = ?", [(each,) for each in ids])


def _queue_values(queued: QueuedEvent) -> tuple[Any, ...]:
    doctype, name = queued.waits_for or (None, None)
    return (
        queued.state,
        queued.error,
        queued.attempts,
        queued.retry_at,
        doctype,
        name,
        queued.request,
        queued.tried_at,
    )


def _queued(row: Sequence[Any]) -> QueuedEvent:
    number, producer, log, event, state, error, attempts, retry_at, doctype, name, request, tried_at, parked_at = row
    waits_for = (doctype, name) if doctype is not None else None
    return QueuedEvent(
        number,
        producer,
        log,
        _EVENT.decode(event),
        state,
        error,
        attempts,
        retry_at,
        waits_for,
        request,
        parked_at,
        tried_at,
    )


def _record(row: Sequence[Any]) -> Record:
    doctype, name, source, remote_name, clock, field_clocks, seen, deleted_at, renamed_to = row
    return Record(
        doctype,
        name_from_text(name),
        source,
        name_from_text(remote_name),
        clock,
        _TEXTS.decode(field_clocks),
        _NUMBERS.decode(seen),
        deleted_at,
        None if renamed_to is None else name_from_text(renamed_to),
    )


def _some(names: Iterable[Name]) -> Iterator[list[Name]]:
    every = list(dict.fromkeys(names))
    for start in range(0, len(every), AT_ONCE):
        yield every[start : start + AT_ONCE]


def _named(alias: str, columns: Sequence[str], names: Sequence[Name]) -> tuple[str, list[Any]]:
    """A condition that these columns hold one of the names, in a form that uses the key's index."""
    if len(columns) == 1:
        return f"{alias}.{sql.quote(columns[0])} IN ({', '.join('?' * len(names))})", [name[0] for name in names]
    one = "(" + " AND ".join(f"{alias}.{sql.quote(column)} = ?" for column in columns) + ")"
    return "(" + " OR ".join([one] * len(names)) + ")", [part for name in names for part in name]
