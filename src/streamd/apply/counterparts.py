"""Which names the documents of one producer have here: what is remembered, and what its events say themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from streamd.apply.source import Ref, Source
from streamd.db.base import Reader
from streamd.model import Catalogue, Counterpart, Name, OwnName, name_text


class Names:
    """Knows the local name of each document that it was asked about, as far as there is one.

    Most sites use the same names, and then nothing is looked up. What is remembered here goes before what the producer
    says: it may not have heard yet that a document has got another name here.
    """

    def __init__(self, source: Source, catalogue: Catalogue) -> None:
        self._source = source
        self._catalogue = catalogue
        self._known: dict[Ref, Counterpart] = {}
        self._said: dict[Ref, OwnName] = {}
        self._asked: set[Ref] = set()
        self._any: bool | None = None

    async def load(self, reader: Reader, refs: Iterable[Ref], own: Iterable[OwnName] = ()) -> None:
        """Look these documents up; `own` is what the producer says that they are called here."""
        for each in own:
            if each.doctype in self._catalogue and len(each.own) == len(self._catalogue[each.doctype].key):
                self._hear((each.doctype, each.name), each)
        if self._any is None:
            self._any = bool(self._source.renamed) or await reader.has_counterparts(self._source.site)
        wanted: dict[str, list[Name]] = {}
        for doctype, name in refs:
            if self._any and (doctype, name) not in self._asked:
                self._asked.add((doctype, name))
                wanted.setdefault(doctype, []).append(name)
        for doctype, names in wanted.items():
            found = await reader.counterparts(self._source.site, doctype, names)
            self._known |= {(doctype, name): each for name, each in found.items()}

    def _hear(self, ref: Ref, said: OwnName) -> None:
        """Each event says what its own rows are called."""
        before = self._said.get(ref)
        rows = dict(said.rows)
        for field, pairs in (before.rows if before is not None else {}).items():
            rows[field] = [*pairs, *rows.get(field, ())]
        self._said[ref] = OwnName(said.doctype, said.name, said.own, rows)

    @property
    def idle(self) -> bool:
        """Whether every document has the same name here, as far as was asked."""
        return not (self._source.renamed or self._known or self._said)

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

    def rows(self, ref: Ref) -> Mapping[str, Mapping[str, Name]]:
        """By field, the child rows' keys there (as text) with those that they have here."""
        known, said = self._known.get(ref), self._said.get(ref)
        found: dict[str, dict[str, Name]] = {}
        if said is not None:
            found = {field: {name_text(there): here for there, here in pairs} for field, pairs in said.rows.items()}
        for field, keys in (known.rows if known is not None else {}).items():
            found[field] = found.get(field, {}) | keys
        return found

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
        self._known.pop(ref, None)
        self._said.pop(ref, None)

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

    def pairs(self, refs: Sequence[Ref]) -> dict[Ref, Ref]:
        """Each of these documents that has a name here, under that one."""
        return {ref: (ref[0], name) for ref in refs if (name := self.local(ref)) is not None}
