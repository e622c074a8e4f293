"""A link means a document, whatever has that document's name when the link arrives."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulation.conftest import Opened, Sites
from tests.simulation.sites import settle, write
from tests.support.database_url import Engine
from tests.support.matrix import EACH_ENGINE

SCHEMA = """
CREATE TABLE "Customer" ("Id" VARCHAR(20) PRIMARY KEY NOT NULL, "Who" VARCHAR(20) NOT NULL);
CREATE TABLE "Invoice" ("Id" VARCHAR(20) PRIMARY KEY NOT NULL,
    "Customer" VARCHAR(20) NOT NULL REFERENCES "Customer" ("Id"));
"""
FREE = SCHEMA.replace(' REFERENCES "Customer" ("Id")', "")
TYPES: dict[str, Any] = {"Customer": {}, "Invoice": {"links": {"Customer": "Customer"}}}
ADA, BOB = (f"INSERT INTO \"Customer\" VALUES ('c1', '{who}')" for who in ("Ada", "Bob"))
BILL = "INSERT INTO \"Invoice\" VALUES ('i1', 'c1')"
GONE = 'DELETE FROM "Customer" WHERE "Id" = \'c1\''
BILLED = (
    'SELECT i."Id", c."Who" FROM "Invoice" i LEFT JOIN "Customer" c ON c."Id" = i."Customer" ORDER BY 1'  # who pays
)


@pytest.fixture
def sites(opened: Opened) -> Sites:
    return Sites(opened, schema=SCHEMA, doctypes=TYPES)


@pytest.mark.parametrize("declared", [True, False], ids=["foreign key", "no foreign key"])
async def test_an_invoice_for_a_customer_whose_name_got_another_one_never_ends_on_that_one(
    sites: Sites, engine: Engine, declared: bool
) -> None:
    hq, store = await sites.make("hq", "store", engine=engine, schema=SCHEMA if declared else FREE)
    await write(hq, ADA)
    await settle(hq, store)
    await write(store, BILL)
    await write(hq, GONE, BOB)
    await settle(hq, store)
    assert hq.rows(BILLED) == []
    assert store.rows(BILLED) == [("i1", "Ada" if declared else None)]
    waiting = [error for _, error in await hq.queue()]
    assert any("c1" in error and "Customer" in error for error in waiting), waiting


@EACH_ENGINE
async def test_an_invoice_of_the_producers_for_the_new_document_never_ends_on_the_old_one(
    sites: Sites, engine: Engine
) -> None:
    hq, store = await sites.make("hq", "store", engine=engine)
    await write(hq, ADA)
    await settle(hq, store)
    # The store's own invoice keeps Ada there: her deletion is parked, and Bob waits behind it.
    await write(store, BILL)
    await write(hq, GONE, BOB, "INSERT INTO \"Invoice\" VALUES ('i2', 'c1')")
    await settle(hq, store)
    assert store.rows(BILLED) == [("i1", "Ada")]
    assert hq.rows(BILLED) == [("i2", "Bob")]
    # The store lets go of Ada: what waited comes, each as it was meant.
    await write(store, 'DELETE FROM "Invoice" WHERE "Id" = \'i1\'')
    await settle(hq, store)
    assert store.rows(BILLED) == hq.rows(BILLED) == [("i2", "Bob")]
    assert [await site.queue() for site in (hq, store)] == [[], []]


async def test_a_link_follows_a_document_that_was_renamed_where_the_link_was_set_unheard_of(
    sites: Sites, engine: Engine
) -> None:
    hq, store = await sites.make("hq", "store", engine=engine, schema=FREE)
    await write(hq, ADA)
    await settle(hq, store)
    await write(store, BILL)
    await write(hq, 'UPDATE "Customer" SET "Id" = \'c2\' WHERE "Id" = \'c1\'', BOB)
    await settle(hq, store)
    assert hq.rows(BILLED) == store.rows(BILLED) == [("i1", "Ada")]
    assert [await site.queue() for site in (hq, store)] == [[], []]


async def test_an_invoice_that_comes_by_a_third_site_means_the_same_customer(sites: Sites) -> None:
    hq, store, till = await sites.make("hq", "store", "till")
    await write(hq, ADA)
    for one, other in ((store, hq), (till, store)):
        await one.pull_all(other)
    await write(till, BILL)
    await write(hq, GONE, BOB)
    await store.pull_all(till)
    await hq.pull_all(store)
    assert hq.rows(BILLED) == []
    assert await hq.queue() != []
    assert store.rows(BILLED) == till.rows(BILLED) == [("i1", "Ada")]


async def test_a_producer_that_only_sends_customers_knows_which_one_an_invoice_means(sites: Sites) -> None:
    hq, store = await sites.make("hq", "store")
    hq.remembers("Invoice")
    store.remembers("Customer")
    await write(hq, ADA)
    await settle(hq, store)
    await write(store, BILL)
    await write(hq, GONE, BOB)
    await settle(hq, store)
    assert hq.rows(BILLED) == []
    assert store.rows(BILLED) == [("i1", "Ada")]


async def test_what_is_appended_again_after_a_crash_means_the_same_documents(sites: Sites) -> None:
    hq, store = await sites.make("hq", "store", schema=FREE)
    await write(hq, ADA)
    await settle(hq, store)
    await write(store, GONE)
    store.write(BOB)
    store.write(BILL)
    await store.crash_between_claim_and_append()
    await settle(hq, store)
    assert hq.rows(BILLED) == store.rows(BILLED) == [("i1", "Bob")]
    await write(hq, 'UPDATE "Customer" SET "Who" = \'Rob\'')
    await settle(hq, store)
    assert hq.rows(BILLED) == store.rows(BILLED) == [("i1", "Rob")]
    assert [await site.queue() for site in (hq, store)] == [[], []]


@pytest.mark.parametrize("order", [("north", "middle"), ("middle", "north")], ids="-".join)
async def test_a_document_that_comes_by_two_routes_to_a_site_with_names_of_its_own_is_there_once(
    sites: Sites, order: tuple[str, str]
) -> None:
    types = {name: {**said, "naming": "hash"} for name, said in TYPES.items()}
    north, middle = await sites.make("north", "middle")
    (hq,) = await sites.make("hq", doctypes=types, renamed=("Customer", "Invoice"))
    await write(north, ADA, BILL)
    await middle.pull_all(north)
    for first in order:
        await hq.pull_all({"north": north, "middle": middle}[first])
    assert [who for _, who in hq.rows(BILLED)] == ["Ada"]
    await write(north, 'UPDATE "Customer" SET "Who" = \'Ida\'')
    await middle.pull_all(north)
    await hq.pull_all(middle)
    await hq.pull_all(north)
    assert hq.rows('SELECT "Who" FROM "Customer"') == [("Ida",)]
    await write(middle, 'UPDATE "Customer" SET "Who" = \'Eda\'')
    await hq.pull_all(middle)
    assert hq.rows('SELECT "Who" FROM "Customer"') == [("Eda",)]
    assert await hq.queue() == []


async def test_nothing_is_remembered_for_ever_of_documents_that_were_made_renamed_and_deleted(sites: Sites) -> None:
    hq, store = await sites.make("hq", "store", schema=FREE)
    for number in range(50):
        await write(
            hq,
            f"INSERT INTO \"Customer\" VALUES ('a{number}', 'x')",
            f'UPDATE "Customer" SET "Id" = \'b{number}\' WHERE "Id" = \'a{number}\'',
            f'DELETE FROM "Customer" WHERE "Id" = \'b{number}\'',
        )
    await settle(hq, store)
    for site in (hq, store):
        async with site.database.transaction() as transaction:
            while await transaction.forget_deleted(1 << 50, 1000):
                pass
        tables = [name for (name,) in site.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        ours = [str(name) for name in tables if str(name) in KEPT_OF_DOCUMENTS]
        assert {table: site.rows(f'SELECT count(*) FROM "{table}"')[0][0] for table in ours} == dict.fromkeys(ours, 0)


KEPT_OF_DOCUMENTS = ("streamd_document", "streamd_identity", "streamd_row_ids")

TREE = """CREATE TABLE "Node" ("Id" VARCHAR(10) PRIMARY KEY NOT NULL, "Who" VARCHAR(10),
    "Parent" VARCHAR(10) REFERENCES "Node" ("Id") ON UPDATE CASCADE)"""


@pytest.mark.parametrize("at", ["one site", "both sites"])
async def test_a_third_document_keeps_its_parent_where_two_exchange_their_keys(sites: Sites, at: str) -> None:
    hq, store = await sites.make("hq", "store", schema=TREE, doctypes={"Node": {}})
    await write(
        hq,
        "INSERT INTO \"Node\" VALUES ('a', 'Ada', NULL)",
        "INSERT INTO \"Node\" VALUES ('b', 'Bob', NULL)",
        "INSERT INTO \"Node\" VALUES ('c', 'Cy', 'a')",
        'UPDATE "Node" SET "Parent" = \'b\' WHERE "Id" = \'a\'',
    )
    await settle(hq, store)
    if at == "both sites":
        await write(store, "INSERT INTO \"Node\" VALUES ('d', 'Di', 'a')")
    moves = [("a", "x"), ("b", "a"), ("x", "b")]
    hq.write(*(f'UPDATE "Node" SET "Id" = \'{new}\' WHERE "Id" = \'{old}\'' for old, new in moves))
    await settle(hq, store)
    who = 'SELECT n."Who", p."Who" FROM "Node" n LEFT JOIN "Node" p ON p."Id" = n."Parent" ORDER BY 1'
    expected = [("Ada", "Bob"), ("Bob", None), ("Cy", "Ada"), *([("Di", "Ada")] if at == "both sites" else [])]
    assert hq.rows(who) == store.rows(who) == expected
    assert [await site.queue() for site in (hq, store)] == [[], []]


CUSTOMERS = """CREATE TABLE "C" ("Id" VARCHAR(10) PRIMARY KEY NOT NULL, "Who" VARCHAR(10), "City" VARCHAR(10));
    CREATE TABLE "Bill" ("Id" VARCHAR(10) PRIMARY KEY NOT NULL,
        "C" VARCHAR(10) NOT NULL REFERENCES "C" ("Id") ON UPDATE CASCADE)"""


@EACH_ENGINE
async def test_names_that_are_exchanged_beside_an_event_that_is_refused_end_at_the_documents_that_they_are_of(
    sites: Sites, engine: Engine
) -> None:
    hq, store = await sites.make("hq", "store", schema=CUSTOMERS, doctypes={"C": {}, "Bill": {}}, engine=engine)
    await write(hq, *(f"INSERT INTO \"C\" VALUES ('c{n}', 'n{n}', 'x')" for n in (1, 3, 4, 6, 7)))
    await settle(hq, store)
    hq.write('DELETE FROM "C" WHERE "Id" = \'c1\'')
    for one, other in (("c6", "c7"), ("c3", "c4")):
        moves = [(one, "tmp"), (other, one), ("tmp", other)]
        hq.write(*(f'UPDATE "C" SET "Id" = \'{new}\' WHERE "Id" = \'{old}\'' for old, new in moves))
    await write(
        store, "INSERT INTO \"Bill\" VALUES ('i1', 'c1')", 'UPDATE "C" SET "City" = \'edited\' WHERE "Id" = \'c6\''
    )
    for _ in range(3):
        await store.pull_all(hq)
        await hq.pull_all(store)
    who = 'SELECT * FROM "C" ORDER BY 1'
    assert hq.rows(who) == store.rows(who)
    assert ("c7", "n6", "edited") in store.rows(who)


@pytest.mark.parametrize("capture", ["before", "after"])
async def test_a_link_that_arrives_before_local_renames_are_captured_means_the_document_that_had_the_name(
    sites: Sites, engine: Engine, capture: str
) -> None:
    hq, store = await sites.make("hq", "store", schema=TREE, doctypes={"Node": {}}, engine=engine)
    await write(hq, "INSERT INTO \"Node\" VALUES ('a', 'Ada', NULL)", "INSERT INTO \"Node\" VALUES ('b', 'Bob', NULL)")
    await settle(hq, store)
    await write(store, "INSERT INTO \"Node\" VALUES ('d', 'Di', 'a')")
    hq.write(
        *(
            f'UPDATE "Node" SET "Id" = \'{new}\' WHERE "Id" = \'{old}\''
            for old, new in (("a", "x"), ("b", "a"), ("x", "b"))
        )
    )
    if capture == "before":
        await hq.capture.drain()
    await hq.pull_all(store)
    assert hq.rows('SELECT p."Who" FROM "Node" n JOIN "Node" p ON p."Id" = n."Parent"') == [("Ada",)]
    await settle(hq, store)
    assert store.rows('SELECT p."Who" FROM "Node" n JOIN "Node" p ON p."Id" = n."Parent"') == [("Ada",)]


async def test_a_document_that_is_fetched_under_its_new_name_before_its_rename_is_there_once(sites: Sites) -> None:
    hq, store = await sites.make("hq", "store")
    await write(hq, ADA)
    await settle(hq, store)
    await write(hq, 'UPDATE "Customer" SET "Id" = \'c2\' WHERE "Id" = \'c1\'')
    await store.read_whole(hq, "Customer")
    await settle(hq, store)
    assert store.rows('SELECT * FROM "Customer"') == [("c2", "Ada")]
    assert [await site.queue() for site in (hq, store)] == [[], []]
