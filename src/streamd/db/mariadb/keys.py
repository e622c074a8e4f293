"""The keys that MariaDB itself would give next.

An auto-increment counter gives numbers to statements before their rows are there. So a number that we took by looking
at the counter may be one that a user's statement has got already and not written yet; if we wrote it first, the
user's write would fail. So what is foreseen is made ours before anything is written: one of our own rows is
inserted with a number of the server's, in a session in which a number stands for a block of them, and that insert is
undone. The counter stays where it is then, and the block is ours alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from asyncmy.errors import Error

from streamd.db.base import TableWrite
from streamd.db.books.given_keys import Keys, Place, TakenKeys, from_sequence
from streamd.db.mariadb.driver import Session, packets
from streamd.db.mariadb.errors import number_of
from streamd.db.sqltext import evaluated_sql, quote
from streamd.errors import SiteBusy, SiteError
from streamd.model import Column, Kind

BLOCK = 65_535
"""Numbers that one insert can reserve, at most."""

_SOURCE = (
    "SELECT c.COLUMN_DEFAULT, c.EXTRA LIKE '%auto_increment%', t.AUTO_INCREMENT FROM information_schema.COLUMNS AS c "
    "JOIN information_schema.TABLES AS t ON t.TABLE_SCHEMA = c.TABLE_SCHEMA AND t.TABLE_NAME = c.TABLE_NAME "
    "WHERE c.TABLE_SCHEMA = DATABASE() AND t.TABLE_SCHEMA = DATABASE() AND c.TABLE_NAME = ? AND t.TABLE_NAME = ? "
    "AND c.COLUMN_NAME = ?"
)
_COUNTER = "SELECT AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?"
_GIVEN_AND_REFUSED = frozenset({1022, 1062, 1216, 1452})
"""Duplicate keys, and foreign keys: errors that come after a row has got its number."""

_QUOTED = re.compile(r"'(?:[^'\\]|''|\\.)*'")
_ANOTHER_EACH_TIME = re.compile(r"\b(uuid\w*|sys_guid|rand|random_bytes|nextval)\s*\(", re.IGNORECASE)


def gives_another_each_time(default: str | None) -> bool:
    """Whether a default is an expression that has another value each time."""
    return default is not None and _ANOTHER_EACH_TIME.search(_QUOTED.sub("", default)) is not None


async def next_keys(session: Session, taken: TakenKeys, table: str, column: Column, count: int) -> Keys:
    """The next values of an automatic column. Raises `SiteError`."""
    rows = await session.fetch(_SOURCE, (table, table, column.name))
    default, counted, counter = rows[0] if rows else (None, False, None)
    if counted:
        return await _numbers(session, taken, table, column, count, int(counter or 1))
    if not gives_another_each_time(default):
        raise SiteError(
            f"the database gives no values for {table}.{column.name} by itself",
            hint="give the column a default, or say in [doctypes] how else documents are named",
        )
    if "nextval(" not in default.lower():
        return await _evaluated(session, column, default, count)

    async def usable(keys: Keys) -> Keys:
        return keys

    async def draw(size: int) -> Keys:
        return await _evaluated(session, column, default, size)

    async def missing(keys: Keys) -> Keys:
        return await _missing(session, table, column, keys)

    return await from_sequence(taken, Place(table, column.name), count, usable, draw, missing)


async def _numbers(session: Session, taken: TakenKeys, table: str, column: Column, count: int, counter: int) -> Keys:
    place = Place(table, column.name)
    # Not from the counter on: somebody may have set it back, and then it gives them once more, and not to us.
    ours: Keys = [key for key in taken.pool.take(place) if isinstance(key, int) and key < counter]
    ours = await _missing(session, table, column, ours)
    taken.pool.give_back(place, ours[count:])
    found = ours[:count]
    taken.take(place, found)
    if len(found) < count:
        ((highest,),) = await session.fetch(f"SELECT MAX({quote(column.name)}) FROM {quote(table)}")
        first = max(counter, int(highest or 0) + 1, taken.highest(place) + 1)
        foreseen = range(first, first + count - len(found))
        taken.foresee(place, foreseen)
        found += foreseen
    return found


async def _evaluated(session: Session, column: Column, default: str, count: int) -> Keys:
    rows = await session.fetch(evaluated_sql(default), (count,))
    return [int(value) if column.kind == Kind.INTEGER else str(value) for (value,) in rows]


async def _missing(session: Session, table: str, column: Column, keys: Keys) -> Keys:
    """Those of the keys that do not stand in the table."""
    if not keys:
        return []
    name = quote(column.name)
    rows = await session.fetch(
        f"SELECT {name} FROM {quote(table)} WHERE {name} IN ({', '.join('?' * len(keys))})", list(keys)
    )
    present = {row[0] for row in rows}
    return [key for key in keys if key not in present]


async def make_ours(inserts: Inserts, taken: TakenKeys, write: TableWrite, rows: Sequence[Sequence[Any]]) -> None:
    """Make foreseen keys ours, if new rows, as the driver takes them, have such. Raises `SiteBusy` if users got them.

    Then what was got instead is kept for the next time, and surely does.
    """
    for place in taken.foreseen_in(write.table):
        names = [column.name for column in write.columns]
        if place.column in names:
            index, foreseen = names.index(place.column), taken.foreseen(place)
            among = frozenset(foreseen)
            row = next((row for row in rows if row[index] in among), None)
            if row is not None:
                await _reserve(inserts, taken, place, foreseen, write, [*row[:index], *row[index + 1 :]])


async def _reserve(
    inserts: Inserts, taken: TakenKeys, place: Place, foreseen: Sequence[int], write: TableWrite, row: Sequence[Any]
) -> None:
    columns = ", ".join(quote(column.name) for column in write.columns if column.name != place.column)
    insert = f"INSERT INTO {quote(place.table)} ({columns}) VALUES ({', '.join('?' * len(row))})"
    first, last = foreseen[0], foreseen[-1]
    while first <= last:
        size = min(last - first + 1, BLOCK)
        try:
            got = await _undone(inserts, place.table, insert, row, first, size)
        except Error as error:
            # The row is refused, but its number was given before. If the counter stands where our block ends, it is
            # our block: what a user got besides would have moved it further.
            if number_of(error) in _GIVEN_AND_REFUSED and await _counter(inserts.session, place) == first + size:
                taken.own(place)
            raise
        if got != first:
            taken.pool.give_back(place, range(got, got + size))
            raise SiteBusy(
                f"users wrote into {place.table} in the meantime, and got the keys from {first} on",
                hint="it is tried again, with other keys",
            )
        first += size
    taken.own(place)


async def _counter(session: Session, place: Place) -> int:
    rows = await session.fetch(_COUNTER, (place.table,))
    return int(rows[0][0] or 0) if rows else 0


async def _undone(inserts: Inserts, table: str, insert: str, row: Sequence[Any], first: int, size: int) -> int:
    """Insert a row with a key of the server's, and undo that. Returns its key: with it, `size` of them are ours."""
    session = inserts.session
    # The key is the first one from the counter on that is `offset` more than a multiple of `size`.
    await session.run(f"SET auto_increment_increment = {size}, auto_increment_offset = {first % size or size}")
    try:
        await session.run("SAVEPOINT streamd_keys")
        await inserts.run(table, insert, [row])
        ((got,),) = await session.fetch("SELECT LAST_INSERT_ID()")
        await session.run("ROLLBACK TO streamd_keys")
        await session.run("RELEASE SAVEPOINT streamd_keys")
    finally:
        if session.is_open:
            await session.run("SET auto_increment_increment = 1, auto_increment_offset = 1")
    return int(got)


