"""An event's data as of a document with another name: its own key, and those of child rows that hold it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from streamd.apply.event.incoming import Incoming
from streamd.model import ChildTable, Difference, Document, DocumentType, Name, OldValues, Row
from streamd.rows import clocks_under, key_under

Moves = Mapping[Name, Name]
"""What documents are called here, by the names that they have in the data."""


def moved(incoming: Incoming, doctype: DocumentType, moves: Moves) -> Incoming:
    """The event with its data as of these names."""
    data: Any = incoming.data
    if isinstance(data, Difference):
        return replace(
            incoming,
            data=_difference(data, doctype, moves),
            field_clocks=clocks_under(doctype, incoming.field_clocks, moves),
        )
    if isinstance(data, dict):
        rows = {
            child.field: _rows(child, data[child.field], moves)
            for child in doctype.children
            if isinstance(data.get(child.field), list)
        }
        return replace(incoming, data=_row(data, doctype.key, moves) | rows)
    return incoming


def document_under(doctype: DocumentType, document: Document, moves: Moves) -> Document:
    """A document that is here, with its child rows as of these names."""
    return replace(
        document,
        children={
            child.field: _rows(child, document.children.get(child.field, ()), moves) for child in doctype.children
        },
    )


def _difference(difference: Difference, doctype: DocumentType, moves: Moves) -> Difference:
    def each(tables: Mapping[str, list[Row]]) -> dict[str, list[Row]]:
        return {
            child.field: _rows(child, tables[child.field], moves) for child in doctype.children if child.field in tables
        }

    removed = {
        child.field: [list(key_under(child, tuple(key), moves)) for key in difference.removed[child.field]]
        for child in doctype.children
        if child.field in difference.removed
    }
    old = OldValues(difference.old.changed, each(difference.old.row_changed), each(difference.old.removed))
    return msgspec.structs.replace(
        difference,
        added=each(difference.added),
        row_changed=each(difference.row_changed),
        removed=removed,
        old=old,
    )


def _rows(child: ChildTable, rows: Iterable[Row], moves: Moves) -> list[Row]:
    return [_row(row, child.parent_key, moves) for row in rows]


def _row(row: Row, columns: Sequence[str], moves: Moves) -> Row:
    """A row in which these columns, together, name a document."""
    name = tuple(row.get(column, "") for column in columns)
    return row | dict(zip(columns, moves[name], strict=True)) if name in moves else row
