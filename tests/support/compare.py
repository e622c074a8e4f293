"""Compares the rows of two databases, value by value, with their storage classes."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support.site import Site

TypedRow = tuple[tuple[str, Any], ...]

SHOWN = 6
"""Rows that a message shows, at most."""


def typed_rows(site: Site, table: str, where: str = "1") -> list[TypedRow]:
    """All rows of a table, each value with its storage class, in a fixed order.

    A REAL is compared as the very same double: what is shown as 0.99 on both sides and differs in its last
    bit is a difference.
    """
    with site.connection() as connection:
        return _typed_rows(connection, table, where)


def same_rows(one: Site, other: Site, tables: Mapping[str, str]) -> bool:
    """Assert that two sites have equal rows in these tables: table → the condition that chooses its rows."""
    for table, where in tables.items():
        _assert_equal(one, other, table, typed_rows(one, table, where), typed_rows(other, table, where))
    return True


def contained_rows(part: Site, whole: Site, tables: Mapping[str, str]) -> bool:
    """Assert that every such row of `part` is in `whole`, value by value."""
    for table, where in tables.items():
        some = typed_rows(part, table, where)
        everything = set(typed_rows(whole, table))
        strange = [row for row in some if row not in everything]
        assert not strange, f"{table}: {part.name} has rows that {whole.name} has not:\n" + _shown(strange)
    return True


def _typed_rows(connection: sqlite3.Connection, table: str, where: str) -> list[TypedRow]:
    columns = [row[1] for row in connection.execute(f'PRAGMA table_xinfo("{table}")')]
    chosen = ", ".join(f'"{column}", typeof("{column}")' for column in columns)
    rows = connection.execute(f'SELECT {chosen} FROM "{table}" WHERE {where}').fetchall()
    typed = [tuple(zip(row[1::2], row[0::2], strict=True)) for row in rows]
    return sorted(typed, key=repr)


def _assert_equal(one: Site, other: Site, table: str, ones: list[TypedRow], others: list[TypedRow]) -> None:
    if ones == others:
        return
    there, here = set(others), set(ones)
    only_one = [row for row in ones if row not in there]
    only_other = [row for row in others if row not in here]
    raise AssertionError(
        f"{table}: {len(ones)} rows at {one.name}, {len(others)} at {other.name}\n"
        f"only at {one.name}:\n{_shown(only_one)}\nonly at {other.name}:\n{_shown(only_other)}"
    )


def _shown(rows: list[TypedRow]) -> str:
    lines = [f"  {tuple(value for _, value in row)!r}" for row in rows[:SHOWN]]
    if len(rows) > SHOWN:
        lines.append(f"  … and {len(rows) - SHOWN} more")
    return "\n".join(lines) or "  (none)"
