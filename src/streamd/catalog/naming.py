"""Faults of the configuration: paths of keys in the file, and checks of columns and keys. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from streamd.common.spelling import did_you_mean
from streamd.errors import Problem
from streamd.model import Kind, Table
from streamd.settings import toml_key


class Faults(list[Problem]):
    """The faults that are found while the catalogue is built."""

    def add(self, where: str, what: str, hint: str) -> None:
        self.append(Problem(where, what, hint))


def path(*parts: str) -> str:
    """The path of a key, as TOML writes it."""
    return ".".join(toml_key(part) for part in parts)


def same_name(name: str, names: Iterable[str]) -> str | None:
    """The spelling of `name` in `names`. Foreign keys may spell identifiers in another case."""
    candidates = list(names)
    if name in candidates:
        return name
    return next((candidate for candidate in candidates if candidate.casefold() == name.casefold()), None)


def missing_columns(where: str, columns: Iterable[str], table: Table) -> list[Problem]:
    """One problem for each column that the table does not have."""
    names = [column.name for column in table.columns]
    return [
        Problem(where, f"{table.name} has no column {name}", did_you_mean(name, names, "name one of its columns"))
        for name in columns
        if name not in names
    ]


def key_problems(where: str, key: Sequence[str], table: Table) -> list[Problem]:
    """The faults of a key: its columns must exist, be unique, never be NULL, and be writable."""
    problems = missing_columns(where, key, table)
    if problems:
        return problems
    if len(set(key)) < len(key):
        return [Problem(where, "names a column twice", "name each column once")]
    if set(key) not in [set(unique) for unique in (table.primary_key, *table.uniques)]:
        return [
            Problem(
                where,
                f"{' and '.join(key)} of {table.name} may not be unique",
                f"use the primary key ({', '.join(table.primary_key) or 'there is none'}), "
                "or add a UNIQUE constraint on these columns",
            )
        ]
    faults = Faults()
    for column in filter(None, map(table.column, key)):
        label = f"{table.name}.{column.name}"
        if column.nullable and column.name not in table.primary_key:
            faults.add(where, f"{label} may be NULL", "declare it NOT NULL, or use another key")
        if column.kind in (Kind.BYTES, Kind.JSON) or column.declared == "boolean":
            content = {Kind.BYTES: "bytes", Kind.JSON: "JSON"}.get(column.kind, "true and false")
            faults.add(where, f"{label} contains {content}, which cannot be a key", "use another key")
        if column.generated:
            faults.add(where, f"{label} is generated and cannot be written", "use another key")
    return faults
