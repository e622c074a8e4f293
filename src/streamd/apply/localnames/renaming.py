"""Puts events under the names that documents have here: their own, and those that their links lead to. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import msgspec

from streamd.apply.event.incoming import Incoming
from streamd.apply.localnames.counterparts import Names
from streamd.apply.localnames.naming import row_key_naming
from streamd.apply.localnames.rowkeys import RowKey, RowKeys
from streamd.apply.source import Ref
from streamd.model import (
    Catalogue,
    ChildTable,
    Counterpart,
    Difference,
    DocumentType,
    Event,
    Link,
    Name,
    OldValues,
    Operation,
    Row,
    name_label,
    name_text,
)
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
    """Rewrites events of one producer. `rows` are the keys that new child rows have got here, `keys` knows all others.

    `remembered` has what is to be written down, in the order of the events; `gone` are names that are used no more
    there.
    """

    def __init__(
        self,
        names: Names,
        catalogue: Catalogue,
        rows: Mapping[RowKey, Name],
        keys: RowKeys,
        *,
        url: str,
    ) -> None:
        self._names = names
        self._catalogue = catalogue
        self._rows = rows
        self._row_keys = keys
        self._url = url
        self.remembered: list[tuple[Incoming, Counterpart]] = []
        self.gone: list[Ref] = []

    def place(self, incoming: Incoming) -> Name | None:
        """The name here of the event's document; None where it has none."""
        event = incoming.event
        if event.renamed_from is not None:
            old = self._names.local((event.doctype, event.renamed_from))
            if old is not None:
                return old
        return self._names.local((event.doctype, event.name))

    def of(self, incoming: Incoming, links: Sequence[Ref], *, named: Collection[Ref] = ()) -> Incoming:
        """The event under the names of this site.

        `links` are all documents that it links to, or linked to before, `named` those that get their names with it.
        """
        doctype = self._catalogue.get(incoming.event.doctype)
        event = incoming.event
        if doctype is None or incoming.fault or event.operation == Operation.GAP:
            return incoming
        old, new = (event.doctype, event.renamed_from or event.name), (event.doctype, event.name)
        renamed = self._names.renames(old) or self._names.renames(new)
        here = self.place(incoming) if renamed else event.name
        assert here is not None  # noqa: S101  # the caller looked
        known_as = self._names.known_as(event) if renamed else None
        keys = {} if known_as is None else self._keys(doctype, known_as, incoming)
        moved = _Moved(doctype, here if renamed else None, keys, self._names, links)
        made = replace(
            incoming, event=self._event(event, here, renamed=renamed), data=moved.data(incoming.data),
            arrived=incoming.remote, named_here=new in named, by_counterpart=renamed,
            another=not renamed and (self._names.is_anothers(new) or self._names.is_anothers(old)),
        )  # fmt: skip
        if known_as is not None:
            self._remember(incoming, old, new, here, self._row_keys.after(incoming, known_as, keys))
            made.data = self._marked(doctype, made, event)
        return made

    def _event(self, event: Event, here: Name, *, renamed: bool) -> Event:
        if not renamed:
            return event
        # What it is called there, and was called before, is no matter of the document here.
        return msgspec.structs.replace(event, name=here, renamed_from=None, id=None)

    def _keys(self, doctype: DocumentType, ref: Ref, incoming: Incoming) -> dict[str, dict[str, Name]]:
        """By field, the keys of child rows: those that are known, and those that were given just now."""
        known = self._row_keys.of(incoming, ref)
        found = {child.field: dict(known.get(child.field, {})) for child in doctype.children}
        for (owner, fieldname, text), key in self._rows.items():
            if owner in (ref, (incoming.event.doctype, incoming.event.name)):
                found[fieldname][text] = key
        return found

    def _remember(
        self, incoming: Incoming, old: Ref, new: Ref, here: Name, keys: Mapping[str, Mapping[str, Name]]
    ) -> None:
        given = self._names.give(new, here, keys)
        self.remembered += [(incoming, each) for each in (given, *self._names.also(given))]
        if old != new:
            self.gone.append(old)

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
        keys: Mapping[str, Mapping[str, Name]],
        names: LocalNames,
        links: Sequence[Ref],
    ) -> None:
        self._doctype = doctype
        self._here = here
        self._keys = keys
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
            whole[child.field] = [self._row(child, row) for row in children[child.field]]
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
        if self._here is None:
            return row
        changed: Row = {}
        if key is not None:
            changed = {column: part for column, part in zip(child.key, key, strict=True) if column in row}
        changed |= {column: part for column, part in zip(child.parent_key, self._here, strict=True) if column in row}
        return row | changed

    def _known(self, child: ChildTable, row: Row) -> bool:
        return self._key(child, [row.get(column) for column in child.key]) is not None

    def _key(self, child: ChildTable, parts: Sequence[Any]) -> tuple[Any, ...] | None:
        """The key of a child row here; None for a row that never came here, so that no other one is hit."""
        if self._here is None:
            return tuple(parts)
        keys = self._keys.get(child.field, {})
        known = keys.get(name_text(tuple("" if part is None else part for part in parts)))
        if known is not None:
            return known
        if row_key_naming(child) is not None:
            return None
        parent = dict(zip(child.parent_key, self._here, strict=True))
        row = with_local_links(child.links, dict(zip(child.key, parts, strict=True)), self._names, self._links)
        return tuple(parent.get(column, row[column]) for column in child.key)


class Relinked(_Moved):
    """The data of an event with links to documents under the names `moves`."""

    def __init__(self, doctype: DocumentType, moves: Mapping[Ref, Name], links: Sequence[Ref]) -> None:
        super().__init__(doctype, None, {}, self, links)
        self._moves = moves

    def local(self, ref: Ref) -> Name | None:
        """The document's name here."""
        return self._moves.get(ref, ref[1])
