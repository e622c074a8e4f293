"""Signs that a loop of the daemon comes further, given where work is done, and watched by `lifecycle/watchdog.py`.

A loop that waits for a database that never answers looks like one that has much to do. So whatever is done for a loop
(a statement that returned, bytes that came from a peer) gives a sign; the loop is known by its context, which the tasks
that it starts inherit. Outside of loops nothing happens.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Pulse:
    """The last sign of one loop (`time.monotonic`). `resting`: it waits for what may take as long as it likes."""

    def __init__(self) -> None:
        self.at = time.monotonic()
        self.resting = 0


_pulse: ContextVar[Pulse | None] = ContextVar("pulse", default=None)


def watched(pulse: Pulse) -> None:
    """From now on signs that are given in this context are this loop's."""
    _pulse.set(pulse)


def came_further() -> None:
    """Something was done for the loop in whose context this is."""
    pulse = _pulse.get()
    if pulse is not None:
        pulse.at = time.monotonic()


@contextmanager
def resting() -> Iterator[None]:
    """Within this, the loop waits for what is bounded by itself, or may take as long as it likes."""
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
