"""One transaction's worth of events: which can be written now, which are kept back, and how they are written."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from streamd.apply.dependency import Ref
from streamd.apply.plan import Decision, Incoming, NeedsWhole, contained, decide, followed
from streamd.apply.writer import Columns, Planned, freeing, table_writes
from streamd.db.base import Reader, Transaction
from streamd.errors import RowRefused, SiteBusy
from streamd.model import (
    Catalogue,
    Document,
    DocumentType,
    Event,
    Mark,
    Name,
    Operation,
    Origin,
    QueuedEvent,
    QueueState,
    Record,
    SyncEntry,
    SyncStatus,
    name_label,
    name_text,
)
from streamd.retry import parked_pause
from streamd.rows import Binding, names_touched, split
from streamd.wire import read_json


class Uncaptured(SiteBusy):
    """A document of the batch was changed here, and capture has not seen it yet."""


class Replan(SiteBusy):
    """A document that the plan relied on is gone: the plan has to be made again."""


@dataclass(frozen=True, slots=True)
class Source:
    """A producer as the applier knows it: its name in the configuration, its UUID, and its bounds for fetching."""

    name: str
    site: str
    max_documents: int
    max_depth: int


BEHIND = "waits behind an earlier event of this document that failed"


@dataclass(slots=True)
class Unit:
    """An event with all that has to be written together with it.

    `before`: documents fetched for its links; `missing`: links that nobody can give; `coming`: links to documents
    that earlier events of the batch make; `whole`: its document as fetched, if it was never here;
    `refused`: why the database refused it.
    """

    incoming: Incoming
    before: list[Incoming] = field(default_factory=list)
    missing: list[Ref] = field(default_factory=list)
    coming: list[Ref] = field(default_factory=list)
    wants_whole: bool = False
    whole: Incoming | None = None
    refused: str = ""
    note: str = ""

    @property
    def refs(self) -> list[Ref]:
        """The document, under each name that the event gives it."""
        event = self.incoming.event
        names = [event.name] if event.renamed_from is None else [event.renamed_from, event.name]
        return [(event.doctype, name) for name in names]

    def incoming_entry(self, producer: str, status: str, *, error: str = "", note: str = "") -> SyncEntry:
        """The sync log entry of the event itself."""
        return _entry(self.incoming, producer, status, error=error, note=note)


@dataclass(frozen=True, slots=True)
class Kept:
    """An event that cannot be applied now, and why."""

    unit: Unit
    state: str
    error: str
    waits_for: Ref | None = None


def queued(source: Source, kept: Kept) -> QueuedEvent:
    """A kept event as it goes into the site's queue."""
    now = time.time_ns() // 1_000_000
    return QueuedEvent(
        0,
        source.site,
        kept.unit.incoming.log,
        kept.unit.incoming.event,
        kept.state,
        kept.error,
        1,
        now + int(parked_pause(1) * 1000),
        None if kept.waits_for is None else (kept.waits_for[0], name_text(kept.waits_for[1])),
        parked_at=now,
    )


async def all_captured(transaction: Transaction, units: Iterable[Unit], bound: Mapping[str, Sequence[Binding]]) -> bool:
    """Whether capture has seen every local change of these documents: only then can a conflict be judged."""
    pending = await transaction.unclaimed(await transaction.last_claim())
    touched = names_touched(pending, bound) if pending else set()
    return not touched or touched.isdisjoint(ref for unit in units for ref in unit.refs)


async def sort_out(
    transaction: Transaction, units: Sequence[Unit], waiting: set[Ref], catalogue: Catalogue
) -> tuple[list[Unit], list[Kept]]:
    """Which units can be written, and which have to wait: for their own document's queue, or for another's."""
    todo: list[Unit] = []
    kept: list[Kept] = []
    made = {unit.refs[-1] for unit in units}
    for unit in units:
        reason = await _reason_to_wait(transaction, unit, waiting, made, catalogue)
        if reason is None:
            todo.append(unit)
            continue
        kept.append(reason)
        waiting |= set(unit.refs)
        made -= set(unit.refs)
    return todo, kept


