"""Which documents the links of events mean here: by their ids, whatever has their names by now.

Where a document is called otherwise here, links to it get the name that it has here. Where its name is another
document's here, what links to it is not written: it would link to that one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from streamd.apply.batch import Kept, Unit
from streamd.apply.event.incoming import Incoming, ref_of
from streamd.apply.localnames.names import Names
from streamd.apply.localnames.renaming import Relinked
from streamd.apply.source import Ref
from streamd.apply.waiting import waits_for_failed
from streamd.db.base import Reader
from streamd.identity import Identities, natural
from streamd.model import Catalogue, DocumentId, LinkId, Name, Operation, QueueState, name_label
from streamd.rows import links_in


@dataclass
class Meaning:
    """What some events mean: `moving` are documents that are made, renamed or deleted by them; `occupied` are names
    under which documents are here that these events mean others by."""

    identities: Identities
    names: Names
    catalogue: Catalogue
    moving: set[tuple[str, DocumentId]] = field(default_factory=set)
    occupied: set[Ref] = field(default_factory=set)

    def unknown(self, incoming: Incoming) -> list[Ref]:
        """The documents that an event links to which never were here, and whose names others have."""
        found = self._links(incoming, old=False)
        strangers = [(ref, id) for ref, id in found.items() if id is not None and self._is_stranger(ref, id)]
        return [ref for ref, id in strangers if not self.identities.is_gone(ref[0], id)]

    def local(self, incoming: Incoming) -> dict[Ref, Name]:
        """The documents that an event links to which have other names here.

        What was renamed there alone is left to its rename, unless another document has its new name here.
        """
        found: dict[Ref, Name] = {}
        for ref, id in self._links(incoming).items():
            name = None if id is None or (ref[0], id) in self.moving else self.identities.name_of(ref[0], id)
            is_renamed_here = id is not None and self.identities.row(ref[0], id) is not None
            if name is not None and name != ref[1] and (is_renamed_here or ref in self.occupied):
                found[ref] = name
        return found

    def of(self, unit: Unit, waiting: Collection[Ref]) -> Unit | Kept:
        """The unit with its links as they are here; or why it has to wait: for what is `waiting`, or for a person."""
        fetched = {ref_of(each): each.id for each in unit.before}
        for incoming in unit.all:
            for ref, id in self._links(incoming, old=False).items():
                is_another = id is not None and self.identities.name_of(ref[0], id) is None
                if self._is_stranger(ref, id) or (is_another and fetched.get(ref, id) != id):
                    return self._kept(unit, ref, id, waiting)
        before = [replace(self._relinked(each, unit), is_stranger=self._is_in_the_way(each)) for each in unit.before]
        whole = None if unit.whole is None else self._relinked(unit.whole, unit)
        return replace(unit, incoming=self._relinked(unit.incoming, unit), before=before, whole=whole)

    def leads_to(self, unit: Unit) -> set[Ref]:
        """Links of the unit to documents that come with it in one transaction, where others have had their names."""
        return {
            ref
            for incoming in unit.all
            for ref, id in self._links(incoming, old=False).items()
            if id is not None and (ref[0], id) in self.moving and ref in self.occupied
        }

    def _kept(self, unit: Unit, ref: Ref, id: DocumentId | None, waiting: Collection[Ref]) -> Kept:
        if ref in waiting:
            return Kept(unit, QueueState.HELD, waits_for_failed(ref), ref)
        label = f"{ref[0]} {name_label(ref[1])}"
        is_gone = id is not None and self.identities.is_gone(ref[0], id)
        why = "which was deleted here, and" if is_gone else "which is not here:"
        return Kept(unit, QueueState.PARKED, f"needs {label}, {why} another document has its name", ref)

    def _links(self, incoming: Incoming, *, old: bool = True) -> dict[Ref, DocumentId | None]:
        """What an event links to, as far as that has the same names at both sites."""
        doctype = self.catalogue.get(incoming.event.doctype)
        if doctype is None or incoming.fault:
            return {}
        said = {(each.doctype, each.name): each.id for each in incoming.event.links}
        return {
            ref: said.get(ref, natural(ref[1]))
            for ref in links_in(doctype, incoming.data, old=old)
            if ref[0] in self.catalogue and not self.names.renames(ref)
        }

    def _is_stranger(self, ref: Ref, id: DocumentId | None) -> bool:
        """Whether another document has the name here than the one that is meant."""
        is_known = id is not None and self.identities.name_of(ref[0], id) is not None
        return ref in self.occupied and not is_known and (ref[0], id) not in self.moving

    def _is_in_the_way(self, incoming: Incoming) -> bool:
        """Whether a document that was fetched finds another one under its name."""
        ref = (incoming.event.doctype, incoming.event.name)
        is_known = self.identities.name_of(ref[0], incoming.id) is not None
        return not is_known and ref in self.occupied and not self.names.renames(ref)

    def _relinked(self, incoming: Incoming, unit: Unit) -> Incoming:
        moves = self.local(incoming)
        if not moves and not incoming.event.links:
            return incoming
        links = [each for each in incoming.event.links if self.names.renames((each.doctype, each.name))]
        links += [
            LinkId(ref[0], moves.get(ref, ref[1]), id)
            for ref, id in self._links(incoming).items()
            if id != natural(moves.get(ref, ref[1]))
        ]
        doctype = self.catalogue[incoming.event.doctype]
        event = msgspec.structs.replace(incoming.event, links=tuple(links))
        data = Relinked(doctype, moves, [*unit.links, *unit.replaced]).data(incoming.data) if moves else incoming.data
        return replace(incoming, event=event, data=data, arrived=incoming.remote)


async def meaning_of(
    reader: Reader, units: Sequence[Unit], names: Names, catalogue: Catalogue, *, coming: Iterable[Incoming] = ()
) -> Meaning | None:
    """What the links of these units mean here; None where all names mean what they say. `names` were looked up.

    `coming` are events with which documents are made, renamed or deleted before.
    """
    every = [incoming for unit in units for incoming in unit.all]
    is_said = any(each.event.links or each.event.id is not None for each in every)
    if not is_said and not await reader.has_identities():
        return None
    wanted: dict[str, tuple[set[Name], set[DocumentId]]] = {}
    meaning = Meaning(Identities(), names, catalogue)
    for incoming in every:
        if incoming.event.doctype in catalogue:
            wanted.setdefault(incoming.event.doctype, (set(), set()))[1].add(incoming.id)
        for ref, id in meaning._links(incoming).items():
            named, ids = wanted.setdefault(ref[0], (set(), set()))
            named.add(ref[1])
            ids |= {id} if id is not None else set()
    rows = [row for kind, (named, ids) in wanted.items() for row in await reader.identities(kind, named, ids)]
    meaning.identities = Identities(rows)
    meaning.occupied = await _occupied(reader, meaning, wanted, every)
    meaning.moving = {(each.event.doctype, each.id) for each in (*every, *coming) if _moves(each, meaning.identities)}
    return meaning


async def _occupied(
    reader: Reader, meaning: Meaning, wanted: Mapping[str, tuple[set[Name], set[DocumentId]]], every: Iterable[Incoming]
) -> set[Ref]:
    """The names that documents have here, of those by which an event means one that is not known here by that."""
    doubted: dict[str, set[Name]] = {}
    for incoming in every:
        own = ((incoming.event.doctype, incoming.event.name), incoming.id)
        for ref, id in (*meaning._links(incoming).items(), own):
            if ref[0] in meaning.catalogue and (id is None or meaning.identities.of(*ref) != id):
                doubted.setdefault(ref[0], set()).add(ref[1])
    return {
        (doctype, name)
        for doctype, names in doubted.items()
        for name in await reader.existing(meaning.catalogue[doctype], names)
    }


def _moves(incoming: Incoming, identities: Identities) -> bool:
    """Whether the event makes, renames or deletes its document here."""
    event = incoming.event
    row = identities.row(event.doctype, incoming.id)
    if event.renamed_from is not None:
        return row is None or row.clock <= event.clock
    if event.operation == Operation.CREATE:
        return row is None or row.gone_at is not None
    return event.operation == Operation.DELETE
