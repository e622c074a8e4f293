"""Reads whole types again from one producer: because a command requested it, or to repair a gap.

A request stays, with the reason, until its type can be read. One that can never be fulfilled is refused. A gap is
closed when every document that was read for it has been applied.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from streamd.apply import Lister, Source, WholeResync
from streamd.db.base import SiteDatabase
from streamd.model import ApprovalStatus, Catalogue, Cursor
from streamd.rows import written_fields
from streamd.store.engine import State
from streamd.store.heartbeat import REPAIR, WHOLE, Request, Requests
from streamd.store.producers import Obstacles
from streamd.store.sync_log import SyncLog
from streamd.store.unread_columns import UnreadColumns

log = structlog.get_logger("streamd.pull")

CLOSED = "closed: all documents were read again"

AGAIN_SECONDS = 30.0
"""How long to wait before a type is requested again that the producer could not list."""

Statuses = Mapping[str, str]
"""The subscribed types, each with its status as the producer last reported it; empty if it has not yet."""


class Refetches:
    """The requests to read types again from one producer: `name` in the configuration."""

    def __init__(
        self,
        name: str,
        database: SiteDatabase,
        catalogue: Catalogue,
        state: State,
        *,
        repair_gaps: bool,
    ) -> None:
        self._name = name
        self._database = database
        self._catalogue = catalogue
        self._sync_log = SyncLog(state)
        self._requests = Requests(state)
        self._unread_columns = UnreadColumns(state)
        self._repair_gaps = repair_gaps
        self.may_have_gaps = True
        """Whether the sync log may have gaps that were not handled yet."""
        self._read_up_to: dict[str, Cursor] = {}
        self._unfinished: set[str] = set()
        self._postponed: dict[str, tuple[float, str]] = {}
        self._warned: set[str] = set()

    async def pending(self) -> list[Request]:
        """The requests for this producer that are not done, oldest first."""
        return [request for request in await self._requests.pending() if request.producer == self._name]

    async def handle_gaps(self, source: Source, wanted: Statuses, checkpoint: Cursor | None) -> None:
        """Request the types with gaps to be read again, and close the gaps of types that are complete."""
        if self.may_have_gaps and self._repair_gaps:
            gaps = await self._sync_log.open_gaps(self._name)
            for doctype in sorted(gaps.keys() & _approved(wanted)):
                read = self._read_up_to.get(doctype)
                is_covered = read is not None and checkpoint is not None and read.log == checkpoint.log
                if is_covered and read is not None and read.sequence >= gaps[doctype]:
                    # The type was already read up to a later entry than the gap.
                    self._unfinished.add(doctype)
                else:
                    await self._requests.add(REPAIR, self._name, doctype)
                    log.info("gap_repair_started", producer=self._name, doctype=doctype)
            self.may_have_gaps = False
        await self._close_gaps(source)

    async def request_new_columns(self, wanted: Collection[str]) -> None:
        """Request those of these types to be read again that got a new column here: its values were left out before."""
        unread = await self._unread_columns.of_producer(self._name)
        requested = {request.doctype for request in await self.pending()}
        for doctype in sorted(unread.keys() & set(wanted) - self._unfinished - requested - self._warned):
            new = sorted(unread[doctype] & self._fields(doctype))
            if new and self._repair_gaps:
                await self._requests.add(REPAIR, self._name, doctype)
                log.info("refetching", doctype=doctype, producer=self._name, because="columns were added here")
            elif new:
                self._warned.add(doctype)
                log.warning(
                    "columns_not_read",
                    doctype=doctype,
                    producer=self._name,
                    columns=new,
                    hint=f"`streamd resync --doctype {shlex.quote(doctype)} --whole` fills them",
                )

    def _fields(self, doctype: str) -> frozenset[str]:
        known = self._catalogue.get(doctype)
        return frozenset() if known is None else written_fields(known)

    async def _close_gaps(self, source: Source) -> None:
        """Close the gaps of types that were read, once none of their events are parked or held."""
        if not self._unfinished:
            return
        async with self._database.snapshot() as reader:
            waiting = {each.doctype for each in await reader.queue() if each.producer == source.site}
        for doctype in sorted(self._unfinished - waiting):
            await self._sync_log.resolve_gaps(self._name, doctype, CLOSED)
            await self._unread_columns.settle(self._name, doctype, self._fields(doctype))
            self._unfinished.discard(doctype)

    async def due(self, source: Source, wanted: Statuses) -> list[Request]:
        """The requests whose types can be read now."""
        return [request for request in await self.pending() if await self._is_due(request, source, wanted)]

    async def run(
        self,
        due: Sequence[Request],
        source: Source,
        lister: Lister,
        wanted: Statuses,
        make_resync: Callable[..., WholeResync],
    ) -> bool:
        """Fulfil the requests that are due. Returns whether any type was read. Raises `PeerError`."""
        by_hand = {request.doctype for request in due if request.kind == WHOLE}
        repaired = {request.doctype for request in due} - by_hand
        # Types that cannot be read yet are read later. The other types do not wait for them.
        later = {request.doctype for request in await self.pending() if request.kind == WHOLE}
        results = []
        read: set[str] = set()
        for doctypes, repair in ((sorted(by_hand), False), (sorted(repaired), True)):
            if doctypes:
                whole = make_resync(repair=repair)
                restart = not repair and later >= _approved(wanted)
                results.append(await whole.run(source, lister, doctypes, restart=restart))
                read |= whole.as_of.keys()
                self._read_up_to |= whole.as_of
                again_at = time.monotonic() + AGAIN_SECONDS
                self._postponed |= {doctype: (again_at, why) for doctype, why in whole.unread.items()}
        self._unfinished |= read
        await self._close_gaps(source)
        result = "; ".join(results)
        for request in due:
            if request.doctype in read:
                await self._requests.finish(request.id, result)
            else:
                await self._is_due(request, source, wanted)
        log.info("read_whole", producer=self._name, result=result)
        return bool(read)

    async def obstacles(self, source: Source) -> Obstacles:
        """What keeps the producer's types from being complete here."""
        async with self._database.snapshot() as reader:
            queued = {doctype for doctype, _ in await reader.queued_documents(source.site)}
        gaps = await self._sync_log.gaps(self._name)
        return Obstacles(source.paused, queued, gaps.keys(), {request.doctype for request in await self.pending()})

    async def _is_due(self, request: Request, source: Source, wanted: Statuses) -> bool:
        """Whether the type can be read now. If not, the request stores the reason, or ends if it never can be."""
        doctype = request.doctype
        status = wanted.get(doctype)
        if status in (None, ApprovalStatus.REJECTED, ApprovalStatus.UNSUBSCRIBED):
            reason = f"{doctype} is {status or 'not subscribed to'} at {self._name}"
            log.warning("resync_refused", producer=self._name, doctype=doctype, error=reason)
            await self._requests.finish(request.id, f"refused: {reason}")
            return False
        again_at, reason = self._postponed.get(doctype, (0.0, ""))
        if doctype in source.paused:
            reason = f"{doctype} is paused: {source.paused[doctype]}"
        elif status != ApprovalStatus.APPROVED:
            reason = f"{self._name} has not approved {doctype} yet"
        elif time.monotonic() >= again_at:
            self._postponed.pop(doctype, None)
            return True
        if reason != request.result:
            await self._requests.wait(request.id, reason)
        return False


def _approved(wanted: Statuses) -> set[str]:
    return {doctype for doctype, status in wanted.items() if status == ApprovalStatus.APPROVED}