async def _reason_to_wait(
    transaction: Transaction, unit: Unit, waiting: set[Ref], made: set[Ref], catalogue: Catalogue
) -> Kept | None:
    if not waiting.isdisjoint(unit.refs):
        return Kept(unit, QueueState.HELD, BEHIND)
    if unit.refused:
        behind = next((ref for ref in map(_ref, unit.before) if ref in waiting), None)
        if behind is not None:
            return Kept(unit, QueueState.HELD, f"waits for {_label(behind)}, which failed", behind)
        return Kept(unit, QueueState.PARKED, unit.refused)
    missing = list(unit.missing)
    for ref in unit.coming:
        if ref not in made and not await transaction.existing(catalogue[ref[0]], [ref[1]]):
            missing.append(ref)
    if not missing:
        return None
    first = missing[0]
    if first in waiting:
        return Kept(unit, QueueState.HELD, f"waits for {_label(first)}, which failed", first)
    return Kept(
        unit, QueueState.PARKED, f"needs {_label(first)}, which is neither here nor given by the producer", first
    )


def _ref(incoming: Incoming) -> Ref:
    return incoming.event.doctype, incoming.event.name


def _label(ref: Ref) -> str:
    return f"{ref[0]} {name_label(ref[1])}"


class Segment:
    """Collects decisions for documents, each once, and writes them together; then begins anew.

    A document that comes again starts a new segment, so that the second decision sees what the first one wrote.
    """

    def __init__(
        self,
        transaction: Transaction,
        catalogue: Catalogue,
        columns: Columns,
        producer: str,
        entries: list[SyncEntry],
    ) -> None:
        self._transaction = transaction
        self._catalogue = catalogue
        self._columns = columns
        self._producer = producer
        self._entries = entries
        self._items: list[tuple[Incoming, Unit]] = []
        self._refs: set[Ref] = set()
        self._stuck: set[Ref] = set()
        self.kept: list[Kept] = []

    async def add(self, incoming: Incoming, unit: Unit) -> None:
        """Take one more event; writes what was collected if its document is among it."""
        event = incoming.event
        refs = {(event.doctype, event.name)} | ({(event.doctype, event.renamed_from)} if event.renamed_from else set())
        if not refs.isdisjoint(self._refs):
            if incoming.fetched and incoming is not unit.incoming:
                return
            await self.flush()
        self._items.append((incoming, unit))
        self._refs |= refs

    async def flush(self) -> None:
        """Decide and write what was collected."""
        items, self._items, self._refs = self._items, [], set()
        if not items:
            return
        documents, records = await self._load([incoming for incoming, _ in items])
        planned: list[Planned] = []
        marks: dict[Ref, str] = {}
        remembered: list[Record] = []
        for arrived, unit in items:
            decision, incoming = self._decide(arrived, unit, documents, records)
            if decision is None:
                continue
            doctype = self._catalogue[incoming.event.doctype]
            operation = Operation.CREATE if unit.whole and arrived is unit.incoming else incoming.event.operation
            if decision.writes:
                planned.append(Planned(doctype, operation, incoming.event.renamed_from is not None, decision.writes))
            remembered += decision.records
            if doctype.name in self._catalogue.offers and not decision.local:
                mark = msgspec.json.encode(_mark(incoming)).decode()
                marks |= {
                    (doctype.name, name): mark for name in (incoming.event.name, incoming.event.renamed_from) if name
                }
        if planned:
            await self._transaction.mark(marks)
            await self._write(planned)
        await self._transaction.put_records(remembered)

    async def _write(self, planned: Sequence[Planned]) -> None:
        writes = table_writes(planned, self._columns)
        free = freeing(planned, self._columns)
        if not free:
            await self._transaction.write(writes)
            return
        try:
            async with self._transaction.savepoint():
                await self._transaction.write(writes)
        except RowRefused:
            await self._transaction.write([*free, *writes])

    def _decide(
        self,
        incoming: Incoming,
        unit: Unit,
        documents: Mapping[Ref, Document],
        records: Mapping[Ref, Record],
    ) -> tuple[Decision | None, Incoming]:
        """What to do with one event, and the event under the name that its document has here."""
        arrived = incoming
        event = incoming.event
        doctype = self._catalogue[event.doctype]
        if incoming is unit.incoming and not self._stuck.isdisjoint(unit.refs):
            self.kept.append(Kept(unit, QueueState.HELD, BEHIND))
            return None, incoming
        record = records.get((event.doctype, event.renamed_from or event.name))
        if contained(incoming, record):
            return None, incoming
        made_there = event.operation == Operation.CREATE and not incoming.fetched
        passed: set[Name] = set()
        while record is not None and record.renamed_to is not None and not made_there and record.name not in passed:
            passed.add(record.name)
            incoming = followed(incoming, record)
            event = incoming.event
            record = records.get((event.doctype, event.renamed_from or event.name))
        here = documents.get((event.doctype, event.renamed_from or event.name))
        if event.operation == Operation.GAP:
            reason = incoming.data.get("reason", "") if isinstance(incoming.data, dict) else ""
            error = f"changes are missing: {reason}. `streamd resync --doctype {doctype.name} --whole` reads them again"
            self._entries.append(_entry(incoming, self._producer, SyncStatus.FAILED, error=error))
            return None, incoming
        try:
            decision = self._with_whole(incoming, unit, doctype, here, record)
        except RowRefused as error:
            self.kept.append(Kept(unit, QueueState.PARKED, error.message))
            self._stuck |= set(unit.refs)
            return None, incoming
        if arrived is unit.incoming or decision.writes:
            note = "; ".join(part for part in (decision.note, self._why(arrived, unit)) if part)
            self._entries.append(_entry(incoming, self._producer, SyncStatus.SYNCED, note=note))
        return decision, incoming

    def _with_whole(
        self, incoming: Incoming, unit: Unit, doctype: DocumentType, here: Document | None, record: Record | None
    ) -> Decision:
        try:
            return decide(incoming, doctype, here, record, self._catalogue)
        except NeedsWhole:
            if unit.whole is not None:
                return decide(unit.whole, doctype, None, record, self._catalogue)
            if unit.wants_whole:
                raise RowRefused(
                    f"{doctype.name} {name_label(incoming.event.name)} was never here, and the producer "
                    "does not give it"
                ) from None
            unit.incoming.seen_gone = True
            raise Replan("a document is gone that was here when the batch was planned") from None

    def _why(self, incoming: Incoming, unit: Unit) -> str:
        if incoming is not unit.incoming:
            event = unit.incoming.event
            return f"needed by {event.doctype} {name_label(event.name)}"
        if unit.whole is not None:
            return "was never here: fetched whole"
        return unit.note

    async def _load(self, incoming: Sequence[Incoming]) -> tuple[dict[Ref, Document], dict[Ref, Record]]:
        names: dict[str, list[Name]] = {}
        for each in incoming:
            if each.event.operation != Operation.GAP:
                names.setdefault(each.event.doctype, []).append(each.event.renamed_from or each.event.name)
        documents: dict[Ref, Document] = {}
        records: dict[Ref, Record] = {}
        for doctype, some in names.items():
            documents |= await self.documents(self._transaction, self._catalogue[doctype], some)
            for name, record in (await self._transaction.records(doctype, some)).items():
                records[(doctype, name)] = record
            # Documents that were renamed here are found under the names that they have now.
            while renamed := [
                record.renamed_to
                for (kind, _), record in records.items()
                if kind == doctype
                and record.renamed_to
                and (doctype, record.renamed_to) not in documents.keys() | records.keys()
            ]:
                documents |= await self.documents(self._transaction, self._catalogue[doctype], renamed)
                found = await self._transaction.records(doctype, renamed)
                records |= {(doctype, name): record for name, record in found.items()}
                if not found:
                    break
        return documents, records

    @staticmethod
    async def documents(reader: Reader, doctype: DocumentType, names: Iterable[Name]) -> dict[Ref, Document]:
        """These documents of a type as they are here, decoded."""
        found = {}
        for name, raw in (await reader.read_documents(doctype, names)).items():
            # Text that is not valid UTF-8 is shown as far as it goes: the document is here all the same.
            text = raw.whole() if raw.readable() else raw.whole().decode("utf-8", "replace")
            fields, children = split(doctype, read_json(text))
            found[(doctype.name, name)] = Document(doctype.name, name, fields, children)
        return found


def _mark(incoming: Incoming) -> Mark:
    event: Event = incoming.event
    origin = event.origin or Origin(incoming.producer_site, incoming.log, event.sequence, (incoming.producer_site,))
    return Mark(origin, event.clock)


def _entry(incoming: Incoming, producer: str, status: str, *, error: str = "", note: str = "") -> SyncEntry:
    event = incoming.event
    name = name_text(event.name)
    return SyncEntry(
        event.operation,
        status,
        event.doctype,
        producer,
        name,
        name,
        True,
        bytes(event.data).decode("utf-8", "replace"),
        event.sequence,
        error,
        note,
    )
