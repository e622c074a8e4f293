"""Reports loops that make no progress although they have work, and interrupts loops that hang.

A loop *hangs* if nothing that it waits for returns: no statement, no bytes. It *spins* if its turns succeed while its
place (`Loop.place`) stays the same. Loops that fail report their own problems.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from streamd.lifecycle.loops import Loop
from streamd.lifecycle.notify import Notifier

log = structlog.get_logger("streamd.daemon")

TICK_SECONDS = 5.0
SLOW_SECONDS = 30.0
"""A loop without progress for this long is reported as hanging."""

INTERRUPT_SECONDS = 90.0
"""A loop that hangs for this long is interrupted: its turn fails, and the next one uses new connections."""

GIVEN_UP_SECONDS = 150.0
"""A loop that hangs for this long could not be interrupted: the service manager gets no more signs of life."""

IDLE_TURNS = 3
ON_THE_SPOT_SECONDS = 60.0
"""A loop whose place stays the same for this long, and for more than `IDLE_TURNS` turns, spins."""

JUMP_SECONDS = 10.0
"""If the wall clock differs this much from the time that passed, it was set."""

SHOWN_SECONDS = 60.0
"""How long status shows that the clock was set."""


@dataclass(slots=True)
class Watched:
    """One loop. Times are in seconds, without those in which this process did not run.

    `last_progress` is the loop's last progress, and `hanging` the time since. `place` was reached at the turn `turns`,
    and `spinning` is the time since. `reported` is the problem that was logged, or empty.
    """

    loop: Loop
    last_progress: float = 0.0
    hanging: float = 0.0
    place: object = None
    turns: int = 0
    spinning: float = 0.0
    reported: str = ""

    def update(self, seconds: float) -> None:
        """This much time has passed since the last check."""
        pulse = self.loop.pulse
        if pulse.resting or pulse.at != self.last_progress:
            self.last_progress, self.hanging = pulse.at, 0.0
        else:
            self.hanging += seconds
        if self.loop.place is None or self.loop.place != self.place:
            self.place, self.turns, self.spinning = self.loop.place, self.loop.turns, 0.0
        else:
            self.spinning += seconds

    def problem(self) -> str:
        """What is wrong; empty if the loop makes progress, or reports its own problem."""
        if self.hanging >= SLOW_SECONDS:
            return "what it waits for does not answer"
        spins = self.loop.turns - self.turns > IDLE_TURNS and self.spinning >= ON_THE_SPOT_SECONDS
        return "it makes no progress" if spins and not self.loop.problem else ""


class Watchdog:
    """Checks all loops every few seconds. `problem` lists stalled loops, and whether the clock was set."""

    def __init__(
        self,
        loops: Sequence[Loop],
        notifier: Notifier,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watched = [Watched(loop) for loop in loops]
        self._notifier = notifier
        self._wall = wall
        self._steady = steady
        self._last = wall(), steady()
        self._jumped = ""
        self._jumped_at = 0.0

    @property
    def problem(self) -> str:
        """The stalled loops in one line; empty if there are none."""
        stalled = [f"{each.loop.name}: {each.reported}" for each in self._watched if each.reported]
        return "; ".join([*stalled, self._jumped] if self._jumped else stalled)

    def look(self) -> None:
        """Check all loops: report stalled ones, interrupt hanging ones, and send the service manager a sign of life."""
        wall, steady = self._wall(), self._steady()
        passed = steady - self._last[1]
        self._check_clock(wall - self._last[0] - passed, steady)
        self._last = wall, steady
        # If this process did not run (stopped, or a machine under load), the loops are not to blame.
        counted = min(passed, 2 * TICK_SECONDS)
        for each in self._watched:
            each.update(counted)
            self._report(each)
            if each.hanging >= INTERRUPT_SECONDS:
                each.loop.interrupt("what it waited for did not answer, and was cancelled")
        if all(each.hanging < GIVEN_UP_SECONDS for each in self._watched):
            self._notifier.alive()

    def _report(self, each: Watched) -> None:
        problem = each.problem()
        if problem and not each.reported:
            seconds = round(max(each.hanging, each.spinning))
            log.warning("loop_stalled", loop=each.loop.name, because=problem, seconds=seconds)
        elif each.reported and not problem:
            log.info("loop_recovered", loop=each.loop.name)
        each.reported = problem

    def _check_clock(self, jumped: float, steady: float) -> None:
        if abs(jumped) >= JUMP_SECONDS:
            self._jumped = f"the clock was set {abs(jumped):.0f} s {'forwards' if jumped > 0 else 'backwards'}"
            self._jumped_at = steady
            log.warning("clock_changed", seconds=round(jumped), hint="use NTP: times are compared across sites")
        elif self._jumped and steady - self._jumped_at > SHOWN_SECONDS:
            self._jumped = ""
