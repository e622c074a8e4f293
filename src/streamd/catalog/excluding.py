"""Takes out of the document types what is never to leave the site: the columns that `exclude` names. Pure.

A column is excluded of its table, whoever uses that: of a child table that several types share, none gets it. What
names a document, links it, or says which rows are whose cannot be excluded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from streamd.catalog.naming import missing_columns, path
from streamd.errors import Problem
from streamd.model import ChildTable, DocumentType, Table
from streamd.settings import DoctypeSettings

Excluded = dict[str, dict[str, str]]
"""For each table the excluded columns, with the path of the key that names them."""


def without_excluded(
    doctypes: Mapping[str, DocumentType], declared: Mapping[str, DoctypeSettings], tables: Mapping[str, Table]
) -> tuple[dict[str, DocumentType], list[Problem]]:
    """The types without the columns that the `[doctypes]` exclude, and what is wrong with these."""
    excluded: Excluded = {}
    problems: list[Problem] = []
    for name, given in declared.items():
        doctype = doctypes.get(name)
        if doctype is None or doctype.single:
            continue
        named = [(path("doctypes", name, "exclude"), doctype.table, given.exclude)]
        for field, child in given.children.items():
            if child.table in tables:
                named.append((path("doctypes", name, "children", field, "exclude"), child.table, child.exclude))
        for where, table, columns in named:
            problems += missing_columns(where, columns, tables[table])
            excluded.setdefault(table, {}).update(dict.fromkeys(columns, where))
    if not any(excluded.values()):
        return dict(doctypes), problems
    for doctype in doctypes.values():
        problems += _needed(doctype, excluded)
    return {name: _without(doctype, excluded) for name, doctype in doctypes.items()}, problems


def _needed(doctype: DocumentType, excluded: Excluded) -> Iterator[Problem]:
    """The excluded columns without which there would be no document."""
    owners: Sequence[DocumentType | ChildTable] = (doctype, *doctype.children)
    for owner in owners:
        label = doctype.name if owner is doctype else f"{doctype.name}.{_field(owner)}"
        for column, where in excluded.get(owner.table, {}).items():
            uses = [use for use, columns in _uses(owner) if column in columns]
            if uses:
                yield Problem(
                    where,
                    f"{column} cannot be excluded: {label} needs it as {uses[0]}",
                    "take it out of exclude, or change that first",
                )


def _uses(owner: DocumentType | ChildTable) -> Iterator[tuple[str, Sequence[str]]]:
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


def _without(doctype: DocumentType, excluded: Excluded) -> DocumentType:
    gone = excluded.get(doctype.table, {})
    children = tuple(_child_without(child, excluded.get(child.table, {})) for child in doctype.children)
    if not gone and children == doctype.children:
        return doctype
    columns = tuple(column for column in doctype.columns if column.name not in gone)
    return replace(doctype, columns=columns, excluded=tuple(sorted(gone)), children=children)


def _child_without(child: ChildTable, gone: Mapping[str, str]) -> ChildTable:
    if not gone:
        return child
    columns = tuple(column for column in child.columns if column.name not in gone)
    return replace(child, columns=columns, excluded=tuple(sorted(gone)))
