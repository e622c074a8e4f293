"""What an INSERT itself says of the rows that it wrote: then they need not be looked up again.

RETURNING shows a row as the table keeps it: after triggers that fire before, and with every value as its column's type
has it. Only what fires afterwards could change it still, so that counts where nobody has such a thing in this database:
no trigger but streamd's, no rule, no row-level security. That is asked again once the rows are written: a trigger that
is made meanwhile waits for this transaction, since making it needs a lock on the table.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from streamd.db.base import TableWrite, WriteKind
from streamd.db.postgresql import sql
from streamd.db.postgresql.values import is_simple
from streamd.model import Column
from streamd.wire import read_lists

NOTHING_ACTS = """
SELECT NOT EXISTS (SELECT FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
                   WHERE NOT t.tgisinternal AND p.pronamespace <> coalesce(to_regnamespace('streamd'), 0::oid))
   AND NOT EXISTS (SELECT FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class WHERE c.relkind IN ('r', 'p'))
   AND NOT EXISTS (SELECT FROM pg_class WHERE relrowsecurity)
"""
"""Whether no trigger of the user's, rule or policy can do anything when rows are written."""


class Inserted:
    """What the inserts of one group of writes said. Whatever else is written makes it worthless."""

    def __init__(self, driver: asyncpg.Connection) -> None:
        self._driver = driver
        self._said: dict[tuple[str, tuple[Column, ...]], list[bytes]] = {}
        self._asks = False
        self._holds: bool | None = None

    async def begin(self, writes: Sequence[TableWrite]) -> None:
        """These are written next, and nothing that was said before counts any more."""
        self._said.clear()
        self._holds = None
        self._asks = bool(writes) and all(each.kind == WriteKind.INSERT for each in writes)
        if self._asks:
            self._asks = bool(await self._driver.fetchval(NOTHING_ACTS))

    def asks(self, write: TableWrite) -> bool:
        """Whether it is to be run by `run`."""
        return self._asks and bool(write.columns) and all(map(is_simple, write.columns))

    async def run(self, write: TableWrite, statement: str, rows: str) -> int:
        """Run the INSERT of these rows. Returns how many were written."""
        said = await self._driver.fetch(
            f"{statement} RETURNING json_build_array({sql.written(write.columns)})::text", rows
        )
        self._said.setdefault((write.table, write.columns), []).extend(row[0].encode() for row in said)
        return len(said)

    async def rows(self, table: str, columns: Sequence[Column]) -> list[tuple[object, ...]] | None:
        """The values of these columns of each new row of the table, as they stand there; None if nothing says that."""
        said = self._said.get((table, tuple(columns)))
        if said is None:
            return None
        if self._holds is None:
            self._holds = bool(await self._driver.fetchval(NOTHING_ACTS))
        return read_lists(said) if self._holds else None
