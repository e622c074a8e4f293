"""Pages of the update log, and the long poll that waits for the next one.

Each page, and each wake-up, looks again at the caller's key and approvals: what was taken back while it
waited is not served.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from streamd.errors import ResyncRequired
from streamd.faults import crash_point
from streamd.model import Cursor, Event, LogEntry, Origin, name_from_text
from streamd.serve.services import Caller, Services
from streamd.store.peers import Standing
from streamd.update_log import Head
from streamd.wire import EventsRequest, Page, read_cursor, write_cursor

LOOK_SECONDS = 1.0
"""How often an open long poll looks whether its client, its key and its approvals are still the same."""

OPEN_POLLS = 8
"""Long polls that one consumer may have open. Further ones are answered at once."""


@dataclass(slots=True)
class Look:
    """One consistent look: the entries behind a cursor, and the approvals under which they were read."""

    standing: Standing
    entries: list[LogEntry]
    next: Cursor
    head: Head


class Feed:
    """Answers requests for events. `stopping` is done when the server stops: open polls then end at once."""

    def __init__(self, services: Services, stopping: asyncio.Future[None]) -> None:
        self._services = services
        self._stopping = stopping
        self._open: Counter[str] = Counter()
        self._told: dict[str, dict[str, str]] = {}

    async def page(self, caller: Caller, asked: EventsRequest, gone: Callable[[], bool]) -> Page:
        """The next page, waiting for it as long as was asked. `gone` says that nobody waits any more.

        Raises `ResyncRequired` for a cursor that does not fit, and `InvalidRequest`.
        """
        cursor = None if asked.cursor is None else read_cursor(asked.cursor)
        found = await self._look(caller, cursor, asked.limit)
        await self._acknowledge(caller, asked, found.standing)
        if not found.entries:
            found = await self._wait(caller, asked, found, gone)
        self.tell(caller.consumer, found.standing.statuses())
        if found.entries:
            crash_point("serve.page")
        return Page(
            events=[_event(entry) for entry in found.entries],
            next=write_cursor(found.next),
            head=found.head.sequence,
            subscriptions=found.standing.statuses(),
        )

    def tell(self, consumer: str, statuses: dict[str, str]) -> None:
        """Remember what a consumer knows of its subscriptions."""
        self._told[consumer] = statuses

    async def _wait(self, caller: Caller, asked: EventsRequest, found: Look, gone: Callable[[], bool]) -> Look:
        clock = asyncio.get_running_loop().time
        until = clock() + min(asked.wait_seconds, self._services.settings.max_wait_seconds)
        # A consumer learns at once that something was approved or rejected, also between two polls.
        told = self._told.get(caller.consumer, found.standing.statuses())
        if self._open[caller.consumer] >= OPEN_POLLS:
            return found
        self._open[caller.consumer] += 1
        try:
            while not (found.entries or found.standing.statuses() != told):
                if self._stopping.done() or gone() or clock() >= until:
                    break
                await self._pause(caller, found, until - clock(), gone)
                found = await self._look(caller, found.next, asked.limit)
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

    async def _look(self, caller: Caller, cursor: Cursor | None, limit: int) -> Look:
        standing, site = await self._services.registered(caller)
        while True:
            entries, following, head = await self._read(cursor, self._services.offered(standing), site, limit)
            now, site = await self._services.registered(caller)
            # Approved after the first look and before the read: `following` might be beyond its first entries.
            # Taken back between them: the entries must not go out.
            if now.approvals == standing.approvals:
                return Look(now, entries, following, head)
            standing = now

    async def _read(
        self, cursor: Cursor | None, intervals: dict[str, int], site: str, limit: int
    ) -> tuple[list[LogEntry], Cursor, Head]:
        log, settings = self._services.log, self._services.settings
        try:
            if cursor is None:
                if not intervals:
                    head = await self._services.head()
                    return [], head.cursor, head
                cursor = await log.start(min(intervals.values()))
            return await log.read(
                cursor,
                intervals,
                not_through=site,
                limit=min(limit, settings.max_page_events),
                max_bytes=settings.max_page_bytes,
            )
        except ResyncRequired:
            await self._services.head()  # a log that has not begun yet is no reason for a resync
            raise

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


def _event(entry: LogEntry) -> Event:
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
    )
