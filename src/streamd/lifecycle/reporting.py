"""Stores how one producer is doing, for `streamd status`: its status, this site's progress, and what is complete."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import structlog

from streamd.errors import PeerError
from streamd.pull import PullResult
from streamd.store.engine import now_ms
from streamd.store.producers import AWAY, REFUSED, RESYNC_REQUIRED, CompleteUpTo, Obstacles, Producers

log = structlog.get_logger("streamd.pull")

PROGRESS_SECONDS = 1.0
"""How often progress is stored while there is more to fetch."""

_NUMBER = re.compile(r"\d+")


class Report:
    """The reports about one producer: `name` in the configuration. Each is stored only if it has changed."""

    def __init__(self, name: str, producers: Producers) -> None:
        self._name = name
        self._producers = producers
        self.last_status = self._last_text = ""
        self._logged = "", ""
        self._paused_types: Mapping[str, str] | None = None
        self._progress_at = 0.0

    async def status(self, status: str, error: PeerError | None) -> None:
        """Store the status with its latest reason, and log each change once."""
        text = "" if error is None else f"{error.message} → {error.hint}" if error.hint else error.message
        if (status, text) == (self.last_status, self._last_text):
            return
        # Another number, such as of bytes that arrived, is no other reason.
        kind = status, _NUMBER.sub("", text)
        if error is not None and kind != self._logged:
            event = "producer_" + status.replace(" ", "_")
            # A line that breaks gives another reason at each try. That it is away is worth one warning.
            say = log.info if status == AWAY == self.last_status else log.warning
            say(event, producer=self._name, error=error.message, hint=error.hint)
        elif error is None and self.last_status in (AWAY, REFUSED, RESYNC_REQUIRED):
            log.info("producer_back", producer=self._name)
        await self._producers.set_status(self._name, status, text)
        self.last_status, self._last_text, self._logged = status, text, kind

    async def paused_types(self, reasons: Mapping[str, str]) -> None:
        """Store which types are paused, and why."""
        if reasons != self._paused_types:
            await self._producers.set_paused_types(self._name, reasons, now_ms())
            self._paused_types = reasons

    def is_progress_due(self, pulled: PullResult) -> bool:
        """Whether to store progress now: always at the end of the log, else every second."""
        return not pulled.is_behind or time.monotonic() - self._progress_at >= PROGRESS_SECONDS

    async def progress(self, pulled: PullResult, obstacles: Obstacles, local_names: Mapping[str, str]) -> None:
        """Store how far the producer's log is applied here, and up to which moment each type is complete.

        `local_names` maps the requested types from the producer's name to the local name.
        """
        self._progress_at = time.monotonic()
        complete: dict[str, CompleteUpTo] = {}
        if pulled.complete is not None:
            complete = {
                local: pulled.complete
                for remote, local in local_names.items()
                if not obstacles.before(local, pulled.subscriptions.get(remote, ""))
            }
        await self._producers.progress(
            self._name,
            sequence=pulled.end.sequence,
            head=pulled.head,
            last_contact_at=now_ms(),
            last_event_at=now_ms() if pulled.events else None,
            complete=complete,
        )
