"""Turns row writes into statements for many rows: the hot path of applying."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from streamd.apply.rowwrite import DELETE, INSERT, UPDATE, RowWrite
from streamd.db.base import SiteDatabase, Statement
from streamd.model import Column, DocumentType, Kind, Operation


@dataclass(frozen=True, slots=True)
class Planned:
    """The writes of one event of a document."""

    doctype: DocumentType
    operation: str
    renamed: bool
    writes: Sequence[RowWrite]


def statements(database: SiteDatabase, planned: Iterable[Planned]) -> list[Statement]:
    """The writes of several documents, each there once, as few statements.

    Events that stand beside each other, of one type and operation, are written together: parents before their
    child rows, removals before additions. Otherwise the log's order stands.
    """
    found: list[Statement] = []
    run: list[Planned] = []
    for each in planned:
        if run and (each.renamed or run[-1].renamed or _kind(each) != _kind(run[-1])):
            found += _run(database, run)
            run = []
        run.append(each)
    if run:
        found += _run(database, run)
    return found


def freeing(database: SiteDatabase, planned: Iterable[Planned]) -> list[Statement]:
    """Takes the values away that are unique and about to change, so that one row can have what another had.

    Two documents that swap a unique value leave no order in which to write them one after the other.
    """
    found: list[Statement] = []
    for each in planned:
        if each.renamed:
            continue
        tables = {each.doctype.table: each.doctype.columns} | {
            child.table: child.columns for child in each.doctype.children
        }
        for write in each.writes:
            if write.kind != UPDATE:
                continue
            unique = [
                column for column in tables.get(write.table, ()) if column.unique and column.name in write.columns
            ]
            if unique:
                where = write.values[len(write.columns) :]
                sql = database.update_sql(write.table, [column.name for column in unique], write.where)
                found.append(Statement(sql, [[*map(_nothing, unique), *map(database.bind, where)]]))
    return found


def _nothing(column: Column) -> str | bytes | int | None:
    """A value for the time being that no other row has."""
    if column.nullable:
        return None
    if column.kind in (Kind.TEXT, Kind.ANY, Kind.JSON, Kind.UUID):
        return secrets.token_hex(16)
    return secrets.token_bytes(16) if column.kind == Kind.BYTES else -secrets.randbits(60)


def _kind(planned: Planned) -> tuple[str, str]:
    return planned.doctype.name, planned.operation


def _run(database: SiteDatabase, run: Sequence[Planned]) -> list[Statement]:
    first = run[0]
    groups: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    for index, write in enumerate(write for planned in run for write in planned.writes):
        # A rename's writes build on each other, so they stay as they are, one by one.
        rank = index if first.renamed else _rank(first, write)
        key = (rank, write.kind, write.table, write.columns, write.where, write.exactly)
        groups.setdefault(key, []).append(write.values)
    found = []
    for (_, kind, table, columns, where, exactly), rows in sorted(groups.items(), key=lambda group: group[0][0]):
        bind = database.bind
        bound = [[value if type(value) in _PLAIN else bind(value) for value in row] for row in rows]
        found.append(Statement(_sql(database, kind, table, columns, where), bound, exactly))
    return found


_PLAIN = frozenset((str, int, float, type(None)))
"""Types of values that every engine binds as they are."""


def _rank(planned: Planned, write: RowWrite) -> int:
    parent = write.table == planned.doctype.table
    if planned.operation == Operation.CREATE:
        return 0 if write.kind == DELETE else 1 if parent else 2
    if planned.operation == Operation.DELETE:
        return 1 if parent else 0
    if write.kind == DELETE:
        return 0
    return 1 if parent else 2 if write.kind == UPDATE else 3


def _sql(database: SiteDatabase, kind: str, table: str, columns: tuple[str, ...], where: tuple[str, ...]) -> str:
    if kind == INSERT:
        return database.insert_sql(table, columns)
    if kind == UPDATE:
        return database.update_sql(table, columns, where)
    return database.delete_sql(table, where)
