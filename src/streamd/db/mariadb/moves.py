"""Changing the key of a row that others refer to, and removing one for a moment: MariaDB checks foreign keys at once.

So the server's checks rest for these statements; the rows that refer to a changed key follow by statements of our own
(`moves`), and then it is verified that nothing refers to what is not there. Nobody can come in between: who makes a row
that refers to the old key needs a lock on the row that we have locked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from streamd.db.base import TableWrite, WriteKind
from streamd.db.mariadb.driver import Session
from streamd.db.moves import ForeignKeys, Movement, movements, touching, update_sql
from streamd.db.sqltext import quote, write_sql
from streamd.errors import RowRefused
from streamd.model import ForeignKey


@dataclass(frozen=True, slots=True)
class Move:
    """Values of a foreign key that some rows (`child`) may hold although no row of `parent` has them any more."""

    child: str
    parent: str
    key: ForeignKey
    values: Sequence[Sequence[Any]]


def moved_by_hand(write: TableWrite, foreign_keys: ForeignKeys) -> list[Movement]:
    """The updates that change keys, and all that refers to them; nothing where the server does that by itself.

    It does where all cascades, and never comes back to the same table: that it refuses.
    """
    moved = movements(write, foreign_keys)
    tables = [each.table for each in moved]
    alone = all(each.action == "CASCADE" for each in moved[:-1]) and len(set(tables)) == len(tables)
    return [] if alone else moved


async def move(session: Session, moved: Sequence[Movement], rows: Sequence[Sequence[Any]]) -> int:
    """Do these for each of the rows, as the driver takes them. Returns how many were found."""
    found = last = 0
    async with unchecked(session):
        for row in rows:
            for each in moved:
                statement, places = update_sql(each)
                last = await session.run_many(statement, [[row[place] for place in places]])
            found += last
    return found


def to_verify(write: TableWrite, rows: Sequence[Sequence[Any]], foreign_keys: ForeignKeys) -> list[Move]:
    """What to verify after a write for which the server's checks rested: what its rows refer to, and what to them.

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
    for key in foreign_keys.get(write.table, ()):
        if set(key.columns) <= set(new):
            places = [new.index(column) for column in key.columns]
            found.append(Move(write.table, key.table, key, [[row[place] for place in places] for row in rows]))
    return found


@asynccontextmanager
async def unchecked(session: Session) -> AsyncIterator[None]:
    """Within, the server checks no foreign keys, and does nothing of what they say."""
    await session.run("SET foreign_key_checks = 0")
    try:
        yield
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


_STORED = (
    "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? "
    "AND COALESCE(IS_GENERATED, 'NEVER') = 'NEVER' AND EXTRA NOT LIKE '%GENERATED%' ORDER BY ORDINAL_POSITION"
)
_COPY = '"streamd_put_again"'


async def put_again(
    session: Session, write: TableWrite, rows: Sequence[Sequence[Any]], foreign_keys: Mapping[str, Sequence[ForeignKey]]
) -> int:
    """Do an update by removing its rows and inserting them again. Returns how many there were.

    They are changed in a copy, so that columns which nobody named keep what they hold exactly.
    """
    size = len(write.columns)
    keys = [row[size:] for row in rows]
    which = " AND ".join(f"t.{quote(column.name)} = ?" for column in write.where)
    for query, text in touching(write, foreign_keys, which, acts=False):
        for key in keys:
            if await session.fetch(query, key):
                raise RowRefused(text)
    names = ", ".join(quote(name) for (name,) in await session.fetch(_STORED, (write.table,)))
    table = quote(write.table)
    await session.run(f"CREATE TEMPORARY TABLE {_COPY} AS SELECT {names} FROM {table} WHERE 1 = 0")
    try:
        for key in keys:  # one by one: the server takes no INSERT … SELECT for many rows at once
            await session.run(f"INSERT INTO {_COPY} ({names}) SELECT {names} FROM {table} AS t WHERE {which}", key)
        copy = TableWrite(write.kind, _COPY.strip('"'), write.columns, write.where, ())
        found = await session.run_many(write_sql(copy), rows)
        async with unchecked(session):
            await session.run_many(write_sql(TableWrite(WriteKind.DELETE, write.table, (), write.where, ())), keys)
        # With checks: what the rows refer to has to be there.
        await session.run(f"INSERT INTO {table} ({names}) SELECT {names} FROM {_COPY}")
    finally:
        if session.is_open:
            await session.run(f"DROP TEMPORARY TABLE IF EXISTS {_COPY}")
    return found
