"""What users do, as values: transactions of small operations, and what they are in SQL for a schema.

An operation is a word and some numbers; each number chooses among what the schema has (modulo how much that is). So
every operation means something in every schema, and a shorter one is a simpler one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.properties.ddl import quoted
from tests.properties.kinds import INT, given
from tests.properties.schemas import Link, Schema, Table
from tests.support.database_url import Engine

Statement = tuple[str, list[Any]]


class Do(NamedTuple):
    """One operation: on which table, which document or row, and further choices."""

    what: str
    table: int = 0
    row: int = 0
    other: int = 0
    values: tuple[int, ...] = (0, 0, 0, 0, 0, 0)


class Step(NamedTuple):
    """What happens next at one of the two sites: a transaction of its users, or something of streamd's."""

    side: int
    what: str
    work: tuple[Do, ...] = ()


_NUMBER = st.integers(0, 3)
_OPERATIONS = (
    *("insert", "insert", "insert", "update", "update", "delete", "delete whole", "rename", "rename"),
    *("swap", "replace", "again", "all", "shift", "delete some", "move", "many", "set two"),
)


def steps(*, both: bool, operations: Sequence[str] = _OPERATIONS) -> st.SearchStrategy[list[Step]]:
    """A history: users work at the first site only, or at both; streamd at both in any case.

    `operations` are those of the users, each as often as it stands there.
    """
    choices = st.tuples(*(st.integers(0, 7) for _ in range(6)))
    do = st.builds(Do, st.sampled_from(operations), _NUMBER, _NUMBER, _NUMBER, choices)
    side = st.integers(0, 1)
    work = st.lists(do, min_size=1, max_size=3).map(tuple)
    writes = st.builds(Step, side if both else st.just(0), st.just("write"), work)
    pulls = st.builds(Step, side, st.just("pull"))
    others = st.builds(Step, side, st.sampled_from(("pull", "whole", "restart", "crash")))
    return st.lists(st.one_of(writes, writes, writes, writes, pulls, others), min_size=6, max_size=20)


def beginning(schema: Schema) -> list[Step]:
    """Two rows in each table, as far as the schema lets them be."""
    return [
        Step(0, "write", (Do("insert", number, row, 0, (row, row, row, row, row, row)),))
        for number in range(len(schema.tables))
        for row in (0, 1)
    ]


