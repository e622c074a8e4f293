"""What streamd keeps of its own in a site's database, in SQL that every engine takes (`statements`).

What differs more than that is asked of the engine by a method.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from streamd.db.books.given_keys import Keys, TakenKeys
from streamd.db.books.identities import IdentityBookReader, IdentityBookTransaction
from streamd.db.parts import OUR_SERIES, SeriesBook
from streamd.db.sqltext import quote
from streamd.db.statements import some_of
from streamd.errors import Fenced, SiteError, SiteReplaced
from streamd.identity import Identities, natural
from streamd.model import (
    Change,
    Claim,
    Column,
    Event,
    Name,
    QueuedEvent,
    Record,
    Scalar,
    name_from_text,
    name_text,
)

_CLAIM = "log, batch, last_change, digest, clock, previous_change, previous_clock"
_RECORD = "doctype, name, source, remote_name, clock, field_clocks, seen, deleted_at"
# What `tried_at` holds is `QueuedEvent.tried_to`: the column has the name that it was made with.
_QUEUE = (
    "producer, log, event, state, error, attempts, retry_at, waits_doctype, waits_name, request, tried_at, parked_at"
)
_EVENT = msgspec.json.Decoder(Event)
_TEXTS = msgspec.json.Decoder(dict[str, str])
_NUMBERS = msgspec.json.Decoder(dict[str, int])


def name_key(values: Sequence[Scalar]) -> str:
    """A name as `streamd_origin` keeps it; the engines' triggers make the same text."""
    return "\x1f".join(
        ("t" if isinstance(value, str) else "i" if isinstance(value, int) else "r") + str(value) for value in values
    )


RESTORED = "the site's database was restored from an older copy, or replaced by it, while the daemon ran"


def went_back(known: Claim, found: Claim | None) -> bool:
    """Whether the database holds an older claim than the one that is known: no daemon takes one back."""
    return found is None or (found.log == known.log and found.batch < known.batch)


class BookReader(IdentityBookReader):
    """Reads our own tables."""

    CHANGE = 'id, tbl, op, "before", "after", coalesce(origin, \'\'), fingerprint, "at", tx'
    """The columns of the change table, as a `Change` has them."""

    KEEPS_IDS = True
    """Whether claims name their changes one by one; not where ids are in the order of commits."""

    @abstractmethod
    def _not_taken(self, claim: Claim | None) -> tuple[str, list[Any]]:
        """The condition for changes that the claim, and those before it, did not take."""

    async def records(self, doctype: str, names: Iterable[Name]) -> dict[Name, Record]:
        """What is remembered of these documents."""
        found = {}
        for some in some_of(names):
            marks = ", ".join("?" * len(some))
            rows = await self._fetch(
                f"SELECT {_RECORD} FROM streamd_document WHERE doctype = ? AND name IN ({marks})",
                [doctype, *(name_text(name) for name in some)],
            )
            for row in rows:
                record = _record(row)
                found[record.name] = record
        if found and await self.has_identities():
            identities = Identities(await self.identities(doctype, found))
            for name, record in found.items():
                find = identities.of if record.deleted_at is None else identities.gone
                id = find(doctype, name)
                record.id = None if id == natural(name) else id
        return found

    async def _changes(self, rows: Sequence[Sequence[Any]]) -> list[Change]:
        """Changes of what `CHANGE` gave."""
        return [Change(*row) for row in rows]

    async def unclaimed(self, claim: Claim | None, *, marked: bool = False) -> list[Change]:
        """The local changes that `claim` and those before it did not take; `marked`: also those with an origin mark."""
        where, values = self._not_taken(claim)
        where += "" if marked else " AND origin IS NULL"
        rows = await self._fetch(f"SELECT {self.CHANGE} FROM streamd_change WHERE {where} ORDER BY id", values)
        return await self._changes(rows)

    async def last_change(self) -> int:
        """The highest id of a change in the change table; 0 if there are none."""
        rows = await self._fetch("SELECT coalesce(max(id), 0) FROM streamd_change")
        return int(rows[0][0])

    async def waiting_changes(self, claim: Claim | None) -> int:
        """How many changes this view can see that `claim` and those before it did not take."""
        where, values = self._not_taken(claim)
        rows = await self._fetch(f"SELECT count(*) FROM streamd_change WHERE {where}", values)
        return int(rows[0][0])

    async def last_claim(self) -> Claim | None:
        """The claim that was committed last, or None if there was none."""
        rows = await self._fetch(f"SELECT {_CLAIM}{', ids' if self.KEEPS_IDS else ''} FROM streamd_capture")
        return Claim(*rows[0]) if rows else None

    async def checkpoint(self, producer: str) -> tuple[str, int, str] | None:
        """(log, sequence, nonce) up to which the producer (a site's UUID) was applied."""
        rows = await self._fetch("SELECT log, sequence, nonce FROM streamd_checkpoint WHERE producer = ?", (producer,))
        return tuple(rows[0]) if rows else None

    async def queued_documents(self, producer: str) -> set[tuple[str, Name]]:
        """The documents of a producer (doctype, its name for them) that have parked or held events."""
        rows = await self._fetch("SELECT DISTINCT doctype, name FROM streamd_parked WHERE producer = ?", (producer,))
        return {(doctype, name_from_text(name)) for doctype, name in rows}

    async def queue(self, doctype: str | None = None, name: Name | None = None) -> list[QueuedEvent]:
        """Parked and held events in the order in which they came, without limits."""
        where = "1 = 1"
        values: list[Any] = []
        if doctype is not None:
            where, values = where + " AND doctype = ?", [*values, doctype]
        if name is not None:
            where, values = where + " AND name = ?", [*values, name_text(name)]
        rows = await self._fetch(f"SELECT id, {_QUEUE}, doctype FROM streamd_parked WHERE {where} ORDER BY id", values)
        return [_queued(row) for row in rows]


