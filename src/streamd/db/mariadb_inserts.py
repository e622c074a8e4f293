"""Inserting rows, also into tables whose defaults draw from a sequence.

A prepared INSERT into a table with `DEFAULT NEXTVAL(…)` leaves something behind in the server's copy of that table
which is gone with the prepared statement, and the next plain INSERT of a user's ends the whole server, by a fault in
`Item_func_nextval` (seen with 10.11.19, within seconds of four users' writing). So into such tables rows are inserted
by statements that are not prepared. Their values come in variables, which a prepared SET gives them: so here, too, no
value becomes part of a statement's text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamd.db.mariadb_driver import Session, split_at_values

_DRAWS = (
    "SELECT COUNT(*) FROM information_schema.COLUMNS "
    "WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ? AND COLUMN_DEFAULT LIKE '%nextval(%'"
)


class Inserts:
    """The inserts of one transaction: so long, a table that is written to keeps its defaults."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._draw: dict[str, bool] = {}

    async def run(self, table: str, statement: str, rows: Sequence[Sequence[Any]]) -> int:
        """Run an INSERT into a table for each of these rows. Returns how many rows there are now. Raises `Error`."""
        if not rows:
            return 0
        if not rows[0] or not await self._draws(table):
            return await self.session.run_many(statement, rows)
        names = [f"@streamd_value_{index}" for index in range(len(rows[0]))]
        give = "SET " + ", ".join(f"{name} = ?" for name in names)
        parts = split_at_values(statement)
        insert = parts[0] + "".join(name + part for name, part in zip(names, parts[1:], strict=True))
        found = 0
        for row in rows:
            await self.session.run(give, row)
            found += await self.session.run(insert)
        return found

    async def _draws(self, table: str) -> bool:
        if table not in self._draw:
            ((columns,),) = await self.session.fetch(_DRAWS, (table,))
            self._draw[table] = columns > 0
        return self._draw[table]
