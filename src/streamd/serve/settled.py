"""Views of the site's database of which it is known how far the log is contained in them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from streamd.db.base import Reader
from streamd.serve.services import Services
from streamd.wire import write_cursor

SETTLE_TRIES = 5
"""How often capture is drained in the hope that nothing is written between that and the snapshot."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A view of the site, and the place in the log up to which its entries are contained in that view."""

    reader: Reader
    as_of: str
    clock: str


@asynccontextmanager
async def settled(services: Services) -> AsyncIterator[Settled]:
    """A view in which nothing is that capture has not taken yet, with the head of the log that fits it.

    On a site that is written to all the time there may be no such moment. Then the head is an earlier one:
    each of its entries is contained in the view, but the view may hold a little more.
    """
    for attempt in range(1, SETTLE_TRIES + 1):
        await services.drain_capture()
        head = await services.head()
        async with services.database.snapshot() as reader:
            claim = await reader.last_claim()
            fits = claim is not None and not await reader.waiting_changes(claim)
            if fits and claim is not None and (claim.log, claim.batch) != (head.log, head.batch):
                now = await services.head()
                fits = (claim.log, claim.batch) == (now.log, now.batch)
                head = now if fits else head
            if fits or attempt == SETTLE_TRIES:
                yield Settled(reader, write_cursor(head.cursor), claim.clock if claim else "")
                return
