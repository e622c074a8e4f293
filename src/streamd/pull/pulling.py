"""Keeps asking one producer from the checkpoint on, and hands each page over.

The next page is asked for while one is applied; only what is applied is acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from streamd.common.faults import crash_point
from streamd.completeness import CompleteUpTo
from streamd.errors import InvalidRequest, PeerRefused
from streamd.model import Cursor, Event
from streamd.pull.peer import Peer
from streamd.store.engine import now_ms
from streamd.wire import Page, read_cursor

WAIT_SECONDS = 10.0
"""How long one request waits for the next event. Its answer says that the producer is there, and what is complete."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What one `run_once` got: how many events, the cursor behind them, the log's head, each type's status.

    `complete`: the producer's word on up to which moment this is everything; None where it cannot say.
    """

    events: int
    end: Cursor
    head: int
    subscriptions: dict[str, str]
    complete: CompleteUpTo | None = None


class Pull:
    """Pulls one producer. `apply` makes a page durable, checkpoint included; `place` reads the checkpoint.

    `known` is the status of each type that we ask for, as the producer said it last.
    """

    def __init__(
        self,
        peer: Peer,
        *,
        place: Callable[[], Awaitable[Cursor | None]],
        apply: Callable[[Sequence[Event], Cursor], Awaitable[None]],
        known: Callable[[], Mapping[str, str]],
    ) -> None:
        self._peer = peer
        self._place = place
        self._apply = apply
        self._known = known
        self._ahead: tuple[Cursor | None, asyncio.Task[tuple[Page, int]]] | None = None

    async def close(self) -> None:
        await self._forget()

    async def run_once(self, wait: float = WAIT_SECONDS) -> Pulled:
        """Get the page behind the checkpoint, and apply it. Raises `PeerError`, and what `apply` raises.

        Where there is none yet, the producer is asked to `wait` for it, in seconds.
        """
        # Read again each time: after an error only the site's database knows what was committed.
        cursor = await self._place()
        page, heard_at = await self._page(cursor, wait)
        crash_point("pull.received")
        end = self._cursor(page.next)
        if page.events and end.sequence < page.head:
            self._ahead = end, asyncio.create_task(self._ask(end, cursor, 0, {}))
        try:
            if page.events or end != cursor:
                await self._apply(page.events, end)
        except BaseException:
            await self._forget()
            raise
        complete = None
        if page.complete_to is not None:
            complete = CompleteUpTo(page.complete_to, max(page.clock_ms - page.complete_to, 0), heard_at)
        return Pulled(len(page.events), end, page.head, page.subscriptions, complete)

    async def _page(self, cursor: Cursor | None, wait: float) -> tuple[Page, int]:
        """The page behind the cursor, and when it came (ms since 1970)."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            position, task = ahead
            if position == cursor:
                return await task
            await _cancelled(task)
        return await self._ask(cursor, cursor, wait, self._known())

    async def _ask(
        self, cursor: Cursor | None, acknowledged: Cursor | None, wait: float, known: Mapping[str, str]
    ) -> tuple[Page, int]:
        return await self._peer.events(cursor, acknowledged, wait, known), now_ms()

    def _cursor(self, text: str) -> Cursor:
        try:
            return read_cursor(text)
        except InvalidRequest as error:
            raise PeerRefused(
                f"{self._peer.name} sent a cursor that cannot be read", hint="upgrade the older site"
            ) from error

    async def _forget(self) -> None:
        if self._ahead is not None:
            _, task = self._ahead
            self._ahead = None
            await _cancelled(task)


async def _cancelled(task: asyncio.Task[tuple[Page, int]]) -> None:
    """End a request whose answer nobody needs any more; how it fared does not matter."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
