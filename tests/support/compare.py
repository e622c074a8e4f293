"""Compares the rows of two sites, value by value: exactly within one engine, by what they mean across two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tests.support.access import TypedRow
from tests.support.meaning import meanings

if TYPE_CHECKING:
    from tests.support.sites.site import Site

SHOWN = 6
"""Rows that a message shows, at most."""


def typed_rows(site: Site, table: str, where: str = "true") -> list[TypedRow]:
    """All rows of a table, each value with its type as the engine gives it, in a fixed order.

    A REAL of SQLite is compared as the very same double: what is shown as 0.99 on both sides and differs in its
    last bit is a difference.
    """
    return site.access.typed_rows(table, where)


def same_rows(one: Site, other: Site, tables: Mapping[str, str]) -> bool:
    """Assert that two sites have equal rows in these tables: table → the condition that chooses its rows."""
    with one.access.reading(), other.access.reading():
        for table, where in tables.items():
            _assert_equal(one, other, table, *_comparable(one, other, table, where, where))
    return True


def contained_rows(part: Site, whole: Site, tables: Mapping[str, str]) -> bool:
    """Assert that every such row of `part` is in `whole`, value by value."""
    with part.access.reading(), whole.access.reading():
        for table, where in tables.items():
            some, whole_rows = _comparable(part, whole, table, where, "true")
            everything = set(whole_rows)
            strange = [row for row in some if row not in everything]
            assert not strange, f"{table}: {part.name} has rows that {whole.name} has not:\n" + _shown(strange)
    return True


def _comparable(
    one: Site, other: Site, table: str, where_one: str, where_other: str
) -> tuple[list[TypedRow], list[TypedRow]]:
    """A table's rows at two sites, so that those are equal which are to be called equal."""
    if one.engine == other.engine:
        return typed_rows(one, table, where_one), typed_rows(other, table, where_other)
    columns = one.access.columns(table)
    assert set(columns) == set(other.access.columns(table)), f"{table} has other columns at {other.name}"
    return meanings(
        one.access.plain_rows(table, columns, where_one), other.access.plain_rows(table, columns, where_other)
    )


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
