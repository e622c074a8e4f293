"""SQL that every engine takes: MariaDB in the SQL mode of our sessions. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from streamd.db.parts import TableWrite, WriteKind
from streamd.model import Scalar

PREFIX = "streamd_"
"""What the names of our tables and triggers begin with."""


def quote(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def literal(value: Scalar) -> str:
    """A value as SQL reads it where a backslash stands for itself."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


def same(names: Iterable[str], left: str, right: str) -> str:
    """The condition that two rows hold the same in these columns."""
    return " AND ".join(f"{left}.{name} = {right}.{name}" for name in map(quote, names))


def evaluated_sql(expression: str) -> str:
    """A query that evaluates an expression as many times as its one parameter says, which may give other values."""
    return (
        "WITH RECURSIVE streamd_row (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM streamd_row WHERE n < ?) "
        f"SELECT ({expression}) FROM streamd_row"
    )


def write_sql(write: TableWrite, otherwise: str = "") -> str:
    """The statement of a write, with its values as parameters. `otherwise` is its own conflict clause."""
    table = quote(write.table)
    columns = [quote(column.name) for column in write.columns]
    where = " AND ".join(f"{quote(column.name)} = ?" for column in write.where)
    if write.kind == WriteKind.INSERT:
        return f"INSERT {otherwise} INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    if write.kind == WriteKind.UPDATE:
        kept = [f"{name} = {name}" for name in (quote(column.name) for column in write.kept)]
        changes = ", ".join([*(f"{column} = ?" for column in columns), *kept])
        return f"UPDATE {otherwise} {table} SET {changes} WHERE {where}"
    return f"DELETE FROM {table} WHERE {where}"
