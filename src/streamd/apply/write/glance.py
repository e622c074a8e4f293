"""Which new documents' rows stand exactly as they were written: nearly all of a first catch-up. Pure, and quick.

What is not exactly alike may still mean the same: `readback` looks at that closely.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from streamd.apply.write.ordering import Planned
from streamd.apply.write.rowwrite import INSERT, RowWrite
from streamd.model import DocumentType


@dataclass(frozen=True, slots=True)
class Glance:
    """New rows of one table that have the same columns, each with the place of its document in the group.

    `at` are the places of the key's columns among `columns`.
    """

    table: str
    columns: tuple[str, ...]
    at: tuple[int, ...]
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)


def is_made(planned: Planned) -> bool:
    """Whether all that is written of a document is new."""
    return planned.renamed_from is None and all(write.kind == INSERT for write in planned.writes)


def glances(planned: Sequence[Planned]) -> tuple[list[Glance], list[int]]:
    """One look at each table for the rows of new documents; and the places of all other documents."""
    found: dict[tuple[str, tuple[str, ...]], Glance] = {}
    others: list[int] = []
    for place, each in enumerate(planned):
        for write in each.writes if is_made(each) else ():
            glance = found.get((write.table, write.columns))
            if glance is None:
                glance = found[(write.table, write.columns)] = Glance(
                    write.table, write.columns, _key_places(each.doctype, write)
                )
            glance.rows.append(write.values)
            glance.owners.append(place)
    keyless = {place for glance in found.values() if not glance.at for place in glance.owners}
    others = [place for place, each in enumerate(planned) if place in keyless or not is_made(each)]
    return [glance for glance in found.values() if glance.at], others


def _key_places(doctype: DocumentType, write: RowWrite) -> tuple[int, ...]:
    """Where the key stands among the columns that are written. Nothing, where the database gives a part of it."""
    keys = {doctype.table: doctype.key} | {child.table: child.key for child in doctype.children}
    key = keys[write.table]
    return tuple(map(write.columns.index, key)) if set(key) <= set(write.columns) else ()
