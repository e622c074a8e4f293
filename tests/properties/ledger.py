"""What users did at each site, kept apart from streamd: what changes at a site must have been done by somebody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.properties.schemas import Schema, Table
from tests.support.meaning import Meaning

Key = tuple[Meaning, ...]
Rows = Mapping[str, Mapping[Key, Mapping[str, Meaning]]]
"""All rows of a site by table and key, each value as what it means."""
Place = tuple[str, Key]
"""One row: its table and its key."""


@dataclass(frozen=True)
class Changed:
    """How one row changed. `values` are those that were written: of all columns, where the row is new."""

    place: Place
    how: str
    document: Place
    values: Mapping[str, Meaning]

    def __str__(self) -> str:
        table, key = self.place
        return f'"{table}" {shown(key)} {self.how} { ({name: value for name, (_, value) in self.values.items()}) }'


@dataclass
class Work:
    """What the users of one site did to one row, ever."""

    hows: set[str] = field(default_factory=set)
    values: dict[str, set[Any]] = field(default_factory=dict)


class Ledger:
    """What the users of two sites did, by site and row."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._work: tuple[dict[Place, Work], dict[Place, Work]] = ({}, {})

    def users(self, side: int, before: Rows, after: Rows) -> None:
        """The users of a site made these rows of those."""
        for changed in differences(self._schema, before, after):
            work = self._work[side].setdefault(changed.place, Work())
            work.hows.add(changed.how)
            for name, value in changed.values.items():
                work.values.setdefault(name, set()).add(value)

    def worked(self, side: int) -> bool:
        """Whether users of this site changed anything."""
        return bool(self._work[side])

    def unexplained(self, side: int, before: Rows, after: Rows) -> list[str]:
        """What streamd made of a site's rows that no user of the other site ever did."""
        theirs = self._work[1 - side]
        return [
            str(changed)
            for changed in differences(self._schema, before, after)
            if not self._explained(changed, theirs, self._schema.table(changed.place[0]))
        ]

    def _explained(self, changed: Changed, theirs: Mapping[Place, Work], table: Table) -> bool:
        here = theirs.get(changed.place, Work())
        document = theirs.get(changed.document, Work())
        if changed.how != "updated":
            # A document that is renamed takes its child rows along, and what was removed may come back by an edit.
            return bool(here.hows) or bool(document.hows & {"made", "deleted"})
        for name, value in changed.values.items():
            if value in here.values.get(name, ()):
                continue
            if not any(name in link.columns and self._made(link.target, value, theirs) for link in table.links):
                return False
        return True

    @staticmethod
    def _made(target: str, part: Meaning, theirs: Mapping[Place, Work]) -> bool:
        """Whether they made a document, or renamed one to this: what links to it follows wherever it is."""
        return any(table == target and part in key and "made" in work.hows for (table, key), work in theirs.items())


def differences(schema: Schema, before: Rows, after: Rows) -> Iterator[Changed]:
    """The rows that were made, deleted or updated."""
    for table in schema.tables:
        old, new = before[table.name], after[table.name]
        for key in sorted(old.keys() | new.keys(), key=repr):
            was, now = old.get(key), new.get(key)
            if was == now:
                continue
            row = now if now is not None else was
            assert row is not None
            how = "made" if was is None else "deleted" if now is None else "updated"
            values = row if was is None or now is None else {name: now[name] for name in now if now[name] != was[name]}
            yield Changed((table.name, key), how, document_of(schema, table, key, row), {} if now is None else values)


def document_of(schema: Schema, table: Table, key: Key, row: Mapping[str, Meaning]) -> Place:
    """The document that a row belongs to."""
    if table.parent is None:
        return table.name, key
    return table.parent.target, tuple(row[column] for column in table.parent.columns)


def shown(key: Key) -> str:
    return "/".join(str(value) for _, value in key)
