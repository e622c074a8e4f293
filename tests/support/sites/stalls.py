"""Two sites with everything between them that can stall, and the stalls: how each begins, and how it ends."""

from __future__ import annotations

import resource
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from tests.support.database_url import Engine
from tests.support.processes.outage import Passage
from tests.support.sites.site import Site
from tests.support.sites.world import Link, World

CATALOGUE = "[doctypes.Item]\n"
TABLE = {
    "sqlite": "CREATE TABLE Item (id INTEGER PRIMARY KEY, label TEXT)",
    "postgresql": 'CREATE TABLE "Item" (id INTEGER PRIMARY KEY, label TEXT)',
    "mariadb": "CREATE TABLE Item (id INTEGER PRIMARY KEY, label TEXT)",
}
ITEM = {"sqlite": "Item", "postgresql": '"Item"', "mariadb": "Item"}


class Stalled:
    """Headquarters and a store that subscribes to its items, with ways to all of it that can be held."""

    def __init__(self, world: World, engine: Engine, **settings: Any) -> None:
        self.engine = engine
        self.hq, self.store = (world.site(name, CATALOGUE, engine=engine) for name in ("hq", "store"))
        self.items = ITEM[engine]
        self.count = 0
        self._passages: list[Passage] = []
        self._locks: dict[str, sqlite3.Connection] = {}
        self.databases: dict[str, Passage] = {}
        for site in (self.hq, self.store):
            site.execute(TABLE[engine])
            if engine != "sqlite":
                passage = self._passage(site.access.database.host, site.access.database.port)
                site.daemons_role = passage.to(site.access.database)
                self.databases[site.name] = passage
        self.line = self._passage("127.0.0.1", self.hq.port)
        world.connect(Link(self.store, self.hq, ["Item"]))
        producer = self.store.producers["hq"]
        way: Any = SimpleNamespace(name="hq", url=f"http://127.0.0.1:{self.line.port}")
        self.store.producers["hq"] = replace(producer, site=way, settings={**producer.settings, **settings})
        self.store.restart()
        self.write()
        world.eventually(lambda: self.arrived, "the first item arrives", timeout=60)

    def _passage(self, host: str, port: int) -> Passage:
        self._passages.append(Passage(host, port))
        return self._passages[-1]

    def close(self) -> None:
        for lock in self._locks.values():
            lock.close()
        for passage in self._passages:
            passage.end()

    def write(self) -> None:
        """The users of headquarters make one more item."""
        self.count += 1
        self.hq.execute(f"INSERT INTO {self.items} VALUES ({self.count}, 'x')")

    @property
    def arrived(self) -> bool:
        """Whether all that was made is at the store."""
        return bool(self.store.value(f"SELECT count(*) FROM {self.items}") == self.count)

    def hang(self, site: Site) -> None:
        """The site's database does not answer its daemon any more. SQLite: somebody keeps the lock."""
        if self.engine != "sqlite":
            self.databases[site.name].hold()
            return
        if site is self.hq:  # something has to wait for capture, and nobody can write once the lock is taken
            _signal(site, signal.SIGSTOP)
            self.write()
        lock = sqlite3.connect(site.database, isolation_level=None, timeout=30, check_same_thread=False)
        lock.execute("BEGIN IMMEDIATE")
        self._locks[site.name] = lock
        if site is self.hq:
            _signal(site, signal.SIGCONT)

    def is_locked(self, site: Site) -> bool:
        """Whether nobody can write there, because the lock is taken."""
        return site.name in self._locks

    def answer(self, site: Site) -> None:
        """It answers again."""
        if self.engine != "sqlite":
            self.databases[site.name].release()
            return
        self._locks.pop(site.name).close()


def _signal(site: Site, number: signal.Signals) -> None:
    assert site.process is not None
    site.process.send_signal(number)


