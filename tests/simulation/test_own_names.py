"""Documents get names of this site's own: tills whose numbers all begin at 1, and one headquarters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.sites import DOCTYPES, Site
from tests.support.database_url import Engine

ENGINES: tuple[Engine, ...] = ("sqlite", "postgresql", "mariadb")

TYPES: dict[str, Any] = {**DOCTYPES, "Customer": {"naming": "database"}}
RENAMED = ("Customer", "Invoice")


@pytest.fixture(params=ENGINES)
async def hq(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    site = Site(tmp_path, "hq", engine=request.param, doctypes=TYPES, renamed=RENAMED)
    await site.open()
    yield site
    await site.close()


@pytest.fixture
async def tills(tmp_path: Path) -> AsyncIterator[list[Site]]:
    """Two shops that know nothing of each other."""
    sites = [Site(tmp_path, name, doctypes=TYPES, renamed=RENAMED) for name in ("north", "south")]
    for site in sites:
        await site.open()
    yield sites
    for site in sites:
        await site.close()


def sale(site: Site, number: int = 1, *, customer: str = "Ada", quantity: int = 1) -> None:
    """Invoice `number` of customer `number`, with two lines."""
    site.write(
        f"INSERT INTO Customer VALUES ({number}, '{customer}', NULL, NULL)",
        "INSERT OR IGNORE INTO Item VALUES ('tea', 'Tea', 2, 10)",
        f"INSERT INTO Invoice VALUES ({number}, {number}, '{site.name} {number}')",
        f"INSERT INTO Line VALUES ({number * 10}, {number}, 'tea', {quantity})",
        f"INSERT INTO Line VALUES ({number * 10 + 1}, {number}, 'tea', {quantity + 1})",
    )


def sales(site: Site) -> list[tuple[object, ...]]:
    """What was sold, without any number that a site has made: note, customer, city, quantities."""
    return site.rows(
        'SELECT i."Note", c."Name", c."City", l."Quantity" FROM "Invoice" i JOIN "Customer" c ON c."Id" = i."Customer" '
        'LEFT JOIN "Line" l ON l."Invoice" = i."Id" ORDER BY 1, 2, 4'
    )


def count(site: Site, table: str) -> int:
    return int(site.rows(f'SELECT count(*) FROM "{table}"')[0][0])  # type: ignore[call-overload]


async def test_two_tills_that_both_begin_at_invoice_1_keep_all_their_invoices(hq: Site, tills: list[Site]) -> None:
    for number, till in enumerate(tills, 1):
        sale(till, customer=f"customer of {till.name}", quantity=number * 10)
        await hq.pull_all(till)
    assert await hq.queue() == []
    assert sales(hq) == sorted(row for till in tills for row in sales(till))
    assert count(hq, "Line") == 4


async def test_later_changes_reach_the_document_under_its_name_here(hq: Site, tills: list[Site]) -> None:
    for till in tills:
        sale(till)
        sale(till, 2)
        await hq.pull_all(till)
    north, south = tills
    south.write(
        "UPDATE Customer SET City = 'Turin' WHERE Id = 1",
        "UPDATE Line SET Quantity = 70 WHERE Id = 10",
        "DELETE FROM Line WHERE Id = 11",
        "INSERT INTO Line VALUES (12, 1, 'tea', 80)",
        "UPDATE Invoice SET Note = 'south, changed', Customer = 2 WHERE Id = 1",
    )
    north.write("DELETE FROM Line WHERE Invoice = 2", "DELETE FROM Invoice WHERE Id = 2")
    for till in tills:
        await hq.pull_all(till)
    assert await hq.queue() == []
    assert sales(hq) == sorted(row for till in tills for row in sales(till))
    assert hq.rows("SELECT City FROM Customer WHERE Name = 'Ada' AND City IS NOT NULL") == [("Turin",)]


async def test_what_is_linked_to_and_was_never_sent_is_fetched_and_named_too(hq: Site, tills: list[Site]) -> None:
    north, _ = tills
    hq.write("INSERT INTO Customer VALUES (1, 'of hq', NULL, NULL)")
    north.write(
        "INSERT INTO Customer VALUES (1, 'boss', NULL, NULL)", "INSERT INTO Customer VALUES (2, 'Ada', NULL, 1)"
    )
    await north.capture.drain()
    head = await north.update_log.head()
    assert head is not None
    async with hq.database.transaction() as transaction:
        await transaction.put_checkpoint(north.site, head.log, head.sequence, head.nonce)
    north.write("INSERT INTO Invoice VALUES (1, 2, 'first')")
    await hq.pull_all(north)
    assert await hq.queue() == []
    assert hq.rows(
        'SELECT c."Name", m."Name" FROM "Invoice" i JOIN "Customer" c ON c."Id" = i."Customer" '
        'JOIN "Customer" m ON m."Id" = c."Manager"'
    ) == [("Ada", "boss")]
    assert count(hq, "Customer") == 3


async def test_links_in_a_circle_are_followed(hq: Site, tills: list[Site]) -> None:
    north, _ = tills
    hq.write("INSERT INTO Customer VALUES (1, 'of hq', NULL, NULL)")
    north.write(
        "INSERT INTO Customer VALUES (1, 'one', NULL, 2)",
        "INSERT INTO Customer VALUES (2, 'two', NULL, 1)",
        "INSERT INTO Customer VALUES (3, 'own', NULL, 3)",
    )
    await hq.pull_all(north)
    assert await hq.queue() == []
    managers = 'SELECT c."Name", m."Name" FROM "Customer" c JOIN "Customer" m ON m."Id" = c."Manager" ORDER BY 1'
    assert hq.rows(managers) == [("one", "two"), ("own", "own"), ("two", "one")]


async def test_another_name_at_the_producer_is_no_other_name_here(hq: Site, tills: list[Site]) -> None:
    north, _ = tills
    sale(north)
    await hq.pull_all(north)
    before = hq.rows("SELECT Id, Customer, Note FROM Invoice")
    north.write("UPDATE Invoice SET Id = 500 WHERE Id = 1", "UPDATE Line SET Invoice = 500 WHERE Invoice = 1")
    north.write("UPDATE Invoice SET Note = 'after it' WHERE Id = 500")
    # The old name is free there, and names another document.
    sale(north, 3)
    north.write("UPDATE Invoice SET Id = 1 WHERE Id = 3", "UPDATE Line SET Invoice = 1 WHERE Invoice = 3")
    await hq.pull_all(north)
    assert await hq.queue() == []
    ((number, customer, _),) = before
    assert hq.rows(f"SELECT Customer, Note FROM Invoice WHERE Id = {number}") == [(customer, "after it")]
    assert sales(hq) == sales(north)


async def test_a_document_that_is_deleted_and_made_again_there_is_one_here(hq: Site, tills: list[Site]) -> None:
    north, _ = tills
    sale(north)
    await hq.pull_all(north)
    north.write("DELETE FROM Line", "DELETE FROM Invoice")
    north.write("INSERT INTO Invoice VALUES (1, 1, 'again')", "INSERT INTO Line VALUES (99, 1, 'tea', 5)")
    await hq.pull_all(north)
    assert sales(hq) == sales(north)
    north.write("DELETE FROM Line", "DELETE FROM Invoice")
    await hq.pull_all(north)
    assert (count(hq, "Invoice"), count(hq, "Line")) == (0, 0)


async def test_the_sync_log_says_both_names(hq: Site, tills: list[Site]) -> None:
    north, south = tills
    for till in (north, south):
        sale(till)
        await hq.pull_all(till)
    entries = list(await hq.sync_log.list(doctype="Invoice"))
    assert {(entry.remote_docname, entry.use_same_name) for entry in entries if entry.producer == "south"} == {
        ("[1]", False)
    }
    assert len({entry.docname for entry in entries}) == 2


async def test_a_series_has_no_holes_although_documents_failed_in_between(tmp_path: Path, tills: list[Site]) -> None:
    types: dict[str, Any] = {**DOCTYPES, "Item": {"naming": "ITEM-.YYYY.-.####"}}
    hq = Site(tmp_path, "named", doctypes=types, renamed=("Item",))
    await hq.open()
    try:
        north, south = tills
        hq.write(
            "CREATE TRIGGER no BEFORE INSERT ON Item WHEN NEW.Price = 13 BEGIN SELECT raise(ABORT, 'unlucky'); END"
        )
        for till in (north, south):
            for price in (1, 13, 2):
                till.write(f"INSERT INTO Item VALUES ('{till.name}{price}', '{till.name}{price}', {price}, 0)")
            await hq.pull_all(till)
        codes = [str(code) for (code,) in hq.rows("SELECT Code FROM Item ORDER BY 1")]
        assert [code[-4:] for code in codes] == ["0001", "0002", "0003", "0004"]
        assert [state for state, _ in await hq.queue()] == ["parked", "parked"]
        hq.write("DROP TRIGGER no")
        for till in (north, south):
            await hq.heal(till)
        assert await hq.queue() == []
        codes = [str(code) for (code,) in hq.rows("SELECT Code FROM Item ORDER BY 1")]
        assert [code[-4:] for code in codes] == [f"000{number}" for number in range(1, 7)]
    finally:
        await hq.close()


async def test_a_name_that_another_document_has_is_a_conflict_and_never_overwritten(
    tmp_path: Path, tills: list[Site]
) -> None:
    types: dict[str, Any] = {**DOCTYPES, "Item": {"naming": "field:Label"}}
    hq = Site(tmp_path, "named", doctypes=types, renamed=("Item",))
    await hq.open()
    try:
        north, _ = tills
        hq.write("INSERT INTO Item VALUES ('Tea', 'Tea', 5, 7)")
        north.write("INSERT INTO Item VALUES ('x1', 'Tea', 2, 1)")
        north.write("INSERT INTO Item VALUES ('x2', 'Coffee', 3, 1)")
        await hq.pull_all(north)
        assert hq.rows("SELECT Code, Price, Stock FROM Item ORDER BY 1") == [("Coffee", 3, 1), ("Tea", 5, 7)]
        ((state, error),) = await hq.queue()
        assert state == "parked"
        assert "same name, another document" in error
    finally:
        await hq.close()


async def test_what_came_before_stays_whole_when_the_store_was_renamed_there(hq: Site, tills: list[Site]) -> None:
    """A source is told by its site, not by what the configuration calls it."""
    north, _ = tills
    sale(north)
    await hq.pull_all(north)
    north.name = "the northern shop"
    north.write("UPDATE Invoice SET Note = 'later'")
    await hq.pull_all(north)
    assert [note for note, *_ in sales(hq)] == ["later", "later"]
    assert replace(hq.source(north)).renamed == frozenset(RENAMED)


async def both_ways(hq: Site, till: Site) -> None:
    """Each takes everything of the other, until nothing is new."""
    while await hq.pull_all(till) + await till.pull_all(hq):
        pass


async def test_an_edit_at_headquarters_goes_back_to_the_tills_own_document(hq: Site, tills: list[Site]) -> None:
    north, _ = tills
    hq.write("INSERT INTO Customer VALUES (1, 'of hq', NULL, NULL)")
    sale(north)
    sale(north, 2)
    await both_ways(hq, north)
    before = count(north, "Invoice"), count(north, "Line")
    hq.write(
        "UPDATE Invoice SET Note = 'checked' WHERE Note = 'north 1'", "UPDATE Line SET Quantity = 50 WHERE Quantity = 2"
    )
    hq.write("UPDATE Invoice SET Customer = (SELECT Id FROM Customer WHERE Name = 'of hq') WHERE Note = 'checked'")
    await both_ways(hq, north)
    assert await hq.queue() == await north.queue() == []
    assert (count(north, "Invoice"), count(north, "Line")) == before
    assert sales(hq) == sales(north)
    assert north.rows("SELECT Id FROM Invoice WHERE Note = 'checked'") == [(1,)]


async def test_a_row_that_was_added_by_the_other_site_is_one_row_ever_after(hq: Site, tills: list[Site]) -> None:
    north, _ = tills
    sale(north)
    await both_ways(hq, north)
    ((mine,),) = hq.rows("SELECT Id FROM Invoice")
    hq.write(f"INSERT INTO Line VALUES (900, {mine}, 'tea', 7)")
    await both_ways(hq, north)
    north.write("UPDATE Line SET Quantity = 8 WHERE Quantity = 7")
    await both_ways(hq, north)
    assert hq.rows("SELECT Quantity FROM Line WHERE Id = 900") == [(8,)]
    hq.write("DELETE FROM Line WHERE Id = 900")
    await both_ways(hq, north)
    assert sales(hq) == sales(north)
    assert count(north, "Line") == 2


async def test_a_document_that_is_renamed_here_is_the_same_to_the_till(hq: Site, tills: list[Site]) -> None:
    north, _ = tills
    sale(north)
    await both_ways(hq, north)
    ((mine,),) = hq.rows("SELECT Id FROM Invoice")
    hq.write("UPDATE Invoice SET Note = 'before it'")
    hq.write(
        f"UPDATE Invoice SET Id = 4000 WHERE Id = {mine}", f"UPDATE Line SET Invoice = 4000 WHERE Invoice = {mine}"
    )
    hq.write("UPDATE Line SET Quantity = 60 WHERE Quantity = 2")
    await both_ways(hq, north)
    assert await north.queue() == []
    assert sales(north) == sales(hq)
    assert north.rows("SELECT Id FROM Invoice") == [(1,)]
    north.write("UPDATE Invoice SET Note = 'after it'")
    await both_ways(hq, north)
    assert hq.rows("SELECT Id, Note FROM Invoice") == [(4000, "after it")]


async def test_a_deletion_goes_back_too(hq: Site, tills: list[Site]) -> None:
    north, _ = tills
    sale(north)
    sale(north, 2)
    await both_ways(hq, north)
    hq.write("DELETE FROM Line WHERE Quantity = 2")
    ((doomed,),) = hq.rows("SELECT Id FROM Invoice WHERE Note = 'north 2'")
    hq.write(f"DELETE FROM Line WHERE Invoice = {doomed}", f"DELETE FROM Invoice WHERE Id = {doomed}")
    await both_ways(hq, north)
    assert sales(hq) == sales(north)
    assert north.rows("SELECT Id FROM Invoice") == [(1,)]


async def test_what_a_till_sold_goes_on_to_the_other_till_and_back(hq: Site, tills: list[Site]) -> None:
    for till in tills:
        sale(till)
        sale(till, 2)
    for _ in range(3):
        for till in tills:
            await both_ways(hq, till)
    assert sales(hq) == sales(tills[0]) == sales(tills[1])
    tills[1].write("UPDATE Invoice SET Note = 'edited in the south' WHERE Note = 'north 2'")
    for _ in range(3):
        for till in tills:
            await both_ways(hq, till)
    assert tills[0].rows("SELECT Note FROM Invoice WHERE Id = 2") == [("edited in the south",)]
    for site in (hq, *tills):
        assert await site.queue() == []
        assert count(site, "Invoice") == 4
        assert sales(site) == sales(hq)
