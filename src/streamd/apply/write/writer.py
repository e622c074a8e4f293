"""Turns row writes into writes of many rows at once: the hot path of applying. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from streamd.apply.write.ordering import Order, Planned
from streamd.apply.write.rowwrite import DELETE, UPDATE, RowWrite
from streamd.db.base import TableWrite, WriteKind
from streamd.model import Catalogue, Column, Kind, Operation
from streamd.wire import HEX

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


def freeing(planned: Iterable[Planned], columns: Columns) -> list[TableWrite]:
    """Takes the values away that are unique and about to change, so that one row can have what another had.

    Two documents that swap a unique value leave no order in which to write them one after the other.
    """
    found: list[TableWrite] = []
    for each in planned:
        if each.renamed_from is not None:
            continue
        for write in each.writes:
            if write.kind != UPDATE:
                continue
            known = columns.get(write.table, {})
            unique = tuple(known[name] for name in write.columns if name in known and known[name].unique)
            if unique:
                names = [column.name for column in unique]
                values = [*map(_nothing, unique), *write.values[len(write.columns) :]]
                found.append(table_write(UPDATE, write.table, known, names, write.where, [values], exactly=False))
    return found


def _nothing(column: Column) -> str | dict[str, str] | int | None:
    """A value for the time being that no other row has."""
    if column.nullable:
        return None
    if column.kind in (Kind.TEXT, Kind.ANY, Kind.JSON, Kind.UUID):
        return secrets.token_hex(16)
    return {HEX: secrets.token_hex(16)} if column.kind == Kind.BYTES else -secrets.randbits(60)


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
