"""Puts events under the names that documents have here: their own, and those that their links lead to. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import msgspec

from streamd.apply.event.incoming import Incoming
from streamd.apply.localnames.names import Names
from streamd.apply.localnames.rowkeys import RowKeys
from streamd.apply.source import Ref
from streamd.identity import natural
from streamd.model import (
    Catalogue,
    ChildTable,
    Difference,
    DocumentId,
    DocumentType,
    Event,
    Link,
    LinkId,
    Name,
    OldValues,
    Operation,
    Row,
    name_label,
)
from streamd.rowids import RowIds
from streamd.rows import linked, name_in, split

REMOTE_SITE, REMOTE_NAME = "remote_site_name", "remote_docname"
"""Columns of a document in which users see where it came from, where a table has them."""


class LocalNames(Protocol):
    """Says what documents are called here."""

    def local(self, ref: Ref) -> Name | None:
        """The document's name here; None if it has none yet."""
        ...


def with_local_links(links: Iterable[Link], row: Row, names: LocalNames, known: Sequence[Ref] = ()) -> Row:
    """A row whose links lead to documents under their names here. `known` are all documents that the event links to."""
    changed: Row = {}
    for link in links:
        if any(column not in row for column in link.columns):
            continue
        for ref in _targets(link, row, known):
            local = names.local(ref)
            if local is not None and local != ref[1]:
                changed |= dict(zip(link.columns, local, strict=True))
    return row | changed if changed else row


def _targets(link: Link, row: Row, known: Sequence[Ref]) -> Iterable[Ref]:
    if link.type_column is None or link.type_column in row:
        return [(target, name) for target, name, _ in linked((link,), row)]
    # The type of a dynamic link did not change: then it stands in the document that is here, which was looked at.
    name = name_in(row, link.columns)
    return [ref for ref in known if ref[1] == name][:1]


class Renaming:
    """Rewrites events of one producer. `keys` knows the rows; `remembered` has what is to be written down of those."""

    def __init__(self, names: Names, catalogue: Catalogue, keys: RowKeys, *, url: str) -> None:
        self._names = names
        self._catalogue = catalogue
        self._keys = keys
        self._url = url
        self.remembered: list[tuple[Incoming, tuple[str, DocumentId, RowIds]]] = []

    def of(self, incoming: Incoming, links: Sequence[Ref], *, named: Collection[Ref] = ()) -> Incoming:
        """The event under the names of this site.

        `links` are all documents that it links to, or linked to before, `named` those that get their names with it.
        """
        event = incoming.event
        doctype = self._catalogue.get(event.doctype)
        if doctype is None or incoming.fault or event.operation == Operation.GAP:
            return incoming
        ref = (event.doctype, event.name)
        renamed = self._names.renames(ref)
        here = self._names.local(ref) if renamed else None
        moved = _Moved(doctype, here, self._names, links, lambda child, key: self._keys.key(incoming, child, key))
        made = replace(
            incoming, event=self._event(incoming, here), data=moved.data(incoming.data),
            arrived=incoming.remote, named_here=ref in named, by_id=renamed,
        )  # fmt: skip
        made = self._keys.follow(incoming, made, doctype)
        changed = self._keys.changed(incoming)
        if changed is not None:
            self.remembered.append((incoming, changed))
        if renamed:
            made.data = self._marked(doctype, made, event)
        return made

    def _event(self, incoming: Incoming, here: Name | None) -> Event:
        event = msgspec.structs.replace(incoming.event, links=self._links(incoming))
        if here is None:
            return event
        # What it is called there, and was called before, is no matter of the document here.
        known = self._names.known((event.doctype, event.name))
        assert known is not None  # noqa: S101  # it has a name here
        id = None if known.id == natural(here) else known.id
        return msgspec.structs.replace(event, name=here, renamed_from=None, id=id)

    def _links(self, incoming: Incoming) -> tuple[LinkId, ...]:
        """The documents that the event links to, where their names here do not tell."""
        found = {(each.doctype, each.name): each for each in incoming.event.links}
        for ref in self._names.meant(incoming):
            known, local = self._names.known(ref), self._names.local(ref)
            if known is None or local is None or not self._names.renames(ref):
                continue
            found.pop(ref, None)
            if known.id != natural(local):
                found[ref[0], local] = LinkId(ref[0], local, known.id)
        return tuple(found.values())

    def _marked(self, doctype: DocumentType, incoming: Incoming, remote: Event) -> Any:
        """The data with what users see of the document's origin, where the table has columns for that."""
        said = {REMOTE_SITE: self._url, REMOTE_NAME: name_label(remote.name)}
        said = {column: value for column, value in said.items() if column in doctype.written_names}
        if isinstance(incoming.data, dict) and incoming.named_here:
            return incoming.data | said
        if isinstance(incoming.data, Difference) and remote.renamed_from is not None and REMOTE_NAME in said:
            changed = incoming.data.changed | {REMOTE_NAME: said[REMOTE_NAME]}
            return msgspec.structs.replace(incoming.data, changed=changed)
        return incoming.data


