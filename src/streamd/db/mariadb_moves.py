"""Changing the key of a row that others refer to: MariaDB cannot put a foreign key's check off to the end.

So the server's checks rest for the one statement that changes the key; the rows that refer to it follow with checks;
and then it is verified that nothing refers to the old key any more. Nobody can come in between: who makes a row that
refers to the old key needs a lock on the row that we have locked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamd.db.base import TableWrite, WriteKind
from streamd.db.mariadb_driver import Session
from streamd.db.mariadb_sql import quote
from streamd.errors import RowRefused
from streamd.model import ForeignKey


@dataclass(frozen=True, slots=True)
class Move:
    """Values of a foreign key that some rows (`child`) may hold although no row of `parent` has them any more."""

    child: str
    parent: str
    key: ForeignKey
    values: Sequence[Sequence[Any]]


def changes_keys(write: TableWrite) -> bool:
    """Whether a write changes columns that say which row is meant."""
    if write.kind != WriteKind.UPDATE:
        return False
    changed = {column.name for column in write.columns}
    return any(column.name in changed for column in write.where)


def moves_of(
    write: TableWrite, rows: Sequence[Sequence[Any]], foreign_keys: Mapping[str, Sequence[ForeignKey]]
) -> list[Move]:
    """What to verify after a write that changes keys; nothing where no foreign key would stop it.

    The rows hold the new values, then those that say which row is meant, as the driver takes them.
    """
    new = [column.name for column in write.columns]
    old = [column.name for column in write.where]
    found = []
    for child, keys in foreign_keys.items():
        for key in keys:
            if key.table == write.table and set(key.referred) <= set(old) and not set(key.referred).isdisjoint(new):
                places = [len(new) + old.index(column) for column in key.referred]
                found.append(Move(child, write.table, key, [[row[place] for place in places] for row in rows]))
    if not any(move.key.on_update.upper() != "CASCADE" for move in found):
        return []
    # The row's own references rest as well while checks do.
    for key in foreign_keys.get(write.table, ()):
        if set(key.columns) <= set(new):
            places = [new.index(column) for column in key.columns]
            found.append(Move(write.table, key.table, key, [[row[place] for place in places] for row in rows]))
    return found


async def run_unchecked(session: Session, statement: str, rows: Sequence[Sequence[Any]]) -> int:
    """Write without the server's checks of foreign keys."""
    await session.run("SET foreign_key_checks = 0")
    try:
        return await session.run_many(statement, rows)
    finally:
        if session.is_open:
            await session.run("SET foreign_key_checks = 1")


async def verify(session: Session, move: Move) -> None:
    """Raise `RowRefused` where rows refer to what is not there."""
    where = " AND ".join(f"c.{quote(column)} = ?" for column in move.key.columns)
    same = " AND ".join(
        f"p.{quote(referred)} = c.{quote(column)}"
        for column, referred in zip(move.key.columns, move.key.referred, strict=True)
    )
    query = (
        f"SELECT 1 FROM {quote(move.child)} AS c WHERE {where} "
        f"AND NOT EXISTS (SELECT 1 FROM {quote(move.parent)} AS p WHERE {same}) LIMIT 1"
    )
    for values in move.values:
        if None not in values and await session.fetch(query, values):
            shown = ", ".join(str(value) for value in values)
            raise RowRefused(
                f"rows of {move.child} still refer to {shown} in {move.parent} by {', '.join(move.key.columns)}, and "
                "it has another key now"
            )
