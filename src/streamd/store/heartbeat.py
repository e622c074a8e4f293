"""The daemon's sign of life, and what commands ask it to do."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from streamd import __version__
from streamd.errors import StateBusy
from streamd.store.engine import State, now_ms
from streamd.store.schema import heartbeat, requests

ALIVE_MS = 15_000
"""A daemon that has not beaten for longer than this is taken to be gone (it beats every few seconds)."""

FAREWELL_SECONDS = 0.5
"""How long ending may wait for the state database."""

WHOLE = "whole"
"""The kind of request that reads all documents of a type again, and takes them as they are at the producer."""

REPAIR = "repair"
"""The kind that does the same for a gap, and leaves alone what was edited later here: the daemon asks it of itself."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What the daemon last said of itself. Times are in milliseconds since 1970."""

    pid: int
    host: str
    version: str
    started_at: int
    beat_at: int
    stopped_at: int | None
    captured: int
    problem: str
    captured_to: int | None = None

    def alive(self, now: int) -> bool:
        """Whether the daemon runs at `now` (ms since 1970), as far as its sign of life says."""
        return self.stopped_at is None and now - self.beat_at < ALIVE_MS


class Heartbeat:
    """The sign of life of one site's daemon."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._started_at = now_ms()

    async def beat(self, *, captured: int, problem: str = "", captured_to: int | None = None) -> None:
        """The daemon runs: it captured so many changes since its start, and `problem` holds it up.

        What was committed before `captured_to` (ms since 1970) is in the update log.
        """
        values = {
            "pid": os.getpid(),
            "host": socket.gethostname()[:255],
            "version": __version__,
            "started_at": self._started_at,
            "beat_at": now_ms(),
            "stopped_at": None,
            "captured": captured,
            "problem": problem,
            "captured_to": captured_to,
        }
        async with self._state.write() as connection:
            found = await connection.execute(
                update(heartbeat).where(heartbeat.c.site == self._state.site).values(**values)
            )
            if not found.rowcount:
                await connection.execute(insert(heartbeat).values(site=self._state.site, **values))

    async def stopped(self) -> None:
        """The daemon ends in the proper way. It does not wait long for a state database that is away."""
        try:
            async with asyncio.timeout(FAREWELL_SECONDS), self._state.write() as connection:
                await connection.execute(
                    update(heartbeat).where(heartbeat.c.site == self._state.site).values(stopped_at=now_ms())
                )
        except (TimeoutError, StateBusy):
            return  # a sign of life that grows old says the same, a little later

    async def current(self) -> Beat | None:
        """What the daemon last said, or None if none ever ran here."""
        columns = [column for column in heartbeat.c if column.name != "site"]
        async with self._state.read() as connection:
            row = (await connection.execute(select(*columns).where(heartbeat.c.site == self._state.site))).first()
        return Beat(*row) if row is not None else None


@dataclass(frozen=True, slots=True)
class Request:
    """Something that a command asked the daemon to do. `result` says why it is not done yet, where that is known."""

    id: int
    kind: str
    producer: str
    doctype: str
    requested_at: int
    result: str = ""


class Requests:
    """What commands ask of the daemon. They wait here until it runs."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, kind: str, producer: str, doctype: str) -> int:
        """Ask; returns the request's id. The same request that still waits is not added again."""
        (added,) = await self.add_all(kind, [(producer, doctype)])
        return added

    async def add_all(self, kind: str, wanted: Iterable[tuple[str, str]]) -> list[int]:
        """Ask the same of several (producer, type)s, so that the daemon sees all of them or none; returns the ids."""
        async with self._state.write() as connection:
            return [await self._add(connection, kind, producer, doctype) for producer, doctype in wanted]

    async def _add(self, connection: AsyncConnection, kind: str, producer: str, doctype: str) -> int:
        same = await connection.scalar(
            select(requests.c.id).where(
                requests.c.site == self._state.site,
                requests.c.kind == kind,
                requests.c.producer == producer,
                requests.c.doctype == doctype,
                requests.c.finished_at.is_(None),
            )
        )
        if same is not None:
            return int(same)
        values = {"kind": kind, "producer": producer, "doctype": doctype, "requested_at": now_ms(), "result": ""}
        made = await connection.scalar(
            insert(requests).values(site=self._state.site, **values).returning(requests.c.id)
        )
        return int(made or 0)

    async def pending(self) -> list[Request]:
        """What the daemon still has to do, oldest first."""
        c = requests.c
        query = (
            select(c.id, c.kind, c.producer, c.doctype, c.requested_at, c.result)
            .where(c.site == self._state.site, c.kind.in_((WHOLE, REPAIR)), c.finished_at.is_(None))
            .order_by(c.id)
        )
        async with self._state.read() as connection:
            return [Request(*row) for row in await connection.execute(query)]

    async def finish(self, id: int, result: str) -> None:
        """It is done, or cannot be done; `result` says which, in words."""
        await self._put(id, {"finished_at": now_ms(), "result": result})

    async def wait(self, id: int, reason: str) -> None:
        """It cannot be done yet, for this reason; it stays."""
        await self._put(id, {"result": reason})

    async def _put(self, id: int, values: dict[str, Any]) -> None:
        async with self._state.write() as connection:
            await connection.execute(
                update(requests).where(requests.c.site == self._state.site, requests.c.id == id).values(**values)
            )
