"""Fetches the documents that a batch needs and that are not here: recursively, many at a time, within bounds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from pydantic import ValidationError

from streamd import clock as hlc
from streamd.apply.counterparts import Names
from streamd.apply.decoding import decode
from streamd.apply.dependency import in_order, needed
from streamd.apply.former import with_former_names
from streamd.apply.incoming import Incoming, ref_of
from streamd.apply.merging import Known
from streamd.apply.source import Ref, Source
from streamd.db.base import Reader, SiteDatabase
from streamd.errors import InvalidRequest, PeerRefused
from streamd.faults import crash_point
from streamd.model import Catalogue, Event, Operation, name_label
from streamd.wire import DocumentRef, Documents, WantedDocument, read_cursor

log = structlog.get_logger("streamd.apply")


class Fetcher(Protocol):
    """Gets documents from a producer."""

    async def fetch(self, wanted: Sequence[WantedDocument]) -> Documents:
        """The wanted documents that the producer has and gives. Raises `PeerError`."""
        ...

    async def find(self, doctype: str, filters: Mapping[str, Any]) -> Documents:
        """Documents of one of its types whose columns hold these values, two at the most. Raises `PeerError`."""
        ...


@dataclass(slots=True)
class Fetched:
    """What was fetched, ready to be put here, with what each links to.

    Of what it links to, `absent` was not here, and `renamed` is here under names from before renames that are queued.
    """

    documents: dict[Ref, Incoming] = field(default_factory=dict)
    links: dict[Ref, list[Ref]] = field(default_factory=dict)
    absent: set[Ref] = field(default_factory=set)
    renamed: set[Ref] = field(default_factory=set)

    def for_links(self, wanted: Iterable[Ref]) -> list[Incoming]:
        """The documents behind these links and all that they need in turn, in the order in which to put them."""
        return [self.documents[ref] for ref in in_order(wanted, self.links)]


@dataclass(frozen=True, slots=True)
class Want:
    """A document that is not here, and the way from a document of an approved type to it."""

    ref: Ref
    path: tuple[Ref, ...]


async def fetch_missing(
    wants: Sequence[Want],
    *,
    fetcher: Fetcher,
    database: SiteDatabase,
    catalogue: Catalogue,
    source: Source,
    names: Names,
    coming: frozenset[Ref],
    complete: Callable[[Sequence[Incoming]], Awaitable[Sequence[Incoming]]],
    found: Sequence[Incoming] = (),
) -> Fetched:
    """Fetch these documents, and those that they link to in turn, unless they are here or `coming` in the batch.

    `found` are documents that came already; `complete` sets links that are found by values, and gives what it found.
    No document of a closed type is fetched for a link of one that was fetched.
    Stops at the source's bounds: what is beyond them stays missing, and the events that need it are parked. They bound
    what is fetched for links, never a document that an event is of. Raises `PeerError`.
    """
    fetched = Fetched()
    closed = source.closed(catalogue)
    asked: set[Ref] = set()
    look = _Look(fetched, database, catalogue, names, source.site, closed, coming, complete)
    frontier = [*wants, *await look.beyond(found, {})]
    depth = 0
    while frontier and depth < source.max_depth:
        depth += 1
        frontier = [want for want in {want.ref: want for want in frontier}.values() if want.ref not in asked]
        frontier = _within(frontier, source.max_documents - len(asked))
        if not frontier:
            break
        asked |= {want.ref for want in frontier}
        requests = [wanted for want in frontier if (wanted := _wanted(want, source)) is not None]
        if not requests:
            break
        answer = await fetcher.fetch(requests)
        crash_point("apply.fetched")
        paths = {want.ref: want.path for want in frontier}
        given = [each for each in incoming_documents(answer, source, catalogue) if ref_of(each) in paths]
        frontier = await look.beyond(given, paths)
    if fetched.documents:
        log.debug("dependencies_fetched", documents=len(fetched.documents), rounds=depth)
    return fetched


@dataclass(frozen=True, slots=True)
class Absent:
    """Documents that are not here: those to fetch, and those that are known here by an older name.

    Of the latter a rename failed, and is queued. They are not fetched: each would be here twice.
    """

    wants: list[Want] = field(default_factory=list)
    renamed: frozenset[Ref] = frozenset()


async def absent(database: SiteDatabase, names: Names, wants: Sequence[Want], site: str) -> Absent:
    """Those of the documents of the producer `site` that are not here, each once."""
    if not wants:
        return Absent()
    refs = list(dict.fromkeys(want.ref for want in wants))
    async with database.snapshot() as reader:
        await names.load(reader, refs)
        here = await names.here(reader, refs)
        first: dict[Ref, Want] = {}
        for want in wants:
            if want.ref not in here:
                first.setdefault(want.ref, want)
        renamed = await _renamed(reader, first.keys(), site)
    return Absent([want for ref, want in first.items() if ref not in renamed], renamed)


async def _renamed(reader: Reader, refs: Collection[Ref], site: str) -> frozenset[Ref]:
    """Which of these got their names by events that are still queued."""
    if not refs:
        return frozenset()
    found = set()
    for doctype, name in (await reader.queued_documents(site)).intersection(refs):
        queue = await reader.queue(doctype, name)
        if any(each.producer == site and each.event.renamed_from is not None for each in queue):
            found.add((doctype, name))
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class _Look:
    """Takes fetched documents in, and looks what they need in turn."""

    fetched: Fetched
    database: SiteDatabase
    catalogue: Catalogue
    names: Names
    site: str
    closed: frozenset[str]
    coming: frozenset[Ref]
    complete: Callable[[Sequence[Incoming]], Awaitable[Sequence[Incoming]]]

    async def beyond(self, given: Sequence[Incoming], paths: Mapping[Ref, tuple[Ref, ...]]) -> list[Want]:
        """What these documents link to, and what is not here. `paths` are the ways on which they were found."""
        given = [*given, *await self.complete(given)]
        own = [each for incoming in given for each in incoming.event.own]
        if own:
            async with self.database.snapshot() as reader:
                await self.names.load(reader, (), own)
        if any(incoming.former for incoming in given):
            async with self.database.snapshot() as reader:
                given = await with_former_names(reader, self.names, given, self.catalogue)
        wants: list[Want] = []
        for incoming in given:
            ref = ref_of(incoming)
            self.fetched.documents[ref] = incoming
            self.fetched.links[ref] = needed(incoming, self.catalogue, None)
            wants += [Want(target, (*paths.get(ref, ()), ref)) for target in self.fetched.links[ref]]
        wants = [want for want in wants if want.ref not in self.coming and want.ref not in self.fetched.documents]
        missing = await absent(self.database, self.names, wants, self.site)
        self.fetched.renamed |= missing.renamed
        self.fetched.absent |= {want.ref for want in missing.wants}
        return [want for want in missing.wants if want.ref[0] not in self.closed]


def incoming_documents(answer: Documents, source: Source, catalogue: Catalogue) -> list[Incoming]:
    """Fetched documents as creates that contain the producer's log up to the answer's cursor.

    What has not the shape of a document is left out. Raises `PeerRefused` for a cursor that cannot be read.
    """
    try:
        as_of = read_cursor(answer.as_of)
    except InvalidRequest as error:
        raise PeerRefused("the producer sent a cursor that cannot be read", hint="upgrade the older site") from error
    found = []
    for document in answer.documents:
        event = Event(
            sequence=as_of.sequence,
            nonce=as_of.nonce,
            tx=0,
            doctype=document.doctype,
            name=document.name,
            operation=Operation.CREATE,
            # Later than all that the producer had seen, and its own: no edit that others made has this clock.
            clock=hlc.tick(document.clock, 0, source.site) if hlc.is_reading(document.clock) else hlc.ZERO,
            at=0,
            data=document.data,
            own=document.own,
            life=document.life if not document.life or hlc.is_reading(document.life) else None,
        )
        incoming = decode(event, source, as_of.log, catalogue)
        if incoming.data is not None and incoming.event.doctype in catalogue:
            incoming.fetched = True
            clocks = {name: clock for name, clock in document.clocks.items() if hlc.is_reading(clock)}
            mapped = source.mapped.get(document.doctype)
            clocks = clocks if mapped is None else mapped.clocks(clocks)
            incoming.known = Known(document.source, clocks)
            incoming.former = document.former
            found.append(incoming)
    return found


def _within(wants: Sequence[Want], room: int) -> list[Want]:
    """All that stand for themselves, and of what is wanted for links as many as there is `room` for."""
    own = [want for want in wants if not want.path]
    linked = [want for want in wants if want.path]
    return own + linked[: max(room - len(own), 0)]


def _wanted(want: Want, source: Source) -> WantedDocument | None:
    """The request for one document; None for a name that cannot travel (longer than the protocol allows)."""
    doctype, name = want.ref
    try:
        path = [DocumentRef(doctype=source.remote(step), name=list(step_name)) for step, step_name in want.path]
        return WantedDocument(doctype=source.remote(doctype), name=list(name), path=path)
    except ValidationError:
        log.warning("name_cannot_travel", doctype=doctype, name=name_label(name)[:200])
        return None
