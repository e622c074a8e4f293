"""Watches that each loop comes further while it has something to do, says so where it does not, and ends what hangs.

A loop hangs where nothing that it waits for returns: no statement, no bytes. It runs on the spot where its turns end
well, and its place (`Loop.place`) stays the same. Loops that fail say so by themselves.
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
"""A loop that gave no sign for so long is said to hang."""

INTERRUPT_SECONDS = 90.0
"""What hangs for so long is cancelled: its turn fails, and the next one begins with other connections."""

GIVEN_UP_SECONDS = 150.0
"""What hangs for so long could not even be cancelled: the service manager is not told any more that we live."""

IDLE_TURNS = 3
ON_THE_SPOT_SECONDS = 60.0
"""A loop whose place stays the same for so long, and for more than a few turns, runs on the spot."""

JUMP_SECONDS = 10.0
"""A wall clock that moved by so much more, or less, than time did was set."""

SAID_SECONDS = 60.0
"""How long it is shown that the clock was set."""


@dataclass(slots=True)
class Watched:
    """What is known of one loop: since when there was no sign of it, in seconds that we ourselves ran."""

    loop: Loop
    sign: float = 0.0
    quiet: float = 0.0
    place: object = None
    turns: int = 0
    on_the_spot: float = 0.0
    said: str = ""

    def pass_by(self, seconds: float) -> None:
        """So much time has passed since the last look."""
        pulse = self.loop.pulse
        if pulse.resting or pulse.at != self.sign:
            self.sign, self.quiet = pulse.at, 0.0
        else:
            self.quiet += seconds
        if self.loop.place is None or self.loop.place != self.place:
            self.place, self.turns, self.on_the_spot = self.loop.place, self.loop.turns, 0.0
        else:
            self.on_the_spot += seconds

    def problem(self) -> str:
        """What is wrong, in words; nothing where it comes further, or says itself what is wrong."""
        if self.quiet >= SLOW_SECONDS:
            return "what it waits for does not answer"
        far = self.loop.turns - self.turns > IDLE_TURNS and self.on_the_spot >= ON_THE_SPOT_SECONDS
        return "it does not come further" if far and not self.loop.problem else ""


class Watchdog:
    """Looks at all loops every few seconds. `problem` says what stands still, and whether the clock was set."""

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
        """What stands still, in one line; nothing where all comes further."""
        said = [f"{each.loop.name}: {each.said}" for each in self._watched if each.said]
        return "; ".join([*said, self._jumped] if self._jumped else said)

    def look(self) -> None:
        """Look at all loops: say what stands still, cancel what hangs, and tell the service manager that we live."""
        wall, steady = self._wall(), self._steady()
        passed = steady - self._last[1]
        self._look_at_clock(wall - self._last[0] - passed, steady)
        self._last = wall, steady
        # Where we ourselves stood still (a stopped process, a machine under load), the loops are not to blame.
        counted = min(passed, 2 * TICK_SECONDS)
        for each in self._watched:
            each.pass_by(counted)
            self._say(each)
            if each.quiet >= INTERRUPT_SECONDS:
                each.loop.interrupt("what it waited for did not answer, and was cancelled")
        if all(each.quiet < GIVEN_UP_SECONDS for each in self._watched):
            self._notifier.alive()

    def _say(self, each: Watched) -> None:
        problem = each.problem()
        if problem and not each.said:
            seconds = round(max(each.quiet, each.on_the_spot))
            log.warning("loop_stalled", loop=each.loop.name, because=problem, seconds=seconds)
        elif each.said and not problem:
            log.info("loop_recovered", loop=each.loop.name)
        each.said = problem

    def _look_at_clock(self, jumped: float, steady: float) -> None:
        if abs(jumped) >= JUMP_SECONDS:
            self._jumped = f"the clock was set {abs(jumped):.0f} s {'forwards' if jumped > 0 else 'backwards'}"
            self._jumped_at = steady
            log.warning("clock_changed", seconds=round(jumped), hint="let NTP keep it: times are compared across sites")
        elif self._jumped and steady - self._jumped_at > SAID_SECONDS:
            self._jumped = ""
