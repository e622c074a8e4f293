"""The row writes that make, change, rename or delete a whole document. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from streamd.apply.write.rowwrite import RowWrite, known
from streamd.model import Catalogue, ChildTable, Document, DocumentType, Link, Name, Row


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
