"""What is excluded is in no change, in no log and in no answer, on every engine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streamd.catalog import build
from streamd.lifecycle.guard import Guard, columns_added
from streamd.lifecycle.installing import install_site
from streamd.model import Catalogue, Change
from streamd.settings import Settings
from streamd.wire import read_json
from tests.simulation.sites import Site
from tests.support.database_url import Engine
from tests.support.servers import ENGINES

SCHEMA = """
CREATE TABLE "Item" ("Code" VARCHAR(40) PRIMARY KEY, "Label" VARCHAR(40), "Price" NUMERIC(30,10), "Margin" VARCHAR(40),
    "odd 'na""me" VARCHAR(40), "At" TIMESTAMP NULL, "Double" VARCHAR(80) GENERATED ALWAYS AS ("Margin") STORED);
CREATE TABLE "Bill" ("Id" INTEGER PRIMARY KEY, "Note" VARCHAR(40));
CREATE TABLE "Line" ("Id" INTEGER PRIMARY KEY, "Bill" INTEGER NOT NULL REFERENCES "Bill" ("Id"),
    "Quantity" INTEGER, "Cost" VARCHAR(40));
"""
LINES: dict[str, Any] = {"table": "Line", "key": "Id", "parent_key": "Bill"}
OPEN: dict[str, Any] = {"Item": {}, "Bill": {"children": {"lines": LINES}}}
CLOSED: dict[str, Any] = {
    "Item": {"exclude": ["Margin"]},
    "Bill": {"children": {"lines": {**LINES, "exclude": ["Cost"]}}},
}
SECRET = "hushhush"


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param  # type: ignore[no-any-return]  # one of the above


@pytest.fixture
async def site(tmp_path: Path, engine: Engine) -> AsyncIterator[Site]:
    made = Site(tmp_path, "hq", schema=SCHEMA, engine=engine, doctypes=CLOSED)
    await made.open()
    yield made
    await made.close()


def _insert_item(site: Site, code: str = "tea", margin: str = SECRET) -> None:
    site.access.execute(
        'INSERT INTO "Item" ("Code", "Label", "Price", "Margin", "odd \'na""me", "At")'
        " VALUES (?, 'Tea', 2.50, ?, 'x', '2026-03-01 10:00:00')",
        code,
        margin,
    )


async def _waiting(site: Site) -> list[Change]:
    async with site.database.snapshot() as reader:
        claim = await reader.last_claim()
    assert claim is not None
    return list((await site.database.read_changes(claim, 1000)).rows)


def _kept_of_changes(site: Site) -> str:
    return repr(site.rows('SELECT "before", "after" FROM streamd_change'))


def _state(site: Site) -> bytes:
    return b"".join(file.read_bytes() for file in site.state_file.parent.glob("state.db*"))


async def test_an_excluded_value_is_nowhere(site: Site) -> None:
    _insert_item(site)
    site.write("INSERT INTO Bill VALUES (1, 'first')", f"INSERT INTO Line VALUES (1, 1, 2, '{SECRET}')")
    site.write(f"UPDATE Item SET Label = 'Green tea', Margin = '{SECRET} 2'")
    site.write(f"UPDATE Line SET Quantity = 3, Cost = '{SECRET} 3'")
    async with site.database.snapshot() as reader:
        for doctype, name in (("Item", ("tea",)), ("Bill", (1,))):
            found = await reader.read_documents(site.catalogue[doctype], [name])
            assert SECRET.encode() not in found[name].whole()
            assert b'"Label":' in found[name].whole() or b'"Quantity":' in found[name].whole()
            assert await reader.find_documents(site.catalogue["Item"], {"Margin": f"{SECRET} 2"}, 1) == []
    await site.capture.drain()
    site.write("DELETE FROM Line", "DELETE FROM Bill", "DELETE FROM Item")
    assert "Green tea" in _kept_of_changes(site)
    assert SECRET not in _kept_of_changes(site)
    await site.capture.drain()
    entries = await site.update_log.entries()
    assert {entry.doctype for entry in entries} == {"Item", "Bill"}
    assert SECRET not in repr(entries)
    assert SECRET.encode() not in _state(site)
    assert b"Green tea" in _state(site), "what is kept is there"


async def test_what_is_kept_is_captured_as_it_is_read(site: Site) -> None:
    _insert_item(site)
    (change,) = await _waiting(site)
    async with site.database.snapshot() as reader:
        found = await reader.read_documents(site.catalogue["Item"], [("tea",)])
    captured = read_json(change.after or b"")
    assert captured == read_json(found[("tea",)].row)
    assert captured.keys() == {"Code", "Label", "Price", "odd 'na\"me", "At"}
    assert captured["At"].startswith("2026-03-01 10:00:00")
    if site.access.engine != "sqlite":  # it has no exact decimals
        assert b"2.5000000000" in (change.after or b""), "a number keeps its digits"


async def test_an_update_of_what_is_excluded_alone_is_no_change(site: Site) -> None:
    _insert_item(site)
    seen = len(await _waiting(site))
    site.write(f"UPDATE Item SET Margin = '{SECRET} 2'")
    site.write(f"UPDATE Item SET Label = 'Tea', Margin = '{SECRET} 3'")
    assert len(await _waiting(site)) == seen
    site.write("UPDATE Item SET Label = 'TEA'")
    assert len(await _waiting(site)) == seen + 1


async def test_an_excluded_column_that_is_renamed_breaks_no_write_and_does_not_leak(site: Site) -> None:
    site.access.execute('ALTER TABLE "Line" RENAME COLUMN "Cost" TO "Expense"')
    site.write("INSERT INTO Bill VALUES (1, 'first')", f"INSERT INTO Line VALUES (1, 1, 2, '{SECRET}')")
    site.write(f"UPDATE Line SET Quantity = 3, Expense = '{SECRET} 2'")
    site.write("DELETE FROM Line")
    assert len(await _waiting(site)) == 4
    assert SECRET not in _kept_of_changes(site)


async def test_an_excluded_column_that_is_dropped_breaks_no_write(site: Site) -> None:
    site.access.execute('ALTER TABLE "Line" DROP COLUMN "Cost"')
    site.write("INSERT INTO Bill VALUES (1, 'first')", "INSERT INTO Line VALUES (1, 1, 2)")
    site.write("UPDATE Line SET Quantity = 3")
    assert len(await _waiting(site)) == 3


def _catalogue(site: Site, doctypes: dict[str, Any], tables: Any) -> Catalogue:
    return build(Settings.model_validate({**site.settings.model_dump(), "doctypes": doctypes}), tables)


async def test_a_changed_exclude_renews_the_triggers(site: Site) -> None:
    tables = await site.database.tables()
    opened = _catalogue(site, OPEN, tables)
    guard = Guard(site.database, site.catalogue, tables, site=site.site, claimed=lambda: site.capture.claimed)
    assert await guard.look() == ""
    assert "triggers" in await Guard(site.database, opened, tables, site=site.site, claimed=lambda: None).look()
    _insert_item(site, "before")
    assert any("renewed" in line for line in await install_site("hq", site.database, opened, tables, site.state))
    _insert_item(site, "open", "seen")
    assert any(
        "renewed" in line for line in await install_site("hq", site.database, site.catalogue, tables, site.state)
    )
    assert await guard.look() == ""
    _insert_item(site, "after")
    rows = [json.loads(change.after or b"") for change in await _waiting(site)]
    assert [(row["Code"], row.get("Margin")) for row in rows] == [("before", None), ("open", "seen"), ("after", None)]


async def test_a_column_that_is_not_excluded_any_more_is_one_that_was_not_seen(site: Site) -> None:
    tables = await site.database.tables()
    opened = _catalogue(site, OPEN, tables)
    ours = await site.database.our_triggers()
    outgrown = site.database.outgrown(ours, opened, tables)
    assert site.database.doctypes_behind(outgrown, opened, tables) == ["Bill", "Item"]
    assert site.database.outgrown(ours, site.catalogue, tables) == {}


async def test_an_excluded_column_that_is_added_concerns_nobody_else(site: Site) -> None:
    before = await site.database.tables()
    site.access.execute('ALTER TABLE "Item" ADD COLUMN "Hash" VARCHAR(40) DEFAULT \'x\'')
    after = await site.database.tables()
    doctypes = {**CLOSED, "Item": {"exclude": ["Margin", "Hash"]}}
    assert columns_added(_catalogue(site, doctypes, after), before, after) == {}
    assert list(columns_added(site.catalogue, before, after)["Item"]) == ["Hash"]
