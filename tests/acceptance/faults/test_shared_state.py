"""Two daemons that share one state database: PostgreSQL, which restarts and is away for a while, or one file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import Kit
from tests.support.database_url import DatabaseUrl
from tests.support.polling import eventually
from tests.support.processes.outage import Passage
from tests.support.servers import drop_database, fresh_database
from tests.support.sites.chinook import CATALOGUE
from tests.support.sites.site import Site
from tests.support.sites.world import Link, World, subscriptions


@pytest.fixture
def shared() -> Iterator[DatabaseUrl]:
    made = fresh_database("postgresql")
    yield made
    drop_database(made)


@pytest.fixture
def passage(shared: DatabaseUrl) -> Iterator[Passage]:
    made = Passage(shared.host, shared.port)
    yield made
    made.end()


@pytest.fixture
def pair(shared: DatabaseUrl, passage: Passage, world: World, kit: Kit) -> tuple[Site, Site]:
    templates = kit.templates("sqlite")
    hq, store = world.site("hq", CATALOGUE, templates.full), world.site("store", CATALOGUE, templates.empty)
    for site in (hq, store):
        site.state_url = passage.to(shared).url
    world.connect(Link(store, hq, ["Genre"]))
    return hq, store


def add_genres(site: Site, first: int, count: int) -> None:
    for number in range(first, first + count):
        site.execute("INSERT INTO Genre VALUES (?, 'new')", number)


def wait_for(world: World, store: Site, first: int, count: int) -> None:
    world.eventually(
        lambda: (
            store.value("SELECT count(*) FROM Genre WHERE GenreId BETWEEN ? AND ?", first, first + count - 1) == count
        ),
        f"genres {first} to {first + count - 1} arrive",
        timeout=30,
    )


def test_daemons_share_a_state_database_that_restarts(
    shared: DatabaseUrl, passage: Passage, world: World, pair: tuple[Site, Site]
) -> None:
    hq, store = pair
    add_genres(hq, 500, 5)
    wait_for(world, store, 500, 5)
    assert [each["name"] for each in hq.json("consumers", "list")] == ["store"]
    assert store.json("consumers", "list") == []
    assert not list(hq.folder.glob("*state*")), "nothing of the state is in files"

    for number in range(5):
        passage.cut()
        add_genres(hq, 510 + number * 10, 10)
    wait_for(world, store, 510, 50)

    passage.close()
    add_genres(hq, 600, 5)
    eventually(
        lambda: sum("nothing listens at" in line.get("error", "") for line in store.log_lines()) >= 2,
        "the store has waited in vain, twice",
        timeout=60,
    )
    assert hq.running
    assert store.running
    passage.open()
    wait_for(world, store, 600, 5)
    for site in pair:
        assert shared.password not in site.log.read_text()
        # Said with the daemon's next sign of life, which may come a little after the data.
        world.eventually(lambda site=site: is_well(site), f"{site.name} says that it runs, and that all is well", 30)


def is_well(site: Site) -> bool:
    daemon = site.json("status")["daemon"]
    return daemon["running"] and not daemon["problem"]


def test_what_a_command_decides_is_noticed_within_a_second_or_so(
    passage: Passage, world: World, pair: tuple[Site, Site]
) -> None:
    hq, store = pair
    hq.cli("consumers", "reject", "store", "Genre")
    world.eventually(lambda: subscriptions(store, hq)["Genre"] == "Rejected", "the store knows", timeout=3)


def test_a_daemon_ends_in_time_while_its_state_is_away(passage: Passage, world: World, pair: tuple[Site, Site]) -> None:
    passage.close()
    for site in pair:
        site.stop()
    for site in pair:
        refused = site.run("status")
        assert refused.code == 1
        assert "the state database" in refused.err
        assert "Traceback" not in refused.err
    passage.open()
    for site in pair:
        site.start()


def test_daemons_whose_configurations_name_one_state_file_share_it(world: World, kit: Kit) -> None:
    templates = kit.templates("sqlite")
    hq, store = world.site("hq", CATALOGUE, templates.full), world.site("store", CATALOGUE, templates.empty)
    store.state_url = f"sqlite:///{hq.state}"
    world.connect(Link(store, hq, ["Genre"]))
    add_genres(hq, 500, 5)
    wait_for(world, store, 500, 5)
    assert [each["name"] for each in hq.json("consumers", "list")] == ["store"]
    assert store.json("consumers", "list") == []

    store.stop()
    add_genres(hq, 510, 5)
    store.start()
    wait_for(world, store, 510, 5)
    assert len(hq.state_rows("SELECT DISTINCT site FROM log_head")) == 2
    for site in (hq, store):
        world.eventually(lambda site=site: is_well(site), f"{site.name} says that it runs, and that all is well", 30)
