"""Reads pages of the update log for one consumer: approved types only, filtered by their conditions.

Without conditions, a page is one read of the log. With conditions, the log is read in chunks and filtered until the
page is full, the log ends, or the limit of chunks is reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from streamd.common.names import names_by_type
from streamd.model import Cursor, LogEntry, name_from_text, name_text
from streamd.serve.conditions import Condition, Ref, Served, filter_entries, resolve_parent_rows
from streamd.serve.services import Grants, Services
from streamd.update_log import Head, fitting

MAX_CHUNKS = 8
"""Chunks of the log per read. Each may be twice as long as the one before."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a consumer wants in one page: events, and bytes if it says so."""

    events: int
    bytes: int | None = None


@dataclass(slots=True)
class LogPage:
    """The result of one read. `has_more`: it ended before the log did, so the next read need not wait."""

    served: list[Served]
    next: Cursor
    head: Head
    has_more: bool = False


class PageReader:
    """Reads the log for consumers."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def read(self, cursor: Cursor, grants: Grants, site: str, limits: Limits) -> LogPage:
        """The entries after the cursor for the consumer at `site`. Raises `ResyncRequired` for an invalid cursor."""
        settings = self._services.settings
        max_events = settings.max_page_events
        max_bytes = min(limits.bytes or settings.max_page_bytes, settings.max_page_bytes)
        limit = chunk_size = min(limits.events, max_events)
        served: list[Served] = []
        position = cursor
        for _ in range(MAX_CHUNKS):
            entries, position, head = await self._services.log.read(
                position,
                grants.starts,
                not_through=site,
                limit=chunk_size,
                max_bytes=max_bytes,
                judged=grants.conditions.keys(),
            )
            if not grants.conditions:
                return LogPage([Served(entry) for entry in entries], position, head)
            last_read = entries[-1] if entries else None
            rows = await self._find_parent_rows(entries, grants.conditions, site)
            served += filter_entries(entries, grants.conditions, site, rows)
            if position == head.cursor or _count_fitting(served, limit, max_bytes) < len(served):
                break
            chunk_size = min(2 * chunk_size, max_events)
        return _cut_page(LogPage(served, position, head), last_read, limit, max_bytes)

    async def _find_parent_rows(
        self, entries: list[LogEntry], conditions: Mapping[str, Condition], site: str
    ) -> dict[int, str | None]:
        """The parent rows for entries that do not contain them, by sequence."""
        rows, unresolved = resolve_parent_rows(entries, conditions.keys(), site)
        if unresolved:
            found = await self._find_rows_after(entries[-1].sequence, unresolved.keys(), conditions)
            for ref, sequences in unresolved.items():
                rows.update(dict.fromkeys(sequences, found.get(ref)))
        return rows

    async def _find_rows_after(
        self, sequence: int, refs: Iterable[Ref], conditions: Mapping[str, Condition]
    ) -> Mapping[Ref, str | None]:
        """The rows of these documents as they were after an entry: from later entries, else from the database."""
        log = self._services.log
        logged = await log.rows_told(sequence, refs)
        missing = [ref for ref in refs if ref not in logged]
        if not missing:
            return logged
        current = await self._read_current_rows(missing, conditions)
        # Changes made before these rows were read are in the log once capture is drained; the log takes precedence.
        await self._services.drain_capture()
        return {**current, **logged, **await log.rows_told(sequence, missing)}

    async def _read_current_rows(self, refs: Iterable[Ref], conditions: Mapping[str, Condition]) -> dict[Ref, str]:
        by_type = names_by_type((doctype, name_from_text(text)) for doctype, text in refs)
        rows = {}
        async with self._services.database.snapshot() as reader:
            for doctype, names in by_type.items():
                documents = await reader.read_documents(conditions[doctype].narrow_doctype, names)
                for name, document in documents.items():
                    if document.readable():
                        rows[(doctype, name_text(name))] = document.row.decode()
        return rows


def _count_fitting(served: list[Served], limit: int, max_bytes: int) -> int:
    return fitting([item.entry for item in served], limit, max_bytes)


def _cut_page(page: LogPage, last_read: LogEntry | None, limit: int, max_bytes: int) -> LogPage:
    """The page, cut to the limits. `last_read` is the last entry that was read from the log."""
    served, head = page.served, page.head
    size = _count_fitting(served, limit, max_bytes)
    if size < len(served):
        last = served[size - 1].entry
        return LogPage(served[:size], Cursor(head.log, last.sequence, last.nonce), head, has_more=True)
    if served and last_read is not None and not last_read.last_in_tx and last_read.tx == served[-1].entry.tx:
        served[-1].entry.last_in_tx = False  # the rest of its transaction is not read yet
    return LogPage(served, page.next, head, has_more=page.next != head.cursor)
