"""The daemon's heartbeat, and the requests of commands to the daemon."""

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
"""After this time without a heartbeat, a daemon counts as gone. It beats every few seconds."""

STARTING = "starting"
"""The problem of a daemon that has not begun yet."""

FAREWELL_SECONDS = 0.5
"""How long a stopping daemon waits for the state database."""

WHOLE = "whole"
"""The kind of a request for a snapshot of a type that replaces the local documents."""

REPAIR = "repair"
"""The kind of a request for a snapshot that closes a gap and keeps later local edits. The daemon makes it itself."""


@dataclass(frozen=True, slots=True)
class Beat:
    """The last heartbeat of the daemon. Times are in milliseconds since 1970."""

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
        """Whether the daemon seems to be running at `now` (ms since 1970)."""
        return self.stopped_at is None and now - self.beat_at < ALIVE_MS


class Heartbeat:
    """The heartbeat of one site's daemon."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._started_at = now_ms()

    async def beat(self, *, captured: int, problem: str = "", captured_to: int | None = None) -> None:
        """Record that the daemon runs.

        `captured` counts the changes since its start. `problem` is what blocks capture, or empty. Everything committed
        before `captured_to` (ms since 1970) is in the update log.
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
            updated = await connection.execute(
                update(heartbeat).where(heartbeat.c.site == self._state.site).values(**values)
            )
            if not updated.rowcount:
                await connection.execute(insert(heartbeat).values(site=self._state.site, **values))

    async def stopped(self) -> None:
        """Record that the daemon stopped. It does not wait long for an unreachable state database."""
        try:
            async with asyncio.timeout(FAREWELL_SECONDS), self._state.write() as connection:
                await connection.execute(
                    update(heartbeat).where(heartbeat.c.site == self._state.site).values(stopped_at=now_ms())
                )
        except (TimeoutError, StateBusy):
            return  # the old heartbeat shows the same a little later

    async def current(self) -> Beat | None:
        """The last heartbeat; None if no daemon ever ran."""
        columns = [column for column in heartbeat.c if column.name != "site"]
        async with self._state.read() as connection:
            row = (await connection.execute(select(*columns).where(heartbeat.c.site == self._state.site))).first()
        return Beat(*row) if row is not None else None


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a command to the daemon. `result` says why it still waits, if that is known."""

    id: int
    kind: str
    producer: str
    doctype: str
    requested_at: int
    result: str = ""


class Requests:
    """The requests of commands to the daemon. They wait until it runs."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def add(self, kind: str, producer: str, doctype: str) -> int:
        """Add a request, unless the same one waits already. Returns its id."""
        (id,) = await self.add_all(kind, [(producer, doctype)])
        return id

    async def add_all(self, kind: str, wanted: Iterable[tuple[str, str]]) -> list[int]:
        """Add one request for each (producer, type) in one transaction. Returns the ids."""
        async with self._state.write() as connection:
            return [await self._add(connection, kind, producer, doctype) for producer, doctype in wanted]

    async def _add(self, connection: AsyncConnection, kind: str, producer: str, doctype: str) -> int:
        existing = await connection.scalar(
            select(requests.c.id).where(
                requests.c.site == self._state.site,
                requests.c.kind == kind,
                requests.c.producer == producer,
                requests.c.doctype == doctype,
                requests.c.finished_at.is_(None),
            )
        )
        if existing is not None:
            return int(existing)
        values = {"kind": kind, "producer": producer, "doctype": doctype, "requested_at": now_ms(), "result": ""}
        id = await connection.scalar(insert(requests).values(site=self._state.site, **values).returning(requests.c.id))
        return int(id or 0)

    async def pending(self) -> list[Request]:
        """The unfinished requests, oldest first."""
        c = requests.c
        query = (
            select(c.id, c.kind, c.producer, c.doctype, c.requested_at, c.result)
            .where(c.site == self._state.site, c.kind.in_((WHOLE, REPAIR)), c.finished_at.is_(None))
            .order_by(c.id)
        )
        return [Request(*row) for row in await self._state.fetch(query)]

    async def finish(self, id: int, result: str) -> None:
        """Finish a request: `result` says in words whether it succeeded."""
        await self._update(id, {"finished_at": now_ms(), "result": result})

    async def wait(self, id: int, reason: str) -> None:
        """Keep a request that cannot be served yet, with the reason."""
        await self._update(id, {"result": reason})

    async def _update(self, id: int, values: dict[str, Any]) -> None:
        async with self._state.write() as connection:
            await connection.execute(
                update(requests).where(requests.c.site == self._state.site, requests.c.id == id).values(**values)
            )
