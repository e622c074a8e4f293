"""Fetches the documents that a batch needs and that are not here: recursively, many at a time, within bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import structlog

from streamd.apply.decide.merging import Known
from streamd.apply.event.decoding import decode
from streamd.apply.event.incoming import Incoming, Reading, ref_of
from streamd.apply.fetch.dependency import in_order, needed
from streamd.apply.fetch.former import with_former_names
from streamd.apply.localnames.names import Names
from streamd.apply.source import Ref, Source
from streamd.common import clock as hlc
from streamd.common.instrumentation import crash_point
from streamd.db.base import Reader, SiteDatabase
from streamd.errors import InvalidRequest, PeerRefused
from streamd.model import Catalogue, Event, Operation, name_label
from streamd.wire import Documents, WantedDocument, read_cursor

log = structlog.get_logger("streamd.apply")


FOLLOWED_FIRST, FOLLOWED_MOST = 50, 5000
"""How many documents may come along with a request at first, and at most, once links turn out to go on and on."""

SHORT_WAY = 20
"""Longer ways are told from the last document on that may be had by itself."""

CANNOT_READ = "the producer cannot read this document: {}. Correct it there"

ROUNDS_BEFORE = 2
"""Requests before that: most links lead to what is here, or ends soon."""


class Fetcher(Protocol):
    """Gets documents from a producer."""

    async def fetch(self, wanted: Sequence[WantedDocument], follow: int = 0) -> Documents:
        """The wanted documents that the producer has and gives. Raises `PeerError`.

        Up to `follow` documents that they link to, in turn, may come along.
        """
        ...

    async def find(self, doctype: str, filters: Mapping[str, Any]) -> Documents:
        """Documents of one of its types whose columns hold these values, two at the most. Raises `PeerError`."""
        ...


@dataclass(slots=True)
class Fetched:
    """What was fetched, ready to be put here, with what each links to.

    Of what it links to, `absent` was not here, and `renamed` is here under names from before renames that are queued.
    `beyond` was not asked for, because of the source's bounds; `bound` says which one. `problems` say why the producer
    cannot read some that exist.
    """

    documents: dict[Ref, Incoming] = field(default_factory=dict)
    links: dict[Ref, list[Ref]] = field(default_factory=dict)
    absent: set[Ref] = field(default_factory=set)
    renamed: set[Ref] = field(default_factory=set)
    beyond: set[Ref] = field(default_factory=set)
    bound: str = ""
    problems: dict[Ref, str] = field(default_factory=dict)

    def why_missing(self, ref: Ref) -> str:
        """Why an event that needs this document has to wait."""
        label = f"needs {ref[0]} {name_label(ref[1])}"
        if ref in self.problems:
            return f"{label}: {CANNOT_READ.format(self.problems[ref])}"
        if ref in self.beyond:
            return f"{label}, which was not fetched: links lead on beyond {self.bound}. Raise that"
        return f"{label}, which is neither here nor given by the producer"

    def for_links(self, wanted: Iterable[Ref]) -> list[Incoming]:
        """The documents behind these links and all that they need in turn, in the order in which to put them."""
        return [self.documents[ref] for ref in in_order(wanted, self.links)]


@dataclass(frozen=True, slots=True)
class Want:
    """A document that is not here, and the way from a document of an approved type to it.

    The way is `path`, or that to the document `after`, which links to this one, and then that document.
    """

    ref: Ref
    path: tuple[Ref, ...] = ()
    after: Want | None = None

    @property
    def for_a_link(self) -> bool:
        return bool(self.path) or self.after is not None

    def way(self) -> list[Ref]:
        """The documents on the way, the first one first."""
        found: list[Ref] = []
        want = self
        while want.after is not None:
            want = want.after
            found.append(want.ref)
        return [*want.path, *reversed(found)]


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
    No document of a closed type is fetched for a link of one that was fetched. Where links go on and on, the producer
    is asked to send what follows along, more each time.
    Stops at the source's bounds: what is beyond them stays missing, and the events that need it are parked. They bound
    what is fetched for links, never a document that an event is of. Raises `PeerError`.
    """
    fetched = Fetched()
    closed = source.closed(catalogue)
    look = _Look(fetched, database, catalogue, names, source, closed, coming, complete)
    await look.take(found)
    frontier = [*wants, *look.walk([Want(ref_of(each)) for each in found])]
    asked: set[Ref] = set()
    rounds = 0
    while frontier := [want for want in {want.ref: want for want in frontier}.values() if want.ref not in asked]:
        frontier = look.within(frontier, len(asked), rounds)
        asked |= {want.ref for want in frontier}
        requests = [wanted for want in frontier if (wanted := _wanted(want, source)) is not None]
        if not requests:
            break
        follow = 0 if rounds < ROUNDS_BEFORE else min(FOLLOWED_FIRST * 4 ** (rounds - ROUNDS_BEFORE), FOLLOWED_MOST)
        answer = await (fetcher.fetch(requests, follow) if follow else fetcher.fetch(requests))
        rounds += 1
        crash_point("apply.fetched")
        for doctype, problems in answer.unreadable.items():
            fetched.problems |= {(source.local(doctype), name): problem for name, problem in problems}
        given = incoming_documents(answer, source, catalogue)
        await look.take(given if follow else [each for each in given if ref_of(each) in asked])
        frontier = look.walk(frontier)
    if fetched.documents:
        log.debug("dependencies_fetched", documents=len(fetched.documents), rounds=rounds)
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
        await names.load(reader, refs=refs)
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


