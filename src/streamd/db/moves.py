"""Writes to rows that others refer to by foreign keys: another key for a row, and one that is inserted again. Pure.

A foreign key says that a row refers to the one whose key changes, whatever type it belongs to, or none. So it follows,
and so do the rows that refer to what changes in it. These updates come before that of the row itself: by then nothing
refers to it, so that the foreign keys' own actions (CASCADE, SET NULL, RESTRICT) find nothing.
The engine sees to it that foreign keys are not checked in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from streamd.db.parts import TableWrite, WriteKind
from streamd.db.sqltext import quote
from streamd.model import ForeignKey

ForeignKeys = Mapping[str, Sequence[ForeignKey]]
"""The foreign keys of each table that has some."""

Value = Callable[[int], str]
"""The SQL of the value at a place of the row of the write that starts it all."""


@dataclass(frozen=True, slots=True)
class Movement:
    """An update of all rows of a table that hold certain values, or refer (`through`) to rows that move.

    `changes` and `holds` map columns to places in the row of the write that starts it all: the new values, and those
    that the rows hold before. `action` is what the foreign key would do by itself.
    """

    table: str
    changes: Mapping[str, int]
    holds: Mapping[str, int]
    through: tuple[ForeignKey, Movement] | None = None
    action: str = ""

    def condition(self, alias: str, value: Value) -> tuple[str, list[int]]:
        """Which rows are meant. Returns the places that it takes, in order."""
        if self.through is None:
            held = list(self.holds.items())
            text = " AND ".join(f"{alias}.{quote(column)} = {value(place)}" for column, place in held)
            return text, [place for _, place in held]
        key, other = self.through
        inner = f"{alias}_to"
        joined = " AND ".join(
            f"{inner}.{quote(referred)} = {alias}.{quote(column)}"
            for column, referred in zip(key.columns, key.referred, strict=True)
        )
        text, places = other.condition(inner, value)
        return f"EXISTS (SELECT 1 FROM {quote(other.table)} AS {inner} WHERE {joined} AND {text})", places


def changes_keys(write: TableWrite) -> bool:
    """Whether a write changes columns that say which row is meant."""
    if write.kind != WriteKind.UPDATE:
        return False
    changed = {column.name for column in write.columns}
    return any(column.name in changed for column in write.where)


def movements(write: TableWrite, foreign_keys: ForeignKeys) -> list[Movement]:
    """What follows a write that changes keys, and the write itself last; the order is the one to write in."""
    size = len(write.columns)
    first = Movement(
        write.table,
        {column.name: place for place, column in enumerate(write.columns)},
        {column.name: size + place for place, column in enumerate(write.where)},
    )
    found: list[Movement] = []
    _follow(first, foreign_keys, set(), found)
    return found


def _follow(
    movement: Movement, foreign_keys: ForeignKeys, seen: set[tuple[str, ForeignKey]], found: list[Movement]
) -> None:
    for child, keys in foreign_keys.items():
        for key in keys:
            moving = key.table == movement.table and not movement.changes.keys().isdisjoint(key.referred)
            if moving and (child, key) not in seen:
                seen.add((child, key))
                _follow(_referring(child, key, movement), foreign_keys, seen, found)
    found.append(movement)


def _referring(child: str, key: ForeignKey, other: Movement) -> Movement:
    own = dict(zip(key.referred, key.columns, strict=True))
    changes = {own[column]: place for column, place in other.changes.items() if column in own}
    moved = Movement(child, changes, {}, (key, other), key.on_update.upper())
    if other.through is None and other.holds.keys() <= own.keys():
        # What it refers to is told by the columns that refer: no need to look there.
        holds = {own[column]: place for column, place in other.holds.items()}
        return replace(moved, holds=holds, through=None)
    return moved


def update_sql(movement: Movement) -> tuple[str, list[int]]:
    """One movement as a statement with `?` for values, and the places of these."""
    where, places = movement.condition("t", lambda _: "?")
    changes = ", ".join(f"{quote(column)} = ?" for column in movement.changes)
    text = f"UPDATE {quote(movement.table)} AS t SET {changes} WHERE {where}"
    return text, [*movement.changes.values(), *places]


def in_one_statement(moved: Sequence[Movement], value: Value) -> str:
    """All movements as one statement of PostgreSQL's, in which each table is updated once; the last table's comes last.

    Foreign keys that are not put off are checked at the end of a statement. The statement
    is to follow a `WITH` list (`n`, `o`) that its values come from.
    """
    by_table: dict[str, list[Movement]] = {}
    for each in reversed(moved):
        by_table.setdefault(each.table, []).append(each)
    updates = [_merged(table, some, value) for table, some in by_table.items()]
    others = "".join(f", m{number} AS ({update})" for number, update in enumerate(updates[1:]))
    return f"{others} {updates[0]}"


def _merged(table: str, some: Sequence[Movement], value: Value) -> str:
    conditions = [each.condition("t", value)[0] for each in some]
    cases: dict[str, list[str]] = {}
    for each, condition in zip(some, conditions, strict=True):
        for column, place in each.changes.items():
            cases.setdefault(column, []).append(f"WHEN {condition} THEN {value(place)}")
    changes = ", ".join(
        f"{quote(column)} = CASE {' '.join(whens)} ELSE t.{quote(column)} END" for column, whens in cases.items()
    )
    where = " OR ".join(f"({condition})" for condition in conditions)
    return f"UPDATE {quote(table)} AS t SET {changes} FROM n, o WHERE {where}"


_HARMLESS = ("", "NO ACTION", "RESTRICT")
"""Actions that the database itself refuses a removal by, where it does."""


def touching(
    write: TableWrite, foreign_keys: Mapping[str, Sequence[ForeignKey]], which: str, *, acts: bool = True
) -> Iterator[tuple[str, str]]:
    """Queries that find a row which refers to the rows of a write, and may not; and what is said if there is one.

    While a row is away, before it is inserted again in the same transaction, rows that refer to it may go with it
    (`ON DELETE CASCADE`), or lose their reference (`SET NULL`); and where an update changes what they refer to, they
    would refer to another row afterwards.

    `which` is the condition for the rows (`t`). `acts`: the database does what foreign keys say of removals.
    """
    changed = {column.name for column in write.columns}
    for child, keys in foreign_keys.items():
        for key in keys:
            if key.table != write.table or len(key.columns) != len(key.referred):
                continue
            follows = acts and key.on_delete.upper() not in _HARMLESS
            if not follows and changed.isdisjoint(key.referred):
                continue
            joined = " AND ".join(
                f"c.{quote(column)} = t.{quote(referred)}"
                for column, referred in zip(key.columns, key.referred, strict=True)
            )
            query = (
                f"SELECT 1 FROM {quote(write.table)} AS t JOIN {quote(child)} AS c ON {joined} WHERE {which} LIMIT 1"
            )
            yield query, f"rows of {child} refer to rows of {write.table} by {', '.join(key.columns)}"
