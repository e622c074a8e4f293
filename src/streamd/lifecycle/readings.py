"""What is to be read whole from one producer: what people ask for, and what gaps ask for.

A request stays, with the reason, until its types can be read; what can never be read is refused. A gap is closed when
every document that was read for it is there.
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
from streamd.store.heartbeat import REPAIR, WHOLE, Request, Requests
from streamd.store.sync_log import SyncLog
from streamd.store.unread_columns import UnreadColumns

log = structlog.get_logger("streamd.pull")

CLOSED = "closed: all documents were read again"

AGAIN_SECONDS = 30.0
"""How long to wait before a type is asked for again that the producer could not list."""

Statuses = Mapping[str, str]
"""The types that are subscribed to, with what the producer said of each last; nothing where it said nothing yet."""


class Readings:
    """The readings of one producer: `name` in the configuration."""

    def __init__(
        self,
        name: str,
        database: SiteDatabase,
        catalogue: Catalogue,
        sync_log: SyncLog,
        requests: Requests,
        unread: UnreadColumns,
        *,
        repair_gaps: bool,
    ) -> None:
        self._name = name
        self._database = database
        self._catalogue = catalogue
        self._sync_log = sync_log
        self._requests = requests
        self._unread_columns = unread
        self._repair_gaps = repair_gaps
        self.look_for_gaps = True
        """Whether the sync log may tell of gaps that were not looked at yet."""
        self._read_up_to: dict[str, Cursor] = {}
        self._unfinished: set[str] = set()
        self._unread: dict[str, tuple[float, str]] = {}
        self._said: set[str] = set()

    async def asked_for(self) -> list[Request]:
        """What was asked of this producer and is not done, oldest first."""
        return [request for request in await self._requests.pending() if request.producer == self._name]

    async def note_gaps(self, source: Source, wanted: Statuses, place: Cursor | None) -> None:
        """Ask for the types to be read again of which changes are missing, and close the gaps of what is complete.

        `place` is how far the producer's log was applied.
        """
        if self.look_for_gaps and self._repair_gaps:
            gaps = await self._sync_log.open_gaps(self._name)
            for doctype in sorted(gaps.keys() & _approved(wanted)):
                read = self._read_up_to.get(doctype)
                if read is not None and place is not None and read.log == place.log and read.sequence >= gaps[doctype]:
                    # It was met on the way to where the type had been read up to already.
                    self._unfinished.add(doctype)
                else:
                    await self._requests.add(REPAIR, self._name, doctype)
                    log.info("gap_repair_started", producer=self._name, doctype=doctype)
            self.look_for_gaps = False
        await self._close_gaps(source)

    async def ask_for_new_columns(self, wanted: Collection[str]) -> None:
        """Ask for these types to be read again that got a column here: what came for it before was left out."""
        noted = await self._unread_columns.of_producer(self._name)
        asked = {request.doctype for request in await self.asked_for()}
        for doctype in sorted(noted.keys() & set(wanted) - self._unfinished - asked - self._said):
            new = sorted(noted[doctype] & self._fields(doctype))
            if new and self._repair_gaps:
                await self._requests.add(REPAIR, self._name, doctype)
                log.info("refetching", doctype=doctype, producer=self._name, because="columns were added here")
            elif new:
                self._said.add(doctype)
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
        """Close the gaps of types that were read, once nothing of them is parked or held."""
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
        return [request for request in await self.asked_for() if await self._is_due(request, source, wanted)]

    async def read(
        self,
        asked: Sequence[Request],
        source: Source,
        lister: Lister,
        wanted: Statuses,
        reading: Callable[..., WholeResync],
    ) -> bool:
        """Do what is due. Returns whether any type was read. `reading` makes a reading. Raises `PeerError`."""
        by_hand = {request.doctype for request in asked if request.kind == WHOLE}
        repaired = {request.doctype for request in asked} - by_hand
        # What cannot be read yet is read later: it does not keep the other types from going on.
        later = {request.doctype for request in await self.asked_for() if request.kind == WHOLE}
        results = []
        read: set[str] = set()
        for doctypes, repair in ((sorted(by_hand), False), (sorted(repaired), True)):
            if doctypes:
                whole = reading(repair=repair)
                restart = not repair and later >= _approved(wanted)
                results.append(await whole.run(source, lister, doctypes, restart=restart))
                read |= whole.as_of.keys()
                self._read_up_to |= whole.as_of
                again_at = time.monotonic() + AGAIN_SECONDS
                self._unread |= {doctype: (again_at, why) for doctype, why in whole.unread.items()}
        self._unfinished |= read
        await self._close_gaps(source)
        result = "; ".join(results)
        for request in asked:
            if request.doctype in read:
                await self._requests.finish(request.id, result)
            else:
                await self._is_due(request, source, wanted)
        log.info("read_whole", producer=self._name, result=result)
        return bool(read)

    async def _is_due(self, request: Request, source: Source, wanted: Statuses) -> bool:
        """Whether the type can be read now. Where not, the request says why; it ends where it never can be."""
        doctype = request.doctype
        status = wanted.get(doctype)
        if status in (None, ApprovalStatus.REJECTED, ApprovalStatus.UNSUBSCRIBED):
            what = f"{doctype} is {status or 'not subscribed to'} at {self._name}"
            log.warning("resync_refused", producer=self._name, doctype=doctype, error=what)
            await self._requests.finish(request.id, f"refused: {what}")
            return False
        again_at, reason = self._unread.get(doctype, (0.0, ""))
        if doctype in source.paused:
            reason = f"{doctype} is paused: {source.paused[doctype]}"
        elif status != ApprovalStatus.APPROVED:
            reason = f"{self._name} has not approved {doctype} yet"
        elif time.monotonic() >= again_at:
            self._unread.pop(doctype, None)
            return True
        if reason != request.result:
            await self._requests.wait(request.id, reason)
        return False


def _approved(wanted: Statuses) -> set[str]:
    return {doctype for doctype, status in wanted.items() if status == ApprovalStatus.APPROVED}
