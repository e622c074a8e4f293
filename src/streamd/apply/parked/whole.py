"""Reads all documents of some types again from their producer: for a gap, or a log that began anew.

A reading is one plan. It begins with the names of all documents of all its types. Then each document is read and
written. What the database refuses may need a value that a later document of the reading, or one that is gone there,
still has here: so it is tried again together with what has to be removed, as long as that gets on. What fails at last
is parked like an event. A document is removed only where it came from the producer, which says that it is gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from types import MappingProxyType
from typing import Protocol

import msgspec
import structlog

from streamd.apply.applier import Applier
from streamd.apply.batch import PAUSED, Unit
from streamd.apply.decide.remembering import NO_LOG
from streamd.apply.event.decoding import DELETE
from streamd.apply.event.incoming import Incoming, Purpose, Reading, read_for, ref_of
from streamd.apply.fetch.dependency import in_order
from streamd.apply.fetch.fetching import CANNOT_READ, Fetcher, incoming_documents
from streamd.apply.fetch.former import with_former_names
from streamd.apply.localnames.names import Names
from streamd.apply.parked.queues import renamed_names
from streamd.apply.source import Ref, Source
from streamd.common import clock as hlc
from streamd.common.values import names_by_type
from streamd.db.base import SiteDatabase
from streamd.errors import PeerError, PeerUnreachable, RowRefused
from streamd.model import (
    Catalogue,
    Cursor,
    DocumentId,
    DocumentType,
    Event,
    Name,
    Operation,
    QueuedEvent,
    QueueRequest,
    Record,
)
from streamd.wire import PARTIAL_VIEW, Documents, NamesAnswer, WantedDocument, read_cursor

log = structlog.get_logger("streamd.apply")

DOCUMENTS_AT_ONCE = 200
NAMES_AT_ONCE = 1000

TOGETHER = 400
"""Documents that are tried again together, at most: those that were refused, and those that are to be removed."""

NOT_GIVEN = "the producer lists this document, and does not give it"


Unread = Mapping[str, frozenset[str]]
NONE_UNREAD: Unread = MappingProxyType({})


class Lister(Fetcher, Protocol):
    """A producer that can also be asked for all names of a type."""

    async def names(self, doctype: str, after: Name | None, limit: int) -> NamesAnswer:
        """Names of documents that follow `after`. Raises `PeerError`."""
        ...


class WholeResync:
    """Makes the documents of some types here what they are at the producer.

    With `repair`, all but what was edited later here, or at a third site: for a gap that nobody has looked at. Without,
    that holds for the types that `returns` names: what is edited here of them goes to the producer, and has not reached
    it yet. Of all others the producer's word counts; what it replaces is said. `unread` has, by type, the columns that
    are new here (`apply/decide/newcolumns.py`).
    """

    def __init__(
        self,
        applier: Applier,
        database: SiteDatabase,
        catalogue: Catalogue,
        site: str,
        *,
        repair: bool = False,
        returns: frozenset[str] = frozenset(),
        unread: Unread = NONE_UNREAD,
    ) -> None:
        self._applier = applier
        self._database = database
        self._catalogue = catalogue
        self._site = site
        self._repair = repair
        self._returns = returns
        self._unread = unread
        self.as_of: dict[str, Cursor] = {}
        """For each type that was read: the place in the producer's log up to which that surely contains everything."""
        self.unread: dict[str, str] = {}
        """The types that could not be read, with the reasons."""

    async def run(self, source: Source, lister: Lister, doctypes: Sequence[str], *, restart: bool) -> str:
        """Read these types again. Returns what was done, in words.

        With `restart` the checkpoint is set to the log's end as it was before the reading began, so that pulling
        goes on from there: only right where all subscribed types are read. Raises `PeerError`.
        """
        reading = _Reading(self._applier, self._database, self._catalogue, self._site, source, lister)
        reading.repair, reading.returns, reading.new = self._repair, self._returns, self._unread
        there: dict[str, list[Name]] = {}
        for doctype in doctypes:
            if doctype in source.paused:
                self.unread[doctype] = f"{doctype}{PAUSED}{source.paused[doctype]}"
                continue
            try:
                there[doctype], self.as_of[doctype] = await reading.names(doctype)
            except PeerError as error:
                if error.code != PARTIAL_VIEW:
                    raise
                self.unread[doctype] = error.message
        for doctype in _in_link_order(there, self._catalogue):
            await reading.write(doctype, there[doctype])
        await reading.finish(there)
        await self._applier.confirm()
        if restart and self.as_of:
            start = min(self.as_of.values(), key=lambda place: place.sequence)
            async with self._database.transaction() as transaction:
                await transaction.put_checkpoint(source.site, start.log, start.sequence, start.nonce)
        return "; ".join([*self.unread.values(), *reading.words(there)])


