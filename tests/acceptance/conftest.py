"""Fixtures: Chinook sites that are ready to start. What costs time is made once, and copied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support import chinook
from tests.support.chinook import Templates
from tests.support.site import Site
from tests.support.world import Link, World

FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(scope="session")
def templates() -> Templates:
    """A full and an empty Chinook database."""
    return Templates("sqlite")


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


@pytest.fixture(scope="session")
def one_way(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, Site]:
    """(hq, store), stopped: the store subscribed to everything at headquarters, and is approved."""
    world = World(tmp_path_factory.mktemp("one-way"))
    try:
        hq = world.site("hq", chinook.CATALOGUE, templates.full)
        store = world.site("store", chinook.CATALOGUE, templates.empty)
        world.connect(Link(store, hq, chinook.DOCTYPES))
        world.stop()
    finally:
        world.close()
    return hq, store


@pytest.fixture(scope="session")
def both_ways(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, Site]:
    """(hq, store), stopped: each subscribed to everything at the other, and both hold the full database."""
    world = World(tmp_path_factory.mktemp("both-ways"))
    try:
        hq = world.site("hq", chinook.CATALOGUE, templates.full)
        store = world.site("store", chinook.CATALOGUE, templates.full)
        world.connect(Link(store, hq, chinook.DOCTYPES), Link(hq, store, chinook.DOCTYPES))
        world.stop()
    finally:
        world.close()
    return hq, store


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
def pair(world: World, one_way: tuple[Site, Site]) -> Pair:
    """The store has headquarters as its producer. Both are stopped."""
    hq, store = world.copy(one_way)
    return Pair(world, hq, store)


@pytest.fixture
def twins(world: World, both_ways: tuple[Site, Site]) -> Pair:
    """Both sites hold the same documents, and each has the other as its producer. Both are stopped."""
    hq, store = world.copy(both_ways)
    return Pair(world, hq, store)
