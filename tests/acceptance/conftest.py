"""Fixtures: Chinook sites that are ready to start. What costs time is made once, and copied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

from tests.support.database_url import Engine
from tests.support.matrix import ALIKE, Engines
from tests.support.remembered import remembered
from tests.support.sites import chinook
from tests.support.sites.chinook import Templates
from tests.support.sites.site import Site
from tests.support.sites.world import Link, World

FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


Size = Literal["full", "small"]
"""Of headquarters' database."""


class Kit:
    """What sites are copied from, made when it is first asked for: for each engine, and for each pair of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.templates = remembered(Templates)
        self.one_way = remembered(self._one_way)
        self.both_ways = remembered(self._both_ways)

    def _one_way(self, producer: Engine, consumer: Engine, size: Size = "full") -> tuple[Site, Site]:
        """(hq, store), stopped: the store subscribed to everything at headquarters, and is approved."""
        world = World(self._folder / f"one-way-{producer}-{consumer}-{size}")
        try:
            hq = world.site("hq", chinook.CATALOGUE, getattr(self.templates(producer), size))
            store = world.site("store", chinook.CATALOGUE, self.templates(consumer).empty)
            world.connect(Link(store, hq, chinook.DOCTYPES))
            world.stop()
        finally:
            world.close()
        return hq, store

    def _both_ways(self, one: Engine, other: Engine) -> tuple[Site, Site]:
        """(hq, store), stopped: each subscribed to everything at the other, and both hold the full database."""
        world = World(self._folder / f"both-ways-{one}-{other}")
        try:
            hq = world.site("hq", chinook.CATALOGUE, self.templates(one).full)
            store = world.site("store", chinook.CATALOGUE, self.templates(other).full)
            world.connect(Link(store, hq, chinook.DOCTYPES), Link(hq, store, chinook.DOCTYPES))
            world.stop()
        finally:
            world.close()
        return hq, store


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """What sites of any engine are copied from."""
    return Kit(tmp_path_factory.mktemp("kit"))


@pytest.fixture(scope="session")
def templates(kit: Kit) -> Templates:
    """A full and an empty Chinook database."""
    return kit.templates("sqlite")


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    """An empty world. A failed test shows the ends of its daemons' logs."""
    made = World(tmp_path)
    try:
        yield made
        if request.node.stash.get(FAILED, False):
            print("\n".join(site.log_tail() for site in made.sites))
        else:
            made.stop()
    finally:
        made.close()
        made.drop()


@pytest.fixture(scope="session")
def one_way(kit: Kit) -> tuple[Site, Site]:
    """(hq, store), stopped: the store subscribed to everything at headquarters, and is approved."""
    return kit.one_way("sqlite", "sqlite")


@pytest.fixture(scope="session")
def both_ways(kit: Kit) -> tuple[Site, Site]:
    """(hq, store), stopped: each subscribed to everything at the other, and both hold the full database."""
    return kit.both_ways("sqlite", "sqlite")


class Pair(NamedTuple):
    """Two sites of one test."""

    world: World
    hq: Site
    store: Site

    def start(self) -> None:
        """Start both daemons, and wait until both answer."""
        self.hq.start(wait=False)
        self.store.start(wait=False)
        self.hq.wait_until_up()
        self.store.wait_until_up()


@pytest.fixture
def engines() -> Engines:
    """Which engines `pair` and `twins` have: SQLite, unless a test is parametrised with others by this name."""
    return ALIKE


@pytest.fixture
def pair(world: World, kit: Kit, engines: Engines) -> Pair:
    """The store has headquarters as its producer. Both are stopped."""
    hq, store = world.copy(kit.one_way(*engines))
    return Pair(world, hq, store)


@pytest.fixture
def twins(world: World, kit: Kit, engines: Engines) -> Pair:
    """Both sites hold the same documents, and each has the other as its producer. Both are stopped."""
    hq, store = world.copy(kit.both_ways(*engines))
    return Pair(world, hq, store)
