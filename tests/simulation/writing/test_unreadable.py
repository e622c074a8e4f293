"""A document that its own site cannot read: both sites say which column it is, and it arrives once it is corrected."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamd.status import read_status
from tests.simulation.sites import Site

SCHEMA = """
CREATE TABLE "Item" ("Code" VARCHAR(40) PRIMARY KEY, "Label" TEXT, "Rate" INTEGER);
CREATE TABLE "Sale" ("Id" INTEGER PRIMARY KEY, "Item" VARCHAR(40) REFERENCES "Item" ("Code"));
CREATE TABLE "Piece" ("Id" INTEGER PRIMARY KEY, "Sale" INTEGER REFERENCES "Sale" ("Id"), "Note" TEXT);
"""
TYPES = {"Item": {}, "Sale": {"children": {"pieces": {"table": "Piece", "key": "Id", "parent_key": "Sale"}}}}
CANNOT_READ = "the producer cannot read this document: Label: not valid UTF-8 text. Correct it there"
BAD = "CAST(x'6162ff' AS TEXT)"


@pytest.fixture
async def sites(tmp_path: Path):  # type: ignore[no-untyped-def]  # a fixture
    hq, store = (Site(tmp_path, name, schema=SCHEMA, doctypes=TYPES) for name in ("hq", "store"))
    for site in (hq, store):
        await site.open()
    yield hq, store
    for site in (hq, store):
        await site.close()


async def test_a_document_with_bytes_that_are_no_text_is_parked_with_the_column_and_heals(
    sites: tuple[Site, Site],
) -> None:
    hq, store = sites
    hq.write(f"INSERT INTO Item VALUES ('tea', {BAD}, 1)", "INSERT INTO Item VALUES ('milk', 'Milk', 2)")
    await store.pull_all(hq)
    await store.read_whole(hq, "Item")
    assert store.rows("SELECT Code FROM Item") == [("milk",)]
    log = (await read_status(hq.database, hq.state)).log
    assert log is not None
    assert "Item tea holds text that is not valid UTF-8" in log.last_gap
    ((state, error),) = await store.queue()
    assert state == "parked"
    assert error == CANNOT_READ
    await store.heal(hq)
    assert "Label: not valid UTF-8 text" in (await store.queue())[0][1]
    hq.write("UPDATE Item SET Label = 'Tea' WHERE Code = 'tea'")
    await store.pull_all(hq)
    await store.heal(hq)
    assert await store.queue() == []
    assert store.rows("SELECT Code, Label FROM Item ORDER BY Code") == [("milk", "Milk"), ("tea", "Tea")]


async def test_what_links_to_such_a_document_says_so(sites: tuple[Site, Site]) -> None:
    hq, store = sites
    store.types = hq.types = ("Sale",)  # type: ignore[assignment]
    hq.write("INSERT INTO Item VALUES ('tea', 'Tea', 1)")
    await hq.capture.drain()
    hq.write(f"UPDATE Item SET Label = {BAD}", "INSERT INTO Sale VALUES (1, 'tea')")
    await store.pull_all(hq)
    errors = [error for _, error in await store.queue()]
    assert errors == [f"needs Item tea: {CANNOT_READ}"]


async def test_the_column_of_a_child_row_is_named(sites: tuple[Site, Site]) -> None:
    hq, store = sites
    hq.write("INSERT INTO Item VALUES ('tea', 'Tea', 1)", "INSERT INTO Sale VALUES (1, 'tea')")
    hq.write(f"INSERT INTO Piece VALUES (1, 1, {BAD})")
    await store.pull_all(hq)
    await store.read_whole(hq, "Sale")
    assert any("pieces.Note: not valid UTF-8 text" in error for _, error in await store.queue())
