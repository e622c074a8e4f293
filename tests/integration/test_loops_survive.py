"""A made-up exception at every await of every loop: the daemon goes on, and all arrives in the end.

It is thrown in as a turn begins, then where it waits for something, however deep below: at the first place, at the
second, and so on until a turn has no such place any more. The supervisor's loop, which makes one daemon after another,
is tried in the same way.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamd.common.instrumentation import resting
from streamd.errors import Fenced, StateBusy
from streamd.lifecycle import daemon as daemons
from streamd.lifecycle import guard, holding, loops, refetching, subscriber, supervisor, watchdog
from streamd.lifecycle.daemon import Daemon
from streamd.lifecycle.holding import Holding
from streamd.lifecycle.loops import Loop
from streamd.lifecycle.notify import Notifier
from streamd.serve import app
from streamd.serve.connections.listener import Listener
from streamd.settings import Settings
from streamd.store.heartbeat import WHOLE, Requests
from tests.simulation.sites import Site
from tests.support.database_url import Engine
from tests.support.polling import patience
from tests.support.sabotage import Saboteur
from tests.support.servers import ENGINES
from tests.support.sites.serving import ProducerSite

SCHEMA = 'CREATE TABLE "Track" ("id" INTEGER PRIMARY KEY, "title" TEXT NOT NULL)'
PLACES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 19, 22, 26, 31, 37, 44, 53, 64, 77)
"""The beginning of a turn, its first places, and then fewer: a turn that applies a page has some hundreds. `make soak`
tries all."""

WITHOUT_PLACES = {"serve", "watchdog"}
"""Loops with a turn that waits for nothing. So has "alone" on SQLite, which locks a file."""

SOME_OR_ALL = pytest.mark.parametrize(
    "places",
    [PLACES, pytest.param(range(400), marks=[pytest.mark.soak, pytest.mark.timeout(1800)])],
    ids=["some", "all"],
)

ROUNDS = 3
"""In so many turns a place is looked for that not every turn has."""


class MadeUp(Exception):
    """Something that nobody has foreseen."""


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
                    "page_events": 3,
                }
            },
        }
    )
    tables = await store.database.tables()
    held = Holding()
    await held.begin(settings.site.database)
    daemon = Daemon(settings, store.database, store.catalogue, tables, store.state, held)
    await daemon.begin()
    yield daemon, store
    await daemon.close()
    await held.end()


@pytest.fixture(autouse=True)
def _lively(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops that rest for long rest shortly. What is bounded has time, also under load."""
    monkeypatch.setattr(loops, "loop_pause", lambda failures: 0.01)
    for module, name in (
        (daemons, "BEAT_SECONDS"),
        (daemons, "WATCH_SECONDS"),
        (daemons, "TRIM_SECONDS"),
        (daemons, "QUIET_SECONDS"),
        (daemons, "PROBE_SECONDS"),
        (daemons, "TICK_SECONDS"),
        (guard, "LOOK_SECONDS"),
        (guard, "LONGEST_SECONDS"),
        (holding, "LOOK_SECONDS"),
        (refetching, "AGAIN_SECONDS"),
        (subscriber, "WAIT_SECONDS"),
        (supervisor, "RETRY_SECONDS"),
        (watchdog, "TICK_SECONDS"),
        (app, "CHECK_SECONDS"),
    ):
        monkeypatch.setattr(module, name, 0.02)
    monkeypatch.setattr(daemons, "DRAIN_SECONDS", 60.0)


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
@SOME_OR_ALL
async def test_whatever_is_raised_wherever_a_loop_waits_the_daemon_goes_on(
    tmp_path: Path, engine: Engine, places: Sequence[int], hq: ProducerSite
) -> None:
    numbers = itertools.count(1000)

    def write(number: int) -> None:
        with hq.write() as connection:
            connection.executemany("INSERT INTO Track VALUES (?, 'x')", [(number * 10 + more,) for more in range(5)])
        with suppress(*store.access.errors):
            store.write(f"INSERT INTO \"Track\" VALUES ({-number}, 'ours')")

    async def busy() -> None:
        """Users at both sites. They wait for locks, and nobody waits for them. Something is always to be read whole."""
        while True:
            await asyncio.to_thread(write, next(numbers))
            await hq.capture.drain()
            daemon._heal.set()
            with suppress(StateBusy):
                await Requests(daemon.state).add(WHOLE, "hq", "Track")
            await asyncio.sleep(0.05)

    async with consumer(tmp_path, engine, hq) as (daemon, store):
        with capture_logs() as said:
            running = asyncio.create_task(daemon.run(stop := asyncio.Event(), idle, Notifier("")))
            await asyncio.sleep(0)
            targets = _targets(daemon)
            without = WITHOUT_PLACES | ({"alone"} if engine == "sqlite" else set())
            users = asyncio.create_task(busy())
            try:
                thrown = await asyncio.gather(
                    *(
                        _sabotage(*target, places, running, least=0 if target[0].name in without else 2)
                        for target in targets
                    )
                )
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
        untried = {loop.name for (loop, _), reached in zip(targets, thrown, strict=True) if reached < 2}
        assert untried <= without
        assert {line["event"] for line in said if line["log_level"] == "error"} <= {"loop_failed", "library.message"}
        async with store.database.snapshot() as reader:
            assert await reader.queue() == []


def _rows(store: Site) -> int:
    return int(str(store.rows('SELECT count(*) FROM "Track" WHERE "id" >= 1000')[0][0]))