class BookTransaction(BookReader, IdentityBookTransaction):
    """Writes our own tables."""

    def __init__(self, taken: TakenKeys) -> None:
        self._marked = False
        self._taken = taken

    OURS = ""
    """A further condition for changes that this transaction made, where others may write at the same time."""

    async def own_changes(self, after: int, *, marked: bool) -> list[Change]:
        """What this transaction itself changed since `last_change` gave `after`; `marked`: also what carries a mark."""
        which = "" if marked else " AND origin IS NULL"
        rows = await self._fetch(
            f"SELECT {self.CHANGE} FROM streamd_change WHERE id > ?{which}{self.OURS} ORDER BY id", [after]
        )
        return await self._changes(rows)

    @abstractmethod
    async def _remove_taken(self, claim: Claim) -> None:
        """Remove exactly the changes that a claim took."""

    async def mark(self, marks: Mapping[tuple[str, Name], str]) -> None:
        """From here on, changes of these documents (doctype, name) carry these origin marks; others are local.

        Each call replaces the marks of the one before; the transaction clears them before it commits.
        """
        await self.clear_marks()
        if marks:
            self._marked = True
            await self._run_many(
                "INSERT INTO streamd_origin (doctype, name, mark) VALUES (?, ?, ?)",
                [(doctype, name_key(name), mark) for (doctype, name), mark in marks.items()],
            )

    async def clear_marks(self) -> None:
        """No change carries an origin mark from here on."""
        if self._marked:
            await self._run("DELETE FROM streamd_origin")
            self._marked = False

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """A nested scope that is undone alone if an error leaves it."""
        await self._run("SAVEPOINT streamd_event")
        try:
            with self._taken.undone_on_error():
                yield
        except BaseException:
            await self._run("ROLLBACK TO streamd_event")
            raise
        finally:
            await self._run("RELEASE streamd_event")

    @abstractmethod
    async def _next_keys(self, table: str, column: Column, count: int) -> Keys:
        """The next values of an automatic column; `count` is at least 1."""

    async def next_keys(self, table: str, column: Column, count: int) -> list[Scalar]:
        """The next values that the database itself would give to an `automatic` column; nobody else gets them.

        Raises `SiteError` where it gives none.
        """
        if not column.automatic:
            raise SiteError(
                f"the database gives no values for {table}.{column.name} by itself",
                hint="give the column a default, or say in [doctypes] how else documents are named",
            )
        return await self._next_keys(table, column, count) if count > 0 else []

    async def next_numbers(self, series: str, count: int, book: SeriesBook = OUR_SERIES) -> int:
        """The first of `count` numbers of a series. They are taken with it; a rollback gives them back.

        The row of the series stays locked until the transaction ends, so no number is given twice.
        """
        if count < 1:
            raise ValueError(f"{count} numbers of a series")
        table, name, current = quote(book.table), quote(book.name), quote(book.current)
        # The row is there nearly always, and then is locked at once, for writing: who first looks whether it is there
        # holds a weaker lock on it, and two who both want the stronger one then wait for each other.
        found = await self._run(
            f"UPDATE {table} SET {current} = coalesce({current}, 0) + ? WHERE {name} = ?", (count, series)
        )
        if not found:
            await self._run(self._add(table, name, current), (series, count))
        rows = await self._fetch(f"SELECT {current} FROM {table} WHERE {name} = ?", (series,))
        if not rows:
            raise SiteError(
                f"the series {series} is not in {book.table} although it was just written there",
                hint="is there a trigger, or a policy, on this table?",
            )
        return int(rows[0][0]) - count + 1

    async def put_records(self, records: Sequence[Record]) -> None:
        """Remember these, replacing what was remembered under the same type and name."""
        if records:
            await self._run_many(
                self._put("streamd_document", _RECORD, "doctype, name"),
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
                    )
                    for record in records
                ],
            )

    async def forget_record(self, doctype: str, name: Name) -> None:
        await self._run("DELETE FROM streamd_document WHERE doctype = ? AND name = ?", (doctype, name_text(name)))

    async def put_site_name(self, name: str) -> None:
        """Record what people call the site."""
        await self._run("UPDATE streamd_site SET name = ?", (name,))

    async def begin_as(self, site: str) -> None:
        """Be another site, of this UUID: what the original captured, applied and parked is not this one's."""
        await self._run("UPDATE streamd_site SET site = ?", (site,))
        for table in ("streamd_capture", "streamd_checkpoint", "streamd_change", "streamd_parked"):
            await self._run(f"DELETE FROM {table}")

    async def put_claim(self, previous: Claim | None, claim: Claim) -> None:
        """Write a claim by compare-and-set, and remove the changes that `previous` took.

        Raises `Fenced` if the last claim is not `previous`, `SiteReplaced` if it is older. None: no comparison.
        """
        if previous is None:
            await self._run("DELETE FROM streamd_capture")
        else:
            found = await self._run(
                "DELETE FROM streamd_capture WHERE log = ? AND batch = ? AND digest = ?",
                (previous.log, previous.batch, previous.digest),
            )
            if found != 1:
                if went_back(previous, await self.last_claim()):
                    raise SiteReplaced(RESTORED)
                raise Fenced(
                    "another daemon has claimed changes of this site",
                    hint="stop one of the two; only one daemon may stand beside a database",
                )
        values = [
            claim.log,
            claim.batch,
            claim.last_change,
            claim.digest,
            claim.clock,
            claim.previous_change,
            claim.previous_clock,
        ]
        if self.KEEPS_IDS:
            values.append(claim.ids)
        await self._run(
            f"INSERT INTO streamd_capture (id, {_CLAIM}{', ids' if self.KEEPS_IDS else ''}) "
            f"VALUES (1{', ?' * len(values)})",
            values,
        )
        if previous is not None:
            await self._remove_taken(previous)

    async def put_checkpoint(self, producer: str, log: str, sequence: int, nonce: str) -> None:
        await self._run(
            self._put("streamd_checkpoint", "producer, log, sequence, nonce", "producer"),
            (producer, log, sequence, nonce),
        )

    async def enqueue(self, events: Sequence[QueuedEvent]) -> None:
        """Add parked or held events, in this order; their ids are given by the database."""
        marks = ", ".join("?" * 15)
        await self._run_many(
            f"INSERT INTO streamd_parked (sequence, doctype, name, {_QUEUE}) VALUES ({marks})",
            [
                (
                    queued.event.sequence,
                    queued.doctype,
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
        """Write state, error, attempts, retry time, request and waits_for of these back."""
        await self._run_many(
            "UPDATE streamd_parked SET state = ?, error = ?, attempts = ?, retry_at = ?, waits_doctype = ?, "
            "waits_name = ?, request = ?, tried_at = ? WHERE id = ?",
            [(*_queue_values(queued), queued.id) for queued in events],
        )

    async def dequeue(self, ids: Iterable[int]) -> None:
        await self._run_many("DELETE FROM streamd_parked WHERE id = ?", [(each,) for each in ids])


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
        queued.tried_to,
    )


def _queued(row: Sequence[Any]) -> QueuedEvent:
    number, producer, log, event, state, error, attempts, retry_at, *rest = row
    waits_doctype, waits_name, request, tried_to, parked_at, doctype = rest
    waits_for = (waits_doctype, waits_name) if waits_doctype is not None else None
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
        tried_to,
        doctype,
    )


def _record(row: Sequence[Any]) -> Record:
    doctype, name, source, remote_name, clock, field_clocks, seen, deleted_at = row
    return Record(
        doctype,
        name_from_text(name),
        source,
        name_from_text(remote_name),
        clock,
        _TEXTS.decode(field_clocks),
        _NUMBERS.decode(seen),
        deleted_at,
    )
