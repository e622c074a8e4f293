"""Pulls one producer's log from the checkpoint on, and hands over each page to be applied.

The next page is fetched while the current one is applied. Only applied pages are acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from streamd.common.instrumentation import crash_point
from streamd.errors import InvalidRequest, PeerRefused
from streamd.model import Cursor, Event
from streamd.pull.peer import Peer
from streamd.store.engine import now_ms
from streamd.store.producers import CompleteUpTo
from streamd.wire import Page, read_cursor

WAIT_SECONDS = 10.0
"""How long a long poll waits for the next event. An empty answer still carries the producer's watermark."""


@dataclass(frozen=True, slots=True)
class PullResult:
    """The result of one pull: the number of events, the cursor after them, the log's head, and the status by type.

    `complete` is the producer's watermark at the cursor; None if the producer does not know it.
    """

    events: int
    end: Cursor
    head: int
    subscriptions: dict[str, str]
    complete: CompleteUpTo | None = None

    @property
    def is_behind(self) -> bool:
        """Whether the log has more events."""
        return self.end.sequence < self.head


class Puller:
    """Pulls one producer.

    `apply` makes a page durable, together with the checkpoint. `read_checkpoint` reads the checkpoint.
    `known_statuses` returns the status of each subscribed type as the producer last sent it.
    """

    def __init__(
        self,
        peer: Peer,
        *,
        read_checkpoint: Callable[[], Awaitable[Cursor | None]],
        apply: Callable[[Sequence[Event], Cursor], Awaitable[None]],
        known_statuses: Callable[[], Mapping[str, str]],
    ) -> None:
        self._peer = peer
        self._read_checkpoint = read_checkpoint
        self._apply = apply
        self._known_statuses = known_statuses
        self._prefetch: tuple[Cursor | None, asyncio.Task[tuple[Page, int]]] | None = None

    async def close(self) -> None:
        """Cancel the prefetch, if there is one."""
        if self._prefetch is not None:
            _, task = self._prefetch
            self._prefetch = None
            await _cancel(task)

    async def run_once(self, wait: float = WAIT_SECONDS) -> PullResult:
        """Fetch the page after the checkpoint and apply it. Raises `PeerError`, and what `apply` raises.

        If there is no new event, the producer waits up to `wait` seconds for one.
        """
        # Read the checkpoint every time: after an error only the site's database knows what was committed.
        checkpoint = await self._read_checkpoint()
        page, received_at = await self._next_page(checkpoint, wait)
        crash_point("pull.received")
        end = self._parse_cursor(page.next)
        if page.events and end.sequence < page.head:
            self._prefetch = end, asyncio.create_task(self._fetch_page(end, checkpoint, 0, {}))
        try:
            if page.events or end != checkpoint:
                await self._apply(page.events, end)
        except BaseException:
            await self.close()
            raise
        complete = None
        if page.complete_to is not None:
            complete = CompleteUpTo(page.complete_to, max(page.clock_ms - page.complete_to, 0), received_at)
        return PullResult(len(page.events), end, page.head, page.subscriptions, complete)

    async def _next_page(self, checkpoint: Cursor | None, wait: float) -> tuple[Page, int]:
        """The page after the checkpoint, and when it was received (ms since 1970)."""
        prefetch, self._prefetch = self._prefetch, None
        if prefetch is not None:
            cursor, task = prefetch
            if cursor == checkpoint:
                return await task
            await _cancel(task)
        return await self._fetch_page(checkpoint, checkpoint, wait, self._known_statuses())

    async def _fetch_page(
        self, cursor: Cursor | None, acknowledged: Cursor | None, wait: float, known_statuses: Mapping[str, str]
    ) -> tuple[Page, int]:
        return await self._peer.fetch_page(cursor, acknowledged, wait, known_statuses), now_ms()

    def _parse_cursor(self, text: str) -> Cursor:
        try:
            return read_cursor(text)
        except InvalidRequest as error:
            raise PeerRefused(
                f"{self._peer.name} sent a cursor that cannot be read", hint="upgrade the older site"
            ) from error


async def _cancel(task: asyncio.Task[tuple[Page, int]]) -> None:
    """Cancel a prefetch. Its result or error is of no interest."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
