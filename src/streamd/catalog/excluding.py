"""Removes the columns that `exclude` names from the document types, so that they never leave the site. Pure.

A column is excluded for its table: if several types share a child table, it is excluded for all of them. Columns of
keys, links, `where` and `order_by` cannot be excluded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from streamd.catalog.naming import Faults, missing_columns, path
from streamd.model import ChildTable, DocumentType, Table
from streamd.settings import DoctypeSettings

Owner = TypeVar("Owner", DocumentType, ChildTable)

Excluded = dict[str, dict[str, str]]
"""Table → excluded column → path of the key that excludes it."""


def without_excluded(
    doctypes: Mapping[str, DocumentType],
    declared: Mapping[str, DoctypeSettings],
    tables: Mapping[str, Table],
    faults: Faults,
) -> dict[str, DocumentType]:
    """The types without the columns that `[doctypes]` excludes."""
    excluded: Excluded = {}
    for name, declaration in declared.items():
        doctype = doctypes.get(name)
        if doctype is None or doctype.single:
            continue
        named = [(path("doctypes", name, "exclude"), doctype.table, declaration.exclude)]
        for field, child in declaration.children.items():
            if child.table in tables:
                named.append((path("doctypes", name, "children", field, "exclude"), child.table, child.exclude))
        for where, table, columns in named:
            faults += missing_columns(where, columns, tables[table])
            excluded.setdefault(table, {}).update(dict.fromkeys(columns, where))
    if not any(excluded.values()):
        return dict(doctypes)
    for doctype in doctypes.values():
        _check_needed_columns(doctype, doctype.name, excluded, faults)
        for rows in doctype.children:
            _check_needed_columns(rows, f"{doctype.name}.{rows.field}", excluded, faults)
    children = {name: tuple(_exclude(rows, excluded) for rows in each.children) for name, each in doctypes.items()}
    return {name: _exclude(replace(each, children=children[name]), excluded) for name, each in doctypes.items()}


def _check_needed_columns(owner: DocumentType | ChildTable, label: str, excluded: Excluded, faults: Faults) -> None:
    for column, where in excluded.get(owner.table, {}).items():
        uses = [use for use, columns in _used_columns(owner) if column in columns]
        if uses:
            what = f"{column} cannot be excluded: {label} needs it as {uses[0]}"
            faults.add(where, what, "remove it from exclude, or change that first")


def _used_columns(owner: DocumentType | ChildTable) -> Iterator[tuple[str, Sequence[str]]]:
    yield "its key", owner.key
    if isinstance(owner, ChildTable):
        yield "its parent_key", owner.parent_key
        yield "its where", [column for column, _ in owner.where]
        yield "its order_by", [owner.order_by] if owner.order_by is not None else []
    for link in owner.links:
        more = [link.type_column] if link.type_column is not None else []
        yield "a link", [*link.columns, *more, *(column for column, _ in link.where)]


def _exclude(owner: Owner, excluded: Excluded) -> Owner:
    left_out = excluded.get(owner.table)
    if not left_out:
        return owner
    columns = tuple(column for column in owner.columns if column.name not in left_out)
    return replace(owner, columns=columns, excluded=tuple(sorted(left_out)))
