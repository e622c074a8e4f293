"""Writes down how it goes with one producer, for people to see: its status, how far we are, what is complete."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import structlog

from streamd.apply import Source
from streamd.completeness import CompleteUpTo, Obstacles
from streamd.db.base import SiteDatabase
from streamd.errors import PeerError
from streamd.pull import PullResult
from streamd.store.engine import now_ms
from streamd.store.heartbeat import Requests
from streamd.store.producers import AWAY, CATCHING_UP, CONNECTED, REFUSED, RESYNC_REQUIRED, Producers
from streamd.store.sync_log import SyncLog

log = structlog.get_logger("streamd.pull")

_NUMBER = re.compile(r"\d+")

PROGRESS_SECONDS = 1.0
"""How often the place in the producer's log is written down while there is more to fetch."""


class Report:
    """What is written down of one producer. `said` is the status that was said last."""

    def __init__(
        self, name: str, database: SiteDatabase, producers: Producers, sync_log: SyncLog, requests: Requests
    ) -> None:
        self._name = name
        self._database = database
        self._producers = producers
        self._sync_log = sync_log
        self._requests = requests
        self._progress_at = 0.0
        self.said: str | None = None
        self._logged: tuple[str, str] = ("", "")
        self._text = ""
        self._paused: Mapping[str, str] | None = None

    async def say(self, status: str, error: PeerError | None) -> None:
        """Write down how it goes, and log it once when it changes; the last reason counts, and not the first one."""
        text = f"{error.message}{f' → {error.hint}' if error.hint else ''}" if error is not None else ""
        if (status, text) == (self.said, self._text):
            return
        # How many bytes arrived, or how long something took, is no other reason.
        kind = (status, _NUMBER.sub("", text))
        if error is not None and kind != self._logged:
            log.warning(
                "producer_" + status.replace(" ", "_"), producer=self._name, error=error.message, hint=error.hint
            )
        elif error is None and self.said in (AWAY, REFUSED, RESYNC_REQUIRED):
            log.info("producer_back", producer=self._name)
        await self._producers.set_status(self._name, status, text)
        self.said, self._text, self._logged = status, text, kind

    async def paused(self, reasons: Mapping[str, str]) -> None:
        """Write down which types are paused, and why."""
        if reasons != self._paused:
            await self._producers.set_paused_types(self._name, reasons, now_ms())
            self._paused = reasons

    async def progress(self, pulled: PullResult, source: Source, ours: Mapping[str, str]) -> None:
        """Write down what was applied, and up to when that is everything.

        `ours`: the types that we ask for, as the producer calls them → as we do.
        """
        behind = pulled.end.sequence < pulled.head
        now = time.monotonic()
        if behind and now - self._progress_at < PROGRESS_SECONDS:
            return
        self._progress_at = now
        await self.say(CATCHING_UP if behind else CONNECTED, None)
        await self._producers.progress(
            self._name,
            sequence=pulled.end.sequence,
            head=pulled.head,
            last_contact_at=now_ms(),
            last_event_at=now_ms() if pulled.events else None,
            complete=await self._complete(pulled, source, ours),
        )

    async def _complete(self, pulled: PullResult, source: Source, ours: Mapping[str, str]) -> dict[str, CompleteUpTo]:
        """The types of which everything is here that was committed at the producer before the moment that it says."""
        if pulled.complete is None:
            return {}
        obstacles = await self._obstacles(source)
        return {
            here: pulled.complete
            for there, here in ours.items()
            if not obstacles.before(here, pulled.subscriptions.get(there, ""))
        }

    async def _obstacles(self, source: Source) -> Obstacles:
        async with self._database.snapshot() as reader:
            queued = {doctype for doctype, _ in await reader.queued_documents(source.site)}
        asked = await self._requests.pending()
        return Obstacles(
            source.paused,
            queued,
            (await self._sync_log.gaps(self._name)).keys(),
            {request.doctype for request in asked if request.producer == self._name},
        )
