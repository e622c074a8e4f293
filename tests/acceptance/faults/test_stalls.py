"""What stalls is said by status, nothing is called complete meanwhile, and all is well once the cause is gone.

The whole table is in `test_soak_stalls.py`: here are the quickest of it, and no times.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.sites.site import Site
from tests.support.sites.stalls import STALLS, Stall, Stalled, all_is_well, said
from tests.support.sites.world import World

QUICK = ("half-open link", "link closed", "consumer killed", "consumer's disk full", "dropped trigger")


@pytest.fixture
def pair(world: World) -> Iterator[Stalled]:
    made = Stalled(world, "sqlite", timeout_seconds=1)
    try:
        world.eventually(lambda: all_is_well(made), "all is well at first", timeout=60)
        yield made
    finally:
        made.close()


def item(site: Site) -> dict[str, Any]:
    """What the site says of the type that it subscribes to, and of the producer."""
    producer = site.json("status")["producers"][0]
    found: dict[str, Any] = {"lag": producer["lag"], **producer["types"][0]}
    return found


@pytest.mark.parametrize("stall", [each for each in STALLS if each.name in QUICK], ids=lambda stall: stall.name)
def test_a_stall_is_said_and_is_over_when_its_cause_is_gone(stall: Stall, pair: Stalled, world: World) -> None:
    stall.begin(pair)
    pair.write()
    world.eventually(lambda: said(pair, stall), "it is said", timeout=120)
    if stall.at == "store":
        found = item(pair.store)
        assert (found["state"], found["lag"]) == ("unknown", None) or "full" in stall.name
    stall.end(pair)
    world.eventually(lambda: pair.arrived and all_is_well(pair), "all is well again", timeout=180)


def test_nothing_is_complete_while_something_of_it_is_not_here(pair: Stalled, world: World) -> None:
    assert (item(pair.store)["state"], item(pair.store)["lag"]) == ("complete", 0)

    pair.store.execute("INSERT INTO Item VALUES (99, 'of the store')")
    pair.hq.execute("INSERT INTO Item VALUES (99, 'of headquarters')")
    world.eventually(lambda: pair.store.json("status")["parked"], "another document has that name", timeout=30)
    parked = world.eventually(lambda: (found := item(pair.store))["state"] == "incomplete" and found, "it says so")
    assert "parked" in parked["why"]
    assert parked["lag"] is None
    stands = parked["complete_to_at"]
    pair.write()
    world.eventually(lambda: pair.arrived or pair.store.value("SELECT count(*) FROM Item") == 3, "others come")
    assert item(pair.store)["complete_to_at"] == stands, "up to there, and no further"
    pair.store.execute("DELETE FROM Item WHERE id = 99")
    world.eventually(lambda: item(pair.store)["complete_to_at"] > stands, "it is here", timeout=60)
    assert item(pair.store)["state"] == "complete"

    pair.store.cli("producers", "pause", "hq")
    world.eventually(lambda: item(pair.store)["state"] == "unknown", "nobody asks the producer")
    assert pair.store.run("status", "--check").code == 6
    pair.store.cli("producers", "resume", "hq")
    world.eventually(lambda: item(pair.store)["state"] == "complete", "it is asked again", timeout=30)

    pair.store.stop()
    assert (item(pair.store)["state"], item(pair.store)["lag"]) == ("unknown", None)
    assert "unknown since" in pair.store.cli("status")
