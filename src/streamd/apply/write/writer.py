"""Turns row writes into writes of many rows at once: the hot path of applying. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from streamd.apply.write.ordering import Order, Planned
from streamd.apply.write.rowwrite import DELETE, UPDATE, RowWrite, rename_writes
from streamd.db.base import TableWrite, WriteKind
from streamd.model import Catalogue, Column, Name, Operation


@dataclass(frozen=True, slots=True)
class Step:
    """A part of what is written that stands or falls by itself; `place` is its own in the order.

    `renamed` is the document whose name it changes, where it does: then it takes all along that names it.
    """

    writes: Sequence[TableWrite]
    renamed: Planned | None = None
    place: int = 0

    @property
    def kind(self) -> WriteKind:
        return self.writes[0].kind


Columns = Mapping[str, Mapping[str, Column]]
"""The columns of each table of the catalogue, by name."""


def columns_of(catalogue: Catalogue) -> Columns:
    """The columns of each table that the catalogue's documents are in."""
    found = {}
    for doctype in catalogue.doctypes.values():
        found[doctype.table] = {column.name: column for column in doctype.columns}
        for child in doctype.children:
            found[child.table] = {column.name: column for column in child.columns}
    return found


def table_writes(order: Order, columns: Columns) -> list[TableWrite]:
    """The writes of several documents, each there once, as few table writes: run by run.

    Within a run parents are written before their child rows, and removals before additions. The rows of a table write
    are in the order of the run; no row of the database is among them twice.
    """
    found = _grouped(((0, write) for write in order.first), columns)
    for run in order.runs:
        found += _run(run, columns)
    return found + _grouped(((0, write) for write in order.last), columns)


def steps_of(order: Order, columns: Columns) -> list[Step]:
    """The same writes one row at a time, in order; but what changes a document's name stays together."""
    found = _steps(_grouped(((0, write) for write in order.first), columns))
    for run in order.runs:
        planned = run[0]
        if planned.renamed_from is None:
            found += _steps(_run(run, columns))
            continue
        naming = renaming_writes(planned)
        if naming:
            found.append(Step(_grouped(enumerate(naming), columns), planned))
        found += _steps(_grouped(enumerate(planned.writes[len(naming) :]), columns))
    found += _steps(_grouped(((0, write) for write in order.last), columns))
    return [replace(step, place=place) for place, step in enumerate(found)]


def renaming_writes(planned: Planned) -> Sequence[RowWrite]:
    """The first writes of a document, if these give it and its child rows another name; else none."""
    if planned.renamed_from is None:
        return ()
    wanted = rename_writes(planned.doctype, planned.renamed_from, planned.name)
    return wanted if list(planned.writes[: len(wanted)]) == wanted else ()


def step_of_rename(planned: Planned, old: Name, new: Name, columns: Columns) -> list[TableWrite]:
    """What gives a document the name `new` instead of `old`, as `steps_of` has it."""
    return _grouped(enumerate(rename_writes(planned.doctype, old, new)), columns)


def _steps(writes: Iterable[TableWrite]) -> list[Step]:
    return [Step([write]) for write in _single(writes)]


def _single(writes: Iterable[TableWrite]) -> Iterator[TableWrite]:
    for write in writes:
        for row in write.rows:
            yield replace(write, rows=[row])


def in_common(writes: Sequence[TableWrite]) -> tuple[TableWrite | None, list[TableWrite]]:
    """Updates of one row each as one of the columns that all of them change, and the rest of each.

    What goes round among rows is changed in each of them. They are of one table, by the same columns. None where they
    have no column in common.
    """
    names = set.intersection(*({column.name for column in write.columns} for write in writes))
    common = tuple(column for column in writes[0].columns if column.name in names)
    if not common:
        return None, list(writes)
    rest = [_only(write, [column for column in write.columns if column.name not in names]) for write in writes]
    rows = [_only(write, common).rows[0] for write in writes]
    return replace(writes[0], columns=common, rows=rows), [write for write in rest if write.columns]


def _only(write: TableWrite, columns: Sequence[Column]) -> TableWrite:
    """The part of an update of one row that is about these columns."""
    (row,) = write.rows
    values = dict(zip((column.name for column in write.columns), row, strict=False))
    rows = [[*(values[column.name] for column in columns), *row[len(write.columns) :]]]
    return replace(write, columns=tuple(columns), rows=rows)


def _run(run: Sequence[Planned], known: Columns) -> list[TableWrite]:
    first = run[0]
    writes = [write for planned in run for write in planned.writes]
    if first.renamed_from is not None:
        # A rename's writes build on each other, so they stay as they are, one by one.
        return _grouped(enumerate(writes), known)
    return _grouped(((_rank(first, write), write) for write in writes), known)


def _grouped(writes: Iterable[tuple[int, RowWrite]], known: Columns) -> list[TableWrite]:
    """Row writes that are alike together, by rank (the first of each pair), else as they come."""
    groups: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for rank, write in writes:
        key = (rank, write.kind, write.table, write.columns, write.where, write.exactly)
        groups.setdefault(key, []).append(write.values)
    found = []
    for (_, kind, table, columns, where, exactly), rows in sorted(groups.items(), key=lambda group: group[0][0]):
        there = known[table]
        found.append(table_write(kind, table, there, columns, where, rows, exactly=exactly))
    return found


def table_write(
    kind: str,
    table: str,
    known: Mapping[str, Column],
    columns: Sequence[str],
    where: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    exactly: bool,
) -> TableWrite:
    """A write of rows that are alike, of a table with these columns. An update keeps those that renew themselves."""
    written = tuple(known[name] for name in columns)
    kept: tuple[Column, ...] = ()
    if kind == UPDATE:
        kept = tuple(column for column in known.values() if column.renews and column.name not in columns)
    return TableWrite(WriteKind(kind), table, written, tuple(known[name] for name in where), rows, exactly, kept)


def _rank(planned: Planned, write: RowWrite) -> int:
    parent = write.table == planned.doctype.table
    if planned.operation == Operation.CREATE:
        return 0 if write.kind == DELETE else 1 if parent else 2
    if planned.operation == Operation.DELETE:
        return 1 if parent else 0
    if write.kind == DELETE:
        return 0
    return 1 if parent else 2 if write.kind == UPDATE else 3
