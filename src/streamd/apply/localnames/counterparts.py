"""Which names the documents of one producer have here: what is remembered, and what its events say themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from streamd.apply.localnames.naming import row_key_naming
from streamd.apply.source import Ref, Source
from streamd.common.names import names_by_type
from streamd.db.base import RawDocument, Reader
from streamd.identity import Identities, natural
from streamd.model import Catalogue, Counterpart, DocumentId, DocumentType, Event, Name, OwnName, Record, name_text
from streamd.rows import name_in
from streamd.wire import read_json

BORN_THERE: Mapping[Ref, DocumentId] = MappingProxyType({})


class Names:
    """Knows the local name of each document that it was asked about, as far as there is one.

    Most sites use the same names, and then nothing is looked up. What is remembered here goes before what the producer
    says: it may not have heard yet that a document has got another name here. Not where that document is gone: then the
    producer may have used its name again, for one that came from here. A document that came under its own name, before
    such were named anew, keeps it.
    """

    def __init__(self, source: Source, catalogue: Catalogue) -> None:
        self._source = source
        self._catalogue = catalogue
        self._known: dict[Ref, Counterpart] = {}
        self._said: dict[Ref, OwnName] = {}
        self._anothers: set[Ref] = set()
        self._said_rows: dict[Ref, dict[str, dict[str, Name]]] = {}
        self._logs: set[str] = set()
        self._asked: set[Ref] = set()
        self._any: bool | None = None
        self._born: dict[Ref, DocumentId] = {}

    async def load(
        self,
        reader: Reader,
        refs: Iterable[Ref],
        own: Iterable[OwnName] = (),
        *,
        logs: Iterable[str] = (),
        made: Collection[Ref] = (),
        born: Mapping[Ref, DocumentId] = BORN_THERE,
    ) -> None:
        """Look these documents up.

        `own` is what the producer says that they are called here, and `logs` are the logs in which it says so. Those
        that are `made` there by the first event that comes of them are none that went there from here. Those that are
        `born` at a third site may have come from there as well.
        """
        self._born |= born
        self._logs |= set(logs)
        for each in own:
            if each.doctype in self._catalogue and len(each.own) == len(self._catalogue[each.doctype].key):
                self._hear((each.doctype, each.name), each)
        if self._any is None:
            self._any = bool(self._source.renamed) or await reader.has_counterparts(self._source.site)
        wanted = [ref for ref in refs if ref not in self._asked] if self._any else []
        self._asked.update(wanted)
        for doctype, names in names_by_type(wanted).items():
            found = await reader.counterparts(self._source.site, doctype, names)
            self._known |= {(doctype, name): each for name, each in found.items()}
            if doctype in self._source.renamed:
                new = [name for name in names if name not in found and (doctype, name) not in self._said]
                before = await self._came_before(reader, self._catalogue[doctype], new)
                self._known |= {(doctype, each.remote_name): each for each in before}
                self._known |= await self._came_otherwise(reader, doctype, new)
            else:
                self._anothers |= await self._of_others(reader, doctype, [name for name in names if name not in found])
        await self._believe(reader, made)

    async def _came_otherwise(self, reader: Reader, doctype: str, names: Iterable[Name]) -> dict[Ref, Counterpart]:
        """Those of these documents that came from the sites where they were made, or by these."""
        found: dict[Ref, Counterpart] = {}
        for ref in ((doctype, name) for name in names):
            id = self._born.get(ref)
            if id is not None and ref not in self._known:
                each = (await reader.counterparts(id.site, doctype, [id.name])).get(id.name)
                if each is not None:
                    found[ref] = replace(each, peer=self._source.site, remote_name=ref[1])
        return found

    def also(self, known: Counterpart) -> list[Counterpart]:
        """The same for the site where the document was made, should it come from there."""
        id = self._born.get((known.doctype, known.remote_name))
        return [] if id is None or id.clock else [replace(known, peer=id.site, remote_name=id.name)]

    async def _of_others(self, reader: Reader, doctype: str, names: Iterable[Name]) -> set[Ref]:
        """Those of these names that documents have here which the producer calls otherwise."""
        plain = [name for name in names if (doctype, name) not in self._said]
        here = await reader.counterparts_here(self._source.site, doctype, plain) if plain else {}
        return {(doctype, name) for name, each in here.items() if each.remote_name != name}

    async def _came_before(self, reader: Reader, doctype: DocumentType, names: Sequence[Name]) -> list[Counterpart]:
        """Those of these documents that came under the names that they have there, with the keys of their rows."""
        places = await called_now(reader, doctype.name, names) if names else {}
        found = await reader.records(doctype.name, places.values()) if places else {}
        records = {name: found[here] for name, here in places.items() if here in found}
        came = {
            places[name]: name
            for name, record in records.items()
            if record.remote_name == name and self._is_from_there(record)
        }
        if not came:
            return []
        documents = await reader.read_documents(doctype, came)
        others = await reader.counterparts_here(self._source.site, doctype.name, came)
        return [
            Counterpart(self._source.site, doctype.name, here, name, row_keys(doctype, documents.get(here)))
            for here, name in came.items()
            # After a deletion, what has the name is a document of this site's own.
            if here not in others and (records[name].deleted_at is None or here not in documents)
        ]

    def _is_from_there(self, record: Record) -> bool:
        return record.source == self._source.site or not self._logs.isdisjoint(record.seen)

    async def _believe(self, reader: Reader, made: Collection[Ref]) -> None:
        """Where what is remembered of a name is gone, and what the producer says of it is here, take that."""
        by_type: dict[str, list[Ref]] = {}
        for ref in self._said:
            if self.says_another(ref) and ref not in made:
                by_type.setdefault(ref[0], []).append(ref)
        for doctype, refs in by_type.items():
            names = [name for ref in refs for name in (self._known[ref].name, self._said[ref].own)]
            here = await reader.existing(self._catalogue[doctype], names)
            for ref in refs:
                if self._known[ref].name not in here and self._said[ref].own in here:
                    self.believe(ref)

    def says_another(self, ref: Ref) -> bool:
        """Whether the producer says another name than the one that is remembered."""
        return ref in self._known and ref in self._said and self._known[ref].name != self._said[ref].own

    def believe(self, ref: Ref) -> None:
        """What was remembered is of a document that is gone; what comes now is of the one that the producer says."""
        self._known.pop(ref, None)

    def _hear(self, ref: Ref, said: OwnName) -> None:
        """Each event says what its own rows are called."""
        if said.own == said.name and ref[0] not in self._source.renamed:
            return  # as all of its type; its rows have the keys that they have there, also those that are not said
        self._said[ref] = said
        for field, pairs in said.rows.items():
            rows = self._said_rows.setdefault(ref, {}).setdefault(field, {})
            rows |= {name_text(there): here for there, here in pairs}

    @property
    def idle(self) -> bool:
        """Whether every document has the same name here, as far as was asked."""
        return not (self._source.renamed or self._known or self._said or self._anothers)

    def is_anothers(self, ref: Ref) -> bool:
        """Whether the producer's name of the document is that of another one here, which it calls otherwise."""
        return ref in self._anothers and not self.renames(ref)

    def renames(self, ref: Ref) -> bool:
        """Whether the document has, or gets, a name of its own here."""
        return ref in self._known or ref in self._said or ref[0] in self._source.renamed

    def local(self, ref: Ref) -> Name | None:
        """The document's name here; None for one that would get a name of this site's own, and has none yet."""
        known = self._known.get(ref)
        if known is not None:
            return known.name
        said = self._said.get(ref)
        if said is not None:
            return said.own
        return None if ref[0] in self._source.renamed else ref[1]

    def each(self, ref: Ref) -> list[Name]:
        """The document's name here, and what else it may be said to be called while it is written."""
        local, said = self.local(ref), self._said.get(ref)
        return list(dict.fromkeys(name for name in (local, said.own if said else None) if name is not None))

    def known_as(self, event: Event) -> Ref | None:
        """The event's document as it is known here: by the name that it had, where it is renamed there.

        By its new name, where only that is known. None where it has the same name here.
        """
        names = [event.name] if event.renamed_from is None else [event.renamed_from, event.name]
        refs = [ref for name in names if self.renames(ref := (event.doctype, name))]
        return next((ref for ref in refs if self.local(ref) is not None), refs[0] if refs else None)

    def known_rows(self, ref: Ref) -> Mapping[str, Mapping[str, Name]]:
        """By field, the child rows' keys there (as text) with those that they have here, as far as is remembered."""
        known = self._known.get(ref)
        return {} if known is None else known.rows

    def said_rows(self, ref: Ref) -> Mapping[str, Mapping[str, Name]]:
        """The same, as the producer says it."""
        return self._said_rows.get(ref, {})

    def rows(self, ref: Ref) -> Mapping[str, Mapping[str, Name]]:
        """Both: what is remembered goes before what is said."""
        known, said = self.known_rows(ref), self.said_rows(ref)
        return {field: {**said.get(field, {}), **known.get(field, {})} for field in dict.fromkeys([*said, *known])}

    def are_alike(self, ref: Ref) -> bool:
        """Whether the producer has for all rows of a document, those to come as well, the keys that they have here."""
        said = self._said.get(ref)
        return said is not None and said.alike

    def give(self, ref: Ref, name: Name, rows: Mapping[str, Mapping[str, Name]]) -> Counterpart:
        """The document is called so here from now on. Returns what is to be remembered."""
        given = Counterpart(
            self._source.site, ref[0], name, ref[1], {field: dict(keys) for field, keys in rows.items() if keys}
        )
        self._known[ref] = given
        self._asked.add(ref)
        return given

    def forget(self, ref: Ref) -> None:
        """The producer calls the document otherwise now; what has this name from here on is another one."""
        if not self.says_another(ref):
            self._said.pop(ref, None)
            self._said_rows.pop(ref, None)
        self._known.pop(ref, None)

    async def here(self, reader: Reader, refs: Iterable[Ref]) -> set[Ref]:
        """Those of these documents that are here. They were looked up before."""
        by_type: dict[str, dict[Name, list[Ref]]] = {}
        for ref in refs:
            name = self.local(ref)
            if name is not None and not self.is_anothers(ref):
                by_type.setdefault(ref[0], {}).setdefault(name, []).append(ref)
        found: set[Ref] = set()
        for doctype, named in by_type.items():
            for name in await reader.existing(self._catalogue[doctype], named):
                found |= set(named[name])
        return found

    def pairs(self, refs: Sequence[Ref]) -> dict[Ref, Ref]:
        """Each of these documents that has a name here, under that one."""
        return {ref: (ref[0], name) for ref in refs if (name := self.local(ref)) is not None}


async def called_now(reader: Reader, doctype: str, names: Sequence[Name]) -> dict[Name, Name]:
    """What documents that were the first of these names are called here now, or were last."""
    identities = Identities(await reader.identities(doctype, names))
    rows = {name: identities.row(doctype, natural(name)) for name in names}
    return {name: name if row is None else row.name for name, row in rows.items()}


def row_keys(doctype: DocumentType, document: RawDocument | None) -> dict[str, dict[str, Name]]:
    """By field, the keys of a document's child rows, each by itself as text."""
    found: dict[str, dict[str, Name]] = {}
    for child in doctype.children if document is not None else ():
        # A key that the parent's name is part of is found by that.
        if row_key_naming(child) is None or document is None:
            continue
        rows = (read_json(row.decode("utf-8", "replace")) for row in document.children[child.field])
        keys = [key for row in rows if (key := name_in(row, child.key)) is not None]
        found[child.field] = {name_text(key): key for key in keys}
    return found
