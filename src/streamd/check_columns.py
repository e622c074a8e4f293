"""Compares a document type at a producer with ours: will its documents fit? Pure."""

from __future__ import annotations

from collections.abc import Sequence

from streamd.check import Finding, problem, warning
from streamd.model import Catalogue, ChildTable, Column, DocumentType, Kind
from streamd.wire import ColumnDescriptor, DoctypeDescriptor

_FITS = {
    Kind.INTEGER: {Kind.DECIMAL, Kind.BOOLEAN},
    Kind.BOOLEAN: {Kind.INTEGER},
    Kind.DATE: {Kind.TEXT, Kind.DATETIME},
    Kind.TIME: {Kind.TEXT},
    Kind.DATETIME: {Kind.TEXT},
    Kind.DATETIME_ZONED: {Kind.TEXT},
    Kind.UUID: {Kind.TEXT},
    Kind.JSON: {Kind.TEXT},
    Kind.TEXT: {Kind.JSON, Kind.UUID},
}
"""What a value of one kind may be written to without changing its meaning, besides its own kind."""


def judge_descriptors(
    name: str, subscribed: Sequence[str], catalogue: Catalogue, descriptors: Sequence[DoctypeDescriptor]
) -> list[Finding]:
    """Our types against those of the producer `name`: what will be left out, refused, or changed."""
    found = []
    for there in descriptors:
        here = catalogue.get(there.doctype)
        if here is not None:
            found += _doctype(f"producers.{name}.{there.doctype}", here, there)
    missing = set(subscribed) - catalogue.doctypes.keys()
    return found + [problem(f"producers.{name}", f"{each} is no document type here") for each in sorted(missing)]


def _doctype(area: str, here: DocumentType, there: DoctypeDescriptor) -> list[Finding]:
    found = _keys(area, here.table, here.key, there.key)
    found += _columns(area, here.table, here.columns, here.key, there.columns)
    for field in there.children:
        child = here.child(field.field)
        if child is None:
            found.append(
                warning(
                    area,
                    f"the child table {field.field} is not declared here",
                    "its rows are left out",
                    f"declare [doctypes.{here.name}.children.{field.field}]",
                )
            )
            continue
        inner = f"{area}.{field.field}"
        found += _keys(inner, child.table, child.key, field.key)
        found += _columns(inner, child.table, child.columns, _given(child), field.columns)
    return found


def _given(child: ChildTable) -> tuple[str, ...]:
    """Columns of a child row that need no value of the producer's: the way to the parent, and the condition."""
    return (*child.parent_key, *(column for column, _ in child.where))


def _keys(area: str, table: str, here: Sequence[str], there: Sequence[str]) -> list[Finding]:
    if tuple(here) == tuple(there):
        return []
    return [
        problem(
            area,
            f"rows are named by {', '.join(there)} there, and by {', '.join(here)} in {table} here",
            "documents of the two sites cannot be told from each other",
            "set key to the same columns at both sites",
        )
    ]


def _columns(
    area: str, table: str, here: Sequence[Column], given: Sequence[str], there: Sequence[ColumnDescriptor]
) -> list[Finding]:
    mine = {column.name: column for column in here}
    theirs = {column.name: column for column in there}
    found = []
    left_out = [name for name, column in theirs.items() if name not in mine and not column.generated]
    if left_out:
        found.append(
            warning(
                area,
                f"{table} has no column {', '.join(left_out)}",
                "their values are left out here",
                "add the columns here, if you want the values",
            )
        )
    for name, column in mine.items():
        other = theirs.get(name)
        if column.generated:
            continue
        if other is None:
            if not column.nullable and not column.has_default and name not in given:
                found.append(
                    problem(
                        area,
                        f"{table}.{name} must not be NULL, has no default, and is missing at the producer",
                        "every new document is refused by this database, and parked",
                        "give the column a default here, or add it there",
                    )
                )
            continue
        found += _values(area, table, column, other)
    return found


def _values(area: str, table: str, here: Column, there: ColumnDescriptor) -> list[Finding]:
    found = []
    theirs = _kind(there.kind)
    if Kind.ANY not in (theirs, here.kind) and here.kind not in {theirs, *_FITS.get(theirs, ())}:
        found.append(
            warning(
                area,
                f"{table}.{here.name} holds {here.kind.value} ({here.declared or 'no type'}) here, "
                f"and {there.kind} ({there.declared or 'no type'}) there",
                "values may change, or be refused",
                "declare the column alike at both sites",
            )
        )
    if there.nullable and not here.nullable:
        found.append(
            warning(
                area,
                f"{table}.{here.name} may be NULL there, and must not be NULL here",
                "a document without this value is parked",
                "declare the column alike at both sites",
            )
        )
    return found


def _kind(text: str) -> Kind:
    """A kind that a newer release made up counts as any."""
    try:
        return Kind(text)
    except ValueError:
        return Kind.ANY
