"""Reconstructs past rows and renames of documents from the Event Update Log.

An event holds its document's parent row before and after it, unless only child rows changed. So the row as of some
entry is the `before` of the next event that changed it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from streamd.common.values import names_by_type
from streamd.model import name_from_text
from streamd.store.engine import State
from streamd.store.schema import is_one_of, update_log
from streamd.wire import FormerName

NAMES_AT_ONCE = 400
"""Documents per query."""

MOST_RENAMES = 32
"""Renames of one document to follow back."""

_C = update_log.c


async def rows_as_of(
    state: State, after: int, documents: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], str | None]:
    """The parent rows (JSON) of these documents (type, name as text) as of the entry `after`.

    None where there was no row, as far as the log shows. Documents whose rows did not change since then are left out.
    """
    found: dict[tuple[str, str], str | None] = {}
    async with state.read() as connection:
        for doctype, names in names_by_type(documents).items():
            for start in range(0, len(names), NAMES_AT_ONCE):
                some = names[start : start + NAMES_AT_ONCE]
                told = await _rows_as_of(connection, state.site, doctype, some, after)
                found.update({(doctype, name): row for name, row in told.items()})
    return found


async def former_names(state: State, doctype: str, names: Iterable[str]) -> dict[str, list[FormerName]]:
    """The renames that gave documents these names (as text), latest first, as far as the log goes back.

    A document that was created under its name has none, even if an earlier document had the same name.
    """
    found: dict[str, list[FormerName]] = {}
    # (name to look for, entry before which to look, current name of the document)
    looking: list[tuple[str, int | None, str]] = [(name, None, name) for name in dict.fromkeys(names)]
    async with state.read() as connection:
        for _ in range(MOST_RENAMES):
            starts = await _starts(connection, state.site, doctype, {name for name, _, _ in looking})
            further: list[tuple[str, int | None, str]] = []
            for name, before, now in looking:
                row = next((each for each in starts.get(name, ()) if before is None or each.sequence < before), None)
                if row is not None and row.renamed_from is not None:
                    rename = FormerName(name_from_text(row.renamed_from), row.sequence, row.clock)
                    found.setdefault(now, []).append(rename)
                    further.append((row.renamed_from, row.sequence, now))
            looking = further
            if not looking:
                break
    return found


async def _starts(connection: AsyncConnection, site: str, doctype: str, names: Iterable[str]) -> dict[str, list[Any]]:
    """By name: the entries that gave a document this name, latest first."""
    found: dict[str, list[Any]] = {}
    fields = (_C.name, _C.sequence, _C.renamed_from, _C.clock)
    wanted = list(names)
    for start in range(0, len(wanted), NAMES_AT_ONCE):
        some = wanted[start : start + NAMES_AT_ONCE]
        query = select(*fields).where(
            _C.site == site,
            _C.doctype == doctype,
            is_one_of(_C.name, some),
            or_(_C.renamed_from.is_not(None), _C.operation == "create"),
        )
        for row in await connection.execute(query.order_by(_C.sequence.desc())):
            found.setdefault(row.name, []).append(row)
    return found


async def _rows_as_of(
    connection: AsyncConnection, site: str, doctype: str, names: Sequence[str], after: int
) -> dict[str, str | None]:
    # `+ 0` makes the database use the index of names, not that of sequences: the rest of the log may be long.
    later = and_(_C.site == site, _C.doctype == doctype, _C.sequence + 0 > after)
    touched = or_(_C.before.is_not(None), _C.after.is_not(None))
    first: dict[str, int] = {}
    # An event that renamed the document has its old name in `renamed_from`.
    for column in (_C.name, _C.renamed_from):
        query = select(column, func.min(_C.sequence)).where(later, touched, is_one_of(column, names))
        for name, sequence in await connection.execute(query.group_by(column)):
            first[name] = min(sequence, first.get(name, sequence))
    if not first:
        return {}
    query = select(_C.sequence, _C.name, _C.renamed_from, _C.before)
    found = await connection.execute(query.where(_C.site == site, _C.sequence.in_(first.values())))
    # A document that got its name by that event had another name before.
    rows = {row.sequence: (row.renamed_from or row.name, row.before) for row in found}
    return {
        name: before if was == name else None
        for name, (was, before) in ((name, rows[sequence]) for name, sequence in first.items())
    }