VALUES_AT_ONCE = 2000
"""Values that stand in variables at the same time, about; a prepared statement takes 65,535."""

_DRAWS = (
    "SELECT COUNT(*) FROM information_schema.COLUMNS "
    "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? AND COLUMN_DEFAULT LIKE '%nextval(%'"
)


class Inserts:
    """The inserts of one transaction: so long, a table that is written to keeps its defaults.

    A prepared INSERT into a table with `DEFAULT NEXTVAL(…)` leaves something behind in the server's copy of that table
    which is freed with the prepared statement. The next plain INSERT of a user's then ends the whole server, by a fault
    in `Item_func_nextval` (seen with 10.11.19, within seconds, while four users wrote). So rows of such tables are
    inserted by statements that are not prepared. Their values come in variables, which a prepared SET sets: so here,
    too, no value becomes part of a statement's text.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._draw: dict[str, bool] = {}

    async def run(self, table: str, statement: str, rows: Sequence[Sequence[Any]]) -> int:
        """Run an INSERT, `… VALUES (?, …)`, for each of these rows. Returns how many were written. Raises `Error`."""
        if not rows:
            return 0
        if not rows[0] or not await self._draws(table):
            return await self.session.run_many(statement, rows)
        into, values, _ = statement.rpartition(" VALUES ")
        found = 0
        for some in packets(rows, max(1, VALUES_AT_ONCE // len(rows[0]))):
            names = [[f"@streamd_{number}_{index}" for index in range(len(row))] for number, row in enumerate(some)]
            give = ", ".join(f"{name} = ?" for row in names for name in row)
            await self.session.run(f"SET {give}", [value for row in some for value in row])
            found += await self.session.run(into + values + ", ".join(f"({', '.join(row)})" for row in names))
        return found

    async def _draws(self, table: str) -> bool:
        if table not in self._draw:
            ((columns,),) = await self.session.fetch(_DRAWS, (table,))
            self._draw[table] = columns > 0
        return self._draw[table]
