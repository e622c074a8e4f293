"""What is named anew keeps the id of its birth, whichever way it takes, and whatever has its names in between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.simulation.conftest import Opened
from tests.simulation.sites import DOCTYPES, Site

RENAMED = ("Customer", "Invoice")
TYPES: dict[str, Any] = {**DOCTYPES, "Customer": {"naming": "database"}}
LINES = 'SELECT i."Note", l."Quantity" FROM "Line" l JOIN "Invoice" i ON i."Id" = l."Invoice" ORDER BY 1, 2'


async def made(opened: Opened, *names: str, named: Sequence[str] = ()) -> list[Site]:
    """Sites with these names; those that are `named` name customers and invoices themselves."""
    sites = []
    for name in names:
        site = await opened(name, doctypes=TYPES, renamed=RENAMED if name in named else ())
        site.write("INSERT INTO Item VALUES ('tea', 'Tea', 2, 10)")
        sites.append(site)
    return sites


async def along(*ways: tuple[Site, Site]) -> None:
    """Each of the pairs in both directions, until nothing is new."""
    for _ in range(12):
        moved = 0
        for one, other in ways:
            moved += await one.pull_all(other) + await other.pull_all(one)
        if not moved:
            break
    assert [await site.queue() for way in ways for site in way] == [[]] * (2 * len(ways))


def customers(site: Site) -> list[tuple[object, ...]]:
    return site.rows('SELECT "Name", "City" FROM "Customer" ORDER BY 1')


def customer(site: Site, name: str) -> int:
    ((number,),) = site.rows(f"SELECT Id FROM Customer WHERE Name = '{name}'")
    return int(number)  # type: ignore[call-overload]  # a key


async def test_an_edit_of_a_document_that_is_deleted_there_never_comes_to_the_one_that_got_its_number(
    opened: Opened,
) -> None:
    north, south = await made(opened, "north", "south", named=("north", "south"))
    south.write("INSERT INTO Customer VALUES (1, 'Ada', NULL, NULL)")
    await along((north, south))
    north.write("DELETE FROM Customer")
    await north.capture.drain()
    north.write("INSERT INTO Customer VALUES (1, 'Bo', NULL, NULL)")
    south.write("UPDATE Customer SET City = 'Rome'")
    await along((north, south))
    assert customers(north) == customers(south) == [("Bo", None)]
    south.write("UPDATE Customer SET City = 'Turin'")
    await along((north, south))
    assert customers(north) == customers(south) == [("Bo", "Turin")]


async def test_a_document_that_takes_the_number_of_a_renamed_and_deleted_one_is_there_once(opened: Opened) -> None:
    north, south = await made(opened, "north", "south", named=("north", "south"))
    south.write("INSERT INTO Customer VALUES (1, 'Ada', NULL, NULL)")
    await along((north, south))
    south.write("UPDATE Customer SET Id = 9 WHERE Id = 1")
    await south.capture.drain()
    south.write("DELETE FROM Customer")
    await south.capture.drain()
    south.write(
        "INSERT INTO Customer VALUES (1, 'Bo', NULL, NULL)", "INSERT INTO Customer VALUES (9, 'Cy', NULL, NULL)"
    )
    north.write("UPDATE Customer SET City = 'Rome'")
    await along((north, south))
    north.write("UPDATE Customer SET City = 'Turin' WHERE Name = 'Bo'")
    await along((north, south))
    assert customers(north) == customers(south) == [("Bo", "Turin"), ("Cy", None)]


async def test_a_document_that_comes_by_two_routes_is_one_also_where_it_was_renamed_on_one(opened: Opened) -> None:
    """The middle has the maker's names, and headquarters gives its own."""
    maker, middle, hq = await made(opened, "maker", "middle", "hq", named=("hq",))
    hq.write("INSERT INTO Customer VALUES (1, 'of hq', NULL, NULL)")
    maker.write("INSERT INTO Customer VALUES (1, 'Ada', NULL, NULL)", "INSERT INTO Invoice VALUES (1, 1, 'n')")
    await middle.pull_all(maker)
    await hq.pull_all(maker)
    middle.write(
        "PRAGMA defer_foreign_keys = ON",
        "UPDATE Customer SET Id = 5, City = 'Rome' WHERE Id = 1",
        "UPDATE Invoice SET Customer = 5",
        "INSERT INTO Line VALUES (10, 1, 'tea', 3)",
    )
    await hq.pull_all(middle)
    await along((maker, middle))
    await hq.pull_all(maker)
    assert [await site.queue() for site in (maker, middle, hq)] == [[], [], []]
    assert customers(hq) == [("Ada", "Rome"), ("of hq", None)]
    assert hq.rows(LINES) == maker.rows(LINES) == [("n", 3)]
    assert hq.rows("SELECT Customer FROM Invoice") == [(customer(hq, "Ada"),)]


