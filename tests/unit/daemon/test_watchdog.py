"""What stands still is said, what hangs is cancelled, and the service manager hears only of what comes further."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from streamd.common.instrumentation import record_progress, resting
from streamd.lifecycle.loops import Loop
from streamd.lifecycle.notify import Notifier
from streamd.lifecycle.watchdog import (
    GIVEN_UP_SECONDS,
    INTERRUPT_SECONDS,
    ON_THE_SPOT_SECONDS,
    SLOW_SECONDS,
    TICK_SECONDS,
    Watchdog,
)
from tests.support.sites.serving import until


class Watching:
    """A watchdog on a clock of the test's own."""

    def __init__(self, *loops: Loop, folder: Path | None = None) -> None:
        self.now = self.wall = 1000.0
        self.receiver = None
        address = ""
        if folder is not None:
            address = str(folder / "notify")
            self.receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.receiver.bind(address)
            self.receiver.setblocking(False)
        self.dog = Watchdog(loops, Notifier(address), wall=lambda: self.wall, steady=lambda: self.now)

    def pass_by(self, seconds: float, *, jump: float = 0) -> None:
        self.wall += jump
        for _ in range(round(seconds / TICK_SECONDS)):
            self.now += TICK_SECONDS
            self.wall += TICK_SECONDS
            self.dog.look()

    def told(self) -> list[str]:
        assert self.receiver is not None
        found = []
        while True:
            try:
                found.append(self.receiver.recv(1000).decode())
            except BlockingIOError:
                return found


async def nothing() -> None:
    return


def test_a_loop_that_gives_no_sign_is_said_to_stand_still_until_it_does() -> None:
    loop = Loop("capture", nothing)
    watching = Watching(loop)
    watching.pass_by(SLOW_SECONDS - TICK_SECONDS)
    assert watching.dog.problem == ""
    watching.pass_by(2 * TICK_SECONDS)
    assert "capture: what it waits for does not answer" in watching.dog.problem
    loop.pulse.at += 1
    watching.pass_by(TICK_SECONDS)
    assert watching.dog.problem == ""


def test_a_loop_that_rests_may_do_so_for_days() -> None:
    loop = Loop("heal", nothing)
    loop.pulse.resting = 1
    watching = Watching(loop)
    watching.pass_by(10 * GIVEN_UP_SECONDS)
    assert watching.dog.problem == ""


def test_turns_that_change_nothing_are_no_progress() -> None:
    loop = Loop("pull hq", nothing)
    watching = Watching(loop)
    for _ in range(round(ON_THE_SPOT_SECONDS / TICK_SECONDS) + 2):
        loop.place = 7
        loop.turns += 1
        loop.pulse.at += 1
        watching.pass_by(TICK_SECONDS)
    assert "it makes no progress" in watching.dog.problem
    loop.place = 8
    watching.pass_by(TICK_SECONDS)
    assert watching.dog.problem == ""


def test_one_long_turn_is_not_running_on_the_spot() -> None:
    loop = Loop("pull hq", nothing)
    watching = Watching(loop)
    loop.place = 7
    for _ in range(50):
        loop.pulse.at += 1
        watching.pass_by(TICK_SECONDS)
    assert watching.dog.problem == ""


def test_time_in_which_the_daemon_itself_was_stopped_is_nobodys_fault() -> None:
    watching = Watching(Loop("capture", nothing))
    watching.now += 10_000
    watching.wall += 10_000
    watching.dog.look()
    assert watching.dog.problem == ""


@pytest.mark.parametrize("jump", [-3600, 3600])
def test_a_clock_that_was_set_is_said_for_a_while(jump: float) -> None:
    watching = Watching()
    watching.pass_by(TICK_SECONDS, jump=jump)
    assert "the clock was set 3600 s" in watching.dog.problem
    watching.pass_by(90)
    assert watching.dog.problem == ""


def test_the_service_manager_hears_nothing_while_something_hangs_that_cannot_be_cancelled(tmp_path: Path) -> None:
    loop = Loop("capture", nothing)
    watching = Watching(loop, folder=tmp_path)
    watching.pass_by(TICK_SECONDS)
    assert watching.told() == ["WATCHDOG=1"]
    watching.pass_by(GIVEN_UP_SECONDS)
    watching.told()
    watching.pass_by(30)
    assert watching.told() == []
    loop.pulse.at += 1
    watching.pass_by(TICK_SECONDS)
    assert watching.told() == ["WATCHDOG=1"]


def test_no_service_manager_is_no_trouble(tmp_path: Path) -> None:
    for address in ("", str(tmp_path / "nobody")):
        Notifier(address).ready()


async def test_what_hangs_is_cancelled_and_the_next_turn_begins() -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        turns += 1
        if turns == 1:
            await asyncio.Event().wait()
        with resting():
            await asyncio.Event().wait()

    loop = Loop("capture", turn)
    task = asyncio.create_task(loop.run())
    try:
        await until(lambda: turns == 1, "it hangs")
        Watching(loop).pass_by(INTERRUPT_SECONDS + 2 * TICK_SECONDS)
        await until(lambda: turns == 2, "another turn")
        assert "was cancelled" in loop.problem
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_signs_of_tasks_that_a_loop_started_are_its_own() -> None:
    done = asyncio.Event()

    async def work() -> None:
        before = loop.pulse.at
        while loop.pulse.at == before:
            await asyncio.sleep(0)
            record_progress()
        done.set()

    async def turn() -> None:
        await asyncio.create_task(work())
        await asyncio.Event().wait()

    loop = Loop("capture", turn)
    task = asyncio.create_task(loop.run())
    try:
        async with asyncio.timeout(30):
            await done.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
