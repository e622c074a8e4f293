"""Servers are killed and started again, and connections are ended every second, under busy users. By `make soak`."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest

from tests.acceptance.conftest import Pair
from tests.support import servers
from tests.support.database_url import Engine
from tests.support.processes.mariadb_server import MariaDbServer
from tests.support.processes.postgresql_server import PostgreSqlServer
from tests.support.processes.private_server import PrivateServer
from tests.support.sites.chinook import NEW, add_invoice
from tests.support.sites.site import Site

BUSY_SECONDS = float(os.environ.get("STREAMD_SOAK_SECONDS") or 120)
"""Ten minutes (600) are what a release has to pass."""

LONGEST_AWAY_SECONDS = 15.0
SERVER_SECONDS = 20.0
"""About how often a server is killed."""


def process_of(engine: Engine) -> PrivateServer:
    server = servers.server(engine)
    assert isinstance(server, PostgreSqlServer | MariaDbServer)
    if server.process is None:
        pytest.skip("the server is not ours to kill")
    return server.process


def end_connections(site: Site) -> None:
    """End all connections to the site's database, the daemon's among them."""
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


def tried(work: Callable[[], object], errors: tuple[type[Exception], ...]) -> bool:
    """Do it, where the server is there."""
    try:
        work()
    except errors:
        return False
    return True


@pytest.mark.soak
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("engines", [("postgresql", "mariadb"), ("mariadb", "postgresql")], ids="-to-".join)
def test_servers_are_killed_and_connections_ended_and_no_daemon_ends(twins: Pair) -> None:
    dice = random.Random(7)
    sites = (twins.hq, twins.store)
    processes = {site.engine: process_of(site.engine) for site in sites}
    twins.start()
    daemons = {site.name: site.json("status")["daemon"]["pid"] for site in sites}
    numbers = {twins.hq.name: 10_000, twins.store.name: 50_000}
    down: dict[Engine, float] = {}
    made = killed = 0
    until, next_kill = time.monotonic() + BUSY_SECONDS, time.monotonic() + SERVER_SECONDS / 2
    try:
        while (now := time.monotonic()) < until:
            for engine, back in list(down.items()):
                if now >= back:
                    processes[engine].start_again()
                    del down[engine]
            for site in sites:
                if site.engine in down:
                    continue
                for _ in range(dice.randint(1, 10)):
                    numbers[site.name] += 1
                    number = numbers[site.name]
                    made += tried(
                        lambda site=site, number=number: add_invoice(site, number, customer=1, tracks=[1, 2]),  # type: ignore[misc]
                        site.access.errors,
                    )
                tried(lambda site=site: end_connections(site), site.access.errors)  # type: ignore[misc]
            if now >= next_kill and not down:
                engine = dice.choice(sites).engine
                processes[engine].kill()
                killed += 1
                down[engine] = now + dice.uniform(0, LONGEST_AWAY_SECONDS)
                next_kill = now + SERVER_SECONDS * dice.uniform(0.5, 1.5)
            time.sleep(1)
    finally:
        for engine in down:
            processes[engine].start_again()
    assert made > 20
    assert killed > 0
    twins.world.equal(twins.hq, twins.store, NEW, timeout=120)
    for site in sites:
        assert not site.died(), site.log_tail()
        twins.world.eventually(
            lambda site=site: site.value("SELECT count(*) FROM streamd_parked") == 0,  # type: ignore[misc]
            f"{site.name} parks nothing",
            timeout=60,
        )
    assert {site.name: site.json("status")["daemon"]["pid"] for site in sites} == daemons
    print(f"{made} invoices, {killed} times a server was killed")
