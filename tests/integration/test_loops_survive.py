"""A made-up exception at every await of every loop: the daemon goes on, and all arrives in the end.

It is thrown in where a turn waits for something, however deep below: at the first place, then at the second, and so on
until a turn has no such place any more.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamd.common.progress import resting
from streamd.errors import Fenced
from streamd.lifecycle import daemon as daemons
from streamd.lifecycle import guard, loops, subscriber
from streamd.lifecycle.daemon import Daemon
from streamd.lifecycle.holding import Holding
from streamd.lifecycle.loops import Loop
from streamd.lifecycle.notify import Notifier
from streamd.serve import app
from streamd.settings import Settings
from tests.simulation.sites import Site
from tests.support.database_url import Engine
from tests.support.polling import patience
from tests.support.servers import ENGINES
from tests.support.sites.serving import ProducerSite

SCHEMA = 'CREATE TABLE "Track" ("id" INTEGER PRIMARY KEY, "title" TEXT NOT NULL)'
PLACES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 19, 22, 26, 31, 37, 44, 53, 64, 77)
"""The first places in a turn, and then fewer: a turn that applies a page has some hundreds. `make soak` tries all."""

ROUNDS = 3
"""In so many turns a place is looked for that not every turn has."""


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
            try:
                yield awaited
                step = partial(next, waits)
                if count == self._at:
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
    """Puts a made-up exception into one turn of a loop (or into a coroutine that it runs in a task of its own)."""

    def __init__(self, target: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._target = target
        self.error: BaseException | None = None
        self.at = 0
        self.turns = 0
        self.reached = False

    async def __call__(self) -> Any:
        if self.error is None:
            return await self._target()
        self.turns += 1
        thrown = Thrown(self._target(), self.at, self.error)
        try:
            return await thrown
        finally:
            if thrown.reached:
                self.reached, self.error = True, None


@asynccontextmanager
async def consumer(folder: Path, engine: Engine, hq: ProducerSite) -> AsyncIterator[tuple[Daemon, Site]]:
    """A daemon in this process that is subscribed to headquarters; not running yet."""
    store = Site(folder, "store", engine=engine, schema=SCHEMA, doctypes={"Track": {}})
    await store.open()
    key, secret = await hq.peers.create_key("store")
    client = hq.client(f"{key}:{secret}")
    assert (await client.shake_hands("Track", site=store.site)).status == 200
    await hq.approve("Track")
    settings = Settings.model_validate(
        {
            **store.settings.model_dump(exclude={"producers", "server"}, exclude_unset=True),
            "server": {"port": 0},
            "producers": {
                "hq": {
                    "url": hq.server.url,
                    "api_key": key,
                    "api_secret": secret,
                    "use_same_name": True,
                    "doctypes": ["Track"],
                }
            },
        }
    )
    tables = await store.database.tables()
    holding = Holding()
    await holding.begin(settings.site.database)
    daemon = Daemon(settings, store.database, store.catalogue, tables, store.state, holding)
    await daemon.begin()
    yield daemon, store
    await daemon.close()
    await holding.end()


@pytest.fixture(autouse=True)
def _lively(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops that rest for long rest shortly."""
    monkeypatch.setattr(loops, "loop_pause", lambda failures: 0.01)
    for module, name in (
        (daemons, "BEAT_SECONDS"),
        (daemons, "WATCH_SECONDS"),
        (daemons, "TRIM_SECONDS"),
        (daemons, "QUIET_SECONDS"),
        (daemons, "PROBE_SECONDS"),
        (guard, "LOOK_SECONDS"),
        (guard, "LONGEST_SECONDS"),
        (subscriber, "WAIT_SECONDS"),
        (app, "CHECK_SECONDS"),
    ):
        monkeypatch.setattr(module, name, 0.02)


async def until(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(60 * patience()):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"still not: {what}") from None


