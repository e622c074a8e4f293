"""Which names the documents of one producer have here: as their ids tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from streamd.apply.event.incoming import Incoming
from streamd.apply.source import Ref, Source
from streamd.db.base import Reader
from streamd.identity import Identities, Identity, natural
from streamd.model import Catalogue, DocumentId, LinkId, Name, Record
from streamd.rows import links_in

NOWHERE = "-"
"""The clock of the id of what a link means that leads nowhere: no document has it."""

Key = tuple[str, DocumentId]


@dataclass(frozen=True, slots=True)
class Known:
    """A document as it is known here: its id here, and its name, if it has one.

    `keeps` says that it has a name of this site's own, or gets one, whatever it is called there; else it is found by
    the name that it has there, as its id says. `gone`: it was deleted here, and another one has its name by now.
    """

    id: DocumentId
    name: Name | None = None
    keeps: bool = True
    gone: bool = False


def _has_site(link: LinkId) -> bool:
    return bool(link.birth or (link.id is not None and link.id.site))


class Names:
    """Knows the local name of each document that it was asked about, as far as there is one.

    Most sites use the same names, and then nothing is looked up. Where documents are named here, an id has the site of
    its birth, and is looked up with that. Our own documents have no site, nor what came under its own name before such
    were named anew; so does a document whose maker has the same names as this site, whoever named it in between.
    """

    def __init__(self, source: Source, catalogue: Catalogue) -> None:
        self._source = source
        self._catalogue = catalogue
        self._ids: dict[Ref, DocumentId] = {}
        self._known: dict[Key, Known | None] = {}
        self._apart: set[Key] = set()
        self._deleted: dict[Ref, list[Key]] = {}
        """Deleted documents by the names that they had here. No other document has these yet."""
        self._logs: set[str] = set()
        self._any: bool | None = None

    async def load(self, reader: Reader, incoming: Iterable[Incoming] = (), refs: Iterable[Ref] = ()) -> None:
        """Look up the documents that these events are of, and link to, and `refs`.

        Writes into the events which documents they mean that are not named here, and called as others here are.
        """
        if self._any is None:
            # What was named here keeps its name, also where no more is named here.
            self._any = bool(self._source.renamed) or await reader.has_row_ids()
        keys: dict[Key, None] = {}
        every = list(incoming)
        for each in every:
            self._logs.add(each.log)
            for ref, id in self.meant(each).items():
                if id is not None:
                    keys[ref[0], self._ids.setdefault(ref, id)] = keys[ref[0], id] = None
        for ref in refs:
            found = self._link(ref, None) if ref[0] in self._catalogue else None
            if found is not None:
                keys[ref[0], self._ids.setdefault(ref, found)] = None
        by_type: dict[str, list[DocumentId]] = {}
        for doctype, id in keys.keys() - self._known.keys():
            by_type.setdefault(doctype, []).append(id)
        for doctype, ids in by_type.items():
            await self._look_up(reader, doctype, ids)
        for each in every if self._apart else ():
            self._say(each)

    def meant(self, incoming: Incoming) -> dict[Ref, DocumentId | None]:
        """The documents of an event by the producer's names; None for one whose name means the same here."""
        event = incoming.event
        doctype = self._catalogue.get(event.doctype)
        is_said = incoming.id.site or event.birth or any(map(_has_site, event.links))
        if doctype is None or incoming.fault or not (is_said or self._any or self._ids):
            return {}
        own = self._own(incoming)
        said = {(each.doctype, each.name): each for each in event.links}
        found = {(event.doctype, name): own for name in (event.name, event.renamed_from) if name is not None}
        for ref in links_in(doctype, incoming.data):
            if ref[0] in self._catalogue:
                found.setdefault(ref, self._link(ref, said.get(ref)))
        return found

    def _own(self, incoming: Incoming) -> DocumentId | None:
        return self._with_site(incoming.event.doctype, incoming.id, incoming.event.birth)

    def _link(self, ref: Ref, said: LinkId | None) -> DocumentId | None:
        id = natural(ref[1]) if said is None else said.id
        if id is None:
            return DocumentId(ref[1], NOWHERE, self._source.site) if ref[0] in self._source.renamed else None
        return self._with_site(ref[0], id, "" if said is None else said.birth)

    def _with_site(self, doctype: str, id: DocumentId, birth: str) -> DocumentId | None:
        """The id with the site of its birth; None for a document of which nobody gives names of its own."""
        if id.site:
            return id
        if doctype in self._source.renamed:
            return DocumentId(id.name, id.clock, birth or self._source.site)
        found = DocumentId(id.name, id.clock, self._source.site)
        if birth == self._source.site:
            self._apart.add((doctype, found))
        elif not (self._any and len(self._catalogue[doctype].key) == 1):
            return None
        return found

    async def _look_up(self, reader: Reader, doctype: str, ids: Sequence[DocumentId]) -> None:
        plain = {id: DocumentId(id.name, id.clock) for id in ids}
        identities = Identities(await reader.identities(doctype, {id.name for id in ids}, [*ids, *plain.values()]))
        rows = {id: identities.row(doctype, id) or identities.row(doctype, plain[id]) for id in ids}
        places = {id: id.name if row is None else row.name for id, row in rows.items()}
        records = await reader.records(doctype, places.values())
        here = await reader.existing(self._catalogue[doctype], places.values())
        for id, place in places.items():
            stands, key = place in here, (doctype, id)
            row = rows[id]
            found = self._found(id, row, records.get(place), stands=stands)
            if row is not None and row.gone_at is not None and not found.gone:
                self._deleted.setdefault((doctype, row.name), []).append(key)
            is_named_here = doctype in self._source.renamed
            self._known[key] = found if is_named_here else self._with_same_names(found, key, stands=stands)

    def _found(self, id: DocumentId, row: Identity | None, record: Record | None, *, stands: bool) -> Known:
        """What is known of a document: `row` is of its id with the site or without it, `record` of the name in that."""
        plain = DocumentId(id.name, id.clock)
        is_known = row is not None and row.id == id
        if not (is_known or id.site == self._source.here or self._came(id, record, stands=stands)):
            return Known(id)
        found = id if is_known else plain
        is_gone = row is not None and row.gone_at is not None
        if is_gone and (stands or (record is not None and (record.id or natural(record.name)) != found)):
            return Known(found, gone=True)
        return Known(found, id.name if row is None else row.name)

    def _with_same_names(self, known: Known, key: Key, *, stands: bool) -> Known | None:
        """The same, where new documents of the producer keep their names.

        Where the producer names our documents itself, what has its own document's name here is another one, if it did
        not come from there. None for a document that has the same name at both.
        """
        id, is_apart = key[1], key in self._apart
        if id.site != self._source.site:
            return known if not known.id.site else replace(known, keeps=False)
        if known.id == id and (known.name is not None or known.gone):
            return replace(known, keeps=not is_apart)
        return Known(id, keeps=False) if is_apart and stands and known.id == id else None

    def _came(self, id: DocumentId, record: Record | None, *, stands: bool) -> bool:
        """Whether the document that has the name here came from where the id says, and was not named here."""
        if record is None or (record.id or natural(record.name)) != DocumentId(id.name, id.clock):
            return False
        # After a deletion, what has the name is a document of this site's own.
        if record.deleted_at is not None and stands:
            return False
        is_through = id.site == self._source.site and not self._logs.isdisjoint(record.seen)
        return record.source == id.site or (is_through and record.source != self._source.here)

    def _say(self, incoming: Incoming) -> None:
        event, meant = incoming.event, self.meant(incoming)
        apart = {ref: id for ref, id in meant.items() if id is not None and (ref[0], id) in self._apart}
        apart = {ref: id for ref, id in apart.items() if self._known.get((ref[0], id)) is not None}
        own = apart.pop((event.doctype, event.name), None)
        said = {(each.doctype, each.name): each for each in event.links}
        links = said | {ref: LinkId(*ref, id) for ref, id in apart.items() if ref[1] != event.renamed_from}
        if own is not None or links != said:
            incoming.arrived = incoming.remote
            incoming.event = msgspec.structs.replace(event, id=own or event.id, links=tuple(links.values()))

    def mean(self, meant: Mapping[Ref, DocumentId | None]) -> None:
        """From here on the producer's names mean these documents, which were looked up before."""
        for ref, id in meant.items():
            if id is None:
                self._ids.pop(ref, None)
            else:
                self._ids[ref] = id

    @property
    def idle(self) -> bool:
        """Whether every document has the same name here, as far as was asked."""
        return not (self._any or self._ids)

    def of(self, incoming: Incoming) -> Known | None:
        """What is known of the event's document; None where it has the same name here."""
        id = None if self.idle or incoming.event.doctype not in self._catalogue else self._own(incoming)
        return None if id is None else self._known.get((incoming.event.doctype, id), Known(id))

    def known(self, ref: Ref) -> Known | None:
        """The same of a document by the name that it has there."""
        id = self._ids.get(ref)
        return None if id is None else self._known.get((ref[0], id), Known(id))

    def renames(self, ref: Ref) -> bool:
        """Whether the document has, or gets, a name of its own here, whatever it is called there."""
        known = self.known(ref)
        return ref[0] in self._source.renamed if known is None else known.keeps

    def local(self, ref: Ref) -> Name | None:
        """The document's name here; None for one that would get a name of this site's own, and has none yet."""
        if not self.renames(ref):
            return ref[1]
        known = self.known(ref)
        return None if known is None else known.name

    def give(self, ref: Ref, name: Name) -> None:
        """The document is called so here from now on. A deleted one that was called so is gone for good."""
        id = self._ids.setdefault(ref, DocumentId(ref[1], site=self._source.site))
        for key in self._deleted.pop((ref[0], name), ()):
            known = self._known.get(key)
            if known is not None and key[1] != id:
                self._known[key] = replace(known, name=None, gone=True)
        self._known[ref[0], id] = Known(id, name)

    def differs(self, incoming: Incoming) -> bool:
        """Whether a document that was fetched is another one than what is meant by its name."""
        ref = (incoming.event.doctype, incoming.event.name)
        return self.known(ref) is not None and self._own(incoming) != self._ids[ref]

    async def here(self, reader: Reader, refs: Iterable[Ref]) -> set[Ref]:
        """Those of these documents that are here. They were looked up before."""
        by_type: dict[str, dict[Name, list[Ref]]] = {}
        for ref in refs:
            name = self.local(ref)
            if name is not None:
                by_type.setdefault(ref[0], {}).setdefault(name, []).append(ref)
        found: set[Ref] = set()
        for doctype, named in by_type.items():
            for name in await reader.existing(self._catalogue[doctype], named):
                found |= set(named[name])
        return found
