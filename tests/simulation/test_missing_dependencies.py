"""What a document needs and nobody has."""

from __future__ import annotations

from pathlib import Path

from tests.simulation.sites import Site

LOOSE = """
CREATE TABLE "Customer" ("Id" INTEGER PRIMARY KEY, "Name" TEXT);
CREATE TABLE "Invoice" ("Id" INTEGER PRIMARY KEY, "Customer" INTEGER, "Note" TEXT);
"""
TYPES = {"Customer": {}, "Invoice": {"links": {"Customer": "Customer"}}}


async def test_a_document_that_nobody_has_is_waited_for(tmp_path: Path) -> None:
    hq, store = (Site(tmp_path, name, schema=LOOSE, doctypes=TYPES) for name in ("hq", "store"))
    for site in (hq, store):
        await site.open()
    try:
        store.write("INSERT INTO Invoice VALUES (1, 7, 'for whom?')", "INSERT INTO Invoice VALUES (2, NULL, 'cash')")
        await hq.pull_all(store)
        assert hq.rows("SELECT Id FROM Invoice") == [(2,)]
        ((state, error),) = await hq.queue()
        assert state == "parked"
        assert "Customer 7" in error
        store.write("UPDATE Invoice SET Note = 'still waiting' WHERE Id = 1")
        await hq.pull_all(store)
        assert [state for state, _ in await hq.queue()] == ["parked", "held"]
        store.write("INSERT INTO Customer VALUES (7, 'Ada')")
        await hq.pull_all(store)
        assert await hq.queue() == []
        assert hq.rows("SELECT Customer, Note FROM Invoice WHERE Id = 1") == [(7, "still waiting")]
    finally:
        for site in (hq, store):
            await site.close()