class Writer:
    """Writes operations as statements of one engine, for the users of one site."""

    def __init__(self, schema: Schema, side: int, engine: Engine) -> None:
        self.schema = schema
        self.side = side
        self.engine = engine

    def statements(self, do: Do) -> Iterator[Statement]:
        """The statements of one operation. The database may refuse any of them."""
        table = self.schema.tables[do.table % len(self.schema.tables)]
        makers: dict[str, Callable[[Table, Do], Iterator[Statement]]] = {
            "insert": self._insert,
            "update": self._update,
            "set two": self._set_two,
            "delete": self._delete,
            "delete whole": self._delete_whole,
            "swap": self._swap,
            "rename": self._rename,
            "replace": self._replace,
            "again": self._again,
            "all": self._all,
            "shift": self._shift,
            "delete some": self._delete_some,
            "move": self._move,
            "many": self._many,
        }
        return makers[do.what](table, do)

    # Values

    def names(self, table: Table) -> list[list[Any]]:
        """The keys that this site's users give: each site has its own, so that no two documents have one name."""
        base, letter = (0, "k") if self.side == 0 else (100, "s")
        numbers = [base + 1, base + 2, base + 3, base]
        words = [f"{letter}1", f"{letter}2", f"{letter.upper()}1", f"{letter}ä"]
        if table.parent is not None:
            rows = numbers if len(table.key) == 1 else [1, 2, 3, 4]
            parents = self.names(self.schema.table(table.parent.target))
            return [[*parents[0], rows[0]], [*parents[1], rows[1]], [*parents[0], rows[2]], [*parents[2], rows[3]]]
        kinds = [table.column(part).kind for part in table.key]
        if len(kinds) == 2:
            return [[numbers[0], words[0]], [numbers[0], words[1]], [numbers[1], words[0]], [numbers[3], words[2]]]
        return [[number] for number in numbers] if kinds[0] is INT else [[word] for word in words]

    def key(self, table: Table, row: int) -> list[Any]:
        """The values of the key's columns of one of a site's rows."""
        names = self.names(table)[row % 4]
        return names[-1:] if table.parent is not None and len(table.key) == 1 else names

    def value(self, table: Table, column: str, choice: int) -> Any:
        kind = table.column(column).kind
        choice %= len(kind.values) + 1
        return None if choice == len(kind.values) else given(self.engine, kind, kind.values[choice])

    def linked(self, link: Link, choice: int) -> list[Any]:
        """The name of a document that a link leads to; often one that is not there."""
        if choice % 6 == 5:
            return [None] * len(link.columns)
        target = self.schema.table(link.target)
        other = Writer(self.schema, 1 - self.side, self.engine) if choice % 6 == 4 else self
        return other.names(target)[choice % 4]

    def row(self, table: Table, do: Do) -> dict[str, Any]:
        """A whole new row; a column whose choice is 7 is left to its default."""
        found: dict[str, Any] = {}
        names = self.names(table)[do.row % 4]
        if table.parent is not None:
            found |= dict(zip(table.parent.columns, names, strict=False))
        found |= dict(zip(table.key, self.key(table, do.row), strict=True))
        choices = list(do.values)
        for column, choice in zip(table.plain, choices, strict=False):
            if choice != 7:
                found[column.name] = self.value(table, column.name, choice)
        for link in table.links:
            if not link.parent:
                found |= dict(zip(link.columns, self.linked(link, choices[-1]), strict=True))
        return found

    # Statements

    def _insert(self, table: Table, do: Do, word: str = "INSERT") -> Iterator[Statement]:
        row = self.row(table, do)
        yield f'{word} INTO "{table.name}" ({quoted(row)}) VALUES ({_marks(row)})', list(row.values())

    def _many(self, table: Table, do: Do) -> Iterator[Statement]:
        rows = [self.row(table, do._replace(row=row, values=(row, *do.values[1:]))) for row in range(3)]
        shape = list(rows[0])
        rows = [row for row in rows if list(row) == shape]
        values = ", ".join(f"({_marks(row)})" for row in rows)
        yield (
            f'INSERT INTO "{table.name}" ({quoted(shape)}) VALUES {values}',
            [value for row in rows for value in row.values()],
        )

    def _replace(self, table: Table, do: Do) -> Iterator[Statement]:
        if self.engine != "postgresql":
            yield from self._insert(table, do, "REPLACE")
            return
        row = self.row(table, do)
        changes = ", ".join(f'"{name}" = EXCLUDED."{name}"' for name in row if name not in table.key)
        then = f"UPDATE SET {changes}" if changes else "NOTHING"
        yield (
            f'INSERT INTO "{table.name}" ({quoted(row)}) VALUES ({_marks(row)})'
            f" ON CONFLICT ({quoted(table.key)}) DO {then}",
            list(row.values()),
        )

    def _changed(self, table: Table, choice: int, value: int) -> dict[str, Any]:
        """One of the columns that are not the key, with a value; or a link."""
        links = [link for link in table.links if not link.parent]
        choice %= len(table.plain) + len(links)
        if choice >= len(table.plain):
            link = links[choice - len(table.plain)]
            return dict(zip(link.columns, self.linked(link, value), strict=True))
        name = table.plain[choice].name
        return {name: self.value(table, name, value)}

    def _set(self, table: Table, changes: dict[str, Any], where: str, values: Sequence[Any]) -> Statement:
        columns = ", ".join(f'"{name}" = ?' for name in changes)
        return f'UPDATE "{table.name}" SET {columns}{where}', [*changes.values(), *values]

    def _update(self, table: Table, do: Do) -> Iterator[Statement]:
        changes = self._changed(table, do.other, do.values[0])
        yield self._set(table, changes, _where(table.key), self.key(table, do.row))

    def _set_two(self, table: Table, do: Do) -> Iterator[Statement]:
        changes = self._changed(table, do.other, do.values[0]) | self._changed(table, do.other + 1, do.values[1])
        yield self._set(table, changes, _where(table.key), self.key(table, do.row))

    def _all(self, table: Table, do: Do) -> Iterator[Statement]:
        yield self._set(table, self._changed(table, do.other, do.values[0]), "", [])

    def _shift(self, table: Table, do: Do) -> Iterator[Statement]:
        for column in table.plain:
            if column.kind is INT:
                yield f'UPDATE "{table.name}" SET "{column.name}" = "{column.name}" + 1', []
                return

    def _swap(self, table: Table, do: Do) -> Iterator[Statement]:
        """Two rows exchange a value: by way of a third one, since it may be unique."""
        names = [column.name for column in table.plain]
        if not names:
            return
        name = names[do.other % len(names)]
        one, other = self.key(table, do.row), self.key(table, do.row + 1 + do.other % 3)
        values = [self.value(table, name, choice) for choice in do.values[:3]]
        for key, value in ((one, values[2]), (other, values[0]), (one, values[1])):
            yield self._set(table, {name: value}, _where(table.key), key)

    def _delete(self, table: Table, do: Do) -> Iterator[Statement]:
        yield f'DELETE FROM "{table.name}"{_where(table.key)}', self.key(table, do.row)

    def _delete_whole(self, table: Table, do: Do) -> Iterator[Statement]:
        """As applications do it: first the child rows, then the document."""
        for child in self.schema.tables:
            if child.parent is not None and child.parent.target == table.name:
                yield f'DELETE FROM "{child.name}"{_where(child.parent.columns)}', self.key(table, do.row)
        yield from self._delete(table, do)

    def _delete_some(self, table: Table, do: Do) -> Iterator[Statement]:
        changed = self._changed(table, do.other, do.values[0])
        yield f'DELETE FROM "{table.name}"{_where(changed)}', list(changed.values())

    def _again(self, table: Table, do: Do) -> Iterator[Statement]:
        """A row goes and comes back in one transaction."""
        yield from self._delete(table, do)
        yield from self._insert(table, do)

    def _rename(self, table: Table, do: Do) -> Iterator[Statement]:
        """With all that leads to it, as applications do it where the database does not; or its links are left."""
        old, new = self.key(table, do.row), self.key(table, do.other)
        yield self._set(table, dict(zip(table.key, new, strict=True)), _where(table.key), old)
        if do.values[0] % 2:
            return
        for each in self.schema.tables:
            for link in each.links:
                if link.target == table.name:
                    changes = dict(zip(link.columns, new, strict=True))
                    yield self._set(each, changes, _where(link.columns), old)

    def _move(self, table: Table, do: Do) -> Iterator[Statement]:
        """A child row goes to another document."""
        if table.parent is not None:
            target = self.names(self.schema.table(table.parent.target))[do.other % 4]
            changes = dict(zip(table.parent.columns, target, strict=True))
            yield self._set(table, changes, _where(table.key), self.key(table, do.row))


def _marks(row: dict[str, Any]) -> str:
    return ", ".join("?" * len(row))


def _where(columns: Sequence[str] | dict[str, Any]) -> str:
    return " WHERE " + " AND ".join(f'"{column}" = ?' for column in columns)
