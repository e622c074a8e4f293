"""Which new documents' rows stand exactly as they were written: nearly all of a first catch-up. Pure, and quick.

What is not exactly alike may still mean the same: `readback` looks at that closely.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from streamd.apply.write.ordering import Planned
from streamd.apply.write.readback import UNREADABLE
from streamd.apply.write.rowwrite import INSERT
from streamd.model import Name, Row


@dataclass(frozen=True, slots=True)
class Glance:
    """New rows of one table that have the same columns, each with the place of its document in the group.

    `at` are the places of the key's columns among `columns`.
    """

    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    at: tuple[int, ...]
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)

    @property
    def keys(self) -> list[Name]:
        """What the rows are found by."""
        return [tuple([row[place] for place in self.at]) for row in self.rows]

    def unlike(self, found: Iterable[Row]) -> set[int]:
        """The documents, by their places, of which a row is missing, or not exactly as it was written."""
        values, key, name = _values(self.columns), itemgetter(*self.key), itemgetter(*self.at)
        try:
            there = {key(row): values(row) for row in found if UNREADABLE not in row}
            return {owner for row, owner in zip(self.rows, self.owners, strict=True) if there.get(name(row)) != row}
        except TypeError:
            return set(self.owners)  # bytes as a key are no key of a dict


def _values(columns: Sequence[str]) -> Callable[[Row], tuple[Any, ...]]:
    if len(columns) > 1:
        return itemgetter(*columns)
    return lambda row: (row[columns[0]],)


def is_made(planned: Planned) -> bool:
    """Whether all that is written of a document is new."""
    return planned.renamed_from is None and all(write.kind == INSERT for write in planned.writes)


def glances(planned: Sequence[Planned]) -> tuple[list[Glance], list[int]]:
    """One look at each table for the rows of new documents; and the places of all other documents."""
    found: dict[tuple[str, tuple[str, ...]], Glance] = {}
    others: list[int] = []
    for place, each in enumerate(planned):
        keys = {each.doctype.table: each.doctype.key} | {child.table: child.key for child in each.doctype.children}
        if not is_made(each) or any(not set(keys[write.table]) <= set(write.columns) for write in each.writes):
            others.append(place)
            continue
        for write in each.writes:
            glance = found.get((write.table, write.columns))
            if glance is None:
                key = keys[write.table]
                at = tuple(write.columns.index(column) for column in key)
                glance = found[(write.table, write.columns)] = Glance(write.table, write.columns, key, at)
            glance.rows.append(write.values)
            glance.owners.append(place)
    return list(found.values()), others
