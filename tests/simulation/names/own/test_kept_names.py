"""A document keeps the name that it has here, whatever is renamed, refused or read again meanwhile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.conftest import Opened
from tests.simulation.names.own.tills import IDENTITY, RENAMED, TYPES, both_ways, count, sale, sales
from tests.simulation.sites import SCHEMA, Site


async def test_what_failed_under_a_name_of_ours_is_failed_until_it_is_applied_and_then_synced(
    labelled: Site, tills: list[Site]
) -> None:
    north, _ = tills
    north.write("INSERT INTO Item VALUES ('x1', 'Tea', 2, 1)")
    await labelled.pull_all(north)
    await labelled.close()
    await labelled.open()
    (entry,) = await labelled.sync_log.list()
    assert (entry.status, entry.docname, entry.remote_docname) == ("Failed", '["Tea"]', '["x1"]')
    labelled.write("DELETE FROM Item")
    await labelled.heal(north)
    assert await labelled.queue() == []
    assert [each.status for each in await labelled.sync_log.list()] == ["Synced"]


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


async def test_what_came_before_under_its_own_name_keeps_it_when_documents_are_to_be_named_here(
    hq: Site, tills: list[Site]
) -> None:
    north, south = tills
    hq.renamed = frozenset()
    sale(north, 1)
    sale(north, 2)
    await hq.pull_all(north)
    hq.renamed = frozenset(RENAMED)
    north.write(
        "UPDATE Invoice SET Note = 'edited' WHERE Id = 1",
        "UPDATE Customer SET City = 'Turin' WHERE Id = 1",
        "UPDATE Line SET Quantity = 70 WHERE Id = 10",
        "DELETE FROM Line WHERE Id = 11",
        "INSERT INTO Line VALUES (12, 1, 'tea', 80)",
    )
    north.write("DELETE FROM Line WHERE Invoice = 2", "DELETE FROM Invoice WHERE Id = 2")
    north.write("INSERT INTO Invoice VALUES (3, 1, 'new')", "INSERT INTO Line VALUES (30, 3, 'tea', 3)")
    sale(south)
    for till in tills:
        await hq.pull_all(till)
    north.write("UPDATE Line SET Quantity = 81 WHERE Id = 12")
    north.write("UPDATE Invoice SET Id = 500 WHERE Id = 1", "UPDATE Line SET Invoice = 500 WHERE Invoice = 1")
    await hq.pull_all(north)
    assert await hq.queue() == []
    assert sales(hq) == sorted(row for till in tills for row in sales(till))
    assert hq.rows("SELECT Id FROM Invoice WHERE Note = 'edited'") == [(1,)]
    assert count(hq, "Customer") == 3


async def test_a_document_that_came_before_and_was_deleted_here_is_not_made_again_by_an_edit_there(
    hq: Site, tills: list[Site]
) -> None:
    north, _ = tills
    hq.renamed = frozenset()
    north.write(
        "INSERT INTO Customer VALUES (1, 'Ada', NULL, NULL)", "INSERT INTO Customer VALUES (2, 'B', NULL, NULL)"
    )
    await hq.pull_all(north)
    hq.renamed = frozenset(RENAMED)
    hq.write("DELETE FROM Customer WHERE Id = 1", "UPDATE Customer SET Id = 9 WHERE Id = 2")
    north.write("UPDATE Customer SET City = 'Turin'")
    await hq.pull_all(north)
    assert await hq.queue() == []
    assert hq.rows("SELECT Id, Name, City FROM Customer") == [(9, "B", "Turin")]


@pytest.mark.parametrize("at_once", [False, True], ids=["one by one", "in one batch"])
@pytest.mark.parametrize("again", [False, True], ids=["once", "made twice"])
async def test_a_number_that_a_site_uses_again_for_the_others_document_is_that_document(
    tills: list[Site], *, at_once: bool, again: bool
) -> None:
    """SQLite gives the number of a deleted last row again: here to a document that came from the other site."""
    north, south = tills
    south.write("INSERT INTO Customer VALUES (1, 'of the south', NULL, NULL)")
    await both_ways(north, south)
    south.write("DELETE FROM Customer")
    if again:
        south.write("INSERT INTO Customer VALUES (1, 'of the south, again', NULL, NULL)")
        south.write("DELETE FROM Customer")
    north.write("INSERT INTO Customer VALUES (77, 'of the north', NULL, NULL)")
    await south.pull_all(north)
    assert south.rows("SELECT Id, Name FROM Customer") == [(1, "of the north")]
    if not at_once:
        await both_ways(north, south)
    south.write("UPDATE Customer SET City = 'Turin'")
    await both_ways(north, south)
    assert north.rows("SELECT Id, Name, City FROM Customer") == [(77, "of the north", "Turin")]
    south.write("INSERT INTO Invoice VALUES (5, 1, 'linked')")
    north.write("UPDATE Customer SET City = 'Rome'")
    await both_ways(north, south)
    assert await north.queue() == await south.queue() == []
    assert north.rows("SELECT Customer FROM Invoice") == [(77,)]
    assert south.rows("SELECT Id, City FROM Customer") == [(1, "Rome")]
    south.write("DELETE FROM Invoice", "DELETE FROM Customer")
    await both_ways(north, south)
    assert (count(north, "Customer"), count(south, "Customer")) == (0, 0)


async def test_what_was_renamed_in_the_queue_keeps_its_name_and_its_rows_here_when_it_is_taken_whole(
    opened: Opened, tills: list[Site]
) -> None:
    hq = await opened("named", doctypes=TYPES, renamed=RENAMED)
    north, _ = tills
    hq.write("INSERT INTO Customer VALUES (1, 'of hq', NULL, NULL)", "INSERT INTO Invoice VALUES (1, 1, 'of hq')")
    sale(north)
    await hq.pull_all(north)
    before = hq.rows("SELECT Id FROM Invoice"), hq.rows("SELECT Id FROM Line")
    hq.write("CREATE TRIGGER no BEFORE UPDATE ON Invoice WHEN NEW.Note = 'no' BEGIN SELECT raise(ABORT, 'no'); END")
    for statements in (
        ("UPDATE Invoice SET Note = 'no'",),
        ("UPDATE Invoice SET Id = 9", "UPDATE Line SET Invoice = 9"),
        ("UPDATE Invoice SET Note = 'yes'",),
    ):
        north.write(*statements)
        await north.capture.drain()
    await hq.pull_from(north)
    async with hq.database.transaction() as transaction:
        first = (await transaction.queue())[0]
        first.request = "whole"
        await transaction.update_queue([first])
    assert await hq.heal(north, everything=False) == 3
    assert (hq.rows("SELECT Id FROM Invoice"), hq.rows("SELECT Id FROM Line")) == before
    assert sales(hq)[-2:] == sales(north)
    north.write("DELETE FROM Line", "DELETE FROM Invoice")
    await hq.pull_all(north)
    assert hq.rows("SELECT Note FROM Invoice") == [("of hq",)]


def strict(folder: Path, renamed: tuple[str, ...]) -> Site:
    """Headquarters that takes no item with the label “no”, and names items too if it names anything."""
    schema = SCHEMA.replace('"Label" VARCHAR(100) UNIQUE', '"Label" VARCHAR(100) CHECK ("Label" <> \'no\')')
    types: dict[str, Any] = {**TYPES, "Item": {"naming": "ITEM-.####"}}
    return Site(folder, "strict", schema=schema, doctypes=types, renamed=("Item", *renamed) if renamed else ())


@pytest.mark.parametrize("renamed", [RENAMED, ()], ids=["named_here", "same_names"])
async def test_a_link_to_what_was_renamed_there_waits_for_the_rename_and_makes_no_second_document(
    tmp_path: Path, tills: list[Site], renamed: tuple[str, ...]
) -> None:
    hq = strict(tmp_path, renamed)
    await hq.open()
    try:
        north, _ = tills
        sale(north)
        await hq.pull_all(north)
        north.write(
            "PRAGMA foreign_keys = OFF",
            "UPDATE Item SET Code = 'green', Label = 'no' WHERE Code = 'tea'",
            "UPDATE Line SET Item = 'green'",
        )
        await hq.pull_all(north)
        north.write(
            "UPDATE Item SET Label = 'Green tea' WHERE Code = 'green'",
            "INSERT INTO Customer VALUES (2, 'Bob', NULL, NULL)",
            "INSERT INTO Invoice VALUES (2, 2, 'north 2')",
            "INSERT INTO Line VALUES (20, 2, 'green', 1)",
        )
        await hq.pull_from(north)
        assert count(hq, "Item") == 1, "the document under its new name is the one that is here"
        await hq.heal(north)
        assert await hq.queue() == []
        assert hq.rows("SELECT Label FROM Item") == [("Green tea",)]
        assert sales(hq) == sales(north)
        assert hq.rows("SELECT count(*) FROM Line l JOIN Item i ON i.Code = l.Item") == [(3,)]
    finally:
        await hq.close()


@pytest.mark.parametrize("renamed", [RENAMED, ()], ids=["named_here", "same_names"])
async def test_reading_a_type_whole_keeps_a_document_whose_rename_is_queued_one_document(
    tmp_path: Path, tills: list[Site], renamed: tuple[str, ...]
) -> None:
    hq = strict(tmp_path, renamed)
    await hq.open()
    try:
        north, _ = tills
        sale(north)
        await hq.pull_all(north)
        before = hq.rows("SELECT Code FROM Item")
        hq.write("CREATE TABLE Shelf (Item VARCHAR(40) REFERENCES Item (Code) ON UPDATE CASCADE)")
        hq.write("INSERT INTO Shelf SELECT Code FROM Item")
        north.write("UPDATE Item SET Label = 'no' WHERE Code = 'tea'")
        await hq.pull_from(north)
        north.write(
            "PRAGMA defer_foreign_keys = ON",
            "UPDATE Item SET Code = 'green' WHERE Code = 'tea'",
            "UPDATE Line SET Item = 'green'",
        )
        await hq.pull_from(north)
        north.write("UPDATE Item SET Label = 'Green tea'")
        assert len(await hq.queue()) >= 2
        said = await hq.read_whole(north, "Item")
        assert "0 removed" in said
        await hq.pull_all(north)
        assert await hq.queue() == []
        assert hq.rows("SELECT Label FROM Item") == [("Green tea",)]
        assert hq.rows("SELECT count(*) FROM Shelf s JOIN Item i ON i.Code = s.Item") == [(1,)]
        if renamed:
            assert hq.rows("SELECT Code FROM Item") == before
        assert sales(hq) == sales(north)
    finally:
        await hq.close()


async def test_missing_changes_are_said_also_where_documents_are_named_here(opened: Opened, hq: Site) -> None:
    schema = SCHEMA.replace('"Id" INTEGER PRIMARY KEY', f'"Id" {IDENTITY["postgresql"]}')
    till = await opened("till", engine="postgresql", schema=schema, doctypes=TYPES)
    till.write("INSERT INTO Item VALUES ('tea', 'Tea', 2, 10)", "INSERT INTO Customer VALUES (1, 'Ada', NULL, NULL)")
    till.write("INSERT INTO Invoice VALUES (1, 1, 'first')", "INSERT INTO Line VALUES (10, 1, 'tea', 1)")
    await hq.pull_all(till)
    till.access.raw('TRUNCATE "Line"')
    till.write("INSERT INTO Invoice VALUES (2, 1, 'second')")
    await hq.pull_all(till)
    assert count(hq, "Invoice") == 2
    failed = [entry for entry in await hq.sync_log.list(doctype="Invoice") if entry.status == "Failed"]
    assert ["changes are missing" in entry.error for entry in failed] == [True]
    await hq.read_whole(till, "Invoice", repair=True)
    assert count(hq, "Line") == 0