def _targets(daemon: Daemon) -> list[tuple[Loop, Saboteur]]:
    """The turn of each loop, and what loops run in tasks of their own, or not in every turn.

    The turn of "configuration" is the supervisor's, and is tried below.
    """
    found = [(loop, _within(loop, "_turn")) for loop in daemon.loops if loop.name != "configuration"]
    (pulling,) = daemon.subscribers
    pull = next(loop for loop in daemon.loops if loop.name == f"pull {pulling.name}")
    found += [
        (pull, _within(pulling, "_pull")),
        (pull, _within(pulling, "_refetch")),
        (pull, _within(pulling._refetches, "run")),
        (pull, _within(pulling._puller, "_fetch_page")),
    ]
    return found


def _within(owner: object, name: str) -> Saboteur:
    """Sabotage a method from now on."""
    saboteur = Saboteur(getattr(owner, name))
    setattr(owner, name, saboteur)
    return saboteur


async def _sabotage(
    loop: Loop, saboteur: Saboteur, places: Sequence[int], running: asyncio.Task[str], *, least: int
) -> int:
    """Throw at every place. Returns at how many there was one.

    For the first `least` it is waited, however many turns have nothing to do before. Later places not every turn has.
    """
    reached = 0
    for place in places:
        turns = loop.turns
        saboteur.arm(place, MadeUp(f"{loop.name} {place}"))

        def is_tried() -> bool:
            given_up = reached >= least and saboteur.calls > ROUNDS  # noqa: B023
            return saboteur.reached or given_up or running.done()

        await until(is_tried, f"{loop.name} waits {place} times")
        assert not running.done(), f"the daemon ended where {loop.name} waited for the {place}th time"
        saboteur.error = None
        if not saboteur.reached:
            break
        reached += 1
        await until(lambda: loop.turns > turns, f"{loop.name} goes on after place {place}: {loop.problem}")  # noqa: B023
    return reached


CONFIGURATION = """
[site]
name = "store"
database = "{database}"
[state]
database = "sqlite:///state.db"
[server]
port = 0
[doctypes.Track]
"""


@SOME_OR_ALL
async def test_whatever_is_raised_between_two_daemons_there_is_a_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: Sequence[int]
) -> None:
    site = Site(tmp_path, "store", schema=SCHEMA, doctypes={"Track": {}})
    await site.open()
    await site.close()
    monkeypatch.chdir(site.folder)
    path = site.folder / "streamd.toml"
    path.write_text(CONFIGURATION.format(database=f"sqlite:///{site.file}"))
    monkeypatch.setattr(supervisor.logs, "configure", lambda *_: None)

    began: list[Daemon] = []
    make = supervisor.make

    async def made(*arguments: Any) -> Daemon:
        began.append(await make(*arguments))
        return began[-1]

    making, showing = Saboteur(made), Saboteur(supervisor._show)
    draining, closing = Saboteur(Daemon._drain_before_restart), Saboteur(Daemon.close)
    monkeypatch.setattr(supervisor, "make", making)
    monkeypatch.setattr(supervisor, "_show", showing)
    monkeypatch.setattr(Daemon, "_drain_before_restart", lambda daemon: draining(daemon))
    monkeypatch.setattr(Daemon, "close", lambda daemon, **how: closing(daemon, **how))
    ours = supervisor.Supervisor(path)
    listening = _within(ours, "_reload_configuration")
    running = asyncio.create_task(ours.run())

    async def next_one(target: Saboteur) -> None:
        before = len(began)

        def is_there() -> bool:
            ours.reload.set()
            return running.done() or (len(began) > before and (target.reached or target.ended > 0))

        await until(is_there, "another daemon was made")
        assert not running.done(), "it ended"

    await until(lambda: bool(began), "the first daemon runs")
    for target in (making, listening, draining, closing, showing):
        reached = 0
        for place in filter(None, places):
            target.arm(place, MadeUp(f"at place {place}"))
            if target is showing:
                making.arm(1, MadeUp("something is to be shown"))
            await next_one(target)
            target.error = None
            if not target.reached:
                break
            reached += 1
        assert reached
    ours.stop.set()
    await running


async def test_connections_are_accepted_again_whatever_was_raised_where_they_are_waited_for(
    tmp_path: Path, hq: ProducerSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepting = Saboteur(Listener._accept)
    places = [1, 2, 3, 4, 5, 6]

    def accept(*arguments: Any) -> Any:
        if places:
            accepting.arm(place := places.pop(), MadeUp(f"at place {place}"))
        return accepting(*arguments)

    monkeypatch.setattr(Listener, "_accept", accept)
    async with consumer(tmp_path, "sqlite", hq) as (daemon, _):
        running = asyncio.create_task(daemon.run(stop := asyncio.Event(), idle, Notifier("")))
        with capture_logs() as said:
            await until(lambda: not places and accepting.reached and daemon.problem == "", "all were tried")
        assert [line["error"] for line in said if "stopped accepting" in str(line.get("error"))]
        await daemon.server.probe()
        stop.set()
        assert await running == ""


async def test_another_daemon_of_the_site_ends_it(tmp_path: Path, hq: ProducerSite) -> None:
    async with consumer(tmp_path, "sqlite", hq) as (daemon, _):
        saboteur = _within(daemon.loops[0], "_turn")
        saboteur.arm(1, Fenced("another daemon"))
        with pytest.raises(ExceptionGroup) as ended:
            await daemon.run(asyncio.Event(), idle, Notifier(""))
        assert isinstance(loops.first_of(ended.value), Fenced)