async def test_what_went_on_from_headquarters_comes_back_as_what_it_was_with_its_rows(opened: Opened) -> None:
    """A branch has headquarters' names; headquarters names what comes from the till."""
    till, hq, branch = await made(opened, "till", "hq", "branch", named=("hq", "till"))
    hq.write("INSERT INTO Customer VALUES (1, 'of hq', NULL, NULL)", "INSERT INTO Invoice VALUES (1, 1, 'of hq')")
    hq.write("INSERT INTO Line VALUES (10, 1, 'tea', 1)")
    till.write("INSERT INTO Customer VALUES (1, 'Ada', NULL, NULL)", "INSERT INTO Invoice VALUES (1, 1, 'n')")
    till.write("INSERT INTO Line VALUES (10, 1, 'tea', 2)", "INSERT INTO Line VALUES (11, 1, 'tea', 3)")
    ways = ((hq, till), (hq, branch))
    await along(*ways)
    ((mine,),) = branch.rows("SELECT Id FROM Invoice WHERE Note = 'n'")
    assert hq.rows("SELECT Id FROM Invoice WHERE Note = 'n'") == [(mine,)]
    branch.write(
        "UPDATE Line SET Quantity = 20 WHERE Quantity = 2",
        "DELETE FROM Line WHERE Quantity = 3",
        f"INSERT INTO Line VALUES (77, {mine}, 'tea', 4)",
        "UPDATE Customer SET City = 'Oslo' WHERE Name = 'Ada'",
    )
    await along(*ways)
    assert till.rows(LINES) == hq.rows(LINES) == branch.rows(LINES) == [("n", 4), ("n", 20), ("of hq", 1)]
    till.write("UPDATE Line SET Quantity = 40 WHERE Quantity = 4", "UPDATE Line SET Quantity = 5 WHERE Quantity = 1")
    await along(*ways)
    assert till.rows(LINES) == hq.rows(LINES) == branch.rows(LINES) == [("n", 20), ("n", 40), ("of hq", 5)]
    assert till.rows("SELECT Id, City FROM Customer WHERE Name = 'Ada'") == [(1, "Oslo")]
    hq.write(f"UPDATE Line SET Invoice = 99 WHERE Invoice = {mine}", f"UPDATE Invoice SET Id = 99 WHERE Id = {mine}")
    await along(*ways)
    assert branch.rows("SELECT Id FROM Invoice WHERE Note = 'n'") == [(99,)], "the branch has headquarters' names"
    assert till.rows("SELECT Id FROM Invoice WHERE Note = 'n'") == [(1,)], "and the till has its own"


async def test_a_number_of_ours_that_the_other_site_deleted_is_no_document_of_theirs(opened: Opened) -> None:
    """South deletes north's invoice 3, and then has an invoice 3 of its own, with lines of north's numbers."""
    north, south = await made(opened, "north", "south", named=("north", "south"))
    south.write("INSERT INTO Customer VALUES (1, 'Ada', NULL, NULL)")
    north.write(
        "INSERT INTO Customer VALUES (1, 'Bo', NULL, NULL)",
        "INSERT INTO Invoice VALUES (3, 1, 'of north')",
        "INSERT INTO Invoice VALUES (4, 1, 'stays')",
        "INSERT INTO Line VALUES (46, 4, 'tea', 7)",
    )
    await along((north, south))
    south.write("DELETE FROM Invoice WHERE Note = 'of north'")
    await along((north, south))
    south.write("INSERT INTO Invoice VALUES (3, 1, 'of south')", "INSERT INTO Line VALUES (46, 3, 'tea', 9)")
    await along((north, south))
    assert north.rows(LINES) == south.rows(LINES) == [("of south", 9), ("stays", 7)]


async def test_an_edit_of_a_deleted_document_never_comes_to_the_one_that_gets_its_number_with_it(
    opened: Opened,
) -> None:
    """The number is free when the edit and the new document arrive together."""
    north, south = await made(opened, "north", "south", named=("north", "south"))
    north.write("INSERT INTO Customer VALUES (1, 'of north', NULL, NULL)")
    south.write("INSERT INTO Customer VALUES (5, 'Ada', NULL, NULL)")
    await along((north, south))
    number = customer(north, "Ada")
    north.write("DELETE FROM Customer WHERE Name = 'Ada'")
    await north.capture.drain()
    for statement in (
        "INSERT INTO Customer VALUES (7, 'Bo', NULL, NULL)",
        "UPDATE Customer SET City = 'Rome' WHERE Name = 'Ada'",
    ):
        south.write(statement)
        await south.capture.drain()
    await north.pull_from(south)
    assert customer(north, "Bo") == number, "else nothing is tried"
    await along((north, south))
    assert customers(north) == customers(south) == [("Bo", None), ("of north", None)]
