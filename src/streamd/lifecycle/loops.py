"""Keeps the daemon's loops going, whatever they meet.

Each loop takes one turn after the other. An error ends the turn, never the loop: it is said once, shown as the loop's
problem, and the next turn begins after a pause that grows. So a server that restarts, a full disk, or a fault of our
own costs time and nothing else. One thing ends a loop: another daemon that claimed this site (`Fenced`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from streamd.common.progress import Pulse, record_progress, resting, watch
from streamd.common.retry import loop_pause
from streamd.errors import Fenced, StreamdError

log = structlog.get_logger("streamd.daemon")

Turn = Callable[[], Awaitable[float | None]]
"""One turn of a loop. Returns the seconds to rest before the next one, or None to go on at once."""


class Loop:
    """One loop of the daemon: its name, how far it has come, and what is wrong with it now.

    `problem` is empty unless the last turn failed. `turns` counts those that ended well. `place` is how far the loop
    has come in what it works on; a loop that has no such place leaves it None.
    """

    def __init__(self, name: str, turn: Turn, *, look: Callable[[Exception], Awaitable[None]] | None = None) -> None:
        self.name = name
        self.problem = ""
        self.failures = 0
        self.turns = 0
        self.place: object = None
        self.pulse = Pulse()
        self._turn = turn
        self._look = look
        self._said = ""
        self._traced: set[str] = set()
        self._bound: asyncio.Timeout | None = None
        self._interrupted = ""

    def moved(self, place: object) -> None:
        """Note the place that the loop has come to."""
        self.place = place

    async def run(self) -> None:
        """Take turns for ever, until cancelled. Raises `Fenced`."""
        watch(self.pulse)
        while True:
            rest = await self._one_turn()
            if _is_cancelled():
                # The turn lost it: before Python 3.12 `asyncio.wait_for` does, if what it waits for ends just then.
                raise asyncio.CancelledError
            if rest is not None:
                with resting():
                    await asyncio.sleep(rest)

    def interrupt(self, why: str) -> None:
        """Cancel what the turn waits for: it fails with `why`, and the next one begins after a pause."""
        if self._bound is not None and not self._bound.expired() and not self._interrupted:
            self._interrupted = why
            self._bound.reschedule(asyncio.get_running_loop().time())

    async def _one_turn(self) -> float | None:
        """Take a turn. Returns the seconds to rest, also after it failed. Raises `Fenced`."""
        try:
            rest = await self._bounded_turn()
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            return await self._failed(RuntimeError("something that the loop waited for was cancelled"))
        except Exception as error:  # noqa: BLE001  # whatever it is, the loop has to go on
            cause = first_of(error)
            if isinstance(cause, Fenced):
                raise cause from None
            return await self._failed(cause)
        self._went_well()
        return rest

    async def _bounded_turn(self) -> float | None:
        record_progress()
        try:
            async with asyncio.timeout(None) as self._bound:
                return await self._turn()
        except TimeoutError:
            if not self._interrupted:
                raise
            raise StreamdError(self._interrupted) from None
        finally:
            self._bound, self._interrupted = None, ""

    def _went_well(self) -> None:
        if self.failures:
            log.info("loop_resumed", loop=self.name, failures=self.failures)
        self.failures = 0
        self.problem = self._said = ""
        self.turns += 1

    async def _failed(self, error: Exception) -> float:
        """Returns the seconds to rest before the next turn."""
        self.failures += 1
        self.problem = in_words(error)
        self._say(error)
        if self._look is not None:
            try:
                await self._look(error)
            except Exception as further:  # noqa: BLE001  # it comes on top of the first one
                self._say(further)
        return loop_pause(self.failures)

    def _say(self, error: Exception) -> None:
        """Log an error, unless it is the one that was logged last; a fault of ours with its traceback, once."""
        said = in_words(error)
        if said == self._said:
            return
        self._said = said
        if isinstance(error, StreamdError):
            hint = error.hint or ("it is tried again" if error.retryable else "")
            log.warning("loop_retries", loop=self.name, error=error.message, hint=hint)
            return
        place = place_of(error)
        trace = None if place in self._traced else error
        self._traced.add(place)
        log.error("loop_failed", loop=self.name, error=said, hint="this is a fault of streamd's", exc_info=trace)


def in_words(error: BaseException) -> str:
    """An error as it is shown: our own say all that a reader needs."""
    return error.message if isinstance(error, StreamdError) else f"{type(error).__name__}: {error}"


def place_of(error: BaseException) -> str:
    """The kind of an error and the line that raised it: what makes two of them the same."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    return f"{type(error).__name__} {where}"


def problems_of(loops: list[Loop]) -> str:
    """What is wrong with these loops, in one line: each problem once, with the loops that have it."""
    found: dict[str, list[str]] = {}
    for loop in loops:
        if loop.problem:
            found.setdefault(loop.problem, []).append(loop.name)
    return "; ".join(f"{', '.join(names)}: {problem}" for problem, names in found.items())


def first_of(error: Exception) -> Exception:
    """What a task group failed with first."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _is_cancelled() -> bool:
    """Whether the task that runs the loop is to end. A library may raise the same error for something of its own."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