async def idle() -> None:
    with resting():
        await asyncio.Event().wait()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "places",
    [PLACES, pytest.param(range(1, 400), marks=[pytest.mark.soak, pytest.mark.timeout(1800)])],
    ids=["some", "all"],
)
async def test_whatever_is_raised_wherever_a_loop_waits_the_daemon_goes_on(
    tmp_path: Path, engine: Engine, places: Sequence[int], hq: ProducerSite
) -> None:
    numbers = itertools.count(1000)

    def write(number: int) -> None:
        with hq.write() as connection:
            connection.execute("INSERT INTO Track VALUES (?, ?)", (number, "x"))
        with suppress(*store.access.errors):
            store.write(f"INSERT INTO \"Track\" VALUES ({-number}, 'ours')")

    async def busy() -> None:
        """Users at both sites. They wait for locks, and nobody waits for them."""
        while True:
            await asyncio.to_thread(write, next(numbers))
            await hq.capture.drain()
            daemon._heal.set()
            await asyncio.sleep(0.05)

    async with consumer(tmp_path, engine, hq) as (daemon, store):
        targets: list[tuple[Loop, Saboteur]] = []
        for loop in daemon.loops:
            saboteur = Saboteur(loop._turn)  # type: ignore[arg-type]
            loop._turn = saboteur
            targets.append((loop, saboteur))
            if loop.name.startswith("pull"):
                (pulling,) = daemon.subscribers
                within = Saboteur(pulling._round)
                pulling._round = within  # type: ignore[method-assign]
                targets.append((loop, within))
        with capture_logs() as said:
            running = asyncio.create_task(daemon.run(stop := asyncio.Event(), idle, Notifier("")))
            users = asyncio.create_task(busy())
            try:
                thrown = sum(await asyncio.gather(*(_sabotage(*target, places, running) for target in targets)))
            finally:
                users.cancel()
                with suppress(asyncio.CancelledError):
                    await users
            await hq.capture.drain()
            with hq.write() as connection:
                ((made,),) = connection.execute("SELECT count(*) FROM Track WHERE id >= 1000")
            await until(lambda: _rows(store) == made, "all of headquarters' rows are here")
            await until(lambda: daemon.problem == "", "every loop is well again")
            stop.set()
            assert await running == ""
        assert thrown > 40, "hardly anything was tried"
        assert {line["event"] for line in said if line["log_level"] == "error"} <= {"loop_failed", "library.message"}
        async with store.database.snapshot() as reader:
            assert await reader.queue() == []


def _rows(store: Site) -> int:
    return int(str(store.rows('SELECT count(*) FROM "Track" WHERE "id" >= 1000')[0][0]))


async def _sabotage(loop: Loop, saboteur: Saboteur, places: Sequence[int], running: asyncio.Task[str]) -> int:
    """Throw at every place. Returns at how many there was one."""
    reached = 0
    for place in places:
        turns = loop.turns
        saboteur.at, saboteur.turns, saboteur.reached = place, 0, False
        saboteur.error = MadeUp(f"{loop.name} {place}")
        await until(lambda: saboteur.reached or saboteur.turns >= ROUNDS or running.done(), f"{loop.name} takes turns")
        assert not running.done(), f"the daemon ended where {loop.name} waited for the {place}th time"
        saboteur.error = None
        if not saboteur.reached:
            break
        reached += 1
        await until(lambda: loop.turns > turns, f"{loop.name} goes on after place {place}: {loop.problem}")  # noqa: B023
    return reached


async def test_another_daemon_of_the_site_ends_it(tmp_path: Path, hq: ProducerSite) -> None:
    async with consumer(tmp_path, "sqlite", hq) as (daemon, _):
        saboteur = Saboteur(daemon.loops[0]._turn)  # type: ignore[arg-type]
        daemon.loops[0]._turn = saboteur
        saboteur.at, saboteur.error = 1, Fenced("another daemon")
        with pytest.raises(ExceptionGroup) as ended:
            await daemon.run(asyncio.Event(), idle, Notifier(""))
        assert isinstance(loops.first_of(ended.value), Fenced)
