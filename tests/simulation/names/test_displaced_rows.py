"""A row that a write removes by a unique value (`INSERT OR REPLACE`) goes at every consumer too."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from streamd.db.sqlite.reflect import terms_and_condition
from streamd.lifecycle.installing import losses, missing_triggers
from tests.simulation.sites import Site

PLAIN = 'CREATE TABLE "Item" ("Id" INTEGER PRIMARY KEY, "Code" TEXT UNIQUE, "Active" INTEGER, "Note" TEXT)'
ITEM: dict[str, Any] = {"Item": {}}
SCHEMAS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": (PLAIN, ITEM),
    "text-key": (PLAIN.replace('"Id" INTEGER', '"Id" TEXT'), ITEM),
    "without-rowid": (PLAIN + " WITHOUT ROWID", ITEM),
    "nocase": (PLAIN.replace('"Code" TEXT', '"Code" TEXT COLLATE NOCASE'), ITEM),
    "composite": (
        PLAIN.replace('"Id" INTEGER PRIMARY KEY', '"Id" INTEGER').replace(
            '"Note" TEXT', '"Note" TEXT, "Shop" INTEGER DEFAULT 1, PRIMARY KEY ("Shop", "Id")'
        ),
        ITEM,
    ),
    "several": (
        PLAIN.replace('"Code" TEXT UNIQUE', '"Code" TEXT, UNIQUE ("Code", "Active")').replace(
            ', UNIQUE ("Code", "Active"), "Active" INTEGER, "Note" TEXT',
            ', "Active" INTEGER, "Note" TEXT, UNIQUE ("Code", "Active")',
        ),
        ITEM,
    ),
    "expression": (
        PLAIN.replace(" UNIQUE", "")
        + '; CREATE UNIQUE INDEX odd ON "Item" ("Active" DESC, lower("Code") /* , ( */ desc)',
        ITEM,
    ),
    "partial": (
        PLAIN.replace(" UNIQUE", "")
        + '; CREATE UNIQUE INDEX odd ON "Item" ("Code") WHERE "Active" = 1 AND "Note" <> \'where\'',
        ITEM,
    ),
    "generated": (
        PLAIN.replace(" UNIQUE", "").replace('"Note" TEXT', '"Note" TEXT, "Up" TEXT AS (upper("Code")) STORED UNIQUE'),
        ITEM,
    ),
    "another-key": (
        PLAIN.replace("TEXT UNIQUE", "TEXT NOT NULL DEFAULT 'none' UNIQUE"),
        {"Item": {"key": "Code"}},
    ),
    "on-conflict": (PLAIN.replace("UNIQUE", "UNIQUE ON CONFLICT REPLACE"), ITEM),
    "odd-names": (PLAIN.replace('"Note"', '"o" TEXT, "d" TEXT, "tbl" TEXT, "name" TEXT, "Note"'), ITEM),
}
COLUMNS = '("Id", "Code", "Active", "Note")'
START = [
    f'INSERT INTO "Item" {COLUMNS} VALUES {row}'
    for row in ("(1, 'a', 1, 'one')", "(2, 'b', 1, 'two')", "(3, 'c', 0, 'three')", "(4, NULL, 1, 'four')")
]
STATEMENTS = {
    "replace": [f"REPLACE INTO \"Item\" {COLUMNS} VALUES (9, 'a', 1, 'new')"],
    "replace-two": [f"REPLACE INTO \"Item\" {COLUMNS} VALUES (1, 'b', 1, 'new')"],
    "replace-many": [
        f"INSERT OR REPLACE INTO \"Item\" {COLUMNS} VALUES (7, 'a', 1, 'x'), (8, 'a', 1, 'y'), (9, 'b', 1, 'z'), "
        "(2, 'a', 1, 'w')"
    ],
    "replace-null": [f"REPLACE INTO \"Item\" {COLUMNS} VALUES (9, NULL, 1, 'new')"],
    "replace-inactive": [f"REPLACE INTO \"Item\" {COLUMNS} VALUES (9, 'c', 1, 'new')"],
    "update": ['UPDATE OR REPLACE "Item" SET "Code" = \'a\' WHERE "Id" = 2'],
    "update-key": ['UPDATE OR REPLACE "Item" SET "Id" = 1 WHERE "Id" = 2'],
    "update-both": ['UPDATE OR REPLACE "Item" SET "Id" = 1, "Code" = \'c\', "Active" = 0 WHERE "Id" = 2'],
    "ignored": [f"INSERT OR IGNORE INTO \"Item\" {COLUMNS} VALUES (9, 'a', 1, 'new')"],
    "ignored-then-deleted-then-made": [
        f"INSERT OR IGNORE INTO \"Item\" {COLUMNS} VALUES (9, 'a', 1, 'new')",
        'UPDATE "Item" SET "Id" = 11 WHERE "Id" = 1',
        'DELETE FROM "Item" WHERE "Id" = 11',
        f"INSERT INTO \"Item\" {COLUMNS} VALUES (9, 'a', 1, 'new')",
    ],
    "upsert": [
        f"INSERT INTO \"Item\" {COLUMNS} VALUES (9, 'zz', 1, 'n'), (1, 'a', 1, 'n') "
        "ON CONFLICT DO UPDATE SET \"Note\" = 'up'"
    ],
    "nothing": [f"INSERT INTO \"Item\" {COLUMNS} VALUES (9, 'a', 1, 'n') ON CONFLICT DO NOTHING"],
    "refused": [f"INSERT INTO \"Item\" {COLUMNS} VALUES (8, 'q', 1, 'n'), (9, 'a', 1, 'n')"],
    "deleted-first": [
        'DELETE FROM "Item" WHERE "Code" = \'a\'',
        f"REPLACE INTO \"Item\" {COLUMNS} VALUES (9, 'a', 1, 'new'), (1, 'b', 1, 'n')",
    ],
    "made-and-replaced": [
        f"INSERT INTO \"Item\" {COLUMNS} VALUES (20, 'n', 1, 'n')",
        f"REPLACE INTO \"Item\" {COLUMNS} VALUES (21, 'n', 1, 'm')",
    ],
}


@pytest.fixture
async def pair(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[tuple[Site, Site]]:
    schema, doctypes = request.param
    # A trigger of the consumer's would be a second reason for its rows to go.
    plain = schema.replace(" ON CONFLICT REPLACE", "")
    sites = (
        Site(tmp_path, "store", schema=schema, doctypes=doctypes),
        Site(tmp_path, "hq", schema=plain, doctypes=doctypes),
    )
    for site in sites:
        await site.open()
    yield sites
    for site in sites:
        await site.close()


def run(site: Site, statements: list[str], *, recursive: bool = False) -> None:
    """As a program does that goes on after an error."""
    with closing(sqlite3.connect(site.file, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA recursive_triggers = {'ON' if recursive else 'OFF'}")
        connection.execute("BEGIN")
        for statement in statements:
            with suppress(sqlite3.IntegrityError):
                connection.execute(statement)
        connection.execute("COMMIT")


def items(site: Site) -> list[tuple[object, ...]]:
    return site.rows('SELECT "Id", "Code", "Active", "Note" FROM "Item" ORDER BY 1')


@pytest.mark.parametrize("recursive", [False, True], ids=["as-usual", "recursive-triggers"])
@pytest.mark.parametrize("pair", SCHEMAS.values(), ids=SCHEMAS.keys(), indirect=True)
async def test_a_displaced_document_goes_at_the_consumer(pair: tuple[Site, Site], *, recursive: bool) -> None:
    store, hq = pair
    for what, statements in STATEMENTS.items():
        run(store, ['DELETE FROM "Item"', *START])
        await hq.pull_all(store)
        before = items(store)
        run(store, statements, recursive=recursive)
        told = store.rows(
            "SELECT before FROM streamd_change WHERE op = 'D' AND id > (SELECT last_change FROM streamd_capture)"
        )
        assert len(told) == len(set(told)), f"{what}: each is told of once"
        await hq.pull_all(store)
        assert await hq.queue() == [], what
        assert items(hq) == items(store), f"{what}: {before}"


@pytest.mark.parametrize("pair", [SCHEMAS["plain"]], indirect=True)
async def test_what_a_trigger_writes_between_the_two_looks_does_not_hide_a_displaced_row(
    pair: tuple[Site, Site],
) -> None:
    store, hq = pair
    store.write(
        'CREATE TRIGGER nested BEFORE INSERT ON "Item" WHEN NEW."Id" < 100 BEGIN '
        'INSERT INTO "Item" VALUES (NEW."Id" + 100, \'nested\' || NEW."Id", 1, \'n\'); END'
    )
    run(store, START)
    await hq.pull_all(store)
    run(store, STATEMENTS["replace"])
    await hq.pull_all(store)
    assert (1, "a", 1, "one") not in items(store)
    assert items(hq) == items(store)


@pytest.mark.parametrize("pair", [SCHEMAS["plain"]], indirect=True)
async def test_what_was_skipped_is_not_kept_for_ever(pair: tuple[Site, Site]) -> None:
    store, hq = pair
    run(store, START)
    run(store, [*STATEMENTS["ignored"] * 3, *STATEMENTS["nothing"]])
    assert store.rows("SELECT count(*) FROM streamd_displaced") == [(1,)]
    await hq.pull_all(store)
    assert store.rows("SELECT count(*) FROM streamd_displaced") == [(0,)]


LINES = """
CREATE TABLE "Bill" ("Id" INTEGER PRIMARY KEY, "Note" TEXT);
CREATE TABLE "Line" ("Id" INTEGER PRIMARY KEY, "Bill" INTEGER, "Barcode" TEXT UNIQUE, "Kind" TEXT DEFAULT 'sold')
"""
BILL: dict[str, Any] = {
    "Bill": {
        "children": {
            "lines": {"table": "Line", "key": "Id", "parent_key": "Bill", "where": {"Kind": "sold"}},
        }
    }
}


@pytest.mark.parametrize("pair", [(LINES, BILL)], indirect=True)
@pytest.mark.parametrize(
    "statement",
    [
        "REPLACE INTO \"Line\" VALUES (9, 2, 'x', 'sold')",
        "REPLACE INTO \"Line\" VALUES (9, 1, 'x', 'sold')",
        "REPLACE INTO \"Line\" VALUES (9, 2, 'x', 'lost')",
        "REPLACE INTO \"Line\" VALUES (1, 2, 'q', 'sold')",
        "REPLACE INTO \"Line\" VALUES (2, 2, 'x', 'sold')",
        'UPDATE OR REPLACE "Line" SET "Barcode" = \'x\' WHERE "Id" = 3',
        'UPDATE OR REPLACE "Line" SET "Id" = 1 WHERE "Id" = 3',
    ],
)
async def test_a_displaced_child_row_goes_from_its_document(pair: tuple[Site, Site], statement: str) -> None:
    store, hq = pair
    store.write("INSERT INTO \"Bill\" VALUES (1, 'one'), (2, 'two')")
    store.write("INSERT INTO \"Line\" VALUES (1, 1, 'x', 'sold'), (2, 1, 'y', 'sold'), (3, 2, 'z', 'sold')")
    await hq.pull_all(store)
    run(store, [statement])
    await hq.pull_all(store)
    assert await hq.queue() == []
    sold = 'SELECT * FROM "Line" WHERE "Kind" = \'sold\' ORDER BY 1'
    assert hq.rows(sold) == store.rows(sold)


async def test_a_unique_index_that_is_made_later_has_its_triggers_and_what_was_missed_is_a_gap(tmp_path: Path) -> None:
    schema = PLAIN.replace(" UNIQUE", "")
    site = Site(tmp_path, "store", schema=schema, doctypes=ITEM)
    await site.open()
    before, tables = await site.database.our_triggers(), await site.database.tables()
    assert losses(site.database, before, site.catalogue, tables) == {}
    site.write('CREATE UNIQUE INDEX late ON "Item" (lower("Code"))')
    tables = await site.database.tables()
    missing = missing_triggers(before, site.database.wanted_triggers(site.catalogue, tables))
    assert "streamd_Item_insert_before" in missing
    assert list(losses(site.database, before, site.catalogue, tables)) == ["Item"]
    await site.close()
    await site.open()
    assert (
        missing_triggers(await site.database.our_triggers(), site.database.wanted_triggers(site.catalogue, tables))
        == []
    )
    await site.close()


@pytest.mark.parametrize(
    ("statement", "terms", "condition"),
    [
        ("CREATE UNIQUE INDEX i ON t(a, b DESC)", ["a", "b"], ""),
        (
            'CREATE UNIQUE INDEX "i(" ON "t," ( lower(a), "b,)"\tasc ) where a = \') where\'',
            ["lower(a)", '"b,)"'],
            "a = ') where'",
        ),
        (
            "CREATE UNIQUE INDEX i ON t(coalesce(a, (b)) -- , (\n, [d desc] desc) WHERE(a)",
            ["coalesce(a, (b))", "[d desc]"],
            "(a)",
        ),
    ],
)
def test_an_index_is_read_as_it_is_written(statement: str, terms: list[str], condition: str) -> None:
    assert terms_and_condition(statement) == (terms, condition)
