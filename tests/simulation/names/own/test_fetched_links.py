"""Links of what is fetched lead to what comes later, in however many parts a page is written."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulation.conftest import Opened
from tests.simulation.names.own.tills import IDENTITY, count, sales
from tests.simulation.sites import Site
from tests.support.database_url import Engine
from tests.support.matrix import engines_and

REFUSED = "INSERT INTO Customer VALUES (99, 'no', NULL, NULL)"
"""What headquarters takes in no case: what stands in the page before it and after it is written in several parts."""

MANAGERS = 'SELECT c."Name", m."Name" FROM "Customer" c JOIN "Customer" m ON m."Id" = c."Manager" ORDER BY 1'


async def one_by_one(site: Site, *statements: str) -> None:
    """Each of these as a transaction of its own, that is seen before the next one is made."""
    for statement in statements:
        site.write(statement)
        await site.capture.drain()


async def pull_in_parts(hq: Site, north: Site, page: list[str], place: int) -> None:
    """Pull a page of the till's that is written in several parts: what is refused stands at this place of it."""
    await one_by_one(north, *page[:place], REFUSED, *page[place:])
    await hq.pull_from(north)


async def assert_that_the_boss_is_there(hq: Site, north: Site) -> None:
    """Ada's link leads to him, at once and ever after, and nothing waits but the one that is refused."""
    assert hq.rows(MANAGERS) == [("Ada", "boss")]
    await hq.heal(north)
    assert hq.rows(MANAGERS) == [("Ada", "boss")]
    assert sales(hq) == sales(north)
    assert [state for state, _ in await hq.queue()] == ["parked"]


def own_customers(hq: Site) -> None:
    """Customers 1 to 5 of headquarters: a link that keeps the till's number leads to one of them."""
    hq.write(*(f"INSERT INTO Customer (Name) VALUES ('of hq {number}')" for number in range(1, 6)))


@pytest.mark.parametrize("place", range(4))
async def test_a_link_of_what_is_fetched_to_what_comes_later_leads_to_that_in_however_many_parts_it_is_written(
    hq: Site, tills: list[Site], place: int
) -> None:
    north, _ = tills
    own_customers(hq)
    north.write("INSERT INTO Customer VALUES (2, 'Ada', NULL, NULL)")
    await hq.pass_over(north)
    page = [
        "INSERT INTO Invoice VALUES (1, 2, 'first')",
        "INSERT INTO Customer VALUES (3, 'boss', NULL, NULL)",
        "UPDATE Customer SET Manager = 3 WHERE Id = 2",
    ]
    await pull_in_parts(hq, north, page, place)
    await assert_that_the_boss_is_there(hq, north)


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("back", [2, 4, None], ids=["circle", "circle within", "no circle"])
async def test_links_of_what_is_fetched_along_chains_and_circles_are_waited_for_and_come_to_an_end(
    hq: Site, tills: list[Site], place: int, back: int | None
) -> None:
    """An invoice's customer, his manager, who are both fetched, and the manager's, who is made later in the page."""
    north, _ = tills
    own_customers(hq)
    north.write(
        "INSERT INTO Customer VALUES (4, 'manager', NULL, NULL)", "INSERT INTO Customer VALUES (2, 'Ada', NULL, 4)"
    )
    await hq.pass_over(north)
    page = [
        "INSERT INTO Invoice VALUES (1, 2, 'first')",
        "INSERT INTO Invoice VALUES (2, 4, 'second')",
        f"INSERT INTO Customer VALUES (3, 'boss', NULL, {back or 'NULL'})",
        "UPDATE Customer SET Manager = 3 WHERE Id = 4",
    ]
    await pull_in_parts(hq, north, page, place)
    assert set(hq.rows(MANAGERS)) <= set(north.rows(MANAGERS))
    await hq.heal(north)
    assert hq.rows(MANAGERS) == north.rows(MANAGERS)
    assert sales(hq) == sales(north)
    assert [state for state, _ in await hq.queue()] == ["parked"]


async def test_what_is_fetched_waits_for_a_document_that_is_refused_and_comes_when_that_is_mended(
    hq: Site, tills: list[Site]
) -> None:
    north, _ = tills
    own_customers(hq)
    north.write("INSERT INTO Customer VALUES (2, 'Ada', NULL, NULL)")
    await hq.pass_over(north)
    await one_by_one(
        north,
        "INSERT INTO Invoice VALUES (1, 2, 'before')",
        "INSERT INTO Customer VALUES (3, 'no', NULL, NULL)",
        "UPDATE Customer SET Manager = 3 WHERE Id = 2",
        "INSERT INTO Invoice VALUES (2, 2, 'after')",
    )
    await hq.pull_from(north)
    queue = await hq.queue()
    assert [state for state, _ in queue] == ["held", "parked", "held", "held"]
    assert [error for _, error in queue if "waits for Customer 3, which" in error] == [
        "waits for Customer 3, which comes later",
        "waits for Customer 3, which failed",
        "waits for Customer 3, which failed",
    ]
    await hq.heal(north)
    assert hq.rows(MANAGERS) == []
    assert sales(hq) == []
    north.write("UPDATE Customer SET Name = 'boss' WHERE Id = 3")
    await hq.pull_all(north)
    assert await hq.queue() == []
    assert hq.rows(MANAGERS) == [("Ada", "boss")]
    assert sales(hq) == sales(north)


