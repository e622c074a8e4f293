"""Events that failed, or wait behind one that did: tried again until they fit, or a person discards them.

What fixes a failed event usually arrives later from its source. So a queue is healed by fetching the document as its
producer has it now. Its events are applied one by one only where that does not work.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from streamd.apply.applier import Applier
from streamd.apply.batch import Replan, Unit
from streamd.apply.event.decoding import decode
from streamd.apply.event.incoming import Incoming, Purpose, read_for
from streamd.apply.event.joining import ended, joined_updates
from streamd.apply.fetch.fetching import CANNOT_READ, Fetcher, Want, fetch_missing
from streamd.apply.fetch.finding import Finder
from streamd.apply.fetch.former import without_room
from streamd.apply.localnames.names import Names
from streamd.apply.parked.queues import by_document, documents_of, groupings
from streamd.apply.source import Ref, Source
from streamd.common.instrumentation import crash_point
from streamd.common.retry import parked_pause
from streamd.db.base import Reader, SiteDatabase
from streamd.errors import PeerError, RowRefused, ValueTaken
from streamd.model import (
    Catalogue,
    Operation,
    QueuedEvent,
    QueueRequest,
    QueueState,
    name_from_text,
    name_label,
    name_text,
)
from streamd.store.sync_log import SyncLog

log = structlog.get_logger("streamd.apply")

DELETED = ""
"""Stands for the types of all documents that are to be deleted: they may link to each other in a circle."""

REST_SECONDS = 5.0
"""How soon to look again, where all that is queued waits for types that are paused."""


@dataclass(frozen=True, slots=True)
class Route:
    """A producer, and the way to ask it for documents."""

    source: Source
    fetcher: Fetcher


class Healer:
    """Tries queues again when they are due, asked for, or what they wait for has come."""

    def __init__(self, applier: Applier, database: SiteDatabase, catalogue: Catalogue, sync_log: SyncLog) -> None:
        self._applier = applier
        self._database = database
        self._catalogue = catalogue
        self._sync_log = sync_log
        self._routes: Mapping[str, Route] = {}
        self._clashing: set[tuple[str, str]] = set()

    async def run_once(self, routes: Mapping[str, Route], *, everything: bool = False) -> int:
        """Try what is due (or everything). Returns how many events were applied.

        `routes` has the producers that can be asked now, by their UUIDs; queues of others rest, and those of types that
        are paused, unless a person asked for one.
        """
        self._routes = routes
        applied = 0
        again = True
        # Types whose documents wait for values that others of them had: some were given up just now.
        freed: set[tuple[str, str]] = set()
        while again:
            # What was healed may be what another queue waits for.
            again = False
            async with self._database.snapshot() as reader:
                queues = by_document(await reader.queue())
                due = [
                    queue
                    for queue in queues.values()
                    if queue[0].producer in routes
                    and (
                        (queue[0].producer, queue[0].doctype) in freed
                        or await self._is_due(reader, queue, everything=everything)
                    )
                ]
            everything = False
            self._clashing.clear()
            for queue in due:
                healed = await self._try(queue, routes[queue[0].producer])
                applied += healed
                again = again or healed > 0
            healed = await self._together()
            applied += healed
            again = again or healed > 0
            freed = set(self._clashing)
        return applied

    async def _together(self) -> int:
        """Try documents together, where one was refused for what another one has: a value, or a link to it.

        That one may be parked as well, for what the first one has. Returns how many events were applied.
        """
        healed = 0
        if self._clashing:
            async with self._database.snapshot() as reader:
                queues = list(by_document(await reader.queue()).values())
            for producer, doctype in self._clashing:
                kin = [each for each in queues if each[0].producer == producer and _is_kin(each, doctype)]
                free = [each for each in kin if each[0].waits_for is None and each[0].state == QueueState.PARKED]
                for group in groupings(free):
                    if await self._are_applied(group, self._routes[producer]):
                        healed += sum(map(len, group))
                        break
        return healed

    async def _are_applied(self, queues: Sequence[Sequence[QueuedEvent]], route: Route) -> bool:
        """Apply what is left of these queues in one transaction, if that can be done without asking the producer."""
        incoming = []
        for queue in queues:
            one = self._as_one(self._decoded(queue, route), route)
            if one is None or one.event.doctype not in self._catalogue:
                return False
            incoming.append(replace(one, at_once=one.event.renamed_from is not None))
        try:
            units = await self._applier.prepare(route.source, incoming, route.fetcher)
            await self._commit(queues, units, route)
        except (RowRefused, Replan, PeerError) as error:
            # Each of them is in the queue with its own reason.
            log.debug("not_healed_together", documents=len(queues), error=str(error))
            return False
        return True

    def _decoded(self, queue: Sequence[QueuedEvent], route: Route) -> list[Incoming]:
        return [decode(each.event, route.source, each.log, self._catalogue) for each in queue]

    def _as_one(self, events: Sequence[Incoming], route: Route) -> Incoming | None:
        """The event that does what all of these do, where that is known without asking the producer."""
        return events[0] if len(events) == 1 else ended(events) or joined_updates(events, self._catalogue, route.source)

    async def next_due(self) -> float | None:
        """In how many seconds the next queue is due; None if nothing is queued."""
        async with self._database.snapshot() as reader:
            queues = list(by_document(await reader.queue()).values())
        if not queues:
            return None
        earliest = min((queue[0].retry_at for queue in queues if not self._rests(queue)), default=None)
        return REST_SECONDS if earliest is None else max((earliest - _now()) / 1000, 0.0)

    def _rests(self, queue: Sequence[QueuedEvent]) -> bool:
        """Whether these wait for a type that is paused, as far as we know: their own, or that of what they need."""
        head = queue[0]
        paused = self._paused(head.producer)
        return head.doctype in paused or (head.waits_for is not None and head.waits_for[0] in paused)

    def _paused(self, producer: str) -> Mapping[str, str]:
        route = self._routes.get(producer)
        theirs = {} if route is None else route.source.paused
        return {**theirs, **self._applier.refused_types.paused()}

    async def _is_due(self, reader: Reader, queue: Sequence[QueuedEvent], *, everything: bool) -> bool:
        head = queue[0]
        now = _now()
        if any(event.request for event in queue):
            return True
        if head.doctype in self._paused(head.producer):
            return False
        if not self._rests(queue):
            if everything or head.retry_at <= now:
                return True
            # An event that came since the last try may be the mend; it has not been tried with the others yet.
            if len(queue) > 1 and queue[-1].parked_at != head.tried_to:
                return True
        if head.waits_for is None:
            return False
        ref: Ref = (head.waits_for[0], name_from_text(head.waits_for[1]))
        route = self._routes.get(head.producer)
        if ref[0] not in self._catalogue or route is None:
            return False
        names = Names(route.source, self._catalogue)
        await names.load(reader, [decode(head.event, route.source, head.log, self._catalogue)], [ref])
        return bool(await names.here(reader, [ref]))

    async def _try(self, queue: Sequence[QueuedEvent], route: Route) -> int:
        """Returns how many of these events left the queue."""
        if queue[0].doctype not in self._catalogue:
            await self._failed(queue, "its document type is no longer declared here")
            return 0
        if queue[0].doctype in route.source.paused:
            # A person asked for it: then it is tried all the same.
            others = {name: why for name, why in route.source.paused.items() if name != queue[0].doctype}
            route = replace(route, source=replace(route.source, paused=others))
        try:
            if any(event.request == QueueRequest.WHOLE for event in queue):
                return await self._whole(queue, route)
            return await self._heal(queue, route)
        except PeerError as error:
            await self._failed(
                queue, f"{queue[0].error.split(' — ')[0]} — the producer cannot be asked now: {error.message}"
            )
            return 0

    async def _heal(self, queue: Sequence[QueuedEvent], route: Route) -> int:
        events = self._decoded(queue, route)
        strange = next((each.event.doctype for each in events if each.event.doctype not in self._catalogue), None)
        if strange is not None:
            await self._failed(queue, f"{strange} is no document type of this site: is a mapping missing?")
            return 0
        error = ""
        last = events[0] if len(events) == 1 else ended(events)
        if last is not None:
            try:
                await self._apply(queue, [last], route)
            except RowRefused as refused:
                error = self._why(queue, refused)
            else:
                return len(queue)
        if await self._as_it_is_now(queue, route):
            return len(queue)
        healed = 0
        for one, incoming in zip(queue, events, strict=True) if len(events) > 1 else ():
            try:
                await self._apply([one], [incoming], route)
            except RowRefused as refused:
                error = self._why(queue, refused)
                break
            healed += 1
        if queue[healed:]:
            await self._failed(queue[healed:], error)
        return healed

    def _why(self, queue: Sequence[QueuedEvent], refused: RowRefused) -> str:
        if isinstance(refused, ValueTaken):
            self._clashing.add((queue[0].producer, queue[0].doctype))
        elif queue[-1].event.operation == Operation.DELETE:
            self._clashing.add((queue[0].producer, DELETED))
        return refused.message

    async def _apply(self, queue: Sequence[QueuedEvent], incoming: Sequence[Incoming], route: Route) -> None:
        try:
            await self._commit([queue], await self._applier.prepare(route.source, incoming, route.fetcher), route)
        except Replan:
            # The second plan knows that the document is gone.
            await self._commit([queue], await self._applier.prepare(route.source, incoming, route.fetcher), route)

    async def _commit(self, queues: Sequence[Sequence[QueuedEvent]], units: list[Unit], route: Route) -> None:
        ids = [each.id for queue in queues for each in queue]
        entries = await self._applier.commit(route.source, units, None, ids)
        crash_point("heal.committed")
        await self._applier.confirm()
        for queue in queues:
            events = {(each.event.sequence, name_text(each.event.name)) for each in queue}
            own = [entry for entry in entries if len(queues) == 1 or (entry.sequence, entry.remote_docname) in events]
            note = "; ".join(entry.note for entry in own if entry.note)
            await self._sync_log.resolve(
                route.source.name,
                queue[0].doctype,
                [(each.event.sequence, each.event.name) for each in queue],
                f"applied later; {note}".rstrip("; "),
                docname=own[-1].docname if own else None,
            )
            name = name_label(queue[0].event.name)
            log.info("queue_healed", doctype=queue[0].doctype, name=name, events=len(queue))

    async def _as_it_is_now(self, queue: Sequence[QueuedEvent], route: Route) -> bool:
        """Whether the document could be merged as the producer has it now: that has all that is queued in it.

        What is newer here stays, and another document that has its name. What is gone there comes as an event.
        """
        if queue[-1].event.operation in (Operation.DELETE, Operation.LEAVE):
            return False
        try:
            incoming = await self._fetched(queue, route, Purpose.REPAIR)
            if incoming:
                await self._apply(queue, incoming, route)
        except (RowRefused, PeerError) as error:
            # The queue says why its events are refused.
            log.debug("not_healed_whole", doctype=queue[0].doctype, error=error.message)
            return False
        return bool(incoming)

    async def _whole(self, queue: Sequence[QueuedEvent], route: Route) -> int:
        """Take the document as the producer has it now, in place of all that is queued."""
        try:
            incoming = await self._fetched(queue, route, Purpose.OVERWRITE)
            if incoming:
                await self._apply(queue, incoming, route)
                return len(queue)
            why = "the producer does not have (or give) this document any more: discard this, if so"
        except RowRefused as refused:
            why = refused.message
        await self._failed(queue, why)
        return 0

    async def _fetched(self, queue: Sequence[QueuedEvent], route: Route, purpose: Purpose) -> list[Incoming]:
        """The documents of the queue as the producer has them now; nothing where it does not give all of them.

        Raises `RowRefused`, `PeerError`.
        """
        refs = documents_of(queue)
        names = Names(route.source, self._catalogue)
        fetched = await fetch_missing(
            [Want(ref, ()) for ref in refs],
            fetcher=route.fetcher,
            database=self._database,
            catalogue=self._catalogue,
            source=route.source,
            names=names,
            coming=frozenset(),
            complete=Finder(route.source, self._catalogue, route.fetcher).complete,
        )
        problem = next((ref for ref in refs if ref in fetched.problems), None)
        if problem is not None:
            raise RowRefused(CANNOT_READ.format(fetched.problems[problem]))
        if not all(ref in fetched.documents for ref in refs):
            return []
        taken = [read_for(fetched.documents[ref], purpose) for ref in refs]
        async with self._database.snapshot() as reader:
            blocked = await without_room(reader, names, taken, self._catalogue)
        if blocked is not None:
            label = f"{blocked.event.doctype} {name_label(blocked.former[0].name)}"
            raise RowRefused(
                f"{label} is called {name_label(blocked.event.name)} by now, and another document has that name here. "
                "Rename or remove the one that is wrong, here or there"
            )
        # A name that one document gave up may be another one's now: what moves goes first.
        return sorted(taken, key=lambda each: each.event.renamed_from is None)

    async def _failed(self, queue: Sequence[QueuedEvent], error: str) -> None:
        head = queue[0]
        head.error = error or head.error
        if head.waits_for is None:
            # It waited behind another one, and has failed by itself now.
            head.state = QueueState.PARKED
        head.attempts += 1
        # Not the time: what came while this was being tried has not been tried.
        head.tried_to = queue[-1].parked_at
        head.retry_at = _now() + int(parked_pause(head.attempts) * 1000)
        for each in queue:
            each.request = ""
        async with self._database.transaction() as transaction:
            await transaction.update_queue(queue)


def _is_kin(queue: Sequence[QueuedEvent], doctype: str) -> bool:
    if doctype == DELETED:
        return queue[-1].event.operation == Operation.DELETE
    return queue[0].doctype == doctype


def _now() -> int:
    return time.time_ns() // 1_000_000
