"""kill -9 at every named place of the daemon's work, at the producer and at the consumer.

The names are read out of the source: a new crash point is tested from the day on which it is written.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import streamd
from tests.acceptance.conftest import Kit
from tests.support.compare import contained_rows, same_rows
from tests.support.matrix import ALL_PAIRS, ONE_PAIR, Engines
from tests.support.remembered import remembered
from tests.support.sites.chinook import NEW, TABLES, add_customer, add_invoice, delete_invoice, line_id
from tests.support.sites.site import Site
from tests.support.sites.world import Link, World, nothing_synced_twice

SOURCE = Path(streamd.__file__).parent

CHANGED = {
    **NEW,
    "Playlist": "PlaylistId > 18",
    "PlaylistTrack": "PlaylistId > 18",
    "Customer": "CustomerId > 59 AND CustomerId < 900",
    "Genre": "GenreId > 25",
}


def crash_points() -> list[str]:
    """Every name that is given to `crash_point` in the source."""
    names = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("crash_point"):
                name = node.args[0]
                assert isinstance(name, ast.Constant), f"{path}: a crash point's name has to be a literal"
                names.append(str(name.value))
    return sorted(names)


POINTS = crash_points()


def test_each_crash_point_has_a_name_of_its_own() -> None:
    assert POINTS
    assert len(set(POINTS)) == len(POINTS)
    for stage in ("capture", "apply"):
        assert any(name.startswith(stage) for name in POINTS), f"{stage} has no crash point"


def changes_before(hq: Site, store: Site) -> None:
    """Creates with dependencies, updates, deletes, a rename, a document that cannot be applied at first."""
    add_customer(store, 900, "ada@example.org")
    add_invoice(hq, 1001, customer=1)
    add_invoice(hq, 1002, customer=2, tracks=(77, 3350))
    add_invoice(hq, 1003, customer=3)
    hq.execute("UPDATE Invoice SET Total = 1.11 WHERE InvoiceId = 1001")
    hq.execute("DELETE FROM InvoiceLine WHERE InvoiceLineId = ?", line_id(1001, 0))
    add_customer(hq, 100, "ada@example.org", support=4)
    hq.execute("UPDATE Customer SET Company = 'Analytical Engines' WHERE CustomerId = 100")
    delete_invoice(hq, 1002)
    with hq.write() as connection:
        connection.execute("INSERT INTO Playlist VALUES (19, 'new')")
        connection.executemany("INSERT INTO PlaylistTrack VALUES (19, ?)", [(track,) for track in range(50, 60)])
    with hq.access.write(deferred=True) as connection:
        connection.execute("UPDATE Invoice SET InvoiceId = 5003 WHERE InvoiceId = 1003")
        connection.execute("UPDATE InvoiceLine SET InvoiceId = 5003 WHERE InvoiceId = 1003")
    hq.execute("INSERT INTO Note VALUES (1, 'Artist', 90, 'heard')")
    store.execute("INSERT INTO Genre VALUES (800, 'from the store')")


def changes_after(hq: Site) -> None:
    """What goes on once both run again; the document that could not be applied is fixed at its source."""
    hq.execute("UPDATE Customer SET Email = 'lovelace@example.org' WHERE CustomerId = 100")
    add_invoice(hq, 1004, customer=100, tracks=(1, 500))
    hq.execute("UPDATE Invoice SET Total = 2.22 WHERE InvoiceId = 1001")
    hq.execute("INSERT INTO InvoiceLine VALUES (?, 1001, 9, 0.99, 1)", line_id(1001, 70))
    delete_invoice(hq, 5003)
    hq.execute("INSERT INTO Genre VALUES (900, 'the last')")


KILL_SECONDS = 3.0
"""What one death costs at most: the start anew, and that the other one waits before it asks again."""


@pytest.fixture(scope="session")
def with_genres_back(kit: Kit, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Engines], tuple[Site, Site]]:
    """(hq, store) of these engines, stopped: headquarters has the store's genres too.

    So its log holds events that are not for the store, and it has work as a consumer.
    """

    @remembered
    def made(engines: Engines) -> tuple[Site, Site]:
        world = World(tmp_path_factory.mktemp(f"with-genres-back-{'-'.join(engines)}"))
        try:
            hq, store = world.copy(kit.one_way(*engines))
            world.connect(Link(hq, store, ["Genre"]))
            world.stop()
        finally:
            world.close()
        return hq, store

    return made


class Victims:
    """Both daemons, each of which dies whenever it comes to a crash point for the first time, and is started again."""

    def __init__(self, *sites: Site, points: Sequence[str]) -> None:
        self._left = {site.name: set(points) for site in sites}
        self._sites = sites

    def start(self) -> None:
        for site in self._sites:
            self._start(site)

    def tend(self) -> None:
        """Start those again that died; fails if one dies in another way, or twice at one place."""
        for site in self._sites:
            if site.died():
                place = site.log_lines()[-1]["text"].removeprefix("killed at ")
                assert place in self._left[site.name], f"{site.name} died again at {place}"
                self._left[site.name].remove(place)
                self._start(site)

    def met_by_nobody(self) -> set[str]:
        """The crash points at which no daemon died."""
        return set.intersection(*self._left.values())

    def _start(self, site: Site) -> None:
        site.start(wait=False, STREAMD_CRASH_AT=",".join(sorted(self._left[site.name])))


@pytest.mark.parametrize("engines", ONE_PAIR)
def test_nothing_is_lost_or_doubled_by_kills_at_every_crash_point(
    engines: Engines, world: World, with_genres_back: Callable[[Engines], tuple[Site, Site]]
) -> None:
    hq, store = world.copy(with_genres_back(engines))
    killed_and_started_again(POINTS, world, hq, store)


@pytest.mark.soak
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("engines", ALL_PAIRS)
def test_nothing_is_lost_or_doubled_by_a_kill_at(
    point: str, engines: Engines, world: World, with_genres_back: Callable[[Engines], tuple[Site, Site]]
) -> None:
    hq, store = world.copy(with_genres_back(engines))
    killed_and_started_again([point], world, hq, store)


def killed_and_started_again(points: Sequence[str], world: World, hq: Site, store: Site) -> None:
    """Both die at each of these points, and start again: in the end they are equal, and nothing was done twice."""
    store.execute("CREATE UNIQUE INDEX one_email ON Customer (Email)")
    victims = Victims(hq, store, points=points)
    timeout = 20.0 + KILL_SECONDS * len(points)
    victims.start()
    changes_before(hq, store)

    def first_part_is_done() -> bool:
        victims.tend()
        parked = store.rows("SELECT doctype, state FROM streamd_parked")
        return bool(parked) and same_rows(hq, store, {**CHANGED, "Customer": "CustomerId = 99"})

    world.eventually(first_part_is_done, "all but one document arrives", timeout)
    changes_after(hq)

    def done() -> bool:
        victims.tend()
        return same_rows(hq, store, CHANGED)

    world.eventually(done, "both are equal in the end", timeout)

    def settled() -> bool:
        # What is healed and confirmed at the very end has crash points too.
        victims.tend()
        return store.value("SELECT count(*) FROM streamd_parked") == 0 and all(
            consumer.state_rows("SELECT count(*) FROM sync_batch") == [(0,)] for consumer in (hq, store)
        )

    world.eventually(settled, "nothing is parked any more, and every batch is confirmed", timeout)
    world.caught_up(store, hq)
    contained_rows(store, hq, {**dict.fromkeys(TABLES, "true"), "Customer": "CustomerId < 900"})
    for consumer in (hq, store):
        nothing_synced_twice(consumer)
        said = consumer.state_rows("SELECT status, error FROM producers")
        assert "resync" not in repr(said).lower(), said
    unmet = victims.met_by_nobody()
    assert not unmet, f"nobody ever comes to {unmet}: extend the scenario, or remove the crash point"
