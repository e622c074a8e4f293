"""Removes the columns that `exclude` names from the document types, so that they never leave the site. Pure.

A column is excluded for its table: if several types share a child table, it is excluded for all of them. Columns of
keys, links, `where` and `order_by` cannot be excluded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from streamd.catalog.naming import missing_columns, path
from streamd.errors import Problem
from streamd.model import ChildTable, DocumentType, Table
from streamd.settings import DoctypeSettings

Excluded = dict[str, dict[str, str]]
"""Table → excluded column → path of the key that excludes it."""


def without_excluded(
    doctypes: Mapping[str, DocumentType], declared: Mapping[str, DoctypeSettings], tables: Mapping[str, Table]
) -> tuple[dict[str, DocumentType], list[Problem]]:
    """The types without the columns that `[doctypes]` excludes, and the faults of `exclude`."""
    excluded: Excluded = {}
    problems: list[Problem] = []
    for name, declaration in declared.items():
        doctype = doctypes.get(name)
        if doctype is None or doctype.single:
            continue
        named = [(path("doctypes", name, "exclude"), doctype.table, declaration.exclude)]
        for field, child in declaration.children.items():
            if child.table in tables:
                named.append((path("doctypes", name, "children", field, "exclude"), child.table, child.exclude))
        for where, table, columns in named:
            problems += missing_columns(where, columns, tables[table])
            excluded.setdefault(table, {}).update(dict.fromkeys(columns, where))
    if not any(excluded.values()):
        return dict(doctypes), problems
    for doctype in doctypes.values():
        problems += _needed_columns(doctype, excluded)
    return {name: _exclude(doctype, excluded) for name, doctype in doctypes.items()}, problems


def _needed_columns(doctype: DocumentType, excluded: Excluded) -> Iterator[Problem]:
    """The faults of excluded columns that a document needs."""
    owners: Sequence[DocumentType | ChildTable] = (doctype, *doctype.children)
    for owner in owners:
        label = doctype.name if owner is doctype else f"{doctype.name}.{_field(owner)}"
        for column, where in excluded.get(owner.table, {}).items():
            uses = [use for use, columns in _used_columns(owner) if column in columns]
            if uses:
                yield Problem(
                    where,
                    f"{column} cannot be excluded: {label} needs it as {uses[0]}",
                    "remove it from exclude, or change that first",
                )


def _used_columns(owner: DocumentType | ChildTable) -> Iterator[tuple[str, Sequence[str]]]:
    yield "its key", owner.key
    if isinstance(owner, ChildTable):
        yield "its parent_key", owner.parent_key
        yield "its where", [column for column, _ in owner.where]
        yield "its order_by", [owner.order_by] if owner.order_by is not None else []
    for link in owner.links:
        more = [link.type_column] if link.type_column is not None else []
        yield "a link", [*link.columns, *more, *(column for column, _ in link.where)]


def _field(owner: DocumentType | ChildTable) -> str:
    return owner.field if isinstance(owner, ChildTable) else ""


def _exclude(doctype: DocumentType, excluded: Excluded) -> DocumentType:
    excluded_columns = excluded.get(doctype.table, {})
    children = tuple(_exclude_from_child(child, excluded.get(child.table, {})) for child in doctype.children)
    if not excluded_columns and children == doctype.children:
        return doctype
    columns = tuple(column for column in doctype.columns if column.name not in excluded_columns)
    return replace(doctype, columns=columns, excluded=tuple(sorted(excluded_columns)), children=children)


def _exclude_from_child(child: ChildTable, excluded_columns: Mapping[str, str]) -> ChildTable:
    if not excluded_columns:
        return child
    columns = tuple(column for column in child.columns if column.name not in excluded_columns)
    return replace(child, columns=columns, excluded=tuple(sorted(excluded_columns)))
