"""Watermarks: the moment up to which a log, or a consumer's copy, is complete. Pure.

A producer starts a read of its changes at T, by its wall clock. If the read left no change behind and its changes are
appended up to entry n, then the log up to n contains everything that was committed before T. A transaction that is
open at T does not count: it commits later.

A consumer that has applied the log up to n is complete up to T, for each type without obstacles.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from streamd.model import ApprovalStatus, Cursor

REMEMBERED = 1000
"""Watermarks to keep, so that a page that ends before the log's end has one too."""


class CapturedThrough:
    """The watermarks of this site's log: for the latest entries, the moment up to which the log is complete."""

    def __init__(self) -> None:
        self._log = ""
        self._sequences: deque[int] = deque(maxlen=REMEMBERED)
        self._moments: deque[int] = deque(maxlen=REMEMBERED)

    @property
    def latest(self) -> int | None:
        """The moment (ms since 1970) up to which the whole log is complete; None if unknown."""
        return self._moments[-1] if self._moments else None

    def saw_everything(self, log: str, sequence: int, at: int) -> None:
        """Record that a read that began at `at` (ms since 1970) left nothing behind, and the log ends at `sequence`."""
        if log != self._log:
            self._log = log
            self._sequences.clear()
            self._moments.clear()
        if self._sequences and self._sequences[-1] == sequence:
            self._moments[-1] = at
        else:
            self._sequences.append(sequence)
            self._moments.append(at)

    def covered_by(self, place: Cursor) -> int | None:
        """The moment up to which everything is at or before this place of the log; None if unknown."""
        if place.log != self._log:
            return None
        index = bisect_right(self._sequences, place.sequence)
        return self._moments[index - 1] if index else None


@dataclass(frozen=True, slots=True)
class Obstacles:
    """What keeps types of one producer from being complete at this site, by this site's name for the type."""

    paused: Mapping[str, str] = field(default_factory=dict)
    """Types whose events cannot be applied, and why."""
    queued: Collection[str] = ()
    gaps: Collection[str] = ()
    requested: Collection[str] = ()
    """Types for which a snapshot is requested or running."""

    def before(self, doctype: str, approval: str) -> str:
        """Why this type is not complete, in words; empty if nothing prevents it."""
        if approval != ApprovalStatus.APPROVED:
            return approval
        if doctype in self.paused:
            return f"paused: {self.paused[doctype]}"
        if doctype in self.gaps:
            return "changes are missing"
        if doctype in self.requested:
            return "being read again"
        return "events are parked or held" if doctype in self.queued else ""


@dataclass(frozen=True, slots=True)
class CompleteUpTo:
    """The watermark of one type of a producer, after its events were applied here.

    All in milliseconds; moments since 1970. `moment` is by the producer's clock. `age` is how old `moment` was when
    the producer sent it, by the same clock. `heard_at` is when it arrived, by this site's clock.
    """

    moment: int
    age: int
    heard_at: int

    def age_at(self, now: int) -> int:
        """The age of the watermark in milliseconds at `now` (ms since 1970, this site's clock)."""
        return max(now - self.heard_at, 0) + max(self.age, 0)
