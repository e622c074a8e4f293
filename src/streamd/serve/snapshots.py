"""Snapshots of the site's database with a cursor: which log entries the snapshot contains."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from streamd.db.base import Reader
from streamd.serve.services import Services
from streamd.wire import write_cursor

DRAIN_ATTEMPTS = 5
"""How often to drain capture and try for a snapshot without uncaptured changes."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of the site. It contains every log entry up to the cursor `as_of`. `clock` is the last claim's."""

    reader: Reader
    as_of: str
    clock: str


@asynccontextmanager
async def open_snapshot(services: Services) -> AsyncIterator[Snapshot]:
    """A snapshot that contains exactly the changes in the log up to its cursor.

    If the site is written to all the time, no such moment may exist. Then the cursor is an earlier one: the snapshot
    contains all entries up to it, and possibly some newer changes.
    """
    for attempt in range(1, DRAIN_ATTEMPTS + 1):
        await services.drain_capture()
        head = await services.require_head()
        async with services.database.snapshot() as reader:
            claim = await reader.last_claim()
            is_exact = claim is not None and not await reader.waiting_changes(claim)
            if is_exact and claim is not None and (claim.log, claim.batch) != (head.log, head.batch):
                new_head = await services.require_head()
                is_exact = (claim.log, claim.batch) == (new_head.log, new_head.batch)
                head = new_head if is_exact else head
            if is_exact or attempt == DRAIN_ATTEMPTS:
                yield Snapshot(reader, write_cursor(head.cursor), claim.clock if claim else "")
                return
