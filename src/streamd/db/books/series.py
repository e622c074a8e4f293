"""Counting the numbers of a series, on every engine: in our own table, or in the one of the site's application.

The row of a series is locked from the first number that is taken until the transaction ends; so no number is given
twice, and a transaction that is rolled back gives its numbers back.
"""

from __future__ import annotations

from streamd.db.base import OUR_SERIES, SeriesBook
from streamd.db.statements import Running
from streamd.errors import SiteError


def quote(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


class SeriesTransaction(Running):
    """Takes numbers of series."""

    async def next_numbers(self, series: str, count: int, book: SeriesBook = OUR_SERIES) -> int:
        if count < 1:
            raise ValueError(f"{count} numbers of a series")
        table, name, current = quote(book.table), quote(book.name), quote(book.current)
        # The row is there nearly always, and then is locked at once, for writing: who first looks whether it is there
        # holds a weaker lock on it, and two who both want the stronger one then wait for each other.
        found = await self._run(
            f"UPDATE {table} SET {current} = coalesce({current}, 0) + ? WHERE {name} = ?", (count, series)
        )
        if not found:
            await self._run(self._add(table, name, current), (series, count))
        rows = await self._fetch(f"SELECT {current} FROM {table} WHERE {name} = ?", (series,))
        if not rows:
            raise SiteError(
                f"the series {series} is not in {book.table} although it was just written there",
                hint="is there a trigger, or a policy, on this table?",
            )
        return int(rows[0][0]) - count + 1
