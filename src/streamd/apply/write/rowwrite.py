"""Writes of rows as values: of one row, and those that make, change, rename or delete a whole document. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import msgspec

from streamd.model import Catalogue, ChildTable, Difference, Document, DocumentType, Link, Name, Row, Scalar
from streamd.rows import split

INSERT, UPDATE, DELETE = "insert", "update", "delete"


class RowWrite(msgspec.Struct, frozen=True, gc=False):
    """Insert, update or delete of one row. `values` are those of `columns`, then those of `where`.

    `exactly` says that exactly one row has to be there.
    """

    kind: str
    table: str
    columns: tuple[str, ...]
    where: tuple[str, ...]
    values: tuple[Any, ...]
    exactly: bool = True

    @classmethod
    def insert(cls, table: str, row: Row) -> Self:
        return cls(INSERT, table, tuple(row), (), tuple(row.values()), exactly=False)

    @classmethod
    def update(cls, table: str, columns: Row, key: Sequence[str], name: Name) -> Self:
        return cls(UPDATE, table, tuple(columns), tuple(key), (*columns.values(), *name))

    @classmethod
    def update_child(cls, child: ChildTable, parent: Name, key: Name, columns: Row) -> list[Self]:
        """A child row's columns, if there are any; always of this parent, whatever its key says."""
        if not columns:
            return []
        where, values = _child_row(child, parent, key)
        values = (*columns.values(), *values)
        return [cls(UPDATE, child.table, tuple(columns), where, values, exactly=child.keeps_unique)]

    @classmethod
    def delete(cls, child: ChildTable, parent: Name, key: Name) -> Self:
        where, values = _child_row(child, parent, key)
        return cls(DELETE, child.table, (), where, values, exactly=child.keeps_unique)

    @classmethod
    def delete_parent(cls, doctype: DocumentType, name: Name) -> Self:
        return cls(DELETE, doctype.table, (), doctype.key, name)

    @classmethod
    def follow(
        cls, table: str, columns: Sequence[str], old: Name, new: Name, where: Iterable[tuple[str, Scalar]]
    ) -> Self:
        """Whatever rows name the old name in these columns get the new one."""
        conditions = tuple(where)
        return cls(
            UPDATE,
            table,
            tuple(columns),
            (*columns, *(column for column, _ in conditions)),
            (*new, *old, *(value for _, value in conditions)),
            exactly=False,
        )


def _child_row(child: ChildTable, parent: Name, key: Name) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """The condition for one child row: its key and its parent's; a column in both stands once."""
    found: dict[str, Any] = dict(zip(child.key, key, strict=True))
    found |= dict(zip(child.parent_key, parent, strict=True))
    return tuple(found), tuple(found.values())


def known(table: DocumentType | ChildTable, row: Row) -> Row:
    """The part of a row whose columns exist here and can be written. The row itself, where that is all of it."""
    names = table.written_names
    if row.keys() <= names:
        return row
    return {column: value for column, value in row.items() if column in names}


def unknown_columns(doctype: DocumentType, data: object) -> set[str]:
    """The columns of an event's data that do not exist here: `column`, or `field/column` of child rows."""
    found: set[str] = set()
    if isinstance(data, Difference):
        found |= _unknown(doctype, data.changed)
        for child in doctype.children:
            for rows in (data.added.get(child.field, ()), data.row_changed.get(child.field, ())):
                found |= {f"{child.field}/{column}" for row in rows for column in _unknown(child, row)}
    elif isinstance(data, dict):
        fields, children = split(doctype, data)
        found |= _unknown(doctype, fields)
        for child in doctype.children:
            found |= {f"{child.field}/{column}" for row in children[child.field] for column in _unknown(child, row)}
    return found


def _unknown(table: DocumentType | ChildTable, row: Row) -> set[str]:
    if row.keys() <= table.written_names:
        return set()
    return row.keys() - {column.name for column in table.columns}


def insert_writes(doctype: DocumentType, fields: Row, children: Mapping[str, Iterable[Row]]) -> list[RowWrite]:
    """A whole document: its row, then its child rows."""
    writes = [] if doctype.single else [RowWrite.insert(doctype.table, known(doctype, fields))]
    for child in doctype.children:
        writes += [RowWrite.insert(child.table, known(child, row)) for row in children.get(child.field, ())]
    return writes


def update_writes(doctype: DocumentType, name: Name, columns: Row) -> list[RowWrite]:
    """The parent's changed columns, if there are any that are known here."""
    columns = {} if doctype.single else known(doctype, columns)
    return [RowWrite.update(doctype.table, columns, doctype.key, name)] if columns else []


def delete_writes(doctype: DocumentType, here: Document) -> list[RowWrite]:
    """The document's child rows, then its row."""
    writes = [
        RowWrite.delete(child, here.name, tuple(row.get(column, "") for column in child.key))
        for child in doctype.children
        for row in here.children.get(child.field, [])
    ]
    return [*writes, RowWrite.delete_parent(doctype, here.name)]


def rename_writes(doctype: DocumentType, old: Name, new: Name) -> list[RowWrite]:
    """The new key, and the document's own child rows under it."""
    writes = [RowWrite.update(doctype.table, dict(zip(doctype.key, new, strict=True)), doctype.key, old)]
    for child in doctype.children:
        writes.append(RowWrite.follow(child.table, child.parent_key, old, new, child.where))
    return writes


def links_to(doctype: str, catalogue: Catalogue) -> Iterator[tuple[DocumentType, ChildTable | None, Link]]:
    """Every link that may lead to documents of this type: whose it is, and in which of its tables (None: its own).

    The `where` of a dynamic link says that it leads to this type.
    """
    for owner in catalogue.doctypes.values():
        tables: list[tuple[ChildTable | None, Iterable[Link]]] = [(None, owner.links)]
        tables += [(child, child.links) for child in owner.children]
        for child, links in tables:
            for link in links:
                if link.doctype == doctype:
                    yield owner, child, link
                elif link.type_column is not None:
                    yield owner, child, replace(link, where=(*link.where, (link.type_column, doctype)))
