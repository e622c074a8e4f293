"""Columns of a producer that this site once lacked, and whose values it has not read since.

A column is added here while this site lacks it, at the latest when it appears. It is settled when a snapshot of the
type has read it from the producer. Until then the local column holds whatever the database put there.
A field is named `column`, or `child field/column`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import ColumnElement, and_, insert, select, update

from streamd.store.engine import State, now_ms
from streamd.store.schema import requests

UNREAD = "column"
"""The kind of a row in `requests` that is an unread column. Its `result` is the field."""


class UnreadColumns:
    """The unread columns of one site."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, producer: str, fields: Mapping[str, Iterable[str]]) -> None:
        """Add fields, by type. Known ones stay."""
        wanted = {(doctype, field) for doctype, some in fields.items() for field in some}
        if not wanted or not (missing := wanted - {(one, field) for _, one, field in await self._read(producer)}):
            return
        rows = [
            {"kind": UNREAD, "producer": producer, "doctype": doctype, "requested_at": now_ms(), "result": field}
            for doctype, field in sorted(missing)
        ]
        await self._state.execute(insert(requests), [{"site": self._state.site, **row} for row in rows])

    async def of_producer(self, producer: str) -> dict[str, frozenset[str]]:
        """The unread columns of one producer, by type."""
        return _by_type(await self._read(producer))

    async def of_producers(self, subscribed: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
        """The unread columns of these types of these producers together, by type."""
        types = {producer: frozenset(doctypes) for producer, doctypes in subscribed.items()}
        return _by_type(row for row in await self._read() if row[1] in types.get(row[0], ()))

    async def settle(self, producer: str, doctype: str, fields: Iterable[str]) -> None:
        """Finish these columns of a type: a snapshot has read them."""
        some = sorted(fields)
        of_type = and_(requests.c.producer == producer, requests.c.doctype == doctype, requests.c.result.in_(some))
        await self._state.execute(update(requests).where(self._open(), of_type).values(finished_at=now_ms()))

    async def _read(self, producer: str | None = None) -> list[tuple[str, str, str]]:
        c = requests.c
        query = select(c.producer, c.doctype, c.result).where(self._open())
        return [
            (row.producer, row.doctype, row.result)
            for row in await self._state.fetch(query if producer is None else query.where(c.producer == producer))
        ]

    def _open(self) -> ColumnElement[bool]:
        c = requests.c
        return and_(c.site == self._state.site, c.kind == UNREAD, c.finished_at.is_(None))


def _by_type(rows: Iterable[tuple[str, str, str]]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for _, doctype, field in rows:
        found.setdefault(doctype, set()).add(field)
    return {doctype: frozenset(fields) for doctype, fields in found.items()}
