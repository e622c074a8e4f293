"""Pages of the update log, and the long poll that waits for the next one.

Each page, and each wake-up, looks again at the caller's key and approvals: what was taken back while it
waited is not served. A type whose condition cannot be judged any more is served no further: it is Pending again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import structlog

from streamd.common.faults import crash_point
from streamd.errors import ResyncRequired
from streamd.model import Cursor, DocumentId, Event, LinkId, LogEntry, Origin, name_from_text
from streamd.serve.conditions import Served
from streamd.serve.names import name_events
from streamd.serve.pages import Limits, Pages, Stretch
from streamd.serve.services import Allowed, Caller, Services
from streamd.store.engine import now_ms
from streamd.store.peers import Standing
from streamd.update_log import Head
from streamd.wire import EventsRequest, Page, read_cursor, write_cursor

LOOK_SECONDS = 1.0
"""How often an open long poll looks whether its client, its key and its approvals are still the same."""

OPEN_POLLS = 8
"""Long polls that one consumer may have open. Further ones are answered at once."""

SIFT_SECONDS = 5.0
"""How long entries that a condition leaves out are passed over for one answer; then the consumer asks on from there."""

log = structlog.get_logger("streamd.serve")


@dataclass(slots=True)
class Look:
    """One consistent look: what is served behind a cursor, and the approvals under which it was read.

    `more`: it ended before the log did.
    """

    standing: Standing
    site: str
    served: list[Served]
    next: Cursor
    head: Head
    more: bool = False


class Feed:
    """Answers requests for events. `stopping` is done when the server stops: open polls then end at once."""

    def __init__(self, services: Services, stopping: asyncio.Future[None]) -> None:
        self._services = services
        self._pages = Pages(services)
        self._stopping = stopping
        self._open: Counter[str] = Counter()

    async def page(self, caller: Caller, asked: EventsRequest, gone: Callable[[], bool]) -> Page:
        """The next page, waiting for it as long as was asked. `gone` says that nobody waits any more.

        Raises `ResyncRequired` for a cursor that does not fit, and `InvalidRequest`.
        """
        cursor = None if asked.cursor is None else read_cursor(asked.cursor)
        limits = Limits(asked.limit, asked.max_bytes)
        found = await self._look(caller, cursor, limits)
        await self._acknowledge(caller, asked, found.standing)
        if not found.served:
            found = await self._wait(caller, asked, found, gone)
        events = [_event(*each) for each in found.served]
        if events:
            await self._say_own_names(found, events, every=asked.own_names)
            crash_point("serve.page")
        return Page(
            events=events,
            next=write_cursor(found.next),
            head=found.head.sequence,
            subscriptions=found.standing.statuses(),
            complete_to=self._services.covered_by(found.next),
            clock_ms=now_ms(),
        )

    async def _wait(self, caller: Caller, asked: EventsRequest, found: Look, gone: Callable[[], bool]) -> Look:
        clock = asyncio.get_running_loop().time
        until = clock() + min(asked.wait_seconds, self._services.settings.max_wait_seconds)
        # An answer without events says that there are none yet, so what is left out does not count as waiting.
        sifting = max(until, clock() + SIFT_SECONDS)
        # A consumer learns at once that something was approved or rejected, also between two polls. What it knows it
        # says itself: of an answer nobody here can tell whether it arrived.
        known = found.standing.statuses() if asked.subscriptions is None else asked.subscriptions
        if self._open[caller.consumer] >= OPEN_POLLS:
            return found
        self._open[caller.consumer] += 1
        try:
            while not found.served and known.items() <= found.standing.statuses().items():
                if self._stopping.done() or gone() or clock() >= (sifting if found.more else until):
                    break
                if not found.more:
                    await self._pause(caller, found, until - clock(), gone)
                found = await self._look(caller, found.next, Limits(asked.limit, asked.max_bytes))
            return found
        finally:
            self._open[caller.consumer] -= 1
            if not self._open[caller.consumer]:
                del self._open[caller.consumer]

    async def _pause(self, caller: Caller, found: Look, seconds: float, gone: Callable[[], bool]) -> None:
        """Return when the log has grown, the caller's standing is another one, or there is no reason to wait."""
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        grown = asyncio.ensure_future(self._services.log.wait(found.head.sequence, seconds))
        try:
            while (left := until - clock()) > 0:
                await asyncio.wait(
                    {grown, self._stopping}, timeout=min(LOOK_SECONDS, left), return_when=asyncio.FIRST_COMPLETED
                )
                if grown.done() or self._stopping.done() or gone():
                    return
                standing, _ = await self._services.registered(caller)
                if standing.approvals != found.standing.approvals:
                    return
        finally:
            grown.cancel()
            await asyncio.gather(grown, return_exceptions=True)

    async def _look(self, caller: Caller, cursor: Cursor | None, limits: Limits) -> Look:
        standing, site = await self._services.registered(caller)
        while True:
            allowed = self._services.allowed(standing)
            await self._suspend(caller, allowed)
            found = await self._read(cursor, allowed, site, limits)
            now, site = await self._services.registered(caller)
            # Approved after the first look and before the read: its `next` might be beyond the type's first entries.
            # Taken back between them, or under another condition now: the entries must not go out.
            if now.approvals == standing.approvals:
                return Look(now, site, found.served, found.next, found.head, found.more)
            standing = now

    async def _suspend(self, caller: Caller, allowed: Allowed) -> None:
        """Types whose conditions cannot be judged are Pending again: what is left out meanwhile is seen as a gap."""
        for doctype, (row, fault) in allowed.broken.items():
            log.warning("condition_broken", consumer=caller.consumer, doctype=doctype, problem=fault)
            await self._services.peers.suspend(caller.consumer, row)

    async def _read(self, cursor: Cursor | None, allowed: Allowed, site: str, limits: Limits) -> Stretch:
        try:
            if cursor is None:
                if not allowed.starts:
                    head = await self._services.head()
                    return Stretch([], head.cursor, head)
                cursor = await self._services.log.start(min(allowed.starts.values()))
            return await self._pages.read(cursor, allowed, site, limits)
        except ResyncRequired:
            await self._services.head()  # a log that has not begun yet is no reason for a resync
            raise

    async def _say_own_names(self, found: Look, events: list[Event], *, every: bool) -> None:
        """Say what the consumer calls the documents of these events, where it has other names for some, or asks."""
        async with self._services.database.snapshot() as reader:
            if every or await reader.has_counterparts(found.site):
                entries = [each.entry for each in found.served]
                await name_events(reader, found.site, self._services.catalogue, entries, events, every=every)

    async def _acknowledge(self, caller: Caller, asked: EventsRequest, standing: Standing) -> None:
        if asked.acknowledged is None:
            return
        durable = read_cursor(asked.acknowledged)
        if standing.acknowledged_log == durable.log and standing.acknowledged >= durable.sequence:
            return
        if asked.acknowledged != asked.cursor:  # the cursor itself was checked when it was read from
            await self._services.log.check(durable)
        await self._services.peers.acknowledge(caller.consumer, durable.sequence, durable.log)


_ORIGIN = msgspec.json.Decoder(Origin)
_ID = msgspec.json.Decoder(DocumentId)
_LINKS = msgspec.json.Decoder(tuple[LinkId, ...])


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
    )
