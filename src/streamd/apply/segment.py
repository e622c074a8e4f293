"""Decides and writes documents, as many together as can be."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec
import structlog

from streamd.apply.batch import BEHIND, Kept, Replan, Unit, sync_entry
from streamd.apply.decide.decision import Decision, NeedsWhole, another_document
from streamd.apply.decide.plan import contained, decide, is_about
from streamd.apply.decide.remembering import is_of, was_deleted_here
from streamd.apply.decide.subscriber import as_subscriber
from streamd.apply.effects import Effects
from streamd.apply.event.incoming import Incoming, Purpose, read_for, without_former_name
from streamd.apply.following import Following
from streamd.apply.identified import identities_of, mark_of, names_here, noted
from streamd.apply.localnames.leading import led
from streamd.apply.source import Ref, Source
from streamd.apply.write.attempts import Group
from streamd.apply.write.ordering import Planned
from streamd.apply.write.verify import verify
from streamd.apply.write.writer import Columns
from streamd.db.base import Reader, Transaction
from streamd.errors import RowRefused
from streamd.identity import Identities
from streamd.model import (
    Catalogue,
    Difference,
    Document,
    DocumentType,
    Mark,
    Name,
    Operation,
    QueueState,
    Record,
    SyncEntry,
    SyncStatus,
    name_label,
)
from streamd.rows import split
from streamd.wire import read_json

log = structlog.get_logger("streamd.apply")

NOT_SATISFYING = "does not satisfy the condition any more: nothing to do"


class Segment:
    """Collects decisions for documents, each once, and writes them together; then begins anew.

    A document that comes again starts a new segment, so that the second decision sees what the first one wrote.
    `said` has the (type, column)s that do not exist here and were warned of.
    What one transaction of the producer changed stays in one segment, as far as each document is in it once: so its
    documents can be written in the order in which they need each other.
    `refused` are the documents, in remote form, of which something was not written, with the events in `kept`.
    """

    def __init__(
        self,
        transaction: Transaction,
        catalogue: Catalogue,
        columns: Columns,
        source: Source,
        entries: list[SyncEntry],
        said: set[tuple[str, str]],
        *,
        site: str,
    ) -> None:
        self._transaction = transaction
        self._catalogue = catalogue
        self._columns = columns
        self._producer = source.name
        self._source = source
        self._site = site
        self._subscriber = source.subscriber
        self._conditional = source.on_leave.keys()
        self._there = source.columns
        self._entries = entries
        self._said = said
        self._items: list[tuple[Incoming, Unit]] = []
        self._refs: set[Ref] = set()
        self._olds: set[Ref] = set()
        self._stuck: set[Ref] = set()
        self._began: int | None = None
        self.kept: list[Kept] = []
        self.refused: set[Ref] = set()

    async def begin(self, units: Iterable[Unit]) -> None:
        """These units, one transaction of the producer, come next: writes what was collected if one is among it."""
        if not self._refs.isdisjoint(ref for unit in units for ref in unit.refs):
            await self.flush()

    async def add(self, incoming: Incoming, unit: Unit) -> None:
        """Take one more event; writes what was collected if its document is among it."""
        event = incoming.event
        refs = {(event.doctype, event.name)} | ({(event.doctype, event.renamed_from)} if event.renamed_from else set())
        old = (event.doctype, event.renamed_from or event.name)
        if old in self._olds if incoming.at_once else not refs.isdisjoint(self._refs):
            if incoming.reading is not None and incoming is not unit.incoming:
                return
            await self.flush()
        self._items.append((incoming, unit))
        self._refs |= refs
        self._olds.add(old)

    async def flush(self) -> None:
        """Decide and write what was collected."""
        items, self._items, self._refs, self._olds = self._items, [], set(), set()
        if not items:
            return
        wholes = [unit.whole for _, unit in items if unit.whole is not None]
        every = [*(incoming for incoming, _ in items), *wholes]
        known = await identities_of(self._transaction, every)
        identities = known.copy()
        documents, records = await self._load(every, known)
        planned: list[Planned] = []
        said: dict[Ref, SyncEntry] = {}
        marks: dict[Ref, str] = {}
        renames: dict[Ref, Mark] = {}
        remembered: list[Record] = []
        forgotten: list[Ref] = []
        freed: list[Ref] = []
        for arrived, unit in items:
            decision, incoming = self._decide(arrived, unit, known, (documents, records))
            if decision is None:
                continue
            doctype = self._catalogue[incoming.event.doctype]
            mark = mark_of(incoming, noted(identities, decision, incoming))
            operation = Operation.CREATE if unit.whole and arrived is unit.incoming else incoming.event.operation
            operation = operation if incoming.event.renamed_from is None else Operation.UPDATE
            if decision.writes:
                name, before = incoming.event.name, incoming.event.renamed_from
                here = documents.get((doctype.name, before or name))
                planned.append(Planned(doctype, operation, name, before, decision.writes, here))
                said[(doctype.name, name)] = self._entries[-1]
                if before is not None:
                    renames[(doctype.name, name)] = mark
            self._say_unknown(doctype.name, decision.unknown)
            remembered += decision.records
            forgotten += [(doctype.name, name) for name in decision.forgotten]
            freed += [(doctype.name, name) for name in decision.freed]
            if decision.writes and doctype.name in self._catalogue.offers and not decision.local:
                text = msgspec.json.encode(mark).decode()
                marks |= {
                    (doctype.name, name): text for name in (incoming.event.name, incoming.event.renamed_from) if name
                }
        if planned:
            following = Following(self._transaction, self._catalogue, self._source, items[0][0].log, self._site)
            following_too, marked = await following.planned(planned, marks, renames, self._began)
            await self._put(Group(following_too, marked, self._columns), said, items[0][0].log, following)
        # A name that one document gave up may be another one's by now.
        for ref in freed:
            await self._transaction.forget_record(*ref)
        await self._transaction.put_records(remembered)
        for ref in forgotten:
            await self._transaction.forget_record(*ref)
        await self._transaction.put_identities(*identities.changes())

    async def _put(self, group: Group, said: Mapping[Ref, SyncEntry], log_id: str, following: Following) -> None:
        """Write these and look what came of it: their own rows, and all others. Raises `RowRefused`."""
        effects = Effects(self._transaction, self._catalogue, group.planned, self._columns, log_id)
        notes = await effects.foresee()
        self._began = effects.after if self._began is None else self._began
        await following.write(group, effects.after)
        checked = await self._verified(group)
        notes += await effects.seen()
        if effects.undone:
            checked |= await self._verified(group)
        last = list(said)[-1]
        for ref, note in (*checked.items(), *((last, note) for note in notes)):
            said[ref].note = "; ".join(part for part in (said[ref].note, note) if part)

    async def _verified(self, group: Group) -> dict[Ref, str]:
        return await verify(self._transaction, group, self._catalogue, self._there)

    def _say_unknown(self, doctype: str, columns: set[str]) -> None:
        """Warn of each column that does not exist here, once; its values are left out."""
        for column in sorted(columns):
            if (doctype, column) not in self._said:
                self._said.add((doctype, column))
                log.warning(
                    "unknown_column",
                    producer=self._producer,
                    doctype=doctype,
                    column=column,
                    hint="its values are left out; add the column here, if you want them",
                )

    def _decide(
        self,
        incoming: Incoming,
        unit: Unit,
        identities: Identities,
        there: tuple[Mapping[Ref, Document], Mapping[Ref, Record]],
    ) -> tuple[Decision | None, Incoming]:
        """What to do with one event, and the event under the name that its document has here.

        `there` are documents and what is remembered of them, by the names that they have here.
        """
        documents, records = there
        arrived = incoming
        incoming = _as_it_stands(incoming, documents)
        event = incoming.event
        doctype = self._catalogue[event.doctype]
        if arrived is unit.incoming and not self._stuck.isdisjoint(unit.refs):
            self._keep(unit, QueueState.HELD, BEHIND)
            return None, incoming
        if not incoming.by_id:
            incoming = led(incoming, doctype, identities, there)
        event = incoming.event
        # A name that was given just now may have been that of a document which is gone: of that one nothing counts.
        record = None if incoming.named_here else records.get((event.doctype, event.renamed_from or event.name))
        if contained(incoming, record) and not incoming.gone and (record is None or is_of(record, incoming)):
            return None, incoming
        here = documents.get((event.doctype, event.renamed_from or event.name))
        if event.operation == Operation.GAP:
            reason = incoming.data.get("reason", "") if isinstance(incoming.data, dict) else ""
            again = f"`streamd resync --doctype {shlex.quote(doctype.name)} --whole` reads them again"
            error = f"changes are missing: {reason}. {again}"
            self._entries.append(sync_entry(incoming, self._producer, SyncStatus.FAILED, error=error))
            return None, incoming
        try:
            decision = self._with_whole(incoming, unit, doctype, here, record)
        except RowRefused as error:
            self._keep(unit, QueueState.PARKED, error.message)
            self._stuck |= set(unit.refs)
            self.refused.add((doctype.name, incoming.remote.name))
            return None, incoming
        if incoming.by_id:
            for remembered in (each for each in decision.records if each.source == incoming.producer_site):
                remembered.remote_name = incoming.remote.name
        if arrived is unit.incoming or decision.writes:
            note = "; ".join(part for part in (decision.note, self._why(arrived, unit)) if part)
            self._entries.append(sync_entry(incoming, self._producer, SyncStatus.SYNCED, note=note))
        return decision, incoming

    def _keep(self, unit: Unit, state: str, error: str) -> None:
        """Keep the event back: once, also where what it needs was refused before it; they come one after the other."""
        if not self.kept or self.kept[-1].unit is not unit:
            self.kept.append(Kept(unit, state, error))

    def _with_whole(
        self,
        incoming: Incoming,
        unit: Unit,
        doctype: DocumentType,
        here: Document | None,
        record: Record | None,
    ) -> Decision:
        if incoming.event.enters:
            return self._entering(incoming, unit, doctype, here, record)
        try:
            return decide(self._ours(incoming, doctype, here), doctype, here, record)
        except NeedsWhole:
            if unit.whole is not None:
                # A single is here before anything of it is: then the producer's goes over it.
                stands = here if doctype.single else None
                return decide(self._ours(unit.whole, doctype, stands), doctype, stands, record)
            if unit.wants_whole and doctype.name in self._conditional:
                # What has another name there by now, or satisfies the condition again later, comes with that event.
                return Decision(notes=[f"was never here, and {NOT_SATISFYING}"])
            if unit.wants_whole:
                raise RowRefused(
                    f"{doctype.name} {name_label(incoming.event.name)} was never here, and the producer "
                    "does not give it"
                ) from None
            unit.incoming.seen_gone = True
            if unit.planned is not None:
                unit.planned.seen_gone = True
            raise Replan("a document is gone that was here when the batch was planned") from None

    def _entering(
        self, incoming: Incoming, unit: Unit, doctype: DocumentType, here: Document | None, record: Record | None
    ) -> Decision:
        """A document that came to satisfy our condition, or failed when it was read: as it is now, but for what was
        edited here meanwhile."""
        conditional = doctype.name in self._conditional
        unseen = isinstance(incoming.data, Difference) and incoming.data.whole
        if unit.whole is None and (unseen or not conditional):
            raise RowRefused("the producer does not have (or give) this document any more: discard this, if so")
        if unit.whole is None:
            return Decision(notes=[NOT_SATISFYING])
        if incoming.gone or was_deleted_here(incoming, record):
            return Decision(notes=["was deleted here; stays deleted"])
        if conditional and here is not None and not (record is None or is_of(record, incoming)):
            raise RowRefused(another_document(incoming.event, here, unit.whole.data))
        # What changed unseen is known by what was seen of it: its old values fit what stands here.
        same = here is not None and (conditional or (unseen and is_about(incoming, doctype, here, record)))
        whole = read_for(unit.whole, Purpose.REPAIR, is_same=same)
        decision = decide(self._ours(whole, doctype, here), doctype, here, record)
        if not conditional:
            return decision
        why = "child rows were changed unseen at the producer" if unseen else "came to satisfy the condition"
        decision.notes = [f"{why}: taken whole"]
        return decision

    def _ours(self, incoming: Incoming, doctype: DocumentType, here: Document | None) -> Incoming:
        """The event as it is to be written here: as the subscriber's, where there is one."""
        if self._subscriber is None:
            return incoming
        return replace(incoming, data=as_subscriber(incoming.data, doctype, here, self._subscriber))

    def _why(self, incoming: Incoming, unit: Unit) -> str:
        if incoming is not unit.incoming:
            event = unit.incoming.event
            return f"needed by {event.doctype} {name_label(event.name)}"
        if unit.whole is not None and not incoming.event.enters:
            return "was never here: fetched whole"
        return unit.note

    async def _load(
        self, incoming: Sequence[Incoming], identities: Identities
    ) -> tuple[dict[Ref, Document], dict[Ref, Record]]:
        names: dict[str, set[Name]] = {}
        for each in incoming:
            if each.event.operation != Operation.GAP:
                names.setdefault(each.event.doctype, set()).update(names_here(each, identities))
        documents: dict[Ref, Document] = {}
        records: dict[Ref, Record] = {}
        for doctype, some in names.items():
            documents |= await self.documents(self._transaction, self._catalogue[doctype], some)
            remembered = await self._transaction.records(doctype, some)
            records |= {(doctype, name): record for name, record in remembered.items()}
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


def _as_it_stands(incoming: Incoming, documents: Mapping[Ref, Document]) -> Incoming:
    """A document that was read; as one that moves here only where it still has its former name, and no other one."""
    event = incoming.event
    if incoming.reading is None or event.renamed_from is None:
        return incoming
    moves = (event.doctype, event.renamed_from) in documents and (event.doctype, event.name) not in documents
    return incoming if moves else without_former_name(incoming)
