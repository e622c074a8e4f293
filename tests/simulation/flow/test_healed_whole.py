"""A queue that fails by its events is healed by the document as its producer has it, if nobody has to decide."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamd.apply import Route
from streamd.errors import PeerUnreachable
from streamd.wire import Documents
from tests.simulation.sites import LocalFetcher, Site

FREE = 'CREATE TABLE "Item" ("Id" VARCHAR(20) PRIMARY KEY, "A" REAL, "B" VARCHAR(20))'
STRICT = 'CREATE TABLE "Item" ("Id" VARCHAR(20) PRIMARY KEY, "A" REAL NOT NULL, "B" VARCHAR(20))'


async def two(folder: Path) -> tuple[Site, Site]:
    hq = Site(folder, "hq", schema=FREE, doctypes={"Item": {}})
    store = Site(folder, "store", schema=STRICT, doctypes={"Item": {}})
    await hq.open()
    await store.open()
    return hq, store


def items(*sites: Site) -> list[list[tuple[object, ...]]]:
    return [site.rows('SELECT * FROM "Item" ORDER BY 1') for site in sites]


@pytest.mark.parametrize("repair", [False, True])
async def test_a_rename_that_failed_whole_is_healed_once_the_document_fits(tmp_path: Path, repair: bool) -> None:
    hq, store = await two(tmp_path)
    try:
        hq.write("INSERT INTO \"Item\" VALUES ('k1', 0.1, 'b')")
        await store.pull_all(hq)
        hq.write('UPDATE "Item" SET "Id" = \'ka\'')
        hq.write('UPDATE "Item" SET "A" = NULL')
        await store.read_whole(hq, "Item", repair=repair)
        hq.write('UPDATE "Item" SET "A" = 0.3')
        await store.pull_all(hq)
        await store.pull_all(hq)
        assert items(hq, store) == [[("ka", 0.3, "b")]] * 2
        assert await store.queue() == []
    finally:
        await hq.close()
        await store.close()


async def test_a_mend_that_was_not_heard_yet_is_fetched_and_what_is_newer_here_stays(tmp_path: Path) -> None:
    hq, store = await two(tmp_path)
    try:
        hq.write("INSERT INTO \"Item\" VALUES ('k1', 0.1, 'b')")
        await store.pull_all(hq)
        hq.write('UPDATE "Item" SET "A" = NULL, "B" = \'of hq\'')
        await store.pull_all(hq)
        assert len(await store.queue()) == 1
        store.write('UPDATE "Item" SET "B" = \'of the store\'')
        await store.capture.drain()
        hq.write('UPDATE "Item" SET "A" = 0.3')
        await store.heal(hq)
        assert await store.queue() == []
        assert items(store) == [[("k1", 0.3, "of the store")]]
        await hq.pull_all(store)
        await store.pull_all(hq)
        assert items(hq, store) == [[("k1", 0.3, "of the store")]] * 2
    finally:
        await hq.close()
        await store.close()


async def test_another_document_of_the_same_name_stays_until_a_person_decides(tmp_path: Path) -> None:
    hq, store = await two(tmp_path)
    try:
        store.write("INSERT INTO \"Item\" VALUES ('k1', 1, 'of the store')")
        await store.capture.drain()
        hq.write("INSERT INTO \"Item\" VALUES ('k1', 2, 'of hq')")
        await store.pull_all(hq)
        hq.write('UPDATE "Item" SET "A" = 3')
        await store.pull_all(hq)
        assert items(store) == [[("k1", 1.0, "of the store")]]
        assert "another document" in (await store.queue())[0][1]
    finally:
        await hq.close()
        await store.close()


async def test_while_the_producer_is_away_events_are_tried_one_by_one(tmp_path: Path) -> None:
    class Away(LocalFetcher):
        async def fetch(self, *_: object, **__: object) -> Documents:
            raise PeerUnreachable("away")

    hq, store = await two(tmp_path)
    try:
        hq.write("INSERT INTO \"Item\" VALUES ('k1', 0.1, 'b')")
        await store.pull_all(hq)
        hq.write('UPDATE "Item" SET "A" = NULL')
        await store.pull_all(hq)
        hq.write('UPDATE "Item" SET "B" = \'c\'')
        await store.pull_from(hq)
        await store.healer.run_once({hq.site: Route(store.source(hq), Away(hq, store))}, everything=True)
        assert "NOT NULL" in (await store.queue())[0][1]
        assert items(store) == [[("k1", 0.1, "b")]]
    finally:
        await hq.close()
        await store.close()
