"""Stage 2: the Event Update Log. Appends the events of capture, and reads them for consumers.

A new log with a new id begins when the site or its state database was restored. Cursors of the old log then match
nothing, and their consumers get `ResyncRequired`.

A *watermark* is the moment up to which the log is complete. Capture starts a read of its changes at T, by its wall
clock. If the read left no change behind and its changes are appended up to entry n, then the log up to n contains
everything that was committed before T. A transaction that is open at T does not count: it commits later. A consumer
that has applied the log up to n is complete up to T, for each type without obstacles (`store/producers.py`).
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from operator import attrgetter, itemgetter

from sqlalchemy import and_, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from streamd.common.instrumentation import crash_point
from streamd.common.values import read_json
from streamd.errors import ResyncRequired, StateError
from streamd.model import Cursor, LogEntry, Operation
from streamd.store.engine import State, now_ms
from streamd.store.schema import approvals, is_named, log_head, update_log
from streamd.wire import write_json

NONCE_BYTES = 6
ENTRY_OVERHEAD = 200
"""Approximate bytes of an entry on the wire, besides its data and name."""

MAX_WATERMARKS = 1000
"""Watermarks to keep, so that a page that ends before the log's end has one too."""

_FIELDS = tuple(column for column in update_log.c if column.name != "site")
_NAMES = tuple(column.name for column in _FIELDS)
_values = attrgetter(*_NAMES)


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the log: its id, the last batch and entry in it, and the last entry that was trimmed."""

    log: str
    batch: int = 0
    digest: str = ""
    sequence: int = 0
    nonce: str = ""
    trimmed_to: int = 0
    trimmed_nonce: str = ""

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.log, self.sequence, self.nonce)


class UpdateLog:
    """The Event Update Log of one site."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._appended = asyncio.Condition()
        self._wakes = 0

    async def head(self) -> Head | None:
        """The end of the log; None before the first log."""
        async with self.state.read() as connection:
            return await self._head(connection)

    async def begin(self) -> Head:
        """Replace the log by a new, empty one, because the old one may contain changes that the site no longer has."""
        head = Head(str(uuid.uuid4()))
        async with self.state.write() as connection:
            await connection.execute(delete(log_head).where(log_head.c.site == self.state.site))
            await connection.execute(delete(update_log).where(update_log.c.site == self.state.site))
            await connection.execute(insert(log_head).values(site=self.state.site, **asdict(head)))
            # Approvals stay valid, from the beginning of the new log.
            await connection.execute(
                update(approvals)
                .where(approvals.c.site == self.state.site, approvals.c.log.is_not(None))
                .values(log=head.log, from_sequence=0)
            )
        await self.wake()
        return head

    async def append(self, batch: int, digest: str, entries: Sequence[LogEntry], *, log: str) -> Head:
        """Append the entries of one claimed batch in one durable transaction, and number them.

        Raises `StateError` if another daemon has written this log: the batch is not the next one.
        """
        async with self.state.write() as connection:
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
        data, site = write_json({"reason": reason}).decode(), self.state.site
        async with self.state.write() as connection:
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
                "site": self.state.site,
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
            .where(log_head.c.site == self.state.site)
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
        async with self.state.read() as connection:
            head = await self._require_head(connection)
            await self._check(connection, head, after)
            if not intervals:
                return [], head.cursor, head
            c = update_log.c
            readable = or_(*(and_(c.doctype == doctype, c.sequence > start) for doctype, start in intervals.items()))
            elsewhere = c.path.not_like(f"%{not_through}%")
            query = select(*_FIELDS).where(
                c.site == self.state.site,
                c.sequence > after.sequence,
                readable,
                or_(elsewhere, c.doctype.in_(judged)) if judged else elsewhere,
            )
            found = await connection.execute(query.order_by(c.sequence).limit(limit + 1))
            entries = [LogEntry(*row) for row in found]
        page = entries[: fitting(entries, limit, max_bytes)]
        if len(page) == len(entries) and len(entries) <= limit:
            return page, head.cursor, head
        last = page[-1]
        return page, Cursor(head.log, last.sequence, last.nonce), head

    async def start(self, from_sequence: int) -> Cursor:
        """The cursor after the entry `from_sequence`, for a consumer without a cursor.

        Raises `ResyncRequired` if entries after it were trimmed.
        """
        async with self.state.read() as connection:
            head = await self._require_head(connection)
            nonce = await self._nonce(connection, head, from_sequence)
            cursor = Cursor(head.log, from_sequence, nonce or "")
            await self._check(connection, head, cursor)
            return cursor

    async def first_after(self, sequence: int, doctypes: Collection[str]) -> int | None:
        """The time (ms since 1970) of the first entry of these types after `sequence`; None if there is none."""
        c = update_log.c
        query = select(c.at).where(c.site == self.state.site, c.sequence > sequence, c.doctype.in_(doctypes))
        async with self.state.read() as connection:
            found = await connection.scalar(query.order_by(c.sequence).limit(1))
            return None if found is None else int(found)

    async def last_gap(self) -> tuple[str, str, int] | None:
        """Type, reason and time (ms since 1970) of the log's last gap; None if the log has none."""
        c = update_log.c
        query = select(c.doctype, c.data, c.at).where(c.site == self.state.site, c.operation == Operation.GAP)
        async with self.state.read() as connection:
            found = (await connection.execute(query.order_by(c.sequence.desc()).limit(1))).one_or_none()
        return None if found is None else (found.doctype, str(read_json(found.data).get("reason", "")), found.at)

    async def check(self, cursor: Cursor) -> None:
        """Raises `ResyncRequired` if the cursor does not fit this log."""
        async with self.state.read() as connection:
            await self._check(connection, await self._require_head(connection), cursor)

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
        query = select(*_FIELDS).where(update_log.c.site == self.state.site)
        if name is not None:
            query = query.where(is_named(update_log.c.name, name))
        for column, value in (
            (update_log.c.doctype, doctype),
            (update_log.c.operation, operation),
            (update_log.c.sequence, sequence),
        ):
            if value is not None:
                query = query.where(column == value)
        async with self.state.read() as connection:
            found = await connection.execute(query.order_by(update_log.c.sequence.desc()).limit(limit))
            return [LogEntry(*row) for row in found]

    async def _head(self, connection: AsyncConnection) -> Head | None:
        columns = (log_head.c[field.name] for field in fields(Head))
        row = (await connection.execute(select(*columns).where(log_head.c.site == self.state.site))).first()
        return None if row is None else Head(*row)

    async def _require_head(self, connection: AsyncConnection) -> Head:
        head = await self._head(connection)
        if head is None:
            raise ResyncRequired("this site has no log yet", code="resync_required")
        return head

    async def _nonce(self, connection: AsyncConnection, head: Head, sequence: int) -> str | None:
        """The nonce of an entry, also of the last one that was trimmed; None if there is no such entry."""
        if sequence == head.trimmed_to:
            return head.trimmed_nonce
        mine = (update_log.c.site == self.state.site, update_log.c.sequence == sequence)
        nonce: str | None = await connection.scalar(select(update_log.c.nonce).where(*mine))
        return nonce

    async def _check(self, connection: AsyncConnection, head: Head, cursor: Cursor) -> None:
        problem = ""
        if cursor.log != head.log:
            problem = "the producer began a new log "
            problem += "(its database or its state was restored, or another daemon ran beside it)"
        elif cursor.sequence > head.sequence:
            problem = "the cursor is ahead of the log (the producer's state was restored)"
        elif cursor.sequence < head.trimmed_to:
            problem = "the next entries were trimmed (the consumer was away longer than they are kept)"
        elif cursor.sequence and cursor.nonce != await self._nonce(connection, head, cursor.sequence):
            problem = "the cursor belongs to another history of this log"
        if problem:
            raise ResyncRequired(
                f"resync required: {problem}",
                hint="at the consumer run `streamd resync --all --whole`",
                code="resync_required",
            )


class Watermarks:
    """The watermarks of the log's latest entries."""

    def __init__(self) -> None:
        self._log = ""
        self._marks: deque[tuple[int, int]] = deque(maxlen=MAX_WATERMARKS)  # (sequence, moment)

    @property
    def latest(self) -> int | None:
        """The moment (ms since 1970) up to which the whole log is complete; None if unknown."""
        return self._marks[-1][1] if self._marks else None

    def add(self, log: str, sequence: int, moment: int) -> None:
        """Record that a read that began at `moment` (ms since 1970) left nothing behind; the log ends at `sequence`."""
        if log != self._log:
            self._log = log
            self._marks.clear()
        if self._marks and self._marks[-1][0] == sequence:
            self._marks.pop()
        self._marks.append((sequence, moment))

    def at(self, cursor: Cursor) -> int | None:
        """The moment up to which everything is at or before this place of the log; None if unknown."""
        if cursor.log != self._log:
            return None
        index = bisect_right(self._marks, cursor.sequence, key=itemgetter(0))
        return self._marks[index - 1][1] if index else None


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
