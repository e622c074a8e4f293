"""How documents are named here: series, conventions, conflicts of names, and names that are typed."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.simulation.conftest import Opened
from tests.simulation.names.own.tills import IDENTITY, RENAMED, TYPES, sale
from tests.simulation.sites import DOCTYPES, SCHEMA, Site
from tests.support.database_url import Engine
from tests.support.matrix import engines_and


async def test_a_series_has_no_holes_although_documents_failed_in_between(opened: Opened, tills: list[Site]) -> None:
    types: dict[str, Any] = {**DOCTYPES, "Item": {"naming": "ITEM-.YYYY.-.####"}}
    hq = await opened("named", doctypes=types, renamed=("Item",))
    north, south = tills
    hq.write("CREATE TRIGGER no BEFORE INSERT ON Item WHEN NEW.Price = 13 BEGIN SELECT raise(ABORT, 'unlucky'); END")
    for till in (north, south):
        for price in (1, 13, 2):
            till.write(f"INSERT INTO Item VALUES ('{till.name}{price}', '{till.name}{price}', {price}, 0)")
        await hq.pull_all(till)
    codes = [str(code) for (code,) in hq.rows("SELECT Code FROM Item ORDER BY 1")]
    assert [code[-4:] for code in codes] == ["0001", "0002", "0003", "0004"]
    assert [state for state, _ in await hq.queue()] == ["parked", "parked"]
    hq.write("DROP TRIGGER no")
    for till in (north, south):
        await hq.heal(till)
    assert await hq.queue() == []
    codes = [str(code) for (code,) in hq.rows("SELECT Code FROM Item ORDER BY 1")]
    assert [code[-4:] for code in codes] == [f"000{number}" for number in range(1, 7)]


async def test_documents_of_a_series_may_link_to_each_other_and_those_named_by_a_link_wait_for_it(
    opened: Opened, tills: list[Site]
) -> None:
    types: dict[str, Any] = {
        "Customer": {"naming": "C-.###"},
        "Item": {},
        "Invoice": {**DOCTYPES["Invoice"], "naming": "eval:doc.Customer + '/' + doc.Note"},
    }
    schema = SCHEMA.replace('"Id" INTEGER PRIMARY KEY', '"Id" VARCHAR(40) PRIMARY KEY').replace(
        "INTEGER REFERENCES", "TEXT REFERENCES"
    )
    schema = schema.replace('"Customer" INTEGER', '"Customer" TEXT').replace('"Invoice" INTEGER', '"Invoice" TEXT')
    hq = await opened("named", schema=schema, doctypes=types, renamed=RENAMED)
    north, _ = tills
    north.write(
        "INSERT INTO Customer VALUES (1, 'one', NULL, 2)",
        "INSERT INTO Customer VALUES (2, 'two', NULL, 1)",
        "INSERT INTO Invoice VALUES (1, 2, 'x')",
    )
    await hq.pull_all(north)
    assert await hq.queue() == []
    managers = hq.rows("SELECT c.Id, m.Id FROM Customer c JOIN Customer m ON m.Id = c.Manager ORDER BY 1")
    assert managers == [("C-001", "C-002"), ("C-002", "C-001")]
    ((name, two),) = hq.rows(
        "SELECT i.Id, c.Id FROM Invoice i JOIN Customer c ON c.Id = i.Customer WHERE c.Name = 'two'"
    )
    assert name == f"{two}/x"


@pytest.mark.parametrize(("engine", "collation"), [("sqlite", "COLLATE NOCASE"), ("mariadb", "")])
async def test_a_series_passes_over_names_that_the_table_holds_equal_to_others(
    opened: Opened, tills: list[Site], engine: Engine, collation: str
) -> None:
    types: dict[str, Any] = {**DOCTYPES, "Item": {"naming": ".Label.-.###"}}
    schema = SCHEMA.replace('"Code" VARCHAR(40)', f'"Code" VARCHAR(40) {collation}').replace("UNIQUE", "")
    hq = await opened("named", engine=engine, schema=schema, doctypes=types, renamed=("Item",))
    north, south = tills
    hq.write("INSERT INTO Item VALUES ('TEA-001', 'of hq', 1, 1)")
    north.write("INSERT INTO Item VALUES ('a', 'Tea', 1, 1)", "INSERT INTO Item VALUES ('b', 'tea', 2, 2)")
    south.write("INSERT INTO Item VALUES ('c', 'tea', 3, 3)")
    for till in tills:
        await hq.pull_all(till)
    assert await hq.queue() == []
    codes = sorted(str(code).lower() for (code,) in hq.rows("SELECT Code FROM Item"))
    assert codes == ["tea-001", "tea-002", "tea-003", "tea-004"]
    assert hq.rows("SELECT Label FROM Item WHERE Code = 'TEA-001'") == [("of hq",)]


CONVENTIONS = [
    ("ITEM-.###", "ITEM-00[12]"),
    ("uuid", "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    ("hash", "[0-9a-f]{10}"),
    ("field:Label", "(north|south) tea"),
    ("eval:'I/' + doc.Label", "I/(north|south) tea"),
]


@pytest.mark.parametrize(("engine", "convention"), engines_and(CONVENTIONS))
async def test_every_convention_names_documents_on_every_engine_and_links_follow(
    opened: Opened, tills: list[Site], engine: Engine, convention: tuple[str, str]
) -> None:
    naming, pattern = convention
    schema = SCHEMA.replace('"Id" INTEGER PRIMARY KEY', f'"Id" {IDENTITY[engine]}')
    types: dict[str, Any] = {**TYPES, "Item": {"naming": naming}}
    hq = await opened("named", schema=schema, engine=engine, doctypes=types, renamed=(*RENAMED, "Item"))
    for till in tills:
        sale(till)
        till.write(f"UPDATE Item SET Label = '{till.name} tea'")
        await hq.pull_all(till)
    assert await hq.queue() == []
    items = hq.rows('SELECT "Code" FROM "Item"')
    assert len(items) == 2
    assert all(re.fullmatch(pattern, str(code)) for (code,) in items), items
    sold = hq.rows(
        'SELECT i."Note", t."Label" FROM "Line" l JOIN "Invoice" i ON i."Id" = l."Invoice" '
        'JOIN "Item" t ON t."Code" = l."Item" ORDER BY 1'
    )
    assert sold == [(f"{till.name} 1", f"{till.name} tea") for till in tills for _ in range(2)]


async def test_a_name_that_another_document_has_is_a_conflict_and_never_overwritten(
    labelled: Site, tills: list[Site]
) -> None:
    north, _ = tills
    north.write("INSERT INTO Item VALUES ('x1', 'Tea', 2, 1)")
    north.write("INSERT INTO Item VALUES ('x2', 'Coffee', 3, 1)")
    await labelled.pull_all(north)
    assert labelled.rows("SELECT Code, Price, Stock FROM Item ORDER BY 1") == [("Coffee", 3, 1), ("Tea", 5, 7)]
    ((state, error),) = await labelled.queue()
    assert state == "parked"
    assert "same name, another document" in error


async def test_documents_that_are_named_by_prompt_keep_their_names_and_links_to_them_stay(
    opened: Opened, tills: list[Site]
) -> None:
    types: dict[str, Any] = {**DOCTYPES, "Customer": {"naming": "prompt"}}
    hq = await opened("prompted", doctypes=types, renamed=RENAMED)
    north, _ = tills
    hq.write("INSERT INTO Customer VALUES (1, 'of hq', NULL, NULL)", "INSERT INTO Invoice VALUES (7, 1, 'of hq')")
    sale(north, 7)
    await hq.pull_all(north)
    assert await hq.queue() == []
    assert hq.rows("SELECT Id, Name FROM Customer ORDER BY Id") == [(1, "of hq"), (7, "Ada")]
    assert hq.rows("SELECT Id, Customer FROM Invoice WHERE Note = 'north 7'") == [(8, 7)]
