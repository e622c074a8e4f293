"""A column is added at both sites of a pair that syncs both ways, and not at the same moment."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.sites import Site
from tests.support.database_url import Engine
from tests.support.matrix import EACH_ENGINE

SCHEMA = """
CREATE TABLE "Item" ("Sku" VARCHAR(20) PRIMARY KEY, "Title" VARCHAR(40));
CREATE TABLE "Part" ("Id" INTEGER PRIMARY KEY, "Item" VARCHAR(20) REFERENCES "Item" ("Sku"), "Label" VARCHAR(40));
"""
TYPES: dict[str, Any] = {"Item": {"children": {"parts": {"table": "Part", "key": "Id", "parent_key": "Item"}}}}


@pytest.fixture
async def pair(tmp_path: Path, engine: Engine) -> AsyncIterator[tuple[Site, Site]]:
    sites = [Site(tmp_path, name, engine=engine, schema=SCHEMA, doctypes=TYPES) for name in ("hq", "store")]
    for site in sites:
        await site.open()
    yield sites[0], sites[1]
    for site in sites:
        await site.close()


async def add_column(site: Site, default: str) -> None:
    for table in ("Item", "Part"):
        site.write(f'ALTER TABLE "{table}" ADD COLUMN "Colour" VARCHAR(20) DEFAULT \'{default}\'')
    await site.close()
    await site.open()


def colours(site: Site) -> list[tuple[object, ...]]:
    return [
        *site.rows('SELECT "Sku", "Colour" FROM "Item" ORDER BY 1'),
        *site.rows('SELECT "Id", "Colour" FROM "Part" ORDER BY 1'),
    ]


async def read_again(site: Site, other: Site) -> None:
    await site.read_whole(other, "Item", repair=True)


MADE = ["INSERT INTO \"Item\" VALUES ('a', 'A', 'x')", "INSERT INTO \"Part\" VALUES (1, 'a', 'P', 'y')"]


@pytest.mark.parametrize("hq_first", [True, False])
async def test_a_default_of_the_later_site_never_replaces_what_the_document_was_made_with(
    pair: tuple[Site, Site], hq_first: bool
) -> None:
    hq, store = pair
    await add_column(hq, "none")
    hq.write(*MADE)
    await store.greet(hq)
    await store.pull_all(hq)
    await hq.pull_all(store)
    await add_column(store, "d")
    await store.greet(hq)
    store.write('UPDATE "Item" SET "Title" = \'B\' WHERE "Sku" = \'a\'')
    await hq.pull_all(store)
    for site, other in ((hq, store), (store, hq)) if hq_first else ((store, hq), (hq, store)):
        await read_again(site, other)
        await hq.pull_all(store)
        await store.pull_all(hq)
    assert colours(hq) == colours(store) == [("a", "x"), (1, "y")]
    assert hq.rows('SELECT "Title" FROM "Item"') == [("B",)]


@EACH_ENGINE
async def test_an_edit_in_the_new_column_travels_before_the_rest_of_it_was_read(pair: tuple[Site, Site]) -> None:
    hq, store = pair
    await add_column(hq, "none")
    hq.write(*MADE)
    await store.greet(hq)
    await store.pull_all(hq)
    await add_column(store, "d")
    store.write('UPDATE "Item" SET "Colour" = \'edited\'', "INSERT INTO \"Part\" VALUES (2, 'a', 'Q', 'added')")
    # It comes by reading, before hq has met it in the log.
    await store.capture.drain()
    await read_again(hq, store)
    assert colours(hq) == [("a", "edited"), (1, "y"), (2, "added")]
    await read_again(store, hq)
    await hq.pull_all(store)
    assert colours(hq) == colours(store) == [("a", "edited"), (1, "y"), (2, "added")]


@pytest.mark.parametrize("hq_first", [True, False])
async def test_where_both_sites_have_defaults_that_of_the_site_that_made_the_document_counts(
    pair: tuple[Site, Site], hq_first: bool
) -> None:
    hq, store = pair
    hq.write("INSERT INTO \"Item\" VALUES ('a', 'A')")
    store.write("INSERT INTO \"Item\" VALUES ('b', 'B')")
    await store.pull_all(hq)
    await hq.pull_all(store)
    await add_column(hq, "of hq")
    await store.greet(hq)
    await add_column(store, "of the store")
    # The column came to hq while its daemon ran, so it is read again there too.
    await hq.unread.add("store", {"Item": ["Colour", "parts/Colour"]})
    one, other = (hq, store) if hq_first else (store, hq)
    # Each is read while the other one is not filled yet: as when both notice at once.
    await read_again(one, other)
    await read_again(other, one)
    assert colours(hq) == colours(store) == [("a", "of hq"), ("b", "of the store")]


@EACH_ENGINE
async def test_once_it_was_read_the_column_is_as_any_other(pair: tuple[Site, Site]) -> None:
    hq, store = pair
    await add_column(hq, "none")
    hq.write(*MADE)
    await store.greet(hq)
    await store.pull_all(hq)
    await add_column(store, "d")
    await store.greet(hq)
    await read_again(store, hq)
    assert await store.unread.of_producer("hq") == {}
    # An edit of which nobody remembers anything comes by reading again.
    store.write('UPDATE "Item" SET "Colour" = \'unseen\'')
    await store.capture.drain()
    async with store.database.transaction() as transaction:
        (record,) = (await transaction.records("Item", [("a",)])).values()
        record.field_clocks = {}
        await transaction.put_records([record])
    await read_again(hq, store)
    assert colours(hq) == [("a", "unseen"), (1, "y")]


async def test_a_row_that_is_changed_before_and_after_the_triggers_see_the_column_was_not_edited_in_it(
    pair: tuple[Site, Site],
) -> None:
    hq, store = pair
    await add_column(hq, "none")
    hq.write(*MADE)
    await store.greet(hq)
    await store.pull_all(hq)
    store.write('UPDATE "Item" SET "Title" = \'before\'', 'UPDATE "Part" SET "Label" = \'before\'')
    await add_column(store, "d")
    store.write('UPDATE "Item" SET "Title" = \'after\'', 'UPDATE "Part" SET "Label" = \'after\'')
    # Both at one moment: where the engine does not tell transactions, they are taken together.
    changes = "streamd.streamd_change" if store.access.engine == "postgresql" else "streamd_change"
    store.access.execute(f'UPDATE {changes} SET "at" = {time.time_ns() // 1_000_000}')
    await hq.pull_all(store)
    assert colours(hq) == [("a", "x"), (1, "y")]
    assert hq.rows('SELECT "Title", "Label" FROM "Item", "Part"') == [("after", "after")]


@pytest.mark.parametrize("hq_first", [True, False])
async def test_documents_that_both_sites_had_from_the_beginning_are_filled_and_not_taken_for_others(
    pair: tuple[Site, Site], hq_first: bool
) -> None:
    hq, store = pair
    for site in pair:
        site.write("INSERT INTO \"Item\" VALUES ('a', 'A')", "INSERT INTO \"Part\" VALUES (1, 'a', 'P')")
        await forget(site)
    await add_column(hq, "of hq")
    await store.greet(hq)
    await add_column(store, "of the store")
    for site, other in ((hq, store), (store, hq)) if hq_first else ((store, hq), (hq, store)):
        await read_again(site, other)
    assert colours(hq) == colours(store) == [("a", "of hq"), (1, "of hq")]
    assert await hq.queue() == await store.queue() == []


async def test_where_nobody_knows_who_made_it_and_both_sites_have_a_default_of_their_own_a_person_decides(
    pair: tuple[Site, Site],
) -> None:
    hq, store = pair
    for site in pair:
        site.write("INSERT INTO \"Item\" VALUES ('a', 'A')")
        await forget(site)
        await add_column(site, f"of {site.name}")
    for site, other in ((hq, store), (store, hq)):
        await site.unread.add(other.name, {"Item": ["Colour", "parts/Colour"]})
    for site, other in ((hq, store), (store, hq)):
        await read_again(site, other)
        ((state, error),) = await site.queue()
        assert state == "parked"
        assert "of hq" in error
        assert "of store" in error


async def forget(site: Site) -> None:
    """Nothing is remembered of the documents that are here: they were here before streamd."""
    await site.capture.drain()
    async with site.database.transaction() as transaction:
        for name in await transaction.list_names(site.catalogue["Item"], None, 10):
            await transaction.forget_record("Item", name)
