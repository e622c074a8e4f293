"""Keeps the daemon's loops running, whatever error occurs.

Each loop takes one turn after the other. An error ends the turn, never the loop: it is logged once, shown as the loop's
problem, and the next turn begins after a growing pause. So a server that restarts, a full disk, or a bug of streamd
costs only time. One error ends a loop: another daemon has claimed this site (`Fenced`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from streamd.common.instrumentation import Pulse, record_progress, resting, watch
from streamd.common.retry import loop_pause
from streamd.errors import Fenced, StreamdError

log = structlog.get_logger("streamd.daemon")

Turn = Callable[[], Awaitable[float | None]]
"""One turn of a loop. Returns the seconds to wait before the next one, or None for no pause."""


class Loop:
    """One loop of the daemon: its name, its progress, and its problem.

    `problem` is empty unless the last turn failed. `turns` counts the turns that succeeded. `place` is how far the loop
    has come in its work; None for loops without such a position. `look` is called after each error.
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
        self._logged = ""
        self._traced: set[str] = set()
        self._timeout: asyncio.Timeout | None = None
        self._interrupted = ""

    async def run(self) -> None:
        """Take turns until cancelled. Raises `Fenced`."""
        watch(self.pulse)
        while True:
            pause = await self._take_turn()
            if _is_cancelled():
                # The turn lost it: before Python 3.12 `asyncio.wait_for` does, if what it waits for ends just then.
                raise asyncio.CancelledError
            if pause is not None:
                with resting():
                    await asyncio.sleep(pause)

    def interrupt(self, why: str) -> None:
        """Cancel the running turn: it fails with `why`, and the next one begins after a pause."""
        if self._timeout is not None and not self._timeout.expired() and not self._interrupted:
            self._interrupted = why
            self._timeout.reschedule(asyncio.get_running_loop().time())

    async def _take_turn(self) -> float | None:
        """Take a turn. Returns the seconds to wait, also after it failed. Raises `Fenced`."""
        try:
            pause = await self._run_turn()
        except asyncio.CancelledError:
            if _is_cancelled():
                raise
            return await self._handle_failure(RuntimeError("something that the loop waited for was cancelled"))
        except Exception as error:  # noqa: BLE001  # whatever it is, the loop continues
            cause = first_of(error)
            if isinstance(cause, Fenced):
                raise cause from None
            return await self._handle_failure(cause)
        self._record_success()
        return pause

    async def _run_turn(self) -> float | None:
        record_progress()
        try:
            async with asyncio.timeout(None) as self._timeout:
                return await self._turn()
        except TimeoutError:
            if not self._interrupted:
                raise
            raise StreamdError(self._interrupted) from None
        finally:
            self._timeout, self._interrupted = None, ""

    def _record_success(self) -> None:
        if self.failures:
            log.info("loop_resumed", loop=self.name, failures=self.failures)
        self.failures = 0
        self.problem = self._logged = ""
        self.turns += 1

    async def _handle_failure(self, error: Exception) -> float:
        """Returns the seconds to wait before the next turn."""
        self.failures += 1
        self.problem = describe_error(error)
        self._log_error(error)
        if self._look is not None:
            try:
                await self._look(error)
            except Exception as further:  # noqa: BLE001  # in addition to the first one
                self._log_error(further)
        return loop_pause(self.failures)

    def _log_error(self, error: Exception) -> None:
        """Log an error, unless it was logged last. A bug of streamd is logged with its traceback, once."""
        text = describe_error(error)
        if text == self._logged:
            return
        self._logged = text
        if isinstance(error, StreamdError):
            hint = error.hint or ("streamd retries" if error.retryable else "")
            log.warning("loop_retries", loop=self.name, error=error.message, hint=hint)
            return
        place = place_of(error)
        trace = None if place in self._traced else error
        self._traced.add(place)
        log.error("loop_failed", loop=self.name, error=text, hint="this is a bug in streamd", exc_info=trace)


def describe_error(error: BaseException) -> str:
    """An error as it is shown to users."""
    return error.message if isinstance(error, StreamdError) else f"{type(error).__name__}: {error}"


def place_of(error: BaseException) -> str:
    """The class of an error and the line that raised it, which identify a bug."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    return f"{type(error).__name__} {where}"


def problems_of(loops: list[Loop]) -> str:
    """The problems of these loops in one line: each problem once, with the loops that have it."""
    found: dict[str, list[str]] = {}
    for loop in loops:
        if loop.problem:
            found.setdefault(loop.problem, []).append(loop.name)
    return "; ".join(f"{', '.join(names)}: {problem}" for problem, names in found.items())


def first_of(error: Exception) -> Exception:
    """The error with which a task group failed first."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _is_cancelled() -> bool:
    """Whether the loop's own task is cancelled. A library may raise the same error for a task of its own."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