@pytest.mark.parametrize("place", range(4))
async def test_a_link_to_what_is_renamed_later_in_the_page_leads_to_the_document_that_is_here(
    hq: Site, tills: list[Site], place: int
) -> None:
    north, _ = tills
    own_customers(hq)
    north.write("INSERT INTO Customer VALUES (2, 'Ada', NULL, NULL)")
    await hq.pass_over(north)
    north.write("INSERT INTO Customer VALUES (30, 'boss', NULL, NULL)")
    await hq.pull_all(north)
    page = [
        "INSERT INTO Invoice VALUES (1, 2, 'first')",
        "UPDATE Customer SET Id = 3 WHERE Id = 30",
        "UPDATE Customer SET Manager = 3 WHERE Id = 2",
    ]
    await pull_in_parts(hq, north, page, place)
    await assert_that_the_boss_is_there(hq, north)


async def test_a_number_that_one_document_gives_up_and_another_takes_in_the_same_page_means_each_in_its_time(
    hq: Site, tills: list[Site]
) -> None:
    """Customer 3, who never came, is deleted there, and customer 30, who did, is called 3 from then on."""
    north, _ = tills
    own_customers(hq)
    north.write("INSERT INTO Customer VALUES (3, 'gone', NULL, NULL)")
    await hq.pass_over(north)
    north.write("INSERT INTO Customer VALUES (30, 'boss', NULL, NULL)")
    await hq.pull_all(north)
    await one_by_one(
        north,
        "DELETE FROM Customer WHERE Id = 3",
        "UPDATE Customer SET Id = 3 WHERE Id = 30",
        "INSERT INTO Customer VALUES (2, 'Ada', NULL, 3)",
        "INSERT INTO Customer VALUES (30, 'another', NULL, 2)",
    )
    await hq.pull_all(north)
    assert await hq.queue() == []
    assert hq.rows(MANAGERS) == [("Ada", "boss"), ("another", "Ada")]
    assert count(hq, "Customer") == 8


@pytest.mark.parametrize("fetched", [False, True], ids=["made_in_the_page", "fetched"])
async def test_a_link_to_a_document_whose_name_another_one_has_here_is_waited_for(
    labelled: Site, tills: list[Site], *, fetched: bool
) -> None:
    north, _ = tills
    north.write("INSERT INTO Customer VALUES (1, 'Ada', NULL, NULL)", "INSERT INTO Item VALUES ('x1', 'Tea', 2, 1)")
    if fetched:
        await labelled.pass_over(north)
    for number in (1, 2):
        north.write(
            f"INSERT INTO Invoice VALUES ({number}, 1, 'invoice {number}')",
            f"INSERT INTO Line VALUES ({number}, {number}, 'x1', 1)",
        )
    await labelled.pull_all(north)
    assert labelled.rows("SELECT * FROM Line") == [], "they are no lines of the tea that is here"
    assert len(await labelled.queue()) == (2 if fetched else 3)
    labelled.write("UPDATE Item SET Code = 'Our tea', Label = 'Our tea'")
    await labelled.heal(north)
    assert await labelled.queue() == []
    assert labelled.rows("SELECT l.Invoice, i.Price FROM Line l JOIN Item i ON i.Code = l.Item") == [(1, 2), (2, 2)]


@pytest.mark.parametrize(("engine", "place"), engines_and(range(4)))
async def test_dynamic_links_in_child_rows_of_what_is_fetched_lead_to_what_comes_later(
    opened: Opened, engine: Engine, place: int
) -> None:
    schema = """CREATE TABLE "Customer" ("Id" INTEGER PRIMARY KEY, "Name" VARCHAR(40)%s);
        CREATE TABLE "Note" ("Id" INTEGER PRIMARY KEY, "Text" VARCHAR(40));
        CREATE TABLE "Part" ("Id" INTEGER PRIMARY KEY, "Note" INTEGER NOT NULL REFERENCES "Note" ("Id"),
            "kind" VARCHAR(40), "party" INTEGER);
        CREATE TABLE "Answer" ("Id" INTEGER PRIMARY KEY, "Note" INTEGER NOT NULL REFERENCES "Note" ("Id"))"""
    refusing = """ CHECK ("Name" <> 'no')"""
    parts = {"table": "Part", "key": "Id", "parent_key": "Note", "dynamic_links": {"party": "kind"}}
    types: dict[str, Any] = {
        "Customer": {"naming": "database"},
        "Note": {"naming": "database", "children": {"parts": parts}},
        "Answer": {"naming": "database"},
    }
    numbered = (schema % refusing).replace('"Id" INTEGER PRIMARY KEY', f'"Id" {IDENTITY[engine]}')
    hq = await opened("hq", schema=numbered, engine=engine, doctypes=types, renamed=tuple(types))
    till = await opened("till", schema=schema % "", doctypes=types)
    own_customers(hq)
    till.write("INSERT INTO Note VALUES (1, 'n')")
    await hq.pass_over(till)
    page = [
        "INSERT INTO Answer VALUES (1, 1)",
        "INSERT INTO Customer VALUES (3, 'Ada')",
        "INSERT INTO Part VALUES (1, 1, 'Customer', 3)",
    ]
    await one_by_one(till, *page[:place], "INSERT INTO Customer VALUES (99, 'no')", *page[place:])
    await hq.pull_from(till)
    parties = 'SELECT c."Name" FROM "Part" p JOIN "Customer" c ON c."Id" = p."party"'
    assert hq.rows(parties) == [("Ada",)]
    await hq.heal(till)
    assert hq.rows(parties) == [("Ada",)]
    assert hq.rows('SELECT count(*) FROM "Answer"') == [(1,)]
    assert [state for state, _ in await hq.queue()] == ["parked"]
