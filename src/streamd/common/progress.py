"""Records the progress of the daemon's loops for `lifecycle/watchdog.py`.

A loop that waits for a database that never answers looks like a busy one. So each unit of work for a loop (a statement
that returned, bytes that a peer sent) records progress. The context identifies the loop, and tasks that the loop starts
inherit it. Outside of loops nothing is recorded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Pulse:
    """The last progress of one loop: `at` is `time.monotonic()`. `resting` counts the waits that may take any time."""

    def __init__(self) -> None:
        self.at = time.monotonic()
        self.resting = 0


_pulse: ContextVar[Pulse | None] = ContextVar("pulse", default=None)


def watch(pulse: Pulse) -> None:
    """From now on, progress in this context belongs to this pulse."""
    _pulse.set(pulse)


def record_progress() -> None:
    """Record progress for the loop of the current context."""
    pulse = _pulse.get()
    if pulse is not None:
        pulse.at = time.monotonic()


@contextmanager
def resting() -> Iterator[None]:
    """Marks a wait that has a bound of its own, or may take any time: the watchdog ignores it."""
    pulse = _pulse.get()
    if pulse is None:
        yield
        return
    pulse.resting += 1
    try:
        yield
    finally:
        pulse.resting -= 1
        pulse.at = time.monotonic()
