"""Columns of a producer's that this site did not have, and has not read from there since.

Such a note is made while the column is not here yet, or at the latest when it appears; it is settled once the type was
read from the producer with the column. Until then, what stands in the column here is what the database put there.
A field is named `column`, or `child field/column`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import ColumnElement, and_, insert, select, update

from streamd.store.engine import State, now_ms
from streamd.store.schema import requests

UNREAD = "column"
"""The kind of a request that is such a note; the field stands where the results of others do."""


class UnreadColumns:
    """The notes of one site."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, producer: str, fields: Mapping[str, Iterable[str]]) -> None:
        """Note fields, by type. What is noted already stays as it is."""
        wanted = {(doctype, field) for doctype, some in fields.items() for field in some}
        if not wanted or not (missing := wanted - {(one, field) for _, one, field in await self._notes(producer)}):
            return
        rows = [
            {"kind": UNREAD, "producer": producer, "doctype": doctype, "requested_at": now_ms(), "result": field}
            for doctype, field in sorted(missing)
        ]
        async with self._state.write() as connection:
            await connection.execute(insert(requests), [{"site": self._state.site, **row} for row in rows])

    async def of(self, producer: str) -> dict[str, frozenset[str]]:
        """What is noted of one producer, by type."""
        return _by_type(await self._notes(producer))

    async def of_all(self, subscribed: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
        """What is noted, by type: of these types of these producers, whoever of them it is."""
        types = {producer: frozenset(doctypes) for producer, doctypes in subscribed.items()}
        return _by_type(note for note in await self._notes() if note[1] in types.get(note[0], ()))

    async def settle(self, producer: str, doctype: str, fields: Iterable[str]) -> None:
        """The type was read from there, with these columns."""
        some = sorted(fields)
        of_type = and_(requests.c.producer == producer, requests.c.doctype == doctype, requests.c.result.in_(some))
        async with self._state.write() as connection:
            await connection.execute(update(requests).where(self._open(), of_type).values(finished_at=now_ms()))

    async def _notes(self, producer: str | None = None) -> list[tuple[str, str, str]]:
        c = requests.c
        query = select(c.producer, c.doctype, c.result).where(self._open())
        async with self._state.read() as connection:
            found = await connection.execute(query if producer is None else query.where(c.producer == producer))
            return [(row.producer, row.doctype, row.result) for row in found]

    def _open(self) -> ColumnElement[bool]:
        c = requests.c
        return and_(c.site == self._state.site, c.kind == UNREAD, c.finished_at.is_(None))


def _by_type(notes: Iterable[tuple[str, str, str]]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for _, doctype, field in notes:
        found.setdefault(doctype, set()).add(field)
    return {doctype: frozenset(fields) for doctype, fields in found.items()}
