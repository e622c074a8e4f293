"""Notices tables that were truncated: it fires no trigger, but creates the table again inside InnoDB.
And partitions that were truncated, exchanged or dropped.

The table then has another number, and still the old moment of its making; whatever else gives a table another number
(OPTIMIZE, most kinds of ALTER, a restore) is another making of its file too. Numbers are shown to those only who have
the privilege PROCESS. They are kept beside the tables, so that it does not matter whether a daemon runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from asyncmy.errors import Error

from streamd.db.mariadb.driver import Session
from streamd.db.mariadb.errors import number_of
from streamd.db.mariadb.sql import NOW_MS, quote
from streamd.db.mariadb.watermark import NOT_ALLOWED
from streamd.rows import UNSEEN

# InnoDB names tables as files are named: `Sales Invoice` is Sales@0020Invoice.
_MADE = (
    "SELECT t.TABLE_NAME, i.TABLE_ID, UNIX_TIMESTAMP(t.CREATE_TIME) FROM information_schema.TABLES t "
    "JOIN information_schema.INNODB_SYS_TABLES i ON i.NAME = CONVERT(CONCAT(CONVERT(DATABASE() USING filename), "
    "_filename'/', CONVERT(t.TABLE_NAME USING filename)) USING binary) "
    "WHERE t.TABLE_SCHEMA = DATABASE() AND t.TABLE_NAME IN ({})"
)
_KNOWN = "SELECT tbl, number, made_at FROM streamd_table"
_REMEMBER = (
    "INSERT INTO streamd_table (tbl, number, made_at) VALUES (?, ?, ?) "
    "ON DUPLICATE KEY UPDATE number = VALUES(number), made_at = VALUES(made_at)"
)
_TRUNCATED = f"""INSERT INTO streamd_change (tbl, op, fingerprint, "at", tx) VALUES (?, 'T', '', {NOW_MS}, 0)"""

# A partition is a table of InnoDB's own, as is each subpartition.
_PARTITIONS = (
    "SELECT p.TABLE_NAME, COALESCE(p.SUBPARTITION_NAME, p.PARTITION_NAME), i.TABLE_ID, UNIX_TIMESTAMP(t.CREATE_TIME) "
    "FROM information_schema.PARTITIONS p JOIN information_schema.TABLES t "
    "ON t.TABLE_SCHEMA = p.TABLE_SCHEMA AND t.TABLE_NAME = p.TABLE_NAME "
    "JOIN information_schema.INNODB_SYS_TABLES i ON i.NAME = CONVERT(CONCAT(CONVERT(DATABASE() USING filename), "
    "_filename'/', CONVERT(p.TABLE_NAME USING filename), _filename'#P#', CONVERT(p.PARTITION_NAME USING filename), "
    "IF(p.SUBPARTITION_NAME IS NULL, _filename'', CONCAT(_filename'#SP#', "
    "CONVERT(p.SUBPARTITION_NAME USING filename)))) USING binary) "
    "WHERE p.TABLE_SCHEMA = DATABASE() AND p.PARTITION_NAME IS NOT NULL AND p.TABLE_NAME IN ({})"
)
_KNOWN_PARTITIONS = "SELECT tbl, part, number, made_at FROM streamd_partition"
_REMEMBER_PARTITION = "INSERT INTO streamd_partition (tbl, part, number, made_at) VALUES (?, ?, ?, ?)"
_UNSEEN = (
    f"""INSERT INTO streamd_change (tbl, op, "after", fingerprint, "at", tx) VALUES (?, 'T', ?, '', {NOW_MS}, 0)"""
)


class Made(NamedTuple):
    """InnoDB's number of a table, and when its file was made, in seconds since 1970."""

    number: int
    at: int


Partitions = Mapping[str, Mapping[str, Made]]
"""How each partition was made, by table and by its name."""


