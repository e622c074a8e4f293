"""One transaction's worth of events: what is written together, and which are kept back (`waiting` says why)."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import msgspec

from streamd.apply.event.incoming import Incoming, ref_of
from streamd.apply.localnames.names import Names
from streamd.apply.source import Ref, Source
from streamd.common.retry import parked_pause
from streamd.db.base import Transaction
from streamd.errors import SiteBusy
from streamd.identity import id_of
from streamd.model import Catalogue, Event, Operation, QueuedEvent, SyncEntry, name_text
from streamd.rows import Binding, links_in, links_touched, names_touched, namings


class Uncaptured(SiteBusy):
    """A document of the batch was changed here, and capture has not seen it yet."""


class Replan(SiteBusy):
    """A document that the plan relied on is gone, or has another name: the plan has to be made again."""


class Renamed(Uncaptured):
    """A name that the batch links to, or may give, has become another document's here, or nobody's.

    Capture has not seen it yet, and has to note first which document had it.
    """


NO_DIFFERENCE = msgspec.Raw(b"{}")

BEHIND = "waits behind an earlier event of this document that failed"
PAUSED = " is paused: "


@dataclass(slots=True)
class Unit:
    """An event with all that has to be written together with it.

    `links`: the documents that it links to; `replaced`: those that dynamic links led to before; `before`: those that
    were fetched for it; `missing`: those that nobody can give; `renamed`: those that are here under an older name, as
    their renames are still queued; `coming`: those that other events of the batch make or rename, and that it links
    to, or what was fetched for it; `whole`: its document as fetched, if it was never here; `refused`: why the database
    refused it; `planned`: the event in remote form, where `incoming` is as it is written; `why_missing`: why the first
    of what is missing did not come.
    """

    incoming: Incoming
    links: list[Ref] = field(default_factory=list)
    replaced: list[Ref] = field(default_factory=list)
    before: list[Incoming] = field(default_factory=list)
    missing: list[Ref] = field(default_factory=list)
    renamed: list[Ref] = field(default_factory=list)
    coming: list[Ref] = field(default_factory=list)
    wants_whole: bool = False
    whole: Incoming | None = None
    refused: str = ""
    note: str = ""
    planned: Incoming | None = None
    why_missing: str = ""

    @property
    def refs(self) -> list[Ref]:
        """The document, under each name that the event gives it."""
        return refs_of(self.incoming)

    @property
    def all(self) -> list[Incoming]:
        """What is written for the event: what it needs stands before it."""
        return [*self.before, *([] if self.whole is None else [self.whole]), self.incoming]

    def waits_as_type(self, paused: Mapping[str, str]) -> bool:
        """Whether it is not tried because its type is paused. A gap is said all the same: it writes nothing."""
        return self.incoming.event.doctype in paused and self.incoming.event.operation != Operation.GAP

    def incoming_entry(self, producer: str, status: str, *, error: str = "", note: str = "") -> SyncEntry:
        """The sync log entry of the event itself."""
        return sync_entry(self.incoming, producer, status, error=error, note=note)


def refs_of(incoming: Incoming) -> list[Ref]:
    """The event's document, under each name that the event gives it."""
    event = incoming.event
    names = [event.name] if event.renamed_from is None else [event.renamed_from, event.name]
    return [(event.doctype, name) for name in names]


def steps_before(units: Iterable[Unit], most: int, queued: Collection[Ref]) -> list[list[Unit]]:
    """What was fetched for these units, as units of its own, `most` together, up to the first that cannot be."""
    before = {ref_of(each): each for unit in units for each in unit.before}
    free = takewhile(lambda each: ref_of(each) not in queued and not each.fault, before.values())
    alone = [Unit(each, note="needed by a document that links to it") for each in free]
    return [alone[start : start + most] for start in range(0, len(alone), most)]


def without(units: Iterable[Unit], written: Iterable[Unit]) -> None:
    """Take what is written already from what has to be written with the units."""
    refs = {ref_of(each.incoming) for each in written}
    for unit in units:
        unit.before = [each for each in unit.before if ref_of(each) not in refs]


@dataclass(frozen=True, slots=True)
class Kept:
    """An event that cannot be applied now, and why."""

    unit: Unit
    state: str
    error: str
    waits_for: Ref | None = None


def as_read_later(event: Event) -> Event:
    """A document that was read, as an event that waits: it is read again when it is tried."""
    return msgspec.structs.replace(
        event, operation=Operation.UPDATE, data=NO_DIFFERENCE, enters=True, renamed_from=None, id=id_of(event)
    )


