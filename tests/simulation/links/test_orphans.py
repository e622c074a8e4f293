"""Child rows without a document are told to nobody; once the document is there, they travel with it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.sites import Site
from tests.support.database_url import Engine
from tests.support.matrix import EACH_ENGINE

SCHEMA = """
CREATE TABLE "Item" ("Id" INTEGER PRIMARY KEY, "A" VARCHAR(20));
CREATE TABLE "Part" ("Id" INTEGER PRIMARY KEY, "Item" INTEGER, "Label" VARCHAR(20))
"""
TYPES: dict[str, Any] = {"Item": {"children": {"parts": {"table": "Part", "key": "Id", "parent_key": "Item"}}}}
ORPHAN = "INSERT INTO \"Part\" VALUES (1, 9, 'orphan')"
PARENT = "INSERT INTO \"Item\" VALUES (9, 'a')"
CHANGED = 'UPDATE "Part" SET "Label" = \'changed\' WHERE "Id" = 1'


@pytest.fixture
async def pair(tmp_path: Path, engine: Engine) -> AsyncIterator[tuple[Site, Site]]:
    store = Site(tmp_path, "store", schema=SCHEMA, doctypes=TYPES, engine=engine)
    hq = Site(tmp_path, "hq", schema=SCHEMA, doctypes=TYPES)
    for site in (store, hq):
        await site.open()
    yield store, hq
    for site in (store, hq):
        await site.close()


def documents(site: Site) -> list[list[tuple[object, ...]]]:
    rows = 'SELECT * FROM "Part" WHERE "Item" IN (SELECT "Id" FROM "Item") ORDER BY 1'
    return [site.rows('SELECT * FROM "Item" ORDER BY 1'), site.rows(rows)]


async def told(site: Site) -> list[tuple[str, str]]:
    await site.capture.drain()
    return [(each.operation, each.name) for each in reversed(await site.update_log.entries())]


async def arrived(store: Site, hq: Site) -> None:
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert documents(hq) == documents(store)
    assert hq.rows('SELECT count(*) FROM "Part"') == [(len(documents(store)[1]),)]


@EACH_ENGINE
async def test_a_change_of_an_orphan_is_no_event_and_its_row_comes_with_the_document(pair: tuple[Site, Site]) -> None:
    store, hq = pair
    store.write(ORPHAN)
    assert await told(store) == []
    store.write(CHANGED, "INSERT INTO \"Part\" VALUES (2, 9, 'another'), (3, NULL, 'of nothing')")
    store.write('DELETE FROM "Part" WHERE "Id" = 2')
    assert [each for each in await told(store) if each[0] != "gap"] == []
    await arrived(store, hq)
    store.write(PARENT)
    await arrived(store, hq)
    assert hq.rows('SELECT "Label" FROM "Part"') == [("changed",)]
    store.write('UPDATE "Part" SET "Label" = \'again\' WHERE "Id" = 1')
    await arrived(store, hq)


async def test_an_orphan_that_was_never_changed_comes_with_the_document(pair: tuple[Site, Site]) -> None:
    store, hq = pair
    store.write(ORPHAN)
    await store.capture.drain()
    await store.lose_log()
    store.write(PARENT, "INSERT INTO \"Part\" VALUES (2, 9, 'its own')")
    await arrived(store, hq)
    assert hq.rows('SELECT "Label" FROM "Part" ORDER BY 1') == [("its own",), ("orphan",)]


async def test_a_row_that_spells_its_document_otherwise_is_no_orphan(tmp_path: Path) -> None:
    """A foreign key takes it, where the collation does not tell case; what cannot be told exactly is parked."""
    schema = SCHEMA.replace('"Id" INTEGER PRIMARY KEY, "A"', '"Id" VARCHAR(20) PRIMARY KEY, "A"')
    schema = schema.replace('"Item" INTEGER', '"Item" VARCHAR(20)')
    store = Site(tmp_path, "store", schema=schema, doctypes=TYPES, engine="mariadb")
    hq = Site(tmp_path, "hq", schema=schema, doctypes=TYPES)
    for site in (store, hq):
        await site.open()
    store.write("INSERT INTO \"Item\" VALUES ('k1', 'a')")
    await hq.pull_all(store)
    store.write("INSERT INTO \"Part\" VALUES (1, 'K1', 'of k1')")
    await hq.pull_all(store)
    assert [state for state, _ in await hq.queue()] == ["parked"]
    for site in (store, hq):
        await site.close()


async def test_rows_of_other_types_in_the_same_table_are_no_orphans(tmp_path: Path) -> None:
    types: dict[str, Any] = {
        "Item": {"children": {"parts": {**TYPES["Item"]["children"]["parts"], "where": {"Label": "part"}}}}
    }
    store = Site(tmp_path, "store", schema=SCHEMA, doctypes=types)
    await store.open()
    store.write("INSERT INTO \"Part\" VALUES (1, 9, 'of another type')", "INSERT INTO \"Part\" VALUES (2, 7, 'part')")
    assert await told(store) == []
    assert store.capture.orphans == 1
    await store.close()


async def test_a_row_before_its_document_in_one_transaction_is_one_create(pair: tuple[Site, Site]) -> None:
    store, hq = pair
    store.write(ORPHAN, PARENT)
    assert await told(store) == [("create", "[9]")]
    await arrived(store, hq)


@pytest.mark.parametrize("batch", [1, 50])
async def test_rows_that_follow_their_document_are_no_orphans(pair: tuple[Site, Site], batch: int) -> None:
    store, hq = pair
    store.capture._batch = batch
    store.write(PARENT)
    store.write(ORPHAN)
    await arrived(store, hq)
    assert (await told(store))[0] == ("create", "[9]"), "what is told later is nothing that was there before"


@EACH_ENGINE
async def test_rows_that_go_after_their_document_are_told_of_no_more(pair: tuple[Site, Site]) -> None:
    store, hq = pair
    store.write(PARENT, ORPHAN)
    await hq.pull_all(store)
    store.write('DELETE FROM "Item"')
    await arrived(store, hq)
    store.write(CHANGED)
    store.write('DELETE FROM "Part"')
    await arrived(store, hq)
    assert await told(store) == [("create", "[9]"), ("delete", "[9]")]


@pytest.mark.parametrize("gone", ['UPDATE "Item" SET "Id" = 8', 'DELETE FROM "Item"'], ids=["renamed", "deleted"])
async def test_what_becomes_of_the_document_later_makes_no_orphan_of_an_earlier_change(
    pair: tuple[Site, Site], gone: str
) -> None:
    store, hq = pair
    store.write(PARENT, ORPHAN)
    await hq.pull_all(store)
    store.capture._batch = 1
    store.write(CHANGED)
    store.write(gone)
    if "UPDATE" in gone:
        store.write('UPDATE "Part" SET "Item" = 8')
    await arrived(store, hq)
    assert ("update", "[9]") in await told(store)


async def test_a_crash_changes_nothing_of_it(pair: tuple[Site, Site]) -> None:
    store, hq = pair
    store.write(ORPHAN)
    await store.crash_between_claim_and_append()
    store.write(CHANGED)
    assert await told(store) == []
    store.write(PARENT)
    await store.crash_between_claim_and_append()
    await arrived(store, hq)
    assert hq.rows('SELECT "Label" FROM "Part"') == [("changed",)]


@pytest.mark.parametrize("batch", range(1, 9))
async def test_rows_stay_where_documents_are_deleted_and_made_again_in_two_batches(
    pair: tuple[Site, Site], batch: int
) -> None:
    store, hq = pair
    for number in (1, 2, 3):
        store.write(
            f"INSERT INTO \"Item\" VALUES ({number}, 'a')", f"INSERT INTO \"Part\" VALUES ({number}, {number}, 'p')"
        )
    await arrived(store, hq)
    store.capture._batch = batch
    store.write('DELETE FROM "Item"', "INSERT INTO \"Item\" VALUES (1, 'b'), (2, 'b'), (3, 'b')")
    await arrived(store, hq)
    assert hq.rows('SELECT count(*) FROM "Part"') == [(3,)]


async def test_a_table_that_cannot_be_searched_here_holds_up_no_change(tmp_path: Path) -> None:
    store = Site(tmp_path, "store", schema=SCHEMA, doctypes=TYPES)
    with closing(sqlite3.connect(store.file)) as connection:
        connection.create_collation("OF_THE_APPLICATION", lambda one, other: (one > other) - (one < other))
        connection.execute('DROP TABLE "Part"')
        connection.execute('CREATE TABLE "Part" ("Id" INTEGER PRIMARY KEY, "Item" INTEGER COLLATE OF_THE_APPLICATION)')
        await store.open()
        connection.execute("INSERT INTO \"Item\" VALUES (1, 'a')")
        connection.execute('INSERT INTO "Part" VALUES (1, 1)')
        connection.commit()
    assert await told(store) == [("create", "[1]")]
    await store.close()