async def made(session: Session, tables: Collection[str]) -> dict[str, Made]:
    """How each of these tables was made last; none where we may not see it, nor where it is partitioned."""
    return {table: Made(int(number), int(at)) for table, number, at in await _asked(session, _MADE, tables)}


async def partitions(session: Session, tables: Collection[str]) -> Partitions:
    """How each partition of these tables was made last; none where we may not see it."""
    return _by_table(await _asked(session, _PARTITIONS, tables))


async def known_partitions(session: Session, tables: Collection[str]) -> Partitions:
    """The same as it was when we looked last."""
    return _by_table(row for row in await session.fetch(_KNOWN_PARTITIONS) if row[0] in tables)


def _by_table(rows: Iterable[Sequence[Any]]) -> dict[str, dict[str, Made]]:
    found: dict[str, dict[str, Made]] = {}
    for table, part, number, at in rows:
        found.setdefault(table, {})[part] = Made(int(number), int(at))
    return found


async def _asked(session: Session, query: str, tables: Collection[str]) -> Sequence[Sequence[Any]]:
    if not tables:
        return []
    try:
        return await session.fetch(query.format(", ".join("?" * len(tables))), sorted(tables))
    except Error as error:
        if number_of(error) not in NOT_ALLOWED:
            raise
        return []


async def known(session: Session) -> dict[str, Made]:
    """The same as it was when we looked last."""
    return {table: Made(int(number), int(at)) for table, number, at in await session.fetch(_KNOWN)}


def truncated_tables(before: dict[str, Made], now: dict[str, Made]) -> list[str]:
    """The tables that were truncated in between, and not rebuilt in another way since."""
    return sorted(
        table
        for table, made in now.items()
        if table in before and made.number != before[table].number and made.at == before[table].at
    )


async def remember(session: Session, now: dict[str, Made], truncated: Collection[str]) -> None:
    """Write down how tables were made, and among the changes which of them were truncated."""
    await session.run_many(_REMEMBER, [(table, made.number, made.at) for table, made in sorted(now.items())])
    await session.run_many(_TRUNCATED, [(table,) for table in truncated])


def went(before: Mapping[str, Made], now: Mapping[str, Made]) -> Iterator[str]:
    """What became of the partitions that there were, in words, where rows may have come or gone with it."""
    # An ALTER of the whole table, or OPTIMIZE, makes all of them anew with their rows.
    rebuilt = all(
        part in now and now[part].number != old.number and now[part].at != old.at for part, old in before.items()
    )
    for part, old in before.items():
        if part not in now:
            yield f"the partition {part} is gone (DROP or REORGANIZE PARTITION)"
        elif now[part].number != old.number and not rebuilt:
            yield f"the partition {part} is another one (TRUNCATE, EXCHANGE or REBUILD PARTITION)"


async def note_partitions(session: Session, before: Partitions, now: Partitions) -> dict[str, list[str]]:
    """Write down the partitions as they are, and among the changes what happened to them; returns that in words.

    Of a table that was not known to be partitioned nothing is said: making it so moves its rows, and adds none.
    """
    happened: dict[str, list[str]] = {}
    for table in sorted(before.keys() | now.keys()):
        old, new = before.get(table, {}), now.get(table, {})
        if old == new:
            continue
        words = list(went(old, new)) if new else []
        for part in new if old else ():
            if part not in old and await session.fetch(
                f"SELECT 1 FROM {quote(table)} PARTITION ({quote(part)}) LIMIT 1"
            ):
                words.append(f"the partition {part} is new, and has rows (EXCHANGE PARTITION)")
        await session.run("DELETE FROM streamd_partition WHERE tbl = ?", (table,))
        await session.run_many(_REMEMBER_PARTITION, [(table, part, *each) for part, each in sorted(new.items())])
        if words:
            happened[table] = words
            await session.run(_UNSEEN, (table, msgspec.json.encode({UNSEEN: "; ".join(words)}).decode()))
    return happened
