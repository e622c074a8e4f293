"""Conditions that find, or lock, the rows of documents by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streamd.db.mariadb.driver import Session
from streamd.db.mariadb.sql import quote
from streamd.db.mariadb.values import INT64, binder
from streamd.errors import RowRefused
from streamd.model import Column, Kind, Name

LOCKED_AT_ONCE = 64
"""Rows that are locked by one statement, at most; a power of two."""

Indexes = dict[tuple[str, str], bool]
"""Whether a table has an index that begins with a column, as far as somebody asked."""

_INDEX = (
    "SELECT COUNT(*) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? "
    "AND COLUMN_NAME = ? AND SEQ_IN_INDEX = 1"
)


def conditions(where: Sequence[tuple[str, Any]], known: Mapping[str, Column]) -> tuple[str, list[Any]]:
    """Further conditions for rows, compared exactly. Raises `RowRefused` for what a column cannot hold."""
    text, values = "", []
    for name, value in where:
        column, reference = known[name], f"t.{quote(name)}"
        text += f" AND {reference} = ?"
        values.append(binder(column)(value))
        if column.kind in (Kind.TEXT, Kind.JSON):
            text += f" AND CONVERT({reference} USING utf8mb4) COLLATE utf8mb4_nopad_bin = ?"
            values.append(values[-1])
    return text, values


def named(columns: Sequence[Column], names: Sequence[Name]) -> tuple[str, list[Any]]:
    """A condition that these columns hold one of the names, in a form that uses the key's index; and its values.

    No values where no such column can hold any of these names.
    """
    bound = _filled(_bound(columns, names))
    if not bound:
        return "1 = 0", []
    if len(columns) == 1:
        return f"t.{quote(columns[0].name)} IN ({', '.join('?' * len(bound))})", [values[0] for values in bound]
    one = "(" + _one(columns) + ")"
    return "(" + " OR ".join([one] * len(bound)) + ")", [part for values in bound for part in values]


def between(columns: Sequence[Column], names: Sequence[Name]) -> tuple[str, list[Any]] | None:
    """A condition that finds these names, and as many others at most: cheaper than to name each. None if there is none.

    That is so where names are whole numbers that nearly all follow each other, as a database gives them.
    """
    if len(columns) != 1 or columns[0].kind != Kind.INTEGER:
        return None
    numbers = [value for (value,) in names if isinstance(value, int)]
    if len(numbers) < len(names) or not numbers:
        return None
    first, last = min(numbers), max(numbers)
    if last - first >= 2 * len(names) or first not in INT64 or last not in INT64:
        return None
    return f"t.{quote(columns[0].name)} BETWEEN ? AND ?", [first, last]


async def lock_rows(
    session: Session,
    table: str,
    columns: Sequence[Column],
    names: Sequence[Name],
    further: tuple[str, list[Any]],
    indexes: Indexes,
) -> None:
    """Lock the rows of a table that these columns name.

    Each is looked up by itself, where there is an index: for a list of them the server may read the whole table, and
    waits for every row that a user holds, whether it is meant or not.
    """
    text, more = further
    first = (table, columns[0].name)
    if first not in indexes:
        indexes[first] = bool((await session.fetch(_INDEX, first))[0][0])
    if not indexes[first]:
        where, values = named(columns, names)
        if values:
            statement = f"SELECT 1 FROM {quote(table)} AS t WHERE {where}{text} FOR UPDATE"
            await session.fetch(statement, [*values, *more])
        return
    # In one order, so that two who lock the same rows do not wait for each other.
    every = sorted(_bound(columns, names), key=repr)
    one = f"(SELECT 1 FROM {quote(table)} AS t WHERE {_one(columns)}{text} FOR UPDATE)"
    for start in range(0, len(every), LOCKED_AT_ONCE):
        bound = _filled(every[start : start + LOCKED_AT_ONCE])
        statement = " UNION ALL ".join([one] * len(bound))
        await session.fetch(statement, [part for values in bound for part in (*values, *more)])


def _one(columns: Sequence[Column]) -> str:
    return " AND ".join(f"t.{quote(column.name)} = ?" for column in columns)


def _bound(columns: Sequence[Column], names: Sequence[Name]) -> list[list[Any]]:
    """The names as the driver takes them, without those that can be in no such columns."""
    binders = [binder(column) for column in columns]
    try:
        every = [[bind(value) for bind, value in zip(binders, name, strict=True)] for name in names]
        "".join([str(value) for values in every for value in values]).encode()
        return every
    except (RowRefused, ValueError):
        pass  # at least one of them: which, is seen one by one
    found = []
    for name in names:
        try:
            values = [bind(value) for bind, value in zip(binders, name, strict=True)]
            "".join(str(value) for value in values).encode()
        except (RowRefused, ValueError):
            continue
        found.append(values)
    return found


def _filled(bound: list[list[Any]]) -> list[list[Any]]:
    """As many as a power of two, by naming the last one again: so there are few different statements."""
    if not bound:
        return []
    size = 1 << (len(bound) - 1).bit_length()
    return bound + [bound[-1]] * (size - len(bound))
