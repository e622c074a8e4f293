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

from streamd.db.mariadb.driver import Session, packets

VALUES_AT_ONCE = 2000
"""Values that stand in variables at the same time, about; a prepared statement takes 65,535."""

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
