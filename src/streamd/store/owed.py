"""Gaps that are known of, and not in the update log yet: noted before triggers are made anew, and settled after.

A gap must stand in the log behind the moment at which changes are seen again, so it cannot be written before; and it
must not be forgotten if the process ends in between, so it is noted here first.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, and_, insert, select, update

from streamd.store.engine import State, now_ms
from streamd.store.schema import requests

GAP = "gap"
"""The kind of a request that is such a note; its reason stands where the results of others do."""


class OwedGaps:
    """The gaps that this site still has to write into its log."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, reasons: Iterable[tuple[str, str]]) -> None:
        """Note gaps of types (type, reason). What is noted of a type already stays as it is."""
        async with self._state.write() as connection:
            there = set((await connection.execute(select(requests.c.doctype).where(self._open()))).scalars())
            rows = [
                {
                    "site": self._state.site,
                    "kind": GAP,
                    "producer": "",
                    "doctype": doctype,
                    "requested_at": now_ms(),
                    "result": reason,
                }
                for doctype, reason in dict(reasons).items()
                if doctype not in there
            ]
            if rows:
                await connection.execute(insert(requests), rows)

    async def pending(self) -> dict[str, str]:
        """What is noted: type → reason."""
        query = select(requests.c.doctype, requests.c.result).where(self._open()).order_by(requests.c.id)
        async with self._state.read() as connection:
            return {row.doctype: row.result for row in await connection.execute(query)}

    async def settle(self, doctypes: Iterable[str]) -> None:
        """The gaps of these types stand in the log now, or nobody needs to know of them any more."""
        async with self._state.write() as connection:
            await connection.execute(
                update(requests)
                .where(self._open(), requests.c.doctype.in_(sorted(doctypes)))
                .values(finished_at=now_ms())
            )

    def _open(self) -> ColumnElement[bool]:
        c = requests.c
        return and_(c.site == self._state.site, c.kind == GAP, c.finished_at.is_(None))
