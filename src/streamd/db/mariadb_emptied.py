"""Notices tables that were emptied by TRUNCATE: it fires no trigger, but makes the table anew inside of InnoDB.

The table then has another number, and still the old moment of its making; whatever else gives a table another number
(OPTIMIZE, most kinds of ALTER, a restore) is another making of its file too. Numbers are shown to those only who have
the privilege PROCESS. They are kept beside the tables, so that it does not matter whether a daemon runs.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from asyncmy.errors import Error

from streamd.db.mariadb_driver import Session
from streamd.db.mariadb_errors import number_of
from streamd.db.mariadb_floor import NOT_ALLOWED
from streamd.db.mariadb_sql import NOW_MS

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
_EMPTIED = f"""INSERT INTO streamd_change (tbl, op, fingerprint, "at", tx) VALUES (?, 'T', '', {NOW_MS}, 0)"""


class Made(NamedTuple):
    """InnoDB's number of a table, and when its file was made, in seconds since 1970."""

    number: int
    at: int


async def made(session: Session, tables: Collection[str]) -> dict[str, Made]:
    """How each of these tables was made last; none where we may not see it."""
    if not tables:
        return {}
    try:
        rows = await session.fetch(_MADE.format(", ".join("?" * len(tables))), sorted(tables))
    except Error as error:
        if number_of(error) not in NOT_ALLOWED:
            raise
        return {}
    return {table: Made(int(number), int(at)) for table, number, at in rows}


async def known(session: Session) -> dict[str, Made]:
    """The same as it was when we looked last."""
    return {table: Made(int(number), int(at)) for table, number, at in await session.fetch(_KNOWN)}


def emptied(before: dict[str, Made], now: dict[str, Made]) -> list[str]:
    """The tables that were truncated in between, and not made anew in another way since."""
    return sorted(
        table
        for table, made in now.items()
        if table in before and made.number != before[table].number and made.at == before[table].at
    )


async def remember(session: Session, now: dict[str, Made], emptied: Collection[str]) -> None:
    """Write down how tables were made, and among the changes that some were emptied."""
    await session.run_many(_REMEMBER, [(table, made.number, made.at) for table, made in sorted(now.items())])
    await session.run_many(_EMPTIED, [(table,) for table in emptied])
