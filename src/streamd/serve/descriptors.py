"""How a document type looks, for the other side to judge before a document of it arrives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from streamd.model import Column, DocumentType, Link
from streamd.wire import ChildDescriptor, ColumnDescriptor, DoctypeDescriptor, LinkDescriptor


def describe(doctype: DocumentType) -> DoctypeDescriptor:
    """The type's columns, links and child tables. Equal types have equal fingerprints."""
    plain = DoctypeDescriptor(
        doctype=doctype.name,
        key=list(doctype.key),
        columns=_columns(doctype.columns),
        links=_links(doctype.links),
        children=[
            ChildDescriptor(
                field=child.field,
                key=list(child.key),
                parent_key=list(child.parent_key),
                columns=_columns(child.columns),
                links=_links(child.links),
            )
            for child in doctype.children
        ],
        fingerprint="",
    )
    digest = hashlib.sha256(plain.model_dump_json().encode()).hexdigest()
    return plain.model_copy(update={"fingerprint": digest[:16]})


def _columns(columns: Iterable[Column]) -> list[ColumnDescriptor]:
    return [
        ColumnDescriptor(
            name=column.name,
            kind=column.kind,
            declared=column.declared,
            nullable=column.nullable,
            generated=column.generated,
        )
        for column in columns
    ]


def _links(links: Iterable[Link]) -> list[LinkDescriptor]:
    return [
        LinkDescriptor(columns=list(link.columns), doctype=link.doctype, type_column=link.type_column) for link in links
    ]
