"""Reads again what was written, and refuses what is not as it was meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamd.apply.decide.values import shown
from streamd.apply.source import ColumnsThere, Ref
from streamd.apply.write.attempts import Group
from streamd.apply.write.ordering import Planned
from streamd.apply.write.readback import Columns, Difference, Meant, Read, differences, reads, renames_of, rows_meant
from streamd.apply.write.rowwrite import DELETE, INSERT, UPDATE, RowWrite
from streamd.apply.write.writer import table_write
from streamd.db.base import TableWrite, Transaction
from streamd.errors import RowRefused
from streamd.model import Catalogue, Column, DocumentType, Kind, Row

SHOWN = 3
"""Differences that one error shows, at most."""


async def verify(transaction: Transaction, group: Group, catalogue: Catalogue, there: ColumnsThere) -> dict[Ref, str]:
    """See to it that the rows of these documents, which were just written, are as they were meant.

    `there` are the columns that the producer has: what it did not change must be as it was.
    Returns what is to be noted of documents. Raises `RowRefused` where a row is missing, still there, or holds other
    values; of types whose triggers have the last word, other values are only noted.
    """
    planned, columns = group.planned, group.columns
    renames = renames_of(planned, catalogue)
    await _fire(transaction, catalogue, (write.table for each in planned for write in each.writes))
    found = await _differing(
        transaction, rows_meant(await _to_look_at(transaction, planned, columns), there), columns, renames
    )
    if not found:
        return {}
    meant = rows_meant(planned, there)
    lenient = {each.doctype.name for each in planned if each.doctype.accept_changes}
    refused = _refused(found, lenient)
    notes: dict[Ref, str] = {}
    if (
        refused
        and len(meant) > 1
        and all(each.column for each in refused)
        and not await _change_when_written(transaction, refused, columns, catalogue)
    ):
        # Another row of the group, written later, may have set off a trigger that changed this one. The producer's
        # database did the same, and what it made of this row is what came: so that is written once more.
        await transaction.write(list(_again(refused, columns)))
        await _fire(transaction, catalogue, (each.meant.table for each in refused))
        notes = _noted(refused, "a trigger of this database changed {}; written again as it came")
        found = await _differing(transaction, meant, columns, renames)
        refused = _refused(found, lenient)
    if refused:
        raise RowRefused("; ".join(map(str, refused[:SHOWN])) + ("; …" if len(refused) > SHOWN else ""))
    return notes | _noted(found, "this database changed {}, which is accepted (accept_changes)")


class _Undone(Exception):  # leaves a savepoint, so that it is rolled back
    """What was written to find something out."""


async def _fire(transaction: Transaction, catalogue: Catalogue, tables: Iterable[str]) -> None:
    """What triggers of these tables put off is done before anything is read."""
    if not catalogue.triggered.isdisjoint(tables):
        await transaction.fire_deferred()


async def _change_when_written(
    transaction: Transaction, refused: Iterable[Difference], columns: Columns, catalogue: Catalogue
) -> bool:
    """Whether one of these rows is changed when it is written alone: by its own trigger, not by another row's.

    It is tried, and rolled back. Where other rows refer to it already, that cannot be tried, and is not assumed.
    """
    for meant in {id(each.meant): each.meant for each in refused}.values():
        known, values = columns[meant.table], meant.values or {}
        if meant.inserted:
            where = meant.where
            removal = table_write(DELETE, meant.table, known, (), [*where], [[*where.values()]], exactly=True)
            insertion = table_write(INSERT, meant.table, known, [*values], (), [[*values.values()]], exactly=False)
            again = [removal, insertion]
        elif meant.before is not None:
            again = [_update(meant, meant.before, known), _update(meant, values, known)]
        else:
            continue
        found: list[Difference] = []
        try:
            async with transaction.savepoint():
                await transaction.write(again)
                await _fire(transaction, catalogue, [meant.table])
                found = await _differing(transaction, [meant], columns, {})
                raise _Undone
        except (_Undone, RowRefused):
            if found:
                return True
    return False


async def _to_look_at(transaction: Transaction, planned: Sequence[Planned], columns: Columns) -> list[Planned]:
    """The documents of which a glance does not show that all rows stand exactly as they were written."""
    quick, places = glances(planned)
    for each in quick:
        known = [columns[each.table][name] for name in each.columns]
        places += [each.owners[row] for row in await transaction.not_as_written(each.table, known, each.at, each.rows)]
    return [planned[place] for place in sorted(set(places))]


async def _differing(
    transaction: Transaction,
    meant: Iterable[Meant],
    columns: Columns,
    renames: Mapping[str, Mapping[str, Mapping[object, object]]],
) -> list[Difference]:
    found: list[Difference] = []
    for read in reads(meant):
        known = columns[read.table]
        for each in differences(read, await _rows(transaction, read, columns), known, renames.get(read.table, {})):
            if not await _is_only_written_otherwise(transaction, each, known):
                found.append(each)
    return found


async def _is_only_written_otherwise(transaction: Transaction, each: Difference, columns: Mapping[str, Column]) -> bool:
    """Whether a column of a type that streamd does not know writes in its own way what it was given."""
    column = columns.get(each.column)
    if column is None or column.kind != Kind.TEXT or not isinstance(each.value, str):
        return False
    return bool(await transaction.as_kept(column, each.value) == each.found)


async def _rows(transaction: Transaction, read: Read, columns: Columns) -> list[Row]:
    known = columns[read.table]
    key, wanted = [known[name] for name in read.key], [known[name] for name in read.columns]
    return await transaction.read_rows(read.table, wanted, key, read.keys)


def _refused(found: Iterable[Difference], lenient: set[str]) -> list[Difference]:
    return [each for each in found if not (each.column and each.meant.owner[0] in lenient)]


def _again(found: Iterable[Difference], columns: Columns) -> Iterable[TableWrite]:
    """Writes what was meant to the rows that hold something else."""
    for meant in {id(each.meant): each.meant for each in found}.values():
        yield _update(meant, meant.values or {}, columns[meant.table])


def _update(meant: Meant, row: Row, columns: Mapping[str, Column]) -> TableWrite:
    """Writes these values to a row, but for those that say which row it is."""
    where = meant.where
    values = {name: value for name, value in row.items() if name not in where}
    return table_write(
        UPDATE, meant.table, columns, [*values], [*where], [(*values.values(), *where.values())], exactly=False
    )


def _noted(found: Iterable[Difference], text: str) -> dict[Ref, str]:
    changed: dict[Ref, list[str]] = {}
    for each in found:
        said = f"{each.meant.table}.{each.column} from {shown(each.value)} to {shown(each.found)}"
        changed.setdefault(each.meant.owner, []).append(said)
    return {owner: text.format(", ".join(said[:SHOWN])) for owner, said in changed.items()}


# New documents whose rows stand exactly as they were written: nearly all of a first catch-up. What is not exactly alike
# may still mean the same: `readback` looks at that closely.


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
