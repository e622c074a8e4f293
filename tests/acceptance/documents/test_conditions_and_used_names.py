"""Names that are used again where one site has some of the documents only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sites.wanted import Wanted
from tests.support.sites.world import Link, World, update_log

CUSTOMER = 'CREATE TABLE "Customer" ("id" INTEGER PRIMARY KEY, "who" VARCHAR(40), "val" VARCHAR(40), "active" INTEGER)'


class Conditional:
    """Headquarters has all; the store has what is active. Both edit."""

    def __init__(self, world: World, on_leave: str) -> None:
        self.world = world
        self.hq, self.store = (world.site(name, "[doctypes.Customer]") for name in ("hq", "store"))
        for site in (self.hq, self.store):
            site.execute(CUSTOMER)
        active = Wanted("Customer", {"condition": "doc.active == 1", "on_leave": on_leave})
        world.connect(Link(self.store, self.hq, [active]), Link(self.hq, self.store, ["Customer"]))
        self.at_hq("INSERT INTO Customer VALUES (2, 'Bo', NULL, 1)")
        world.eventually(lambda: self.at_store() == [(2, "Bo", None, 1)], "Bo is at the store")

    def at_hq(self, *statements: str) -> None:
        """Each is captured by itself: on SQLite what is captured together is one transaction."""
        for statement in statements:
            before = self.captured()
            self.hq.execute(statement)
            self.world.eventually(lambda so_far=before: self.captured() > so_far, f"{statement} is captured")

    def captured(self) -> int:
        return len(update_log(self.hq, "Customer"))

    def at_store(self) -> list[tuple[object, ...]]:
        return self.store.rows('SELECT * FROM "Customer" ORDER BY 1')

    def settle(self) -> None:
        self.at_hq("INSERT INTO Customer VALUES (99, 'marker', NULL, 1)")
        self.world.eventually(lambda: (99, "marker", None, 1) in self.at_store(), "the marker is at the store")
        self.store.execute("UPDATE Customer SET val = 'seen' WHERE id = 99")
        self.world.eventually(
            lambda: self.hq.rows("SELECT val FROM Customer WHERE id = 99") == [("seen",)], "the marker is back"
        )

    def parked(self) -> int:
        return int(self.store.value("SELECT count(*) FROM streamd_parked"))  # type: ignore[call-overload]  # a count


@pytest.fixture
def conditional(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Conditional]:
    world = World(tmp_path)
    yield Conditional(world, request.param)
    world.stop()
    world.close()
    world.drop()


@pytest.mark.parametrize("conditional", ["delete", "keep"], indirect=True)
def test_a_new_document_under_a_used_name_comes_when_it_comes_to_satisfy_the_condition(
    conditional: Conditional,
) -> None:
    """Nobody edits anything at the store."""
    conditional.at_hq(
        "DELETE FROM Customer WHERE id = 2",
        "INSERT INTO Customer VALUES (2, 'Flo', NULL, 0)",
        "UPDATE Customer SET active = 1 WHERE id = 2",
        "UPDATE Customer SET val = 'x' WHERE id = 2",
    )
    conditional.settle()
    assert conditional.at_store()[0] == (2, "Flo", "x", 1)


@pytest.mark.parametrize("conditional", ["delete", "keep"], indirect=True)
def test_a_document_that_left_and_stays_is_not_overwritten_by_the_next_one_of_its_name(
    conditional: Conditional,
) -> None:
    conditional.store.stop()
    conditional.at_hq(
        "UPDATE Customer SET active = 0 WHERE id = 2",
        "UPDATE Customer SET id = 8 WHERE id = 2",
        "INSERT INTO Customer VALUES (2, 'Di', NULL, 1)",
    )
    conditional.store.execute("UPDATE Customer SET val = 'for Bo' WHERE id = 2")
    conditional.store.start()
    conditional.settle()
    assert conditional.hq.rows("SELECT who, val FROM Customer WHERE id < 99 ORDER BY id") == [
        ("Di", None),
        ("Bo", "for Bo"),
    ]
    assert conditional.at_store()[0][1:3] in {("Bo", "for Bo"), ("Di", None)}, "one of the two, as itself"
    assert conditional.at_store()[0][1] == "Di" or conditional.parked()
