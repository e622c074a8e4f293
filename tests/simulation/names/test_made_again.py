"""A row that is replaced where it was made stays as it is there, whatever an older copy of it says that is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.simulation.flow.test_reading_whole import Pair
from tests.simulation.flow.test_reading_whole import pair as pair
from tests.simulation.sites import Site
from tests.support.database_url import Engine
from tests.support.servers import ENGINES

SCHEMA = """
CREATE TABLE "Item" ("Id" INTEGER PRIMARY KEY, "A" VARCHAR(20), "B" VARCHAR(20));
CREATE TABLE "Part" ("Id" INTEGER PRIMARY KEY, "Item" INTEGER NOT NULL, "Label" VARCHAR(20))
"""
TYPES: dict[str, Any] = {"Item": {"children": {"parts": {"table": "Part", "key": "Id", "parent_key": "Item"}}}}
REPLACED = "REPLACE INTO \"Item\" VALUES (1, NULL, 'new')"
DELETED_AND_MADE = ('DELETE FROM "Item"', "INSERT INTO \"Item\" VALUES (1, NULL, 'new')")


def items(*sites: Site) -> list[list[tuple[object, ...]]]:
    return [site.rows('SELECT * FROM "Item" ORDER BY 1') for site in sites]


def parts(*sites: Site) -> list[list[tuple[object, ...]]]:
    return [site.rows('SELECT * FROM "Part" ORDER BY 1') for site in sites]


async def settle(hq: Site, store: Site) -> None:
    for _ in range(2):
        await store.pull_all(hq)
        await hq.pull_all(store)
    assert await hq.queue() == []
    assert await store.queue() == []


def ways() -> list[Any]:
    found = [pytest.param("sqlite", [REPLACED], id="sqlite-replaced")]
    for engine in ENGINES:
        found.append(pytest.param(engine, list(DELETED_AND_MADE), id=f"{engine}-deleted-and-made"))
    return found


@pytest.mark.parametrize(("engine", "statements"), ways())
async def test_what_replaced_a_row_at_its_origin_is_not_lost_to_an_older_copy(
    pair: Pair, engine: Engine, statements: list[str]
) -> None:
    hq, store = await pair.make(engine, SCHEMA, TYPES)
    hq.write("INSERT INTO \"Item\" VALUES (1, 'a', 'b')")
    await store.pull_all(hq)
    hq.write(*statements)
    await hq.capture.drain()
    for _ in range(2):
        await hq.read_whole(store, "Item", repair=True)
        assert items(hq) == [[(1, None, "new")]]
    await settle(hq, store)
    assert items(hq, store) == [[(1, None, "new")]] * 2


async def test_what_replaced_a_row_that_came_from_elsewhere_is_not_lost_to_what_is_there(pair: Pair) -> None:
    hq, store = await pair.make("sqlite", SCHEMA, TYPES)
    hq.write("INSERT INTO \"Item\" VALUES (1, 'a', 'b')")
    await store.pull_all(hq)
    store.write(REPLACED)
    await store.capture.drain()
    await store.read_whole(hq, "Item", repair=True)
    assert items(store) == [[(1, None, "new")]]


async def test_an_edit_made_elsewhere_before_a_row_was_replaced_loses_at_both_sites(pair: Pair) -> None:
    hq, store = await pair.make("sqlite", SCHEMA, TYPES)
    hq.write("INSERT INTO \"Item\" VALUES (1, 'a', 'b')", "INSERT INTO \"Part\" VALUES (1, 1, 'old')")
    await store.pull_all(hq)
    store.write('UPDATE "Item" SET "A" = \'of the store\'', 'UPDATE "Part" SET "Label" = \'of the store\'')
    await store.capture.drain()
    hq.write(REPLACED, "INSERT INTO \"Part\" VALUES (2, 1, 'new')")
    await hq.capture.drain()
    await hq.read_whole(store, "Item", repair=True)
    await settle(hq, store)
    assert items(hq, store) == [[(1, None, "new")]] * 2
    assert parts(hq, store) == [[(1, 1, "of the store"), (2, 1, "new")]] * 2


async def test_an_edit_made_elsewhere_after_a_row_was_replaced_is_taken_when_it_is_read(pair: Pair) -> None:
    hq, store = await pair.make("sqlite", SCHEMA, TYPES)
    hq.write("INSERT INTO \"Item\" VALUES (1, 'a', 'b')")
    hq.write(REPLACED)
    await store.pull_all(hq)
    store.write('UPDATE "Item" SET "A" = \'later\'')
    await store.capture.drain()
    await hq.read_whole(store, "Item", repair=True)
    await settle(hq, store)
    assert items(hq, store) == [[(1, "later", "new")]] * 2


async def test_a_document_that_was_only_made_here_is_not_taken_for_anothers_of_its_name(pair: Pair) -> None:
    hq, store = await pair.make("sqlite", SCHEMA, TYPES)
    store.write("INSERT INTO \"Item\" VALUES (1, 'x', 'of the store')")
    await hq.pass_over(store)
    hq.write("INSERT INTO \"Item\" VALUES (1, 'a', 'of hq')")
    await hq.capture.drain()
    store.write('UPDATE "Item" SET "A" = \'y\'')
    await hq.pull_all(store)
    assert items(hq) == [[(1, "a", "of hq")]]
    assert "another document" in (await hq.queue())[0][1]


CASCADING = SCHEMA.replace(
    '"Label" VARCHAR(20))', '"Label" VARCHAR(20), FOREIGN KEY ("Item") REFERENCES "Item" ("Id") ON DELETE CASCADE)'
)
AGAIN = [
    'DELETE FROM "Part"',
    'DELETE FROM "Item" WHERE "Id" = 1',
    "INSERT INTO \"Item\" VALUES (1, NULL, 'new')",
    "INSERT INTO \"Part\" VALUES (2, 1, 'of the new one')",
]


def replacing() -> list[Any]:
    found = [
        pytest.param(engine, [REPLACED], schema, id=f"{engine}-replaced-{name}")
        for engine in ("sqlite", "mariadb")
        for name, schema in (("plain", SCHEMA), ("cascading", CASCADING))
    ]
    for engine in ENGINES:
        for name, schema in (("plain", SCHEMA), ("cascading", CASCADING)):
            found.append(pytest.param(engine, list(DELETED_AND_MADE), schema, id=f"{engine}-made-again-{name}"))
            found.append(pytest.param(engine, AGAIN, schema, id=f"{engine}-with-its-rows-{name}"))
    return found


@pytest.mark.parametrize(("engine", "statements", "schema"), replacing())
async def test_what_a_consumer_replaced_is_an_update_of_the_producers_document(
    tmp_path: Path, engine: Engine, statements: list[str], schema: str
) -> None:
    hq = Site(tmp_path, "hq", schema=schema, doctypes=TYPES)
    store = Site(tmp_path, "store", schema=schema, doctypes=TYPES, engine=engine)
    for site in (hq, store):
        await site.open()
    hq.write("INSERT INTO \"Item\" VALUES (1, 'a', 'b')", "INSERT INTO \"Part\" VALUES (1, 1, 'old')")
    await store.pull_all(hq)
    with store.access.connection() as connection:
        connection.execute(store.access.begin)
        for statement in statements:
            connection.execute(statement)
        connection.execute("COMMIT")
    await store.capture.drain()
    entries = await store.update_log.entries(doctype="Item")
    assert {each.operation for each in entries if each.origin is None} == {"update"}
    await settle(hq, store)
    assert items(hq, store) == [[(1, None, "new")]] * 2
    assert parts(hq) == parts(store)
    hq.write('UPDATE "Item" SET "A" = \'later\'')
    await settle(hq, store)
    assert items(hq, store) == [[(1, "later", "new")]] * 2
    for site in (hq, store):
        await site.close()
