"""What observers of the running code need: crash points for tests, and signs of progress for the watchdog.

Crash points are named places at which a test can kill the process, to prove that nothing is lost there.
`STREAMD_CRASH_AT=capture.claimed` kills the daemon with SIGKILL when it first reaches that place, and
`capture.claimed:3` at the third time. Commas separate several places; the first one reached counts. The daemon prints
the place on stderr. Without the variable, a crash point costs one lookup in an empty dict. The tests find the names in
the source, so a new crash point is tested automatically.

A loop that waits for a database that never answers looks like a busy one. So each unit of work for a loop (a statement
that returned, bytes that a peer sent) records progress, for `lifecycle/watchdog.py`. The context identifies the loop,
and tasks that the loop starts inherit it. Outside of loops nothing is recorded.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_left = {
    place: int(nth or "1")
    for place, _, nth in (entry.partition(":") for entry in os.environ.get("STREAMD_CRASH_AT", "").split(",") if entry)
}
"""Place → how many more times it must be reached to kill the process."""


def crash_point(name: str) -> None:
    """Kill this process at once, without any clean-up, if it was started with this crash point."""
    if name not in _left:
        return
    _left[name] -= 1
    if _left[name] <= 0:
        os.write(2, f"killed at {name}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)


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
