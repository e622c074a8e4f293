"""Stage 2: the Event Update Log. Appends the events of capture, and reads them for consumers.

A new log with a new id begins when the site or its state database was restored. Cursors of the old log then match
nothing, and their consumers get `ResyncRequired`.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
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
"""Approximate bytes of an entry on the wire, besides its data and name."""

_FIELDS = tuple(column for column in update_log.c if column.name != "site")
_NAMES = tuple(column.name for column in _FIELDS)
_values = attrgetter(*_NAMES)


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the log: its id, the last batch and entry in it, and the last entry that was trimmed."""

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
        self._wakes = 0

    async def head(self) -> Head | None:
        """The end of the log; None before the first log."""
        async with self._state.read() as connection:
            return await self._head(connection)

    async def begin(self) -> Head:
        """Replace the log by a new, empty one, because the old one may contain changes that the site no longer has."""
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
            # Approvals stay valid, from the beginning of the new log.
            await connection.execute(
                update(approvals)
                .where(approvals.c.site == self._state.site, approvals.c.log.is_not(None))
                .values(log=log, from_sequence=0)
            )
        await self.wake()
        return Head(**values)  # type: ignore[arg-type]  # the values of a Head by name

    async def append(self, batch: int, digest: str, entries: Sequence[LogEntry], *, log: str) -> Head:
        """Append the entries of one claimed batch in one durable transaction, and number them.

        Raises `StateError` if another daemon has written this log: the batch is not the next one.
        """
        async with self._state.write() as connection:
            head = await self._head(connection)
            if head is None or head.log != log or head.batch != batch - 1:
                raise StateError(
                    "the update log was written by another daemon",
                    hint="stop one of the two daemons that run for this site with this state database",
                )
            head = await self._write(connection, replace(head, batch=batch, digest=digest), entries)
            crash_point("log.appending")
        if entries:
            await self.wake()
        return head

    async def add_gap(self, doctypes: Sequence[str], reason: str, *, clock: str) -> None:
        """Append one gap for each type: changes of it may be missing, for this reason."""
        data, site = write_json({"reason": reason}).decode(), self._state.site
        async with self._state.write() as connection:
            head = await self._head(connection)
            if head is None or not doctypes:
                return
            gaps = [
                LogEntry(0, "", 0, True, doctype, '[""]', "gap", clock, now_ms(), data, None, None, None, None, site)
                for doctype in doctypes
            ]
            await self._write(connection, head, gaps)
        await self.wake()

    async def _write(self, connection: AsyncConnection, head: Head, entries: Sequence[LogEntry]) -> Head:
        """Number the entries from the head on, write them, and return the new head."""
        noise, width = secrets.token_hex(NONCE_BYTES * len(entries)), NONCE_BYTES * 2
        rows = [
            {
                **dict(zip(_NAMES, _values(entry), strict=True)),
                "site": self._state.site,
                "sequence": head.sequence + 1 + index,
                "nonce": noise[index * width : (index + 1) * width],
            }
            for index, entry in enumerate(entries)
        ]
        if rows:
            await connection.execute(insert(update_log), rows)
            head = replace(head, sequence=head.sequence + len(rows), nonce=noise[-width:])
        await connection.execute(
            update(log_head)
            .where(log_head.c.site == self._state.site)
            .values(batch=head.batch, digest=head.digest, sequence=head.sequence, nonce=head.nonce)
        )
        return head

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
        """The next entries after a cursor, the cursor after them, and the log's end, from one consistent view.

        `intervals` maps each readable type to the sequence after which it is readable. Entries that have been at the
        site `not_through` are left out, except those of the types `judged`. The page ends with a complete transaction
        if the limits allow it. Raises `ResyncRequired` if the cursor does not fit this log.
        """
        async with self._state.read() as connection:
            head = await self._require_head(connection)
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
        """The parent rows (JSON) of these documents (type, name as text) as of the entry `after`.

        None where there was no row. Documents whose rows did not change since then are left out.
        """
        return await rows_told(self._state, after, documents)

    async def renames_told(self, doctype: str, names: Iterable[str]) -> dict[str, list[FormerName]]:
        """The renames that gave documents these names (as text), latest first, as far as the log goes back."""
        return await renames_told(self._state, doctype, names)

    async def start(self, from_sequence: int) -> Cursor:
        """The cursor after the entry `from_sequence`, for a consumer without a cursor.

        Raises `ResyncRequired` if entries after it were trimmed.
        """
        async with self._state.read() as connection:
            head = await self._require_head(connection)
            is_trimmed = from_sequence == head.trimmed_to
            nonce = head.trimmed_nonce if is_trimmed else await self._nonce(connection, from_sequence)
            cursor = Cursor(head.log, from_sequence, nonce or "")
            await self._check(connection, head, cursor)
            return cursor

    async def first_after(self, sequence: int, doctypes: Collection[str]) -> int | None:
        """The time (ms since 1970) of the first entry of these types after `sequence`; None if there is none."""
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
            head = await self._require_head(connection)
            await self._check(connection, head, cursor)

    async def wait(self, after_sequence: int, timeout: float) -> None:
        """Wait until the log may have grown beyond `after_sequence`, `wake` is called, or `timeout` seconds pass."""
        wakes = self._wakes  # read before the head, so that an append in between ends the wait
        head = await self.head()
        if head is not None and head.sequence > after_sequence:
            return
        try:
            async with asyncio.timeout(timeout), self._appended:
                await self._appended.wait_for(lambda: self._wakes != wakes)
        except TimeoutError:
            return

    async def wake(self) -> None:
        """End every wait: long polls then read the log and their approvals again."""
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
        """The newest matching entries, newest first."""
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

    async def _require_head(self, connection: AsyncConnection) -> Head:
        head = await self._head(connection)
        if head is None:
            raise ResyncRequired("this site has no log yet", code="resync_required")
        return head

    async def _nonce(self, connection: AsyncConnection, sequence: int) -> str | None:
        """The nonce of an entry; None if there is no such entry."""
        mine = (update_log.c.site == self._state.site, update_log.c.sequence == sequence)
        nonce: str | None = await connection.scalar(select(update_log.c.nonce).where(*mine))
        return nonce

    async def _check(self, connection: AsyncConnection, head: Head, cursor: Cursor) -> None:
        problem = ""
        if cursor.log != head.log:
            problem = (
                "the producer began a new log (its database or its state was restored, or another daemon ran beside it)"
            )
        elif cursor.sequence > head.sequence:
            problem = "the cursor is ahead of the log (the producer's state was restored)"
        elif cursor.sequence < head.trimmed_to:
            problem = "the next entries were trimmed (the consumer was away longer than they are kept)"
        elif cursor.sequence == head.trimmed_to:
            if head.trimmed_to and cursor.nonce != head.trimmed_nonce:
                problem = "the cursor belongs to another history of this log"
        elif await self._nonce(connection, cursor.sequence) != cursor.nonce:
            problem = "the cursor belongs to another history of this log"
        if problem:
            raise ResyncRequired(
                f"resync required: {problem}",
                hint="at the consumer run `streamd resync --all --whole`",
                code="resync_required",
            )


def fitting(entries: Sequence[LogEntry], limit: int, max_bytes: int) -> int:
    """The number of entries within the limits. It ends with a complete transaction if one ends within them.

    Sets `last_in_tx`, because this consumer may not see the entry that was the last in its transaction.
    """
    size = 0
    complete = 0
    for index, entry in enumerate(entries):
        following = entries[index + 1] if index + 1 < len(entries) else None
        entry.last_in_tx = following is None or following.tx != entry.tx
        size += len(entry.data) + len(entry.name) + ENTRY_OVERHEAD
        if index >= limit or (size > max_bytes and index):
            return complete or index
        if entry.last_in_tx:
            complete = index + 1
    return len(entries)


def _entry(row: Row[Any]) -> LogEntry:
    return LogEntry(*tuple(row))