@dataclass(slots=True)
class _Look:
    """Takes documents in that came, and looks what those need in turn that are wanted.

    `here` are documents that came and were not wanted yet, and `needs` what each links to. `missing` and `renamed` are
    those of all linked ones that are not here, and here under an older name.
    """

    fetched: Fetched
    database: SiteDatabase
    catalogue: Catalogue
    names: Names
    source: Source
    closed: frozenset[str]
    coming: frozenset[Ref]
    complete: Callable[[Sequence[Incoming]], Awaitable[Sequence[Incoming]]]
    came: dict[Ref, Incoming] = field(default_factory=dict)
    needs: dict[Ref, list[Ref]] = field(default_factory=dict)
    missing: set[Ref] = field(default_factory=set)
    renamed: set[Ref] = field(default_factory=set)
    judged: set[Ref] = field(default_factory=set)

    async def take(self, given: Sequence[Incoming]) -> None:
        """These documents came."""
        given = [each for each in (*given, *await self.complete(given)) if not self.names.differs(each)]
        if given:
            async with self.database.snapshot() as reader:
                await self.names.load(reader, given)
        if any(incoming.former for incoming in given):
            async with self.database.snapshot() as reader:
                given = await with_former_names(reader, self.names, given, self.catalogue)
        for incoming in given:
            ref = ref_of(incoming)
            if ref not in self.fetched.documents:
                self.came[ref] = incoming
                self.needs[ref] = needed(incoming, self.catalogue, None)
        targets = {target for ref in self.came for target in self.needs[ref]} - self.judged - self.coming
        self.judged |= targets
        lacking = await absent(self.database, self.names, [Want(target) for target in targets], self.source.site)
        self.missing |= {want.ref for want in lacking.wants}
        self.renamed |= lacking.renamed

    def walk(self, wants: Iterable[Want]) -> list[Want]:
        """From these documents on, along what came. Returns what has to be asked for."""
        waiting, asked = deque(wants), []
        while waiting:
            want = waiting.popleft()
            incoming = self.came.pop(want.ref, None)
            if incoming is None:
                if want.ref not in self.fetched.documents:
                    asked.append(want)
                continue
            self.fetched.documents[want.ref] = incoming
            links = self.fetched.links[want.ref] = self.needs.pop(want.ref)
            targets = [each for each in links if each not in self.coming and each not in self.fetched.documents]
            self.fetched.renamed |= self.renamed.intersection(targets)
            lacking = [each for each in targets if each in self.missing]
            self.fetched.absent.update(lacking)
            waiting += [Want(each, after=want) for each in lacking if each[0] not in self.closed]
        return asked

    def within(self, wants: Sequence[Want], asked: int, rounds: int) -> list[Want]:
        """All that stand for themselves, and of what is wanted for links as many as the bounds allow."""
        own = [want for want in wants if not want.for_a_link]
        linked = [want for want in wants if want.for_a_link]
        most, deepest = self.source.max_documents, self.source.max_depth
        room = max(most - max(asked, len(self.fetched.documents)) - len(own), 0)
        where = f"producers.{self.source.name}"
        if rounds >= deepest:
            room, self.fetched.bound = 0, f"{where}.max_dependency_depth = {deepest} requests"
        elif len(linked) > room:
            self.fetched.bound = f"{where}.max_dependencies = {most} documents"
        self.fetched.beyond |= {want.ref for want in linked[room:]}
        return own + linked[:room]


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
        id = document.id if document.id and (not document.id.clock or hlc.is_reading(document.id.clock)) else None
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
            id=id,
            links=document.links,
            rows=document.rows,
            birth=document.birth,
        )
        incoming = decode(event, source, as_of.log, catalogue)
        if incoming.data is not None and incoming.event.doctype in catalogue:
            mapped = source.mapped.get(document.doctype)
            clocks = document.clocks if mapped is None else mapped.clocks(document.clocks)
            known = {name: clock for name, clock in clocks.items() if hlc.is_reading(clock)}
            incoming.reading = Reading(
                Known(document.source, known),
                former=document.former,
                new_there=frozenset(name for name, clock in clocks.items() if name and clock == hlc.ZERO),
            )
            found.append(incoming)
    return found


def _wanted(want: Want, source: Source) -> WantedDocument | None:
    """The request for one document; None for a name that cannot travel (longer than the protocol allows)."""
    doctype, name = want.ref
    way = want.way()
    if len(way) > SHORT_WAY:
        # The way may begin at any document of a type that is approved itself.
        start = next((place for place in range(len(way) - 1, -1, -1) if way[place][0] in source.subscribed), 0)
        way = way[start:]
    try:
        path = [{"doctype": source.remote(step), "name": step_name} for step, step_name in way]
        return msgspec.convert({"doctype": source.remote(doctype), "name": name, "path": path}, WantedDocument)
    except msgspec.ValidationError:
        log.warning("name_cannot_travel", doctype=doctype, name=name_label(name)[:200])
        return None
