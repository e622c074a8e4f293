"""Servers are killed and started again, disks filled and freed, and connections ended every second, under busy users.

By `make soak`. STREAMD_SOAK_SECONDS: for how long (120).
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.acceptance.conftest import Pair
from tests.support import servers
from tests.support.database_url import Engine
from tests.support.processes.disk import MIB, SmallDisk, may_mount
from tests.support.processes.mariadb_server import MariaDbServer
from tests.support.processes.postgresql_server import PostgreSqlServer
from tests.support.processes.private_server import PrivateServer
from tests.support.sites.chinook import NEW, add_invoice
from tests.support.sites.site import Site

BUSY_SECONDS = float(os.environ.get("STREAMD_SOAK_SECONDS") or 120)
"""Ten minutes (600) are what a release has to pass."""

LONGEST_AWAY_SECONDS = 15.0
"""How long a server is away, or a disk is full, at most."""

FAULT_SECONDS = 20.0
"""About how often a server is killed, and about how often a disk is filled."""

SERVERS_DISK = 2048 * MIB
SITES_DISK = 256 * MIB


class Disks:
    """The small disks of one test: of each site's folder (its state, its log), and of each server's data."""

    def __init__(self) -> None:
        self._all: list[SmallDisk] = []
        self._servers: dict[SmallDisk, PrivateServer] = {}

    def of_site(self, site: Site) -> SmallDisk:
        """The site's folder, on a disk of its own. The daemon must not run."""
        assert not site.running
        return self._made(SmallDisk(site.folder, SITES_DISK))

    def of_server(self, server: PrivateServer) -> SmallDisk:
        """All of a server's data, on a disk of its own."""
        server.kill()
        disk = self._made(SmallDisk(server.folder / "data", SERVERS_DISK))
        self._servers[disk] = server
        server.start_again()
        return disk

    def close(self) -> None:
        """Everything where it was before."""
        for disk in self._all:
            server = self._servers.get(disk)
            if server is not None and server.running:
                server.kill()
            disk.close()
            if server is not None:
                server.start_again()

    def _made(self, disk: SmallDisk) -> SmallDisk:
        self._all.append(disk)
        return disk


@pytest.fixture
def disks() -> Iterator[Disks]:
    """Named before the sites that a test uses: they end before their disks do."""
    if not may_mount():
        pytest.skip("only root may mount the small disks that are filled")
    made = Disks()
    yield made
    made.close()


def process_of(engine: Engine) -> PrivateServer:
    server = servers.server(engine)
    assert isinstance(server, PostgreSqlServer | MariaDbServer)
    if server.process is None:
        pytest.skip("the server is not ours to kill")
    return server.process


def end_connections(site: Site) -> None:
    """End all connections to the site's database, the daemon's among them."""
    if site.engine == "sqlite":
        return
    administrator = servers.administrator(site.access.database)
    access = type(site.access)(administrator)
    if site.engine == "postgresql":
        access.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return
    name = administrator.name
    others = f"SELECT id FROM information_schema.processlist WHERE db = '{name}' AND id <> connection_id()"
    for (number,) in access.rows(others):
        access.execute(f"KILL {number}")


def keep_commits(site: Site) -> None:
    """What a user was told is committed outlives a killed server. The tests' servers are quicker than that."""
    if site.engine == "postgresql":
        administrator = servers.administrator(site.access.database)
        access = type(site.access)(administrator)
        access.execute(f'ALTER DATABASE "{administrator.name}" SET synchronous_commit = on')


def tried(work: Callable[[], object], errors: tuple[type[Exception], ...]) -> bool:
    """Do it, where the server is there."""
    try:
        work()
    except errors:
        return False
    return True


@dataclass
class Users:
    """What the users of a site were told is committed."""

    site: Site
    next_number: int
    refused: int = 0
    committed: list[int] = field(default_factory=list)

    def write(self, invoices: int) -> None:
        for _ in range(invoices):
            self.next_number += 1
            number = self.next_number
            if tried(lambda: add_invoice(self.site, number, customer=1, tracks=[1, 2]), self.site.access.errors):  # noqa: B023
                self.committed.append(number)
            else:
                self.refused += 1

    def missing_at(self, site: Site) -> set[int]:
        found = {int(number) for (number,) in site.rows("SELECT InvoiceId FROM Invoice")}
        return set(self.committed) - found


