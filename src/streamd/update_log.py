"""Stage 2: the Event Update Log. Appends what capture forms, and reads it for consumers.

The log's id changes when the site or the state database went back in time; the cursors of old logs then
match nothing, and their owners are told that a resync is required.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Row, and_, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from streamd.common.faults import crash_point
from streamd.errors import ResyncRequired, StateError
from streamd.model import Cursor, LogEntry
from streamd.store.engine import State, now_ms
from streamd.store.log_rows import renames_told, rows_told
from streamd.store.schema import approvals, is_named, log_head, update_log
from streamd.wire import FormerName, write_json

NONCE_BYTES = 6
ENTRY_OVERHEAD = 200
"""Bytes that an entry takes on the wire besides its data and name, about."""

_FIELDS = tuple(column for column in update_log.c if column.name != "site")


@dataclass(frozen=True, slots=True)
class Head:
    """The log's end: its id, the last claimed batch in it, the last entry, and how far it was trimmed."""

    log: str
    batch: int
    digest: str
    sequence: int
    nonce: str
    trimmed_to: int
    trimmed_nonce: str

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.log, self.sequence, self.nonce)


class UpdateLog:
    """The Event Update Log of one site."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._appended = asyncio.Condition()
        self._last = 0
        self._wakes = 0

    async def head(self) -> Head | None:
        """The log's end, or None while no log has begun."""
        async with self._state.read() as connection:
            return await self._head(connection)

    async def begin(self) -> Head:
        """Begin a new log: what was in the old one can no longer be trusted to be in the site."""
        log = str(uuid.uuid4())
        values = {
            "log": log,
            "batch": 0,
            "digest": "",
            "sequence": 0,
            "nonce": "",
            "trimmed_to": 0,
            "trimmed_nonce": "",
        }
        async with self._state.write() as connection:
            await connection.execute(delete(log_head).where(log_head.c.site == self._state.site))
            await connection.execute(delete(update_log).where(update_log.c.site == self._state.site))
            await connection.execute(insert(log_head).values(site=self._state.site, **values))
            # An approval stands; it begins where the new log begins.
            await connection.execute(
                update(approvals)
                .where(approvals.c.site == self._state.site, approvals.c.log.is_not(None))
                .values(log=log, from_sequence=0)
            )
        await self.wake()
        return Head(**values)  # type: ignore[arg-type]  # the values of a Head by name

    async def append(self, batch: int, digest: str, entries: Sequence[LogEntry], *, log: str) -> Head:
        """Add the entries of one claimed batch, numbered from the head on, in one durable transaction.

        Raises `StateError` if the batch is not the one that comes next: somebody else wrote this log.
        """
        async with self._state.write() as connection:
            head = await self._head(connection)
            if head is None or head.log != log or head.batch != batch - 1:
                raise StateError(
                    "the update log was written by another daemon",
                    hint="stop one of the two daemons that use this state database for the same site",
                )
            sequence = head.sequence
            rows = []
            noise = secrets.token_hex(NONCE_BYTES * len(entries))
            width = NONCE_BYTES * 2
            for index, entry in enumerate(entries):
                sequence += 1
                rows.append(
                    {
                        "site": self._state.site,
                        "sequence": sequence,
                        "nonce": noise[index * width : (index + 1) * width],
                        "tx": entry.tx,
                        "last_in_tx": entry.last_in_tx,
                        "doctype": entry.doctype,
                        "name": entry.name,
                        "operation": entry.operation,
                        "clock": entry.clock,
                        "at": entry.at,
                        "data": entry.data,
                        "before": entry.before,
                        "after": entry.after,
                        "renamed_from": entry.renamed_from,
                        "origin": entry.origin,
                        "path": entry.path,
                        "id": entry.id,
                        "links": entry.links,
                    }
                )
            if rows:
                await connection.execute(insert(update_log), rows)
            head = replace(
                head,
                batch=batch,
                digest=digest,
                sequence=sequence,
                nonce=rows[-1]["nonce"] if rows else head.nonce,  # type: ignore[arg-type]  # always text
            )
            await connection.execute(
                update(log_head)
                .where(log_head.c.site == self._state.site)
                .values(batch=batch, digest=digest, sequence=head.sequence, nonce=head.nonce)
            )
            crash_point("log.appending")
        if rows:
            self._last = head.sequence
            await self.wake()
        return head

    async def add_gap(self, doctypes: Sequence[str], reason: str, *, clock: str) -> None:
        """Say in the log that changes of these types may be missing, and why."""
        async with self._state.write() as connection:
            head = await self._head(connection)
            if head is None or not doctypes:
                return
            rows = [
                {
                    "site": self._state.site,
                    "sequence": head.sequence + 1 + index,
                    "nonce": secrets.token_hex(NONCE_BYTES),
                    "tx": 0,
                    "last_in_tx": True,
                    "doctype": doctype,
                    "name": '[""]',
                    "operation": "gap",
                    "clock": clock,
                    "at": now_ms(),
                    "data": write_json({"reason": reason}).decode(),
                    "path": self._state.site,
                }
                for index, doctype in enumerate(doctypes)
            ]
            await connection.execute(insert(update_log), rows)
            await connection.execute(
                update(log_head)
                .where(log_head.c.site == self._state.site)
                .values(sequence=rows[-1]["sequence"], nonce=rows[-1]["nonce"])
            )
        self._last = head.sequence + len(rows)
        await self.wake()

    async def read(
        self,
        after: Cursor,
        intervals: Mapping[str, int],
        *,
        not_through: str,
        limit: int,
        max_bytes: int,
        judged: Collection[str] = (),
    ) -> tuple[list[LogEntry], Cursor, Head]:
        """The next entries after a cursor, the cursor behind them, and the log's head, from one view.

        `intervals` maps each type that may be read to the sequence after which it may. Entries that have been
        at the site `not_through` are left out, except those of the types `judged`. The page ends with a whole
        transaction where the limits allow.
        Raises `ResyncRequired` if the cursor does not fit this log.
        """
        async with self._state.read() as connection:
            head = await self._head(connection)
            if head is None:
                raise ResyncRequired("this site has no log yet", code="resync_required")
            await self._check(connection, head, after)
            if not intervals:
                return [], head.cursor, head
            allowed = or_(
                *(
                    and_(update_log.c.doctype == doctype, update_log.c.sequence > start)
                    for doctype, start in intervals.items()
                )
            )
            elsewhere = update_log.c.path.not_like(f"%{not_through}%")
            found = await connection.execute(
                select(*_FIELDS)
                .where(
                    update_log.c.site == self._state.site,
                    update_log.c.sequence > after.sequence,
                    allowed,
                    or_(elsewhere, update_log.c.doctype.in_(judged)) if judged else elsewhere,
                )
                .order_by(update_log.c.sequence)
                .limit(limit + 1)
            )
            entries = [_entry(row) for row in found]
        page = entries[: fitting(entries, limit, max_bytes)]
        if len(page) == len(entries) and len(entries) <= limit:
            return page, head.cursor, head
        last = page[-1]
        return page, Cursor(head.log, last.sequence, last.nonce), head

    async def rows_told(self, after: int, documents: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str | None]:
        """The parent rows (JSON) of these documents (type, name as text) as they were after the entry `after`.

        None where there was no row. Documents whose rows were not touched since are left out.
        """
        return await rows_told(self._state, after, documents)

    async def renames_told(self, doctype: str, names: Iterable[str]) -> dict[str, list[FormerName]]:
        """How the documents of these names (as text) got them, as far as the log goes back: the last rename first."""
        return await renames_told(self._state, doctype, names)

    async def start(self, from_sequence: int) -> Cursor:
        """The cursor behind the entry `from_sequence`, for a consumer that has none yet.

        Raises `ResyncRequired` if entries behind it were trimmed.
        """
        async with self._state.read() as connection:
            head = await self._head(connection)
            nonce = (
                await connection.execute(
                    select(update_log.c.nonce).where(
                        update_log.c.site == self._state.site, update_log.c.sequence == from_sequence
                    )
                )
            ).scalar()
            if head is None:
                raise ResyncRequired("this site has no log yet", code="resync_required")
            if from_sequence == head.trimmed_to:
                nonce = head.trimmed_nonce
            cursor = Cursor(head.log, from_sequence, nonce or "")
            await self._check(connection, head, cursor)
            return cursor

    async def first_after(self, sequence: int, doctypes: Collection[str]) -> int | None:
        """When the first entry of these types after a place was made (ms since 1970); None if there is none."""
        query = (
            select(update_log.c.at)
            .where(
                update_log.c.site == self._state.site,
                update_log.c.sequence > sequence,
                update_log.c.doctype.in_(doctypes),
            )
            .order_by(update_log.c.sequence)
            .limit(1)
        )
        async with self._state.read() as connection:
            found = await connection.scalar(query)
            return None if found is None else int(found)

    async def check(self, cursor: Cursor) -> None:
        """Raises `ResyncRequired` if the cursor does not fit this log."""
        async with self._state.read() as connection:
            head = await self._head(connection)
            if head is None:
                raise ResyncRequired("this site has no log yet", code="resync_required")
            await self._check(connection, head, cursor)

    async def wait(self, after_sequence: int, timeout: float) -> None:
        """Return when the log may have grown beyond `after_sequence`, when woken, or after `timeout` seconds."""
        wakes = self._wakes  # counted before the head is read: what is appended meanwhile must not be slept through
        head = await self.head()
        if head is not None and head.sequence > after_sequence:
            return
        try:
            async with asyncio.timeout(timeout), self._appended:
                await self._appended.wait_for(lambda: self._wakes != wakes)
        except TimeoutError:
            return

    async def wake(self) -> None:
        """Wake every long poll, so that it looks again at the log and at its approvals."""
        async with self._appended:
            self._wakes += 1
            self._appended.notify_all()

    async def entries(
        self,
        *,
        doctype: str | None = None,
        name: str | None = None,
        operation: str | None = None,
        sequence: int | None = None,
        limit: int = 50,
    ) -> list[LogEntry]:
        """The newest entries that fit, newest first."""
        query = select(*_FIELDS).where(update_log.c.site == self._state.site)
        if name is not None:
            query = query.where(is_named(update_log.c.name, name))
        for column, value in (
            (update_log.c.doctype, doctype),
            (update_log.c.operation, operation),
            (update_log.c.sequence, sequence),
        ):
            if value is not None:
                query = query.where(column == value)
        async with self._state.read() as connection:
            found = await connection.execute(query.order_by(update_log.c.sequence.desc()).limit(limit))
            return [_entry(row) for row in found]

    async def _head(self, connection: AsyncConnection) -> Head | None:
        row = (await connection.execute(select(log_head).where(log_head.c.site == self._state.site))).first()
        if row is None:
            return None
        return Head(row.log, row.batch, row.digest, row.sequence, row.nonce, row.trimmed_to, row.trimmed_nonce)

    async def _check(self, connection: AsyncConnection, head: Head, cursor: Cursor) -> None:
        problem = ""
        if cursor.log != head.log:
            problem = (
                "the producer began a new log (its database or its state was restored, or another daemon ran beside it)"
            )
        elif cursor.sequence > head.sequence:
            problem = "the cursor is ahead of the log (the producer's state was restored)"
        elif cursor.sequence < head.trimmed_to:
            problem = "the entries that come next were trimmed (the consumer was away for longer than they are kept)"
        elif cursor.sequence == head.trimmed_to:
            if head.trimmed_to and cursor.nonce != head.trimmed_nonce:
                problem = "the cursor belongs to another history of this log"
        else:
            nonce = (
                await connection.execute(
                    select(update_log.c.nonce).where(
                        update_log.c.site == self._state.site, update_log.c.sequence == cursor.sequence
                    )
                )
            ).scalar()
            if nonce != cursor.nonce:
                problem = "the cursor belongs to another history of this log"
        if problem:
            raise ResyncRequired(
                f"resync required: {problem}",
                hint="at the consumer run `streamd resync --all --whole`",
                code="resync_required",
            )


def fitting(entries: Sequence[LogEntry], limit: int, max_bytes: int) -> int:
    """How many entries the limits allow, ending with a whole transaction if one ends within them.

    The last entry of a transaction may be one that this consumer must not see, so `last_in_tx` is said anew.
    """
    size = 0
    whole = 0
    for index, entry in enumerate(entries):
        following = entries[index + 1] if index + 1 < len(entries) else None
        entry.last_in_tx = following is None or following.tx != entry.tx
        size += len(entry.data) + len(entry.name) + ENTRY_OVERHEAD
        if index >= limit or (size > max_bytes and index):
            return whole or index
        if entry.last_in_tx:
            whole = index + 1
    return len(entries)


def _entry(row: Row[Any]) -> LogEntry:
    return LogEntry(*tuple(row))
