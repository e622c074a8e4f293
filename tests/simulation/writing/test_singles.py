"""A single (one document, whose values are rows of a table that many share) between two sites, on every engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from streamd.model import Cursor
from tests.simulation.sites import Site, event
from tests.support.database_url import Engine
from tests.support.matrix import EACH_PAIR, Engines

TEXT = "VARCHAR(140)"
SCHEMA = f"""
CREATE TABLE "tabDocType" ("name" {TEXT} PRIMARY KEY, "issingle" INTEGER, "istable" INTEGER,
    "autoname" {TEXT}, "custom" INTEGER);
CREATE TABLE "tabDocField" ("name" {TEXT} PRIMARY KEY, "parent" {TEXT}, "parenttype" {TEXT}, "fieldname" {TEXT},
    "fieldtype" {TEXT}, "options" {TEXT});
CREATE TABLE "tabCustom Field" ("name" {TEXT} PRIMARY KEY, "dt" {TEXT}, "fieldname" {TEXT}, "fieldtype" {TEXT},
    "options" {TEXT});
CREATE TABLE "tabProperty Setter" ("name" {TEXT} PRIMARY KEY, "doc_type" {TEXT}, "doctype_or_field" {TEXT},
    "field_name" {TEXT}, "property" {TEXT}, "value" {TEXT});
