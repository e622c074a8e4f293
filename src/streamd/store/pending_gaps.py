"""Gaps that are known, but not in the update log yet.

The log must contain a gap after the moment at which triggers record changes again, so it cannot be written before that.
It must not be lost if the process ends in between, so it is stored here first.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, and_, insert, select, update

from streamd.store.engine import State, now_ms
from streamd.store.schema import requests

GAP = "gap"
"""The kind of a row in `requests` that is a pending gap. Its `result` is the reason."""


class PendingGaps:
    """The gaps that this site still has to append to its log."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, reasons: Iterable[tuple[str, str]]) -> None:
        """Add gaps (type, reason). A pending gap of a type keeps its reason."""
        async with self._state.write() as connection:
            known = set((await connection.execute(select(requests.c.doctype).where(self._open()))).scalars())
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
                if doctype not in known
            ]
            if rows:
                await connection.execute(insert(requests), rows)

    async def pending(self) -> dict[str, str]:
        """The pending gaps: type → reason."""
        query = select(requests.c.doctype, requests.c.result).where(self._open()).order_by(requests.c.id)
        return {row.doctype: row.result for row in await self._state.fetch(query)}

    async def settle(self, doctypes: Iterable[str]) -> None:
        """Finish the gaps of these types: they are in the log, or no consumer needs them any longer."""
        await self._state.execute(
            update(requests).where(self._open(), requests.c.doctype.in_(sorted(doctypes))).values(finished_at=now_ms())
        )

    def _open(self) -> ColumnElement[bool]:
        c = requests.c
        return and_(c.site == self._state.site, c.kind == GAP, c.finished_at.is_(None))
