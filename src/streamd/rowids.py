"""Which child rows of a document are which, where their keys here do not tell. Pure.

A row is known by the key that it got where it was added. Where documents have names of a site's own, rows have keys of
its own too: for each such row, its key here and its id are remembered beside the document, also after it was removed,
until another row gets the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from streamd.common.values import DocumentId, Name, RowId, Scalar, name_from_text, name_text
from streamd.doctypes import ChildTable, DocumentType
from streamd.model import Difference, Row, SaidRows


class RowIds(msgspec.Struct, omit_defaults=True):
    """By field and key here (as text), the ids of a document's rows. `gone` are the keys of those that were removed."""

    rows: dict[str, dict[str, RowId]] = {}
    gone: dict[str, list[str]] = {}

    def copy(self) -> RowIds:
        """The same, to be changed."""
        rows = {field: dict(keys) for field, keys in self.rows.items()}
        return RowIds(rows, {field: list(keys) for field, keys in self.gone.items()})

    def id_of(self, field: str, key: Name) -> RowId | None:
        """The id of the row that has the key, or had it last; None where that is not remembered."""
        return self.rows.get(field, {}).get(name_text(key))

    def key_of(self, field: str, id: RowId) -> Name | None:
        """The key of a row that is here."""
        gone = self.gone.get(field, ())
        found = (text for text, each in self.rows.get(field, {}).items() if each == id and text not in gone)
        return next(map(name_from_text, found), None)

    def last_key_of(self, field: str, id: RowId) -> Name | None:
        """The key that a row had which was removed."""
        found = [text for text in self.gone.get(field, ()) if self.rows[field].get(text) == id]
        return name_from_text(found[-1]) if found else None

    def put(self, field: str, key: Name, id: RowId) -> None:
        """The row is here, under this key."""
        text = name_text(key)
        self.rows.setdefault(field, {})[text] = id
        self._forget_gone(field, text)

    def remove(self, field: str, key: Name) -> None:
        """The row that had the key is removed."""
        text = name_text(key)
        if text in self.rows.get(field, {}) and text not in self.gone.get(field, ()):
            self.gone.setdefault(field, []).append(text)

    def add(self, field: str, key: Name) -> None:
        """Users here added a row under this key: another one, if the row that had it was removed before."""
        text = name_text(key)
        if text in self.gone.get(field, ()):
            del self.rows[field][text]
            self._forget_gone(field, text)

    def _forget_gone(self, field: str, text: str) -> None:
        if text in self.gone.get(field, ()):
            self.gone[field].remove(text)


def keys_added(data: object, child: ChildTable) -> list[Name]:
    """The keys of the rows that an event's data brings: those of a whole document are all new to it."""
    rows: Iterable[Row] = ()
    if isinstance(data, Difference):
        rows = data.added.get(child.field, ())
    elif isinstance(data, Mapping):
        rows = data.get(child.field) or ()
    return [_key(child, row) for row in rows]


def keys_removed(data: object, child: ChildTable) -> list[Name]:
    """The keys of the rows that are there no more after an event. One that it adds again is there."""
    if not isinstance(data, Difference) or child.field not in data.removed:
        return []
    added = set(keys_added(data, child))
    return [key for each in data.removed[child.field] if (key := tuple(each)) not in added]


def _keys(data: object, child: ChildTable) -> Iterator[Name]:
    yield from keys_added(data, child)
    if isinstance(data, Difference):
        yield from (_key(child, row) for row in data.row_changed.get(child.field, ()))
        yield from map(tuple, data.removed.get(child.field, ()))


def _key(child: ChildTable, row: Row) -> Name:
    return tuple("" if row.get(column) is None else row[column] for column in child.key)


def said_rows(doctype: DocumentType, data: object, id: DocumentId, ids: RowIds | None, site: str) -> SaidRows:
    """The ids of the rows that an event's data speaks of, where the keys that they have at this site do not tell.

    Of a document that was not made here, all rows that are not remembered were added here.
    """
    found: SaidRows = {}
    if not (id.site or ids):
        return found
    for child in doctype.children:
        if not child.is_numbered:
            continue
        for key in dict.fromkeys(_keys(data, child)):
            row = None if ids is None else ids.id_of(child.field, key)
            row = RowId(key[0], site) if row is None and id.site else row
            if row is not None:
                found.setdefault(child.field, []).append((key[0], row))
    return found


def together(said: Iterable[SaidRows]) -> SaidRows:
    """What several events say of rows, the later ones before the earlier ones."""
    found: dict[str, dict[Scalar, RowId]] = {}
    for rows in said:
        for field, pairs in rows.items():
            found.setdefault(field, {}).update(pairs)
    return {field: list(pairs.items()) for field, pairs in found.items()}


def note_added(doctype: DocumentType, data: object, ids: RowIds) -> None:
    """Note which rows users here added."""
    for child in doctype.children:
        for key in keys_added(data, child):
            ids.add(child.field, key)


def note_removed(doctype: DocumentType, data: object, ids: RowIds) -> None:
    """Note which rows are removed: what they were can be said until then."""
    for child in doctype.children:
        for key in keys_removed(data, child):
            ids.remove(child.field, key)
