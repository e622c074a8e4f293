"""A loop of the daemon goes on whatever its turns meet, says it once, and shows what is wrong until it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
from structlog.testing import capture_logs

from streamd.errors import Fenced, SiteBusy, SiteError, StateError
from streamd.lifecycle import loops
from streamd.lifecycle.loops import Loop, problems_of


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "loop_pause", lambda failures: 0.0)


@asynccontextmanager
async def running(loop: Loop) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(loop.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


class Turns:
    """Raises each of these in turn (None: the turn ends well), and then waits for ever."""

    def __init__(self, *errors: BaseException | None) -> None:
        self._errors: Iterator[BaseException | None] = iter(errors)
        self.done = asyncio.Event()

    async def __call__(self) -> float | None:
        await asyncio.sleep(0)
        try:
            error = next(self._errors)
        except StopIteration:
            self.done.set()
            await asyncio.Event().wait()
            return None
        if error is not None:
            raise error
        return None


UNFORESEEN: list[Callable[[], BaseException]] = [
    lambda: KeyError("x"),
    lambda: OSError(24, "Too many open files"),
    lambda: MemoryError(),
    lambda: RecursionError(),
    lambda: asyncio.CancelledError(),
    lambda: ExceptionGroup("two", [ValueError("one"), KeyError("other")]),
    lambda: SiteError("odd"),
    lambda: StateError("full"),
    lambda: SiteBusy("locked"),
]


@pytest.mark.parametrize("make", UNFORESEEN, ids=lambda make: type(make()).__name__)
async def test_a_loop_goes_on_after_whatever_error(make: Callable[[], BaseException]) -> None:
    turns = Turns(make(), make(), None)
    loop = Loop("capture", turns)
    async with running(loop) as task:
        await turns.done.wait()
        assert not task.done()
    assert (loop.turns, loop.failures, loop.problem) == (1, 0, "")


async def test_another_daemon_ends_it_also_from_within_a_group() -> None:
    for error in (Fenced("another daemon"), ExceptionGroup("all", [Fenced("another daemon")])):
        with pytest.raises(Fenced):
            await Loop("capture", Turns(error)).run()


async def test_whoever_runs_it_can_cancel_it() -> None:
    turns = Turns()
    async with running(Loop("capture", turns)) as task:
        await turns.done.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("lost_in", ["a failed turn", "a turn that ends well", "the look at the cause"])
async def test_it_ends_also_where_a_library_loses_the_cancellation(lost_in: str) -> None:
    waits = asyncio.Event()

    async def lose_it() -> None:
        """As `asyncio.wait_for` does before Python 3.12, where a connection is refused in the same moment."""
        waits.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async def turn() -> None:
        if waits.is_set():
            await asyncio.Event().wait()  # the next turn waits for something that may never come
        if lost_in != "the look at the cause":
            await lose_it()
        if lost_in != "a turn that ends well":
            raise ConnectionRefusedError

    async def look(_error: Exception) -> None:
        if lost_in == "the look at the cause":
            await lose_it()

    task = asyncio.create_task(Loop("one", turn, look=look).run())
    await waits.wait()
    task.cancel()
    ended, _ = await asyncio.wait({task}, timeout=10)
    assert ended
    assert task.cancelled()


async def test_a_fault_of_ours_is_logged_with_its_traceback_once_however_often_it_comes() -> None:
    def broken() -> BaseException:
        return ValueError("broken")

    turns = Turns(broken(), broken(), None, broken(), broken(), None)
    with capture_logs() as said:
        async with running(Loop("heal", turns)):
            await turns.done.wait()
    failed = [line for line in said if line["event"] == "loop_failed"]
    assert [line["exc_info"] is not None for line in failed] == [True, False]
    assert {line["loop"] for line in failed} == {"heal"}
    assert [line["event"] for line in said].count("loop_resumed") == 2


async def test_each_further_problem_is_said_and_shown_until_a_turn_ends_well() -> None:
    shown: list[str] = []

    async def look(error: Exception) -> None:
        shown.append(problems_of([capture, heal]))

    turns = Turns(SiteBusy("the server is away"), SiteBusy("the server is away"), SiteError("the disk is full"), None)
    capture = Loop("capture", turns, look=look)
    heal = Loop("heal", Turns())
    heal.problem = "the disk is full"
    with capture_logs() as said:
        async with running(capture):
            await turns.done.wait()
    assert shown == [
        "capture: the server is away; heal: the disk is full",
        "capture: the server is away; heal: the disk is full",
        "capture, heal: the disk is full",
    ]
    words = [line["error"] for line in said if line["event"] == "loop_retries"]
    assert words == ["the server is away", "the disk is full"]
    assert capture.problem == ""


async def test_an_error_while_looking_for_the_cause_changes_nothing() -> None:
    async def look(error: Exception) -> None:
        raise KeyError("another")

    turns = Turns(SiteError("odd"), None)
    async with running(Loop("trim", turns, look=look)):
        await turns.done.wait()


def test_the_pause_grows_to_a_bound() -> None:
    from streamd.common.retry import LOOP_FIRST, LOOP_LONGEST, loop_pause

    pauses = [loop_pause(failures) for failures in (1, 2, 4, 8, 100)]
    assert pauses == sorted(pauses[:3]) + pauses[3:]
    assert max(pauses) <= LOOP_LONGEST + LOOP_FIRST
