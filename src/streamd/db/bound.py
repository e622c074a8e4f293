"""Which tables get triggers, and what of their rows may be captured. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from streamd.model import Catalogue, ChildTable, Column, DocumentType

User = tuple[DocumentType, ChildTable | None]
"""A document type to whose documents a table's rows belong: as the parent (None), or as child rows."""


def bound_tables(catalogue: Catalogue) -> dict[str, list[User]]:
    """The tables of the offered document types, with who uses them."""
    bound: dict[str, list[User]] = {}
    for name in sorted(catalogue.offers):
        doctype = catalogue[name]
        if not doctype.single:
            bound.setdefault(doctype.table, []).append((doctype, None))
        for child in doctype.children:
            bound.setdefault(child.table, []).append((doctype, child))
    return bound


def excluded_columns(users: Iterable[User]) -> frozenset[str]:
    """The columns that are never captured: what one of the users excludes is captured for none."""
    return frozenset(name for doctype, child in users for name in (child or doctype).excluded)


def kept_columns(columns: Iterable[Column], users: Sequence[User]) -> tuple[Column, ...]:
    """The columns of a table that are captured."""
    excluded = excluded_columns(users)
    return tuple(column for column in columns if column.name not in excluded)