def queued(source: Source, kept: Kept) -> QueuedEvent:
    """A kept event as it goes into the site's queue."""
    now = time.time_ns() // 1_000_000
    event = kept.unit.incoming.remote
    if kept.unit.incoming.reading is not None and event.operation == Operation.CREATE:
        event = as_read_later(event)
    return QueuedEvent(
        0,
        source.site,
        kept.unit.incoming.log,
        event,
        kept.state,
        kept.error,
        1,
        now + int(parked_pause(1) * 1000),
        None if kept.waits_for is None else (kept.waits_for[0], name_text(kept.waits_for[1])),
        parked_at=now,
        doctype=kept.unit.incoming.event.doctype,
    )


@dataclass(frozen=True, slots=True)
class Concerned:
    """The names at this site that the events of a transaction are about."""

    units: Sequence[Unit]
    names: Names
    catalogue: Catalogue

    def documents(self) -> list[Ref]:
        """The events' own documents."""
        return self._here(ref for unit in self.units for ref in unit.refs)

    def moving(self) -> list[Ref]:
        """Documents that get a name, or lose one."""
        moving = [unit for unit in self.units if any(map(gives_or_takes_a_name, unit.all))]
        return self._here(ref for unit in moving for ref in unit.refs)

    def linked(self) -> list[Ref]:
        """Documents that the events link to."""
        return self._here(
            ref
            for unit in self.units
            for each in unit.all
            if not each.fault and each.event.doctype in self.catalogue
            for ref in links_in(self.catalogue[each.event.doctype], each.data, old=False)
            if ref[0] in self.catalogue
        )

    def types_named_here(self) -> set[str]:
        """Types of which a document may get a name of this site's own: one that is free by now."""
        refs = {ref_of(each) for unit in self.units for each in unit.all}
        return {ref[0] for ref in refs if self.names.renames(ref)}

    def _here(self, refs: Iterable[Ref]) -> list[Ref]:
        return [(ref[0], name) for ref in refs if (name := self.names.local(ref)) is not None]


async def require_captured(
    transaction: Transaction, concerned: Concerned, bound: Mapping[str, Sequence[Binding]]
) -> None:
    """Raises `Uncaptured` where capture has not seen every local change that these events have to be judged with.

    Those of the events' documents: only then can a conflict be judged. Links to documents that are moving to or from
    their names, and moves of documents that the events link to: a name means the document that has it now, and capture
    has to note which one that is before another one gets it.
    """
    pending = await transaction.unclaimed(await transaction.last_claim())
    if not pending:
        return
    moves = list(namings((change for change in pending if not change.origin), bound))
    moved = {(doctype, name) for doctype, *names in moves for name in names if name is not None}
    freed = {doctype for doctype, before, _ in moves if before is not None}
    if not (freed.isdisjoint(concerned.types_named_here()) and moved.isdisjoint(concerned.linked())):
        raise Renamed("names to which these documents link have changed here, and that is not captured yet")
    if not (
        names_touched(pending, bound).isdisjoint(concerned.documents())
        and links_touched(pending, bound).isdisjoint(concerned.moving())
    ):
        raise Uncaptured("changes of these documents are not captured yet")


def gives_or_takes_a_name(incoming: Incoming) -> bool:
    """Whether the event lets a document have a name that another one may have had, or have one no more."""
    event = incoming.event
    is_born = event.operation == Operation.CREATE and event.id is not None
    return is_born or event.operation == Operation.DELETE or event.renamed_from is not None


def sync_entry(incoming: Incoming, producer: str, status: str, *, error: str = "", note: str = "") -> SyncEntry:
    """The sync log entry of an event, in this status: of what it was when it arrived, and of the name it has here."""
    event, remote = incoming.event, incoming.remote
    return SyncEntry(
        event.operation,
        status,
        event.doctype,
        producer,
        name_text(event.name),
        name_text(remote.name),
        event.name == remote.name,
        bytes(remote.data).decode("utf-8", "replace"),
        event.sequence,
        error,
        note,
    )


def cut(todo: Sequence[Incoming], about: int, most: int) -> int:
    """How many events to apply together: `about` so many, and whole transactions if they are no more than `most`."""
    if len(todo) <= about:
        return len(todo)
    events = [incoming.event for incoming in todo[: most + 1]]
    ends = [size for size in range(1, len(events)) if ends_transaction(events, size)]
    if len(events) == len(todo) <= most:
        ends.append(len(todo))
    beyond = [size for size in ends if size >= about]
    # A transaction that does not fit behind the others begins the next batch.
    return beyond[0] if beyond else ends[-1] if ends else about


def middle_of(events: Sequence[Event]) -> int:
    """Where to part events: between two transactions of the producer, if there are two."""
    half = len(events) // 2
    ends = [size for size in range(1, len(events)) if ends_transaction(events, size)]
    return min(ends, key=lambda size: abs(size - half), default=half)


def ends_transaction(events: Sequence[Event], size: int) -> bool:
    """Whether a transaction of the producer ends with the first `size` events. Its own last one may not be for us."""
    return events[size - 1].last_in_tx or events[size - 1].tx != events[size].tx
