"""Serves pages of the update log, and long polls that wait for the next page.

The caller's key and approvals are checked again for every page and at every wake-up, so nothing is served that was
revoked during a poll. If a condition no longer compiles, its type becomes Pending again and is not served.

Without conditions, a page is one read of the log. With conditions, the log is read in chunks and filtered until the
page is full, the log ends, or the limit of chunks is reached.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import msgspec
import structlog

from streamd.common.instrumentation import crash_point
from streamd.common.values import names_by_type
from streamd.errors import ResyncRequired
from streamd.model import Cursor, DocumentId, Event, LinkId, LogEntry, Origin, SaidRows, name_from_text, name_text
from streamd.serve.conditions import Condition, Ref, Served, filter_entries, resolve_parent_rows
from streamd.serve.identities import Births, say_births
from streamd.serve.services import Caller, Grants, Services
from streamd.store.engine import now_ms
from streamd.store.log_rows import rows_as_of
from streamd.store.peers import Standing
from streamd.update_log import Head, fitting
from streamd.wire import EventsRequest, Page, read_cursor, write_cursor

RECHECK_SECONDS = 1.0
"""How often a waiting long poll checks its client, its key and its approvals."""

MAX_POLLS = 8
"""Long polls that may wait per consumer. Further ones are answered at once."""

FILTER_SECONDS = 5.0
"""How long one request may skip entries that its conditions omit. The consumer then continues with a new request."""

MAX_CHUNKS = 8
"""Chunks of the log per read. Each may be twice as long as the one before."""

log = structlog.get_logger("streamd.serve")


@dataclass(slots=True)
class ApprovedPage:
    """One consistent read: a page of the log, and the approvals under which it was read."""

    standing: Standing
    site: str
    page: LogPage


class EventFeed:
    """Answers requests for events. When `stopping` is done, waiting polls end at once."""

    def __init__(self, services: Services, stopping: asyncio.Future[None]) -> None:
        self._services = services
        self._pages = PageReader(services)
        self._stopping = stopping
        self._open_polls: Counter[str] = Counter()

    async def read_page(self, caller: Caller, request: EventsRequest, is_client_gone: Callable[[], bool]) -> Page:
        """The next page. If it is empty, waits as long as the request allows.

        Raises `ResyncRequired` for a cursor that does not fit the log, and `InvalidRequest`.
        """
        cursor = None if request.cursor is None else read_cursor(request.cursor)
        result = await self._read_approved(caller, cursor, request)
        await self._acknowledge(caller, request, result.standing)
        if not result.page.served:
            result = await self._wait(caller, request, result, is_client_gone)
        events = [_event(*item) for item in result.page.served]
        if events:
            here = await self._services.named_here(result.site)
            if request.own_names or here:
                async with self._services.database.snapshot() as reader:
                    births = Births(self._services.identity.site, elsewhere=request.own_names, here=here)
                    await say_births(reader, self._services.catalogue, events, births)
            crash_point("serve.page")
        return Page(
            events=events,
            next=write_cursor(result.page.next),
            head=result.page.head.sequence,
            subscriptions=result.standing.statuses(),
            complete_to=self._services.watermark_at(result.page.next),
            clock_ms=now_ms(),
        )

    async def _wait(
        self, caller: Caller, request: EventsRequest, result: ApprovedPage, is_client_gone: Callable[[], bool]
    ) -> ApprovedPage:
        """Read again until there are events, a subscription changes, or the time is up."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + min(request.wait_seconds, self._services.settings.max_wait_seconds)
        # An empty answer means that there are no events yet. So filtering may continue after the deadline.
        filter_deadline = max(deadline, clock() + FILTER_SECONDS)
        # A consumer learns at once when a type is approved or rejected, also between two polls. It sends the statuses
        # that it knows: the producer cannot tell whether an earlier answer arrived.
        known = result.standing.statuses() if request.subscriptions is None else request.subscriptions
        if self._open_polls[caller.consumer] >= MAX_POLLS:
            return result
        self._open_polls[caller.consumer] += 1
        try:
            while not result.page.served and known.items() <= result.standing.statuses().items():
                until = filter_deadline if result.page.has_more else deadline
                if self._stopping.done() or is_client_gone() or clock() >= until:
                    break
                if not result.page.has_more:
                    await self._wait_for_change(caller, result, deadline - clock(), is_client_gone)
                result = await self._read_approved(caller, result.page.next, request)
            return result
        finally:
            self._open_polls[caller.consumer] -= 1
            if not self._open_polls[caller.consumer]:
                del self._open_polls[caller.consumer]

    async def _wait_for_change(
        self, caller: Caller, result: ApprovedPage, seconds: float, is_client_gone: Callable[[], bool]
    ) -> None:
        """Return when the log has grown, the approvals changed, the client left, the server stops, or time is up."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        log_grown = asyncio.ensure_future(self._services.log.wait(result.page.head.sequence, seconds))
        try:
            while (left := deadline - clock()) > 0:
                await asyncio.wait(
                    {log_grown, self._stopping}, timeout=min(RECHECK_SECONDS, left), return_when=asyncio.FIRST_COMPLETED
                )
                if log_grown.done() or self._stopping.done() or is_client_gone():
                    return
                standing, _ = await self._services.require_registration(caller)
                if standing.approvals != result.standing.approvals:
                    return
        finally:
            log_grown.cancel()
            await asyncio.gather(log_grown, return_exceptions=True)

    async def _read_approved(self, caller: Caller, cursor: Cursor | None, request: EventsRequest) -> ApprovedPage:
        standing, site = await self._services.require_registration(caller)
        while True:
            grants = self._services.resolve_grants(standing)
            for doctype, (row, fault) in grants.broken.items():
                # The type becomes Pending, so the consumer sees what it misses as a gap.
                log.warning("condition_broken", consumer=caller.consumer, doctype=doctype, problem=fault)
                await self._services.peers.suspend(caller.consumer, row)
            page = await self._read(cursor, grants, site, request)
            current, site = await self._services.require_registration(caller)
            # Read again if the approvals changed during the read. If a type was approved, `next` may be past its first
            # entries. If one was rejected, or has another condition now, these entries must not be served.
            if current.approvals == standing.approvals:
                return ApprovedPage(current, site, page)
            standing = current

    async def _read(self, cursor: Cursor | None, grants: Grants, site: str, request: EventsRequest) -> LogPage:
        try:
            if cursor is None:
                if not grants.starts:
                    head = await self._services.require_head()
                    return LogPage([], head.cursor, head)
                cursor = await self._services.log.start(min(grants.starts.values()))
            return await self._pages.read(cursor, grants, site, request)
        except ResyncRequired:
            await self._services.require_head()  # a missing log means that the daemon is starting: no resync
            raise

    async def _acknowledge(self, caller: Caller, request: EventsRequest, standing: Standing) -> None:
        """Store how far the consumer has applied the log. Raises `ResyncRequired`."""
        if request.acknowledged is None:
            return
        acknowledged = read_cursor(request.acknowledged)
        if standing.acknowledged_log == acknowledged.log and standing.acknowledged >= acknowledged.sequence:
            return
        if request.acknowledged != request.cursor:  # the request's cursor was checked by the read
            await self._services.log.check(acknowledged)
        await self._services.peers.acknowledge(caller.consumer, acknowledged.sequence, acknowledged.log)


_ORIGIN = msgspec.json.Decoder(Origin)
_ID = msgspec.json.Decoder(DocumentId)
_LINKS = msgspec.json.Decoder(tuple[LinkId, ...])
_ROWS = msgspec.json.Decoder(SaidRows)


def _event(entry: LogEntry, enters: bool) -> Event:
    return Event(
        sequence=entry.sequence,
        nonce=entry.nonce,
        tx=entry.tx,
        doctype=entry.doctype,
        name=name_from_text(entry.name),
        operation=entry.operation,
        clock=entry.clock,
        at=entry.at,
        data=msgspec.Raw(entry.data.encode()),
        last_in_tx=bool(entry.last_in_tx),
        renamed_from=None if entry.renamed_from is None else name_from_text(entry.renamed_from),
        origin=None if entry.origin is None else _ORIGIN.decode(entry.origin),
        enters=enters,
        id=None if entry.id is None else _ID.decode(entry.id),
        links=() if entry.links is None else _LINKS.decode(entry.links),
        rows={} if entry.rows is None else _ROWS.decode(entry.rows),
    )


@dataclass(frozen=True, slots=True)
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

    async def read(self, cursor: Cursor, grants: Grants, site: str, request: EventsRequest) -> LogPage:
        """The entries after the cursor for the consumer at `site`. Raises `ResyncRequired` for an invalid cursor."""
        settings = self._services.settings
        max_events = settings.max_page_events
        max_bytes = min(request.max_bytes or settings.max_page_bytes, settings.max_page_bytes)
        limit = chunk_size = min(request.limit, max_events)
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
        logged = await rows_as_of(log.state, sequence, refs)
        missing = [ref for ref in refs if ref not in logged]
        if not missing:
            return logged
        current = await self._read_current_rows(missing, conditions)
        # Changes made before these rows were read are in the log once capture is drained; the log takes precedence.
        await self._services.drain_capture()
        return {**current, **logged, **await rows_as_of(log.state, sequence, missing)}

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
