"""Up to which moment everything is there: at a site that captures, and at one that applies. Pure.

A site may say "everything that was committed here before T is in my log up to entry n" when it began a read of its
changes at T, the read left nothing behind, and what it gave is appended. T is that site's wall clock. A transaction
that is open at T is not in question: it commits later.

A consumer that has applied the log up to n is complete up to T, for each type of which nothing is held back here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from streamd.model import ApprovalStatus, Cursor

REMEMBERED = 1000
"""Pairs of entry and moment that are kept, so that pages which end before the log's end carry a moment as well."""


class CapturedThrough:
    """Which moment each place of this site's log covers."""

    def __init__(self) -> None:
        self._log = ""
        self._sequences: deque[int] = deque(maxlen=REMEMBERED)
        self._moments: deque[int] = deque(maxlen=REMEMBERED)

    @property
    def latest(self) -> int | None:
        """The moment (ms since 1970) before which everything that was committed is in the log; None if unknown."""
        return self._moments[-1] if self._moments else None

    def saw_everything(self, log: str, sequence: int, at: int) -> None:
        """A read that began at `at` (ms since 1970) left nothing behind; the log's last entry is `sequence`."""
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
    """What may hold types of one producer back at this site, by type as this site calls it."""

    paused: Mapping[str, str] = field(default_factory=dict)
    """Types whose events cannot be applied as the two sites are, and why."""
    queued: Collection[str] = ()
    gaps: Collection[str] = ()
    requested: Collection[str] = ()
    """Types that are to be read whole, or are being read."""

    def before(self, doctype: str, approval: str) -> str:
        """Why this type cannot be called complete, in words; nothing where it can."""
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
    """A producer's word on a type that this site has applied.

    `moment`: by the producer's clock; `age`: how old that was by the same clock when we heard it; `heard_at`: by our
    clock. All in milliseconds, the moments since 1970.
    """

    moment: int
    age: int
    heard_at: int

    def age_at(self, now: int) -> int:
        """How long ago the moment was, in milliseconds, at `now` (ms since 1970, our clock)."""
        return max(now - self.heard_at, 0) + max(self.age, 0)