class Faults:
    """Now and then a server is killed, and a disk filled; each is over after a while."""

    def __init__(
        self, dice: random.Random, processes: dict[Engine, PrivateServer], disks: dict[str, SmallDisk]
    ) -> None:
        """A server's disk has its engine's name."""
        self._dice = dice
        self._processes = processes
        self._disks = disks
        self._down_until: dict[Engine, float] = {}
        self._full_until: dict[str, float] = {}
        now = time.monotonic()
        self._next_kill = now + FAULT_SECONDS / 2
        self._next_fill = now + FAULT_SECONDS
        self.killed = 0
        self.filled = dict.fromkeys(disks, 0)

    def happen(self) -> None:
        """End those whose time has come, and begin new ones."""
        now = time.monotonic()
        for name, until in list(self._full_until.items()):
            if now >= until:
                self._disks[name].free()
                del self._full_until[name]
        self._start_servers(now)
        if self._processes and now >= self._next_kill and not self._down_until:
            engine = self._dice.choice(sorted(self._processes))
            if self._processes[engine].running:
                self._processes[engine].kill()
            self._down_until[engine] = now + self._dice.uniform(0, LONGEST_AWAY_SECONDS)
            self.killed += 1
            self._next_kill = now + FAULT_SECONDS * self._dice.uniform(0.5, 1.5)
        if now >= self._next_fill and not self._full_until:
            name = self._dice.choice(sorted(self._disks))
            self._disks[name].fill()
            self._full_until[name] = now + self._dice.uniform(0, LONGEST_AWAY_SECONDS)
            self.filled[name] += 1
            self._next_fill = now + FAULT_SECONDS * self._dice.uniform(0.5, 1.5)

    def end(self) -> None:
        for disk in self._disks.values():
            disk.free()
        self._full_until.clear()
        self._down_until.clear()
        self._start_servers(time.monotonic())

    def _start_servers(self, now: float) -> None:
        """Those that were killed, and those that ended by themselves: no server starts on a full disk."""
        for engine, process in self._processes.items():
            if not process.running and engine not in self._full_until and now >= self._down_until.get(engine, now):
                process.start_again()
                self._down_until.pop(engine, None)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "engines",
    [("postgresql", "mariadb"), ("mariadb", "postgresql"), ("sqlite", "sqlite")],
    ids="-to-".join,
)
def test_servers_are_killed_disks_filled_and_connections_ended_and_nothing_is_lost(disks: Disks, twins: Pair) -> None:
    dice = random.Random(7)
    sites = (twins.hq, twins.store)
    processes: dict[Engine, PrivateServer] = {
        site.engine: process_of(site.engine) for site in sites if site.engine != "sqlite"
    }
    small = {site.name: disks.of_site(site) for site in sites}
    small |= {engine: disks.of_server(process) for engine, process in processes.items()}
    for site in sites:
        keep_commits(site)
    twins.start()
    daemons = {site.name: site.json("status")["daemon"]["pid"] for site in sites}
    users = Users(twins.hq, 10_000), Users(twins.store, 50_000)
    faults = Faults(dice, processes, small)
    until = time.monotonic() + BUSY_SECONDS
    try:
        while time.monotonic() < until:
            faults.happen()
            for each in users:
                each.write(dice.randint(1, 10))
                tried(lambda each=each: end_connections(each.site), each.site.access.errors)  # type: ignore[misc]
            time.sleep(1)
    finally:
        faults.end()
    made, refused = sum(len(each.committed) for each in users), sum(each.refused for each in users)
    print(
        f"{made} invoices, {refused} refused; {faults.killed} times a server was killed; disks filled: {faults.filled}"
    )
    assert made > 20
    assert faults.killed > 0 or not processes
    assert sum(faults.filled.values()) > 0
    twins.world.equal(twins.hq, twins.store, NEW, timeout=120)
    assert [each.missing_at(site) for each in users for site in sites] == [set()] * 4, "what was committed is there"
    for site in sites:
        assert not site.died(), site.log_tail()
        twins.world.eventually(
            lambda site=site: site.value("SELECT count(*) FROM streamd_parked") == 0,  # type: ignore[misc]
            f"{site.name} parks nothing",
            timeout=60,
        )
    assert {site.name: site.json("status")["daemon"]["pid"] for site in sites} == daemons
