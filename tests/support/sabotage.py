"""Puts an exception in where a coroutine waits, however deep below."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any


class MadeUp(Exception):
    """Something that nobody has foreseen."""


class Thrown:
    """Runs a coroutine, and raises in the place where it waits for the `at`-th time."""

    def __init__(self, work: Coroutine[Any, Any, Any], at: int, error: BaseException) -> None:
        self._work = work
        self._at = at
        self._error = error
        self.reached = False

    def __await__(self) -> Generator[Any, Any, Any]:
        waits = self._work.__await__()
        step: Callable[[], Any] = partial(next, waits)
        for count in itertools.count(1):
            try:
                awaited = step()
            except StopIteration as end:
                return end.value
            if count == self._at and isinstance(self._error, asyncio.CancelledError) and awaited is not None:
                self.reached = True
                awaited.cancel()  # as a task that is cancelled does: what was waited for does not happen
            try:
                yield awaited
                step = partial(next, waits)
                if count == self._at and not self.reached:
                    # What was waited for has happened; the word of it is another one.
                    self.reached = True
                    step = partial(waits.throw, self._error)
            except GeneratorExit:
                waits.close()
                raise
            except BaseException as error:  # noqa: BLE001  # a future's own error is thrown in here, as a cancellation is
                step = partial(waits.throw, error)
        return None


class Saboteur:
    """Puts an exception into one call of a coroutine function: where it waits for the `at`-th time; 0: as it begins."""

    def __init__(self, target: Callable[..., Coroutine[Any, Any, Any]]) -> None:
        self._target = target
        self.error: BaseException | None = None
        self.at = 0
        self.calls = 0
        self.ended = 0
        self.reached = False

    async def __call__(self, *arguments: Any, **named: Any) -> Any:
        if self.error is None:
            return await self._target(*arguments, **named)
        self.calls += 1
        error, at = self.error, self.at
        if at == 0:
            self.reached, self.error = True, None
            raise error
        thrown = Thrown(self._target(*arguments, **named), at, error)
        try:
            return await thrown
        except asyncio.CancelledError:
            self.ended -= 1  # it was stopped before it came to that place
            raise
        finally:
            self.ended += 1
            if thrown.reached:
                self.reached, self.error = True, None

    def arm(self, at: int, error: BaseException) -> None:
        """The next call that waits so often gets this error."""
        self.at, self.calls, self.ended, self.reached, self.error = at, 0, 0, False, error