class _Moved:
    """The data of one event, for the document that is called `here` (None: as at the producer)."""

    def __init__(
        self,
        doctype: DocumentType,
        here: Name | None,
        names: LocalNames,
        links: Sequence[Ref],
        row_key: Callable[[ChildTable, Name], Name | None] = lambda _, key: key,
    ) -> None:
        self._doctype = doctype
        self._here = here
        self._row_key = row_key
        self._names = names
        self._links = links

    def data(self, data: Any) -> Any:
        if isinstance(data, Difference):
            return self._difference(data)
        if not isinstance(data, dict):
            return data
        if data.keys() == {"old"}:
            old = data["old"]
            return {"old": self._parent(old)} if isinstance(old, dict) else data
        fields, children = split(self._doctype, data)
        whole: Row = self._parent(fields)
        for child in self._doctype.children:
            whole[child.field] = [self._row(child, row) for row in children[child.field] if self._known(child, row)]
        return whole

    def _difference(self, data: Difference) -> Difference:
        def rows(table: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
            found = {}
            for child in self._doctype.children:
                if child.field in table:
                    found[child.field] = [
                        self._row(child, row) for row in table[child.field] if self._known(child, row)
                    ]
            return found

        removed = {
            child.field: [list(key) for parts in data.removed[child.field] if (key := self._key(child, parts))]
            for child in self._doctype.children
            if child.field in data.removed
        }
        old = OldValues(
            changed=self._changed(data.old.changed),
            row_changed=rows(data.old.row_changed),
            removed=rows(data.old.removed),
        )
        changed = self._changed(data.changed)
        return Difference(changed, rows(data.added), removed, rows(data.row_changed), old, data.whole, data.made)

    def _parent(self, row: Row) -> Row:
        row = dict(with_local_links(self._doctype.links, row, self._names, self._links))
        if self._here is not None:
            row |= dict(zip(self._doctype.key, self._here, strict=True))
        return row

    def _changed(self, row: Row) -> Row:
        row = with_local_links(self._doctype.links, row, self._names, self._links)
        if self._here is None or row.keys().isdisjoint(self._doctype.key):
            return row
        return {column: value for column, value in row.items() if column not in self._doctype.key}

    def _row(self, child: ChildTable, row: Row) -> Row:
        key = self._key(child, [row.get(column) for column in child.key])
        row = with_local_links(child.links, row, self._names, self._links)
        changed: Row = {}
        if key is not None and (child.is_numbered or self._here is not None):
            changed = {column: part for column, part in zip(child.key, key, strict=True) if column in row}
        if self._here is not None:
            changed |= {part: value for part, value in zip(child.parent_key, self._here, strict=True) if part in row}
        return row | changed if changed else row

    def _known(self, child: ChildTable, row: Row) -> bool:
        return self._key(child, [row.get(column) for column in child.key]) is not None

    def _key(self, child: ChildTable, parts: Sequence[Any]) -> tuple[Any, ...] | None:
        """The key of a child row here; None for a row that never came here, so that no other one is hit."""
        if child.is_numbered and parts[0] is not None:
            return self._row_key(child, tuple(parts))
        if self._here is None:
            return tuple(parts)
        parent = dict(zip(child.parent_key, self._here, strict=True))
        row = with_local_links(child.links, dict(zip(child.key, parts, strict=True)), self._names, self._links)
        return tuple(parent.get(column, row[column]) for column in child.key)


class Relinked(_Moved):
    """The data of an event with links to documents under the names `moves`."""

    def __init__(self, doctype: DocumentType, moves: Mapping[Ref, Name], links: Sequence[Ref]) -> None:
        super().__init__(doctype, None, self, links)
        self._moves = moves

    def local(self, ref: Ref) -> Name | None:
        """The document's name here."""
        return self._moves.get(ref, ref[1])
