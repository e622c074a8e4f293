"""Describes document types to consumers, so that they can check compatibility before a document arrives."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from streamd.model import Column, DocumentType, Link
from streamd.wire import ChildDescriptor, ColumnDescriptor, DoctypeDescriptor, LinkDescriptor


def describe(doctype: DocumentType) -> DoctypeDescriptor:
    """Describe the type's columns, links and child tables. Equal types have equal fingerprints."""
    descriptor = DoctypeDescriptor(
        doctype=doctype.name,
        key=list(doctype.key),
        columns=_describe_columns(doctype.columns),
        links=_describe_links(doctype.links),
        children=[
            ChildDescriptor(
                field=child.field,
                key=list(child.key),
                parent_key=list(child.parent_key),
                columns=_describe_columns(child.columns),
                links=_describe_links(child.links),
            )
            for child in doctype.children
        ],
        fingerprint="",
    )
    digest = hashlib.sha256(descriptor.model_dump_json().encode()).hexdigest()
    return descriptor.model_copy(update={"fingerprint": digest[:16]})


def _describe_columns(columns: Iterable[Column]) -> list[ColumnDescriptor]:
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


def _describe_links(links: Iterable[Link]) -> list[LinkDescriptor]:
    return [
        LinkDescriptor(columns=list(link.columns), doctype=link.doctype, type_column=link.type_column) for link in links
    ]
