"""Pages of the update log as one consumer may have them: what is approved, and what its conditions let through.

Where nothing stands under a condition, a page is one read of the log. Otherwise it is read in stretches, each of
which is judged, until a page is full, the log ends, or as much was looked through as one look may cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from streamd.model import Cursor, LogEntry, Name, name_from_text, name_text
from streamd.serve.conditions import Condition, Ref, Served, judged, untouched_rows
from streamd.serve.services import Allowed, Services
from streamd.update_log import Head, fitting

STRETCHES = 8
"""Stretches of the log in one look; each may be twice as long as the one before."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a consumer asks for at once, at most: events, and bytes where it says so."""

    events: int
    bytes: int | None = None


@dataclass(slots=True)
class Stretch:
    """What one look at the log gave. `more`: it ended before the log did, so that the next look need not wait."""

    served: list[Served]
    next: Cursor
    head: Head
    more: bool = False


class Pages:
    """Reads the log for consumers."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def read(self, cursor: Cursor, allowed: Allowed, site: str, limits: Limits) -> Stretch:
        """What the consumer at `site` may have after the cursor. Raises `ResyncRequired` if it does not fit the log."""
        settings = self._services.settings
        most = settings.max_page_events
        max_bytes = min(limits.bytes or settings.max_page_bytes, settings.max_page_bytes)
        limit = length = min(limits.events, most)
        served: list[Served] = []
        place = cursor
        for _ in range(STRETCHES):
            entries, place, head = await self._services.log.read(
                place,
                allowed.starts,
                not_through=site,
                limit=length,
                max_bytes=max_bytes,
                judged=allowed.conditions.keys(),
            )
            if not allowed.conditions:
                return Stretch([Served(entry) for entry in entries], place, head)
            tail = entries[-1] if entries else None
            served += judged(entries, allowed.conditions, site, await self._rows(entries, allowed.conditions, site))
            if place == head.cursor or _fits(served, limit, max_bytes) < len(served):
                break
            length = min(2 * length, most)
        return _cut(served, tail, place, head, limit, max_bytes)

    async def _rows(
        self, entries: list[LogEntry], conditions: Mapping[str, Condition], site: str
    ) -> dict[int, str | None]:
        """The parent rows of those entries that do not have them, by sequence."""
        rows, asked = untouched_rows(entries, conditions.keys(), site)
        if asked:
            told = await self._told(entries[-1].sequence, asked.keys(), conditions)
            for ref, sequences in asked.items():
                rows.update(dict.fromkeys(sequences, told.get(ref)))
        return rows

    async def _told(
        self, after: int, refs: Iterable[Ref], conditions: Mapping[str, Condition]
    ) -> Mapping[Ref, str | None]:
        """The rows of these documents as they were after an entry: as the log tells, or as they are."""
        log = self._services.log
        told = await log.rows_told(after, refs)
        rest = [ref for ref in refs if ref not in told]
        if not rest:
            return told
        rows = await self._rows_now(rest, conditions)
        # What was changed before these rows were read is in the log once capture is drained: it knows better.
        await self._services.drain_capture()
        return {**rows, **told, **await log.rows_told(after, rest)}

    async def _rows_now(self, refs: Iterable[Ref], conditions: Mapping[str, Condition]) -> dict[Ref, str]:
        by_type: dict[str, list[Name]] = {}
        for doctype, text in refs:
            by_type.setdefault(doctype, []).append(name_from_text(text))
        found = {}
        async with self._services.database.snapshot() as reader:
            for doctype, names in by_type.items():
                documents = await reader.read_documents(conditions[doctype].judged, names)
                for name, document in documents.items():
                    if document.readable():
                        found[(doctype, name_text(name))] = document.row.decode()
        return found


def _fits(served: list[Served], limit: int, max_bytes: int) -> int:
    return fitting([each.entry for each in served], limit, max_bytes)


def _cut(served: list[Served], tail: LogEntry | None, place: Cursor, head: Head, limit: int, max_bytes: int) -> Stretch:
    """A page of what was found: as much as the limits allow. `tail` is the last entry that was looked at."""
    size = _fits(served, limit, max_bytes)
    if size < len(served):
        last = served[size - 1].entry
        return Stretch(served[:size], Cursor(head.log, last.sequence, last.nonce), head, more=True)
    if served and tail is not None and not tail.last_in_tx and tail.tx == served[-1].entry.tx:
        served[-1].entry.last_in_tx = False  # the rest of its transaction was not looked at
    return Stretch(served, place, head, more=place != head.cursor)