CREATE TABLE "tabSingles" ("doctype" {TEXT}, "field" {TEXT}, "value" TEXT);
CREATE TABLE "tabCustomer" ("name" {TEXT} PRIMARY KEY, "title" {TEXT});
INSERT INTO "tabDocType" VALUES ('Shop', 1, 0, NULL, 0), ('Mail', 1, 0, NULL, 0), ('Customer', 0, 0, NULL, 0);
INSERT INTO "tabDocField" VALUES ('f1', 'Shop', 'DocType', 'walk_in', 'Link', 'Customer');
INSERT INTO "tabDocField" VALUES ('f2', 'Shop', 'DocType', 'motto', 'Data', NULL);
"""
OFFERS = ("Shop", "Customer")


def value(doctype: str, field: str, text: str) -> str:
    return f"""INSERT INTO "tabSingles" VALUES ('{doctype}', '{field}', '{text}')"""


def change(field: str, text: str) -> str:
    return f"""UPDATE "tabSingles" SET "value" = '{text}' WHERE "doctype" = 'Shop' AND "field" = '{field}'"""


SHOP = (value("Shop", "title", "Tea"), value("Shop", "motto", "ann"), value("Shop", "rate", "1"))
ANN = """INSERT INTO "tabCustomer" VALUES ('ann', 'Ann')"""
NOBODY_ASKED = value("Mail", "server", "localhost")


def shop(site: Site, doctype: str = "Shop") -> dict[object, object]:
    rows = site.rows(f"""SELECT "field", "value" FROM "tabSingles" WHERE "doctype" = '{doctype}'""")
    assert len(rows) == len({field for field, _ in rows}), "no value is there twice"
    return dict(rows)  # type: ignore[arg-type]  # pairs


async def _site(folder: Path, name: str, engine: Engine, *there: str) -> Site:
    site = Site(folder, name, schema=SCHEMA, engine=engine, doctypes={}, catalog="frappe", offers=OFFERS)
    # Users set these up before streamd came.
    site.write(*there)
    await site.open()
    return site


@pytest.fixture
async def hq(tmp_path: Path, engines: Engines) -> AsyncIterator[Site]:
    site = await _site(tmp_path, "hq", engines[0], *SHOP, value("Mail", "motto", "ann"))
    yield site
    await site.close()


@pytest.fixture
async def store(tmp_path: Path, engines: Engines) -> AsyncIterator[Site]:
    site = await _site(tmp_path, "store", engines[1], NOBODY_ASKED)
    yield site
    await site.close()


async def test_the_first_change_brings_all_values_and_later_ones_what_changed(hq: Site, store: Site) -> None:
    hq.write(change("rate", "2"))
    assert await store.pull_all(hq) == 1
    assert shop(store) == shop(hq) == {"title": "Tea", "motto": "ann", "rate": "2"}
    hq.write(change("rate", "3"), value("Shop", "colour", "green"))
    hq.write("""DELETE FROM "tabSingles" WHERE "doctype" = 'Shop' AND "field" = 'title'""")
    await store.pull_all(hq)
    assert shop(store) == shop(hq) == {"motto": "ann", "rate": "3", "colour": "green"}
    assert await store.queue() == []
    assert shop(store, "Mail") == {"server": "localhost"}, "nobody asked for these"


async def test_the_first_change_goes_over_what_stood_here(hq: Site, tmp_path: Path, engines: Engines) -> None:
    old = await _site(tmp_path, "old", engines[1], NOBODY_ASKED, value("Shop", "rate", "9"), value("Shop", "gone", "x"))
    try:
        hq.write(change("rate", "2"))
        await old.pull_all(hq)
        assert shop(old) == shop(hq) == {"title": "Tea", "motto": "ann", "rate": "2"}
        assert (shop(old, "Mail"), await old.queue()) == ({"server": "localhost"}, [])
    finally:
        await old.close()


@EACH_PAIR
async def test_edits_of_both_sites_merge_and_are_not_sent_back(hq: Site, store: Site) -> None:
    hq.write(change("rate", "2"))
    await store.pull_all(hq)
    # As the application saves: all rows go, and come again.
    store.write(
        """DELETE FROM "tabSingles" WHERE "doctype" = 'Shop'""",
        value("Shop", "title", "Coffee"),
        value("Shop", "motto", "ann"),
        value("Shop", "rate", "2"),
    )
    hq.write(change("motto", "bob"))
    await store.pull_all(hq)
    assert await hq.pull_all(store) == 1
    assert shop(store) == shop(hq) == {"title": "Coffee", "motto": "bob", "rate": "2"}
    assert await store.pull_all(hq) == 0


@EACH_PAIR
async def test_a_rename_is_followed_where_the_single_links_and_nowhere_else(hq: Site, store: Site) -> None:
    hq.write(ANN)
    await store.pull_all(hq)
    store.write(
        """DELETE FROM "tabSingles" WHERE "doctype" = 'Shop'""",
        value("Shop", "walk_in", "ann"),
        value("Shop", "motto", "ann"),
        value("Mail", "walk_in", "ann"),
    )
    hq.write("""UPDATE "tabCustomer" SET "name" = 'anna' WHERE "name" = 'ann'""")
    await store.pull_all(hq)
    assert shop(store)["walk_in"] == "anna"
    assert shop(store)["motto"] == "ann", "equal, and no link"
    assert shop(store, "Mail")["walk_in"] == "ann", "a field of another single"
    assert await store.queue() == []


async def test_a_single_that_came_from_the_producer_links_to_what_it_links_to_there(hq: Site, store: Site) -> None:
    hq.write(ANN, value("Shop", "walk_in", "ann"))
    await store.pull_all(hq)
    hq.write("""UPDATE "tabCustomer" SET "name" = 'anna' WHERE "name" = 'ann'""")
    await store.pull_all(hq)
    assert shop(store) == shop(hq), "nobody changed the link there"
    hq.write(change("walk_in", "anna"))
    await store.pull_all(hq)
    assert shop(store)["walk_in"] == "anna"
    assert await hq.pull_all(store) == 0


async def test_what_no_single_can_be_is_parked(hq: Site, store: Site) -> None:
    hq.write(change("rate", "2"))
    await hq.capture.drain()
    head = await hq.update_log.head()
    assert head is not None
    entries, _, _ = await hq.update_log.read(
        Cursor(head.log, 0, ""), {"Shop": 0}, not_through=store.site, limit=5, max_bytes=1 << 20
    )
    good = event(entries[0])
    wrong = [
        msgspec.structs.replace(good, name=("Other",)),
        msgspec.structs.replace(good, operation="delete", data=msgspec.Raw(b"null")),
    ]
    for number, each in enumerate(wrong, 1):
        end = Cursor(head.log, number, each.nonce)
        await store.applier.apply(store.source(hq), [each], end, frozenset(OFFERS), hq.fetcher())
    errors = [error for _, error in await store.queue()]
    assert ["is a single" in error for error in errors] == [True, True]
    assert shop(store) == {}