def _limit_files(site: Site, size: int) -> None:
    """No file of the daemon's can grow beyond this: as on a full disk."""
    assert site.process is not None
    resource.prlimit(site.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _start_again(site: Site) -> None:
    site.kill()
    site.start()


def _trigger_that_never_returns(pair: Stalled) -> None:
    if pair.engine == "postgresql":
        pair.store.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ "
            "BEGIN PERFORM pg_sleep(100000); RETURN NEW; END $$"
        )
        pair.store.execute('CREATE TRIGGER slow BEFORE INSERT ON "Item" FOR EACH ROW EXECUTE FUNCTION slow()')
    else:
        pair.store.execute("CREATE TRIGGER slow BEFORE INSERT ON Item FOR EACH ROW SET @slow = SLEEP(100000)")


def _drop_slow_trigger(pair: Stalled) -> None:
    """Waits for the lock on the table, which the statement that sleeps has until the daemon cancels it."""
    pair.store.execute('DROP TRIGGER slow ON "Item"' if pair.engine == "postgresql" else "DROP TRIGGER slow")


def _drop_trigger(pair: Stalled) -> None:
    name = {
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'streamd%insert%'",
        "postgresql": "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal "
        "AND tgrelid = to_regclass('\"Item\"') ORDER BY tgname",
        "mariadb": "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE() "
        "AND event_manipulation = 'INSERT'",
    }[pair.engine]
    found = pair.hq.value(name)
    on = f" ON {pair.items}" if pair.engine == "postgresql" else ""
    quoted = f"`{found}`" if pair.engine == "mariadb" else f'"{found}"'
    pair.hq.execute(f"DROP TRIGGER {quoted}{on}")


@dataclass(frozen=True)
class Stall:
    """One fault: how it begins and ends, at which site it has to be said, and on which engines there is such a thing.

    `log`: it is over in a moment, so only the log's events with these names say it.
    """

    name: str
    begin: Callable[[Stalled], None]
    end: Callable[[Stalled], None]
    at: str = "store"
    engines: tuple[Engine, ...] = ("sqlite", "postgresql", "mariadb")
    log: tuple[str, ...] = ()


SERVERS: tuple[Engine, ...] = ("postgresql", "mariadb")
STALLS = (
    Stall("producer stopped", lambda p: _signal(p.hq, signal.SIGSTOP), lambda p: _signal(p.hq, signal.SIGCONT)),
    Stall("producer killed", lambda p: p.hq.kill(), lambda p: p.hq.start()),
    Stall("consumer stopped", lambda p: _signal(p.store, signal.SIGSTOP), lambda p: _signal(p.store, signal.SIGCONT)),
    Stall("consumer killed", lambda p: p.store.kill(), lambda p: p.store.start()),
    Stall("half-open link", lambda p: p.line.hold(), lambda p: p.line.release()),
    Stall("link closed", lambda p: p.line.close(), lambda p: p.line.open()),
    Stall("producer's database hangs", lambda p: p.hang(p.hq), lambda p: p.answer(p.hq), at="hq"),
    Stall("consumer's database hangs", lambda p: p.hang(p.store), lambda p: p.answer(p.store)),
    Stall("a query that never returns", _trigger_that_never_returns, _drop_slow_trigger, engines=SERVERS),
    Stall("producer's disk full", lambda p: _limit_files(p.hq, 1), lambda p: _limit_files(p.hq, -1), at="hq"),
    Stall("consumer's disk full", lambda p: _limit_files(p.store, 1), lambda p: _limit_files(p.store, -1)),
    Stall("dropped trigger", _drop_trigger, lambda p: None, at="hq", log=("restarting",)),
)


def said(pair: Stalled, stall: Stall) -> bool:
    """Whether the site where it has to be said says that something is wrong."""
    site = pair.hq if stall.at == "hq" else pair.store
    if stall.log:
        return any(line.get("event") in stall.log for line in site.log_lines())
    return site.run("status", "--check", "--max-age", "60", timeout=90).code != 0


def all_is_well(pair: Stalled) -> bool:
    return all(site.run("status", "--check", "--max-age", "60", timeout=90).code == 0 for site in (pair.hq, pair.store))


def seconds_until(condition: Callable[[], bool], limit: float) -> float:
    """How long it takes until the condition holds; `inf` where it does not within the limit."""
    began = time.monotonic()
    while time.monotonic() - began < limit:
        if condition():
            return time.monotonic() - began
        time.sleep(1)
    return float("inf")
