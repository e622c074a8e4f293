"""Rows that a write removes because they hold a key, or a unique value, that it brings (`INSERT OR REPLACE`).

SQLite tells no trigger of them unless the writer's connection has `PRAGMA recursive_triggers = ON`. So what is in the
way of a row is put into `streamd_displaced` before that is written, and looked for after: what is gone by then, and
was not told of, was displaced. A write that is skipped (`OR IGNORE`, an upsert) never comes to the second look. What
is noted and still there means nothing: a row that changes or goes in sight of a trigger is struck off.

No statement here can meet a conflict: the user's own conflict clause would hold for it too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from streamd.db.bound import User
from streamd.db.sqlite.sql import literal, name_key_sql, quote, row_as_json
from streamd.doctypes import Column, Table, UniqueKey

LOOKED_UP_BY = 3
"""By so many columns of its name a noted row is looked for; it is recognised by all of them."""


@dataclass(frozen=True, slots=True)
class Displacement:
    """The parts of a table's triggers. `name` are the columns by which all of its users tell its rows apart."""

    table: Table
    name: tuple[str, ...]
    kept: tuple[Column, ...]
    mark: str
    """An expression: the origin mark of the row `o`."""

    @property
    def before(self) -> dict[str, str]:
        """What further triggers do, by what they come before: nothing, unless there are rows in the way."""
        other = f" AND {self._name('o')} IS NOT {self._name('OLD')}"
        return {
            "INSERT": self._look([(self._alike(key), "") for key in self.table.enforced]),
            "UPDATE": self._look([(self._alike(key) + other, self._changed(key)) for key in self.table.enforced]),
        }

    def _look(self, looks: Iterable[tuple[str, str]]) -> str:
        """When to look, and the statements: each look is for rows in the way, and may have a condition first.

        What an earlier write noted is over by then: so no more is kept than what one row met.
        """
        found = list(looks)
        there = [f"{first}EXISTS (SELECT 1 FROM {quote(self.table.name)} AS o WHERE {rows})" for rows, first in found]
        clear = f"DELETE FROM streamd_displaced WHERE tbl = {literal(self.table.name)};"
        return f"WHEN {' OR '.join(there)} BEGIN {clear} {' '.join(self._note(rows) for rows, _ in found)} END"

    def _changed(self, key: UniqueKey) -> str:
        """Whether an update changes the key at all, where that is told by its columns."""
        columns = [self._column(term) for term in key.terms]
        if key.where or None in columns:
            return ""
        return f"({' OR '.join(f'OLD.{term} IS NOT NEW.{term}' for term in key.terms)}) AND "

    def after(self, event: str, change: str) -> str:
        """The statements that log, before the change itself, what it displaced. `change`: how one is logged."""
        new, old = self._name("NEW"), self._name("OLD")
        if event == "INSERT":
            # Also one of its own name: an update would have come by the other trigger.
            gone = f"d.tbl = {literal(self.table.name)} AND (d.name = {new} OR {self._gone()})"
            return self._log(change, gone) + self._strike(f"name = {new} OR {self._gone('streamd_displaced')}")
        if event == "DELETE":
            return self._strike(f"name = {old}")
        renamed = f"(d.name = {new} AND {new} IS NOT {old})"
        gone = f"d.tbl = {literal(self.table.name)} AND d.name <> {old} AND ({renamed} OR {self._gone()})"
        return self._log(change, gone) + self._strike(f"name IN ({old}, {new}) OR {self._gone('streamd_displaced')}")

    def _log(self, change: str, gone: str) -> str:
        return f"{change} FROM streamd_displaced AS d WHERE {gone}; "

    def _strike(self, which: str) -> str:
        return f"DELETE FROM streamd_displaced WHERE tbl = {literal(self.table.name)} AND ({which}); "

    def _gone(self, noted: str = "d") -> str:
        same = " AND ".join(
            f"o.{quote(column)} IS {noted}.k{place}" for place, column in enumerate(self.name[:LOOKED_UP_BY], 1)
        )
        there = f"SELECT 1 FROM {quote(self.table.name)} AS o WHERE {same} AND {self._name('o')} = {noted}.name"
        return f"NOT EXISTS ({there})"

    def _alike(self, key: UniqueKey) -> str:
        """Whether the row `o` is alike to the new one by this key."""
        alike = [
            f"{self._of_row(term)} = {self._of_new(term)} COLLATE {quote(collation)}"
            for term, collation in zip(key.terms, key.collations, strict=True)
        ]
        if key.where:
            alike += [f"({key.where})", self._of_new(f"({key.where})")]
        return " AND ".join(alike)

    def _note(self, rows: str) -> str:
        looked_up = [f"o.{quote(column)}" for column in self.name[:LOOKED_UP_BY]]
        looked_up += ["NULL"] * (LOOKED_UP_BY - len(looked_up))
        name = self._name("o")
        return (
            "INSERT INTO streamd_displaced (tbl, name, k1, k2, k3, before, origin) "
            f"SELECT {literal(self.table.name)}, {name}, {', '.join(looked_up)}, {row_as_json(self.kept, 'o')}, "
            f"{self.mark} FROM {quote(self.table.name)} AS o WHERE {rows} AND {name} IS NOT NULL "
            f"AND NOT EXISTS (SELECT 1 FROM streamd_displaced AS d WHERE d.tbl = {literal(self.table.name)} "
            f"AND d.name = {name});"
        )

    def _of_row(self, term: str) -> str:
        return f"o.{term}" if self._column(term) else f"({term})"

    def _of_new(self, term: str) -> str:
        """The term of the row that is written: an expression finds its columns under their own names."""
        column = self._column(term)
        if column is not None:
            return self._value(column)
        values = ", ".join(f"{self._value(each)} AS {quote(each.name)}" for each in self.table.columns)
        return f"(SELECT {term} FROM (SELECT {values}))"

    def _value(self, column: Column) -> str:
        """What the row will hold: REPLACE writes the default in place of a NULL that is forbidden, after this."""
        new = f"NEW.{quote(column.name)}"
        return new if column.nullable or not column.default else f"coalesce({new}, ({column.default}))"

    def _column(self, term: str) -> Column | None:
        return next((column for column in self.table.columns if quote(column.name) == term), None)

    def _name(self, alias: str) -> str:
        return f"({name_key_sql(self.name, alias)})"


def told_apart_by(users: Iterable[User]) -> tuple[str, ...]:
    """The columns by which all users of a table tell its rows apart: those of their keys first."""
    columns: dict[str, None] = {}
    for doctype, child in users:
        columns |= dict.fromkeys((child or doctype).key)
    for _, child in users:
        columns |= dict.fromkeys(child.parent_key if child else ())
    return tuple(columns)
