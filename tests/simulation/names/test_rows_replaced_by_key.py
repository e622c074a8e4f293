"""`INSERT OR REPLACE` removes the row with the same key; whatever happens to the key then, consumers hear of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.simulation.sites import Site

SCHEMA = """
CREATE TABLE "Item" ("Id" INTEGER PRIMARY KEY, "Code" TEXT);
CREATE TABLE "Line" ("Id" INTEGER PRIMARY KEY, "Item" INTEGER NOT NULL REFERENCES "Item" ("Id"), "Note" TEXT)
"""
DOCTYPES: dict[str, Any] = {"Item": {"children": {"lines": {"table": "Line", "parent_key": "Item"}}}}
START = (
    "INSERT INTO \"Item\" VALUES (1, 'a'), (2, 'b'), (3, 'c')",
    "INSERT INTO \"Line\" VALUES (1, 1, 'x'), (2, 1, 'y'), (3, 2, 'z')",
)
STATEMENTS = {
    "replaced-then-deleted": ["REPLACE INTO \"Item\" VALUES (3, 'new')", 'DELETE FROM "Item" WHERE "Id" = 3'],
    "replaced-then-renamed": ["REPLACE INTO \"Item\" VALUES (3, 'new')", 'UPDATE "Item" SET "Id" = 9 WHERE "Id" = 3'],
    "renamed-onto-another": ['UPDATE OR REPLACE "Item" SET "Id" = 3 WHERE "Id" = 4'],
    "renamed-onto-another-then-deleted": [
        'UPDATE OR REPLACE "Item" SET "Id" = 3 WHERE "Id" = 4',
        'DELETE FROM "Item" WHERE "Id" = 3',
    ],
    "child-replaced-then-deleted": ["REPLACE INTO \"Line\" VALUES (1, 1, 'new')", 'DELETE FROM "Line" WHERE "Id" = 1'],
    "child-taken-by-another-document": ["REPLACE INTO \"Line\" VALUES (1, 2, 'new')"],
    "child-taken-then-deleted": ["REPLACE INTO \"Line\" VALUES (1, 2, 'new')", 'DELETE FROM "Line" WHERE "Id" = 1'],
    "child-renamed-onto-another-document's": ['UPDATE OR REPLACE "Line" SET "Id" = 1 WHERE "Id" = 3'],
    "an-upsert-that-updates": [
        'INSERT INTO "Item" VALUES (3, \'up\') ON CONFLICT DO UPDATE SET "Code" = excluded."Code"',
        'DELETE FROM "Item" WHERE "Id" = 2 AND 0',
    ],
    "ignored": ["INSERT OR IGNORE INTO \"Item\" VALUES (3, 'no')", 'UPDATE "Item" SET "Code" = \'d\' WHERE "Id" = 3'],
}


@pytest.mark.parametrize("name", STATEMENTS)
async def test_consumers_have_what_is_there_after_a_row_was_replaced_by_its_key(tmp_path: Path, name: str) -> None:
    store, hq = (Site(tmp_path, each, schema=SCHEMA, doctypes=DOCTYPES) for each in ("store", "hq"))
    await store.open()
    await hq.open()
    await hq.pull_all(store)
    store.write(*START, "INSERT INTO \"Item\" VALUES (4, 'd')")
    await hq.pull_all(store)

    store.write(*STATEMENTS[name])
    await hq.pull_all(store)

    assert await hq.queue() == []
    for table in ("Item", "Line"):
        query = f'SELECT * FROM "{table}" ORDER BY 1'
        assert hq.rows(query) == store.rows(query)
    await store.close()
    await hq.close()


async def test_rows_that_were_ignored_are_not_kept_as_notes(tmp_path: Path) -> None:
    store = Site(tmp_path, "store", schema=SCHEMA, doctypes=DOCTYPES)
    await store.open()
    store.write("INSERT INTO \"Item\" VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    store.write("INSERT OR IGNORE INTO \"Item\" VALUES (1, 'n'), (2, 'n'), (3, 'n')")
    assert len(store.rows("SELECT * FROM streamd_displaced")) <= 1
    await store.close()
