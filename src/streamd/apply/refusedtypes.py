"""Types that the database here refuses as a whole: paused, and tried again after a while."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from streamd.common.retry import type_pause

log = structlog.get_logger("streamd.apply")


@dataclass(slots=True)
class _Refusal:
    why: str
    attempts: int
    until: float


class RefusedTypes:
    """Which types are paused for what the database said, and until when. One is tried again when its time is over."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._refused: dict[str, _Refusal] = {}

    def paused(self) -> dict[str, str]:
        """The types that are not tried at the moment, with the reasons."""
        now = self._now()
        return {doctype: each.why for doctype, each in self._refused.items() if each.until > now}

    def reasons(self) -> dict[str, str]:
        """The types of which nothing was accepted since they were refused, with the reasons."""
        return {doctype: each.why for doctype, each in self._refused.items()}

    def refuse(self, doctype: str, why: str, hint: str = "") -> None:
        """No document of this type can be read, or written, as things are here. `hint`: how to mend that."""
        why = f"{why}; {hint}" if hint else why
        before = self._refused.get(doctype)
        if before is None or before.why != why:
            log.warning("type_paused", doctype=doctype, error=why, hint="it is tried again by itself")
        attempts = 1 if before is None else before.attempts + 1
        self._refused[doctype] = _Refusal(why, attempts, self._now() + type_pause(attempts))

    def accept(self, doctypes: Iterable[str]) -> None:
        """Documents of these types were written."""
        for doctype in doctypes:
            if self._refused.pop(doctype, None) is not None:
                log.info("types_resumed", doctypes=[doctype])