class _Reading:
    """One reading under way. `_refused` are documents that the database refused by now, in remote form, and why."""

    def __init__(
        self,
        applier: Applier,
        database: SiteDatabase,
        catalogue: Catalogue,
        site: str,
        source: Source,
        lister: Lister,
    ) -> None:
        self._applier = applier
        self._database = database
        self._catalogue = catalogue
        self._site = site
        self._source = source
        self._lister = lister
        self.repair = False
        self.returns: frozenset[str] = frozenset()
        self.new: Unread = NONE_UNREAD
        self._log: str | None = None
        self._refused: dict[Ref, str] = {}
        self._ids: dict[Ref, DocumentId] = {}
        self._removed: dict[str, int] = {}
        self._kept: dict[str, int] = {}
        self._queued: dict[str, int] = {}

    async def names(self, doctype: str) -> tuple[list[Name], Cursor]:
        """The names of all documents of a type, and the place in the log that surely is in all that is read of them."""
        found: list[Name] = []
        first: Cursor | None = None
        while True:
            after = found[-1] if found else None
            answer = await self._lister.names(self._source.remote(doctype), after, NAMES_AT_ONCE)
            place = self._place(answer.as_of)
            first = first or place
            found += [tuple(name) for name in answer.names]
            if not answer.more or not answer.names:
                return found, first

    def words(self, there: Mapping[str, Sequence[Name]]) -> Iterable[str]:
        """What was done, by type."""
        for doctype, names in there.items():
            text = f"{doctype}: {len(names)} documents read, {self._removed.get(doctype, 0)} removed"
            if kept := self._kept.get(doctype):
                text += f", {kept} kept that the producer neither lists nor calls gone"
            if queued := self._queued.get(doctype):
                text += f", {queued} failed or waiting (`streamd log syncs --status failed`)"
            yield text

    async def write(self, doctype: str, names: Sequence[Name]) -> None:
        """Read these documents, and write them as far as the database takes them."""
        for begin in range(0, len(names), DOCUMENTS_AT_ONCE):
            some = names[begin : begin + DOCUMENTS_AT_ONCE]
            await self._commit(await self._read(doctype, some))
            log.info("reading_whole", doctype=doctype, producer=self._source.name, documents=begin + len(some))

    async def finish(self, there: Mapping[str, Sequence[Name]]) -> None:
        """Remove what is gone there, try again what was refused, and park what cannot be written, or removed."""
        gone: list[Ref] = []
        for doctype in reversed(_in_link_order(there, self._catalogue)):
            gone += await self._gone(self._catalogue[doctype], set(there[doctype]))
        doomed = set(gone)
        while self._refused or gone:
            refused, self._refused = self._refused, {}
            left = len(refused) + len(gone)
            todo = chain(((ref, True) for ref in gone), ((ref, False) for ref in refused))
            while some := list(islice(todo, TOGETHER)):
                await self._commit(await self._again(some))
            gone = [ref for ref in gone if ref in self._refused]
            if len(self._refused) >= left:
                break
            for ref in gone:
                del self._refused[ref]
        for doctype, _ in doomed - set(gone):
            self._removed[doctype] = self._removed.get(doctype, 0) + 1
        await self._park(doomed)
        for doctype in there:
            self._queued[doctype] = len({each.event.name for each in await self._queue(doctype)})

    async def _again(self, some: Sequence[tuple[Ref, bool]]) -> list[Incoming]:
        """These documents as they are now; those that are marked are to be removed."""
        incoming = [self._deletion(ref) for ref, is_gone in some if is_gone]
        for doctype, names in names_by_type(ref for ref, is_gone in some if not is_gone).items():
            incoming += await self._read(doctype, names)
        return incoming

    async def _read(self, doctype: str, names: Sequence[Name]) -> list[Incoming]:
        """These documents as the producer has them now. Of what is renamed in a queue the healer takes care."""
        answer = await self._fetch(doctype, names)
        queue = await self._queue(doctype)
        renamed = renamed_names(queue)
        await self._leave([each for each in queue if each.event.name in renamed.intersection(names)])
        read = [
            each for each in incoming_documents(answer, self._source, self._catalogue) if each.event.name not in renamed
        ]
        async with self._database.snapshot() as reader:
            read = await with_former_names(reader, Names(self._source, self._catalogue), read, self._catalogue)
        read = [self._taken(each) for each in read]
        given = {each.event.name for each in read} | renamed | set(answer.gone.get(self._source.remote(doctype), ()))
        place = self._place(answer.as_of)
        problems = dict(answer.unreadable.get(self._source.remote(doctype), ()))
        read += [self._not_given((doctype, name), place, problems.get(name, "")) for name in names if name not in given]
        # A name that one document gave up may be another one's now: what moves goes first.
        return sorted(read, key=lambda each: each.event.renamed_from is None)

    def _taken(self, incoming: Incoming) -> Incoming:
        doctype, reading = incoming.event.doctype, incoming.reading or Reading()
        if not self.repair:
            return read_for(incoming, Purpose.RESYNC if doctype in self.returns else Purpose.OVERWRITE)
        # What the producer has from here is the document that is here.
        is_same, new_here = reading.known.source == self._site, self.new.get(doctype, frozenset())
        return read_for(incoming, Purpose.REPAIR, is_same=is_same, new_here=new_here)

    async def _fetch(self, doctype: str, names: Sequence[Name]) -> Documents:
        remote = self._source.remote(doctype)
        return await self._lister.fetch([WantedDocument(remote, name) for name in names])

    def _place(self, as_of: str) -> Cursor:
        """The place of an answer. Raises `PeerUnreachable` where the log is another one than when the reading began."""
        place = read_cursor(as_of)
        if self._log not in (None, place.log):
            raise PeerUnreachable(f"{self._source.name} began a new log while it was read", hint="it is read again")
        self._log = place.log
        return place

    async def _queue(self, doctype: str) -> list[QueuedEvent]:
        async with self._database.snapshot() as reader:
            return [each for each in await reader.queue(doctype) if each.producer == self._source.site]

    async def _leave(self, queue: Sequence[QueuedEvent]) -> None:
        """Let the healer take whole what was renamed in the queue: it knows which document here that is."""
        if queue:
            async with self._database.transaction() as transaction:
                await transaction.update_queue([replace(each, request=QueueRequest.WHOLE) for each in queue])

    async def _commit(self, incoming: Sequence[Incoming]) -> None:
        """Write these, with what they need, and let their queues go: what is read contains them."""
        waiting: dict[Ref, list[int]] = {}
        for doctype in {each.event.doctype for each in incoming}:
            for queued in await self._queue(doctype):
                waiting.setdefault((doctype, queued.event.name), []).append(queued.id)
        await self._write(await self._applier.prepare(self._source, incoming, self._lister), waiting)

    async def _write(self, units: list[Unit], waiting: Mapping[Ref, list[int]]) -> None:
        """Write in halves until what is refused stands alone."""
        if not units:
            return
        try:
            ids = [each for unit in units for ref in unit.refs for each in waiting.get(ref, ())]
            await self._applier.commit(self._source, units, None, ids)
        except RowRefused as error:
            if len(units) == 1:
                self._refused[ref_of(units[0].incoming)] = error.message
                return
            middle = len(units) // 2
            await self._write(units[:middle], waiting)
            await self._write(units[middle:], waiting)

    async def _gone(self, doctype: DocumentType, there: set[Name]) -> list[Ref]:
        """What came from the producer, and is gone there, as it says itself.

        Not where what ceases to satisfy our condition is kept: nobody could tell it from what was deleted.
        """
        if self._source.on_leave.get(doctype.name, DELETE) != DELETE:
            return []
        # What is called otherwise there by now is renamed here as soon as its queue is applied.
        renamed = renamed_names(await self._queue(doctype.name))
        found: list[Ref] = []
        after: Name | None = None
        while True:
            async with self._database.snapshot() as reader:
                names = await reader.list_names(doctype, after, NAMES_AT_ONCE)
                records = await reader.records(doctype.name, names)
            if not names:
                return found
            after = names[-1]
            came = [each for each in records.values() if each.source == self._source.site and not each.deleted_at]
            named = {each.remote_name: each.id for each in came if each.id is not None and each.id.site}
            self._ids |= {(doctype.name, name): id for name, id in named.items()}
            remote = [*named]
            if doctype.name not in self._source.renamed:
                remote += [_called_there(each, there) for each in came if each.id is None or not each.id.site]
            absent = [name for name in remote if name not in there and name not in renamed]
            for begin in range(0, len(absent), DOCUMENTS_AT_ONCE):
                found += await self._proven_gone(doctype.name, absent[begin : begin + DOCUMENTS_AT_ONCE])

    async def _proven_gone(self, doctype: str, names: Sequence[Name]) -> list[Ref]:
        """Those of these documents of which the producer says that they are gone; others may have been made since."""
        answer = await self._fetch(doctype, names)
        self._place(answer.as_of)
        gone = set(answer.gone.get(self._source.remote(doctype), ()))
        given = {each.name for each in answer.documents}
        for name in names:
            if name in given:
                self._refused[(doctype, name)] = ""
            elif name not in gone:
                self._kept[doctype] = self._kept.get(doctype, 0) + 1
        return [(doctype, name) for name in names if name in gone]

    async def _park(self, doomed: set[Ref]) -> None:
        """Keep what was refused at last as parked events. Of what has a queue already, that tells enough."""
        refused, self._refused = self._refused, {}
        for ref, error in refused.items():
            log.warning("document_refused", doctype=ref[0], name=ref[1], error=error)
            if any(each.event.name == ref[1] for each in await self._queue(ref[0])):
                continue
            for each in [self._deletion(ref)] if ref in doomed else await self._read(ref[0], [ref[1]]):
                unit = Unit(each, refused=error or each.fault)
                await self._applier.commit(self._source, [unit], None)

    def _deletion(self, ref: Ref) -> Incoming:
        now = time.time_ns() // 1_000_000
        doctype, name = ref
        clock = hlc.reading(now, 0, self._source.site)
        event = Event(0, "", 0, doctype, name, Operation.DELETE, clock, now, id=self._ids.get(ref))
        return Incoming(event, {"old": None}, self._source.site, NO_LOG, Reading())

    def _not_given(self, ref: Ref, place: Cursor, problem: str) -> Incoming:
        """A document that is there, and was not given, for this problem if the producer tells: it fails."""
        doctype, name = ref
        event = Event(place.sequence, place.nonce, 0, doctype, name, Operation.CREATE, hlc.ZERO, 0)
        arrived = msgspec.structs.replace(event, doctype=self._source.remote(doctype))
        fault = CANNOT_READ.format(problem) if problem else NOT_GIVEN
        return Incoming(event, None, self._source.site, place.log, Reading(), fault=fault, arrived=arrived)


def _in_link_order(doctypes: Iterable[str], catalogue: Catalogue) -> list[str]:
    """These types, each after those that it links to, as far as they do not link in a circle."""
    links: dict[Ref, list[Ref]] = {}
    for name in doctypes:
        doctype = catalogue[name]
        every = [*doctype.links, *(link for child in doctype.children for link in child.links)]
        links[(name, ())] = [(link.doctype, ()) for link in every if link.doctype is not None and link.doctype != name]
    return [name for name, _ in in_order(list(links), links)]


def _called_there(record: Record, there: set[Name]) -> Name:
    """The producer's name of a document: that under which it came, where it was renamed here and is not there yet."""
    return record.remote_name if record.remote_name in there else record.name
