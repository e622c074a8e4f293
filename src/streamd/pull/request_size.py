"""Adapts how much to ask a producer for in one request, so that answers get through an unstable network. Pure."""

from __future__ import annotations

MIN_STREAK = 4
"""Complete answers in a row before the size grows again."""

MAX_STREAK = 64


class RequestSize:
    """A size that is halved when a transfer breaks, and doubled after a streak of complete answers.

    Each broken transfer doubles the length of the streak that is needed, up to `MAX_STREAK`.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.current = maximum
        self._streak = 0
        self._needed_streak = MIN_STREAK

    @property
    def is_full(self) -> bool:
        """Whether the size is at its maximum."""
        return self.current >= self.maximum

    def shrink(self, requested: int, received: int = 0) -> bool:
        """A transfer of `requested` broke after `received` arrived. Returns whether a smaller request is possible."""
        before = min(self.current, requested)
        self.current = max(min(before, received or before) // 2, 1)
        self._streak = 0
        self._needed_streak = min(2 * self._needed_streak, MAX_STREAK)
        return self.current < before

    def count_success(self) -> None:
        """A complete answer arrived. Grows the size if the streak is long enough."""
        if self.is_full:
            return
        self._streak += 1
        if self._streak >= self._needed_streak:
            self._streak = 0
            self.current = min(2 * self.current, self.maximum)
            if self.is_full:
                self._needed_streak = MIN_STREAK
