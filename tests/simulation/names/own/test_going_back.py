"""Edits here of what a till made go back to the till's own document."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulation.conftest import Opened
from tests.simulation.names.own.tills import RENAMED, TYPES, both_ways, count, sale, sales
from tests.simulation.sites import SCHEMA, Site
from tests.support.matrix import EACH_ENGINE


@EACH_ENGINE
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


@pytest.mark.parametrize("renamed", [RENAMED, ()], ids=["as_before", "no_more"])
async def test_a_refused_edit_with_a_new_line_heals_although_the_till_renamed_the_invoice_between(
    opened: Opened, tills: list[Site], renamed: tuple[str, ...]
) -> None:
    schema = SCHEMA.replace('"Note" TEXT', '"Note" TEXT CHECK ("Note" <> \'no\')')
    hq = await opened("strict", schema=schema, doctypes=TYPES, renamed=RENAMED)
    north, south = tills
    for till in tills:
        sale(till)
        await hq.pull_all(till)
    # A document keeps the name that it got here, whatever new ones get from now on.
    hq.renamed = frozenset(renamed)
    north.write("UPDATE Invoice SET Note = 'no'", "INSERT INTO Line VALUES (12, 1, 'tea', 9)")
    await hq.pull_all(north)
    north.write(
        "UPDATE Invoice SET Id = 8", "UPDATE Line SET Invoice = 8", "UPDATE Line SET Quantity = 5 WHERE Id = 10"
    )
    await hq.pull_all(north)
    assert await hq.queue() != []
    north.write("UPDATE Invoice SET Note = 'fixed'")
    await hq.pull_all(north)
    assert await hq.queue() == []
    assert sales(hq) == sorted([*sales(north), *sales(south)])
    assert (count(hq, "Invoice"), count(hq, "Line")) == (2, 5)


async def test_what_kept_its_name_at_headquarters_goes_back_as_the_tills_own_document(
    opened: Opened, tills: list[Site]
) -> None:
    """The till names what comes from headquarters itself; headquarters takes the till's names."""
    hq = await opened("hq", doctypes=TYPES)
    till, _ = tills
    sale(till)
    await both_ways(hq, till)
    hq.write(
        "UPDATE Invoice SET Note = 'edited at hq' WHERE Id = 1",
        "UPDATE Line SET Quantity = 50 WHERE Id = 10",
        "DELETE FROM Line WHERE Id = 11",
        "INSERT INTO Line VALUES (77, 1, 'tea', 3)",
        "INSERT INTO Customer VALUES (2, 'of hq', NULL, 1)",
        "INSERT INTO Invoice VALUES (2, 2, 'made at hq')",
    )
    till.write("INSERT INTO Customer VALUES (2, 'of the till', NULL, NULL)")
    await till.pull_all(hq)
    assert await till.queue() == []
    assert till.rows("SELECT Note FROM Invoice WHERE Id = 1") == [("edited at hq",)]
    assert till.rows("SELECT Id, Quantity FROM Line WHERE Invoice = 1 ORDER BY Id") == [(10, 50), (77, 3)]
    assert till.rows("SELECT Name FROM Customer ORDER BY Id") == [("Ada",), ("of the till",), ("of hq",)]
    managers = "SELECT m.Name FROM Invoice i JOIN Customer c ON c.Id = i.Customer JOIN Customer m ON m.Id = c.Manager"
    assert till.rows(managers) == [("Ada",)], "a link leads back to the till's own customer"
    await till.read_whole(hq, "Customer", "Invoice")
    assert (count(till, "Invoice"), count(till, "Customer")) == (2, 3)
    till.write("UPDATE Line SET Quantity = 60 WHERE Id = 10", "INSERT INTO Line VALUES (78, 1, 'tea', 4)")
    await hq.pull_all(till)
    assert hq.rows("SELECT Id, Quantity FROM Line WHERE Invoice = 1 ORDER BY Id") == [(10, 60), (77, 3), (78, 4)]
    hq.write("UPDATE Line SET Quantity = 5 WHERE Id = 78")
    await till.pull_all(hq)
    assert till.rows("SELECT Quantity FROM Line WHERE Id = 78") == [(5,)]
    hq.write("DELETE FROM Line WHERE Invoice = 1", "DELETE FROM Invoice WHERE Id = 1")
    await till.pull_all(hq)
    assert till.rows("SELECT Note FROM Invoice") == [("made at hq",)]


async def test_an_edit_of_a_dynamic_link_goes_back_although_it_does_not_say_of_which_type_it_is(opened: Opened) -> None:
    schema = """CREATE TABLE "Customer" ("Id" INTEGER PRIMARY KEY, "Name" TEXT);
        CREATE TABLE "Note" ("Id" INTEGER PRIMARY KEY, "Text" TEXT, "kind" TEXT, "party" INTEGER);
        CREATE TABLE "Part" ("Id" INTEGER PRIMARY KEY, "Note" INTEGER NOT NULL REFERENCES "Note" ("Id"), "kind" TEXT,
            "party" INTEGER)"""
    dynamic = {"dynamic_links": {"party": "kind"}}
    parts = {"parts": {"table": "Part", "key": "Id", "parent_key": "Note", **dynamic}}
    types: dict[str, Any] = {
        "Customer": {"naming": "database"},
        "Note": {"naming": "database", "children": parts, **dynamic},
    }
    hq, till = [await opened(name, schema=schema, doctypes=types, renamed=tuple(types)) for name in ("hq", "till")]
    hq.write("INSERT INTO Customer VALUES (1, 'so that numbers differ')")
    await both_ways(hq, till)
    for name in ("Ada", "Bob"):
        till.write(f"INSERT INTO Customer VALUES (1{len(till.rows('SELECT 1 FROM Customer'))}, '{name}')")
    ada = "(SELECT Id FROM Customer WHERE Name = 'Ada')"
    bob = "(SELECT Id FROM Customer WHERE Name = 'Bob')"
    till.write(
        f"INSERT INTO Note VALUES (1, 'n', 'Customer', {ada})", f"INSERT INTO Part VALUES (1, 1, 'Customer', {ada})"
    )
    await both_ways(hq, till)
    hq.write(f"UPDATE Note SET party = {bob}", f"UPDATE Part SET party = {bob}")
    await both_ways(hq, till)
    for site in (hq, till):
        assert await site.queue() == []
        for table in ("Note", "Part"):
            query = f'SELECT c."Name" FROM "{table}" n JOIN "Customer" c ON c."Id" = n."party"'
            assert site.rows(query) == [("Bob",)]
    notes = [entry.note for entry in await till.sync_log.list(doctype="Note") if entry.update_type == "update"]
    assert notes == [""], "nothing was edited at the till"
