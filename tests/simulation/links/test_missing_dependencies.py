"""What a document needs and nobody has."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streamd.apply.applier import LARGEST_BATCH
from streamd.apply.batch import Unit
from streamd.apply.source import Source
from tests.simulation.conftest import Opened
from tests.simulation.sites import Site

LOOSE = """
CREATE TABLE "Customer" ("Id" INTEGER PRIMARY KEY, "Name" TEXT);
CREATE TABLE "Invoice" ("Id" INTEGER PRIMARY KEY, "Customer" INTEGER, "Note" TEXT);
"""
TYPES = {"Customer": {}, "Invoice": {"links": {"Customer": "Customer"}}}


async def test_a_document_that_nobody_has_is_waited_for(opened: Opened) -> None:
    hq, store = [await opened(name, schema=LOOSE, doctypes=TYPES) for name in ("hq", "store")]
    store.write("INSERT INTO Invoice VALUES (1, 7, 'for whom?')", "INSERT INTO Invoice VALUES (2, NULL, 'cash')")
    await hq.pull_all(store)
    assert hq.rows("SELECT Id FROM Invoice") == [(2,)]
    ((state, error),) = await hq.queue()
    assert state == "parked"
    assert "Customer 7" in error
    store.write("UPDATE Invoice SET Note = 'still waiting' WHERE Id = 1")
    await hq.pull_all(store)
    assert [state for state, _ in await hq.queue()] == ["parked", "held"]
    store.write("INSERT INTO Customer VALUES (7, 'Ada')")
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.rows("SELECT Customer, Note FROM Invoice WHERE Id = 1") == [(7, "still waiting")]


async def test_the_bound_on_what_is_fetched_for_links_holds_for_no_document_that_an_event_is_of(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    hq, store = [await opened(name, schema=LOOSE, doctypes=TYPES) for name in ("hq", "store")]
    for number in range(1, 9):
        store.write(f"INSERT INTO Customer VALUES ({number}, 'Ada')")
        store.write(f"INSERT INTO Invoice VALUES ({number}, {number}, 'old')")
    await hq.pass_over(store)
    store.write("UPDATE Invoice SET Note = 'new'")
    source = replace(hq.source(store), max_documents=3)
    monkeypatch.setattr(hq, "source", lambda _: source)
    await hq.pull_from(store)
    wanted, others = hq.rows("SELECT count(*) FROM Invoice")[0][0], await hq.queue()
    assert wanted == 0, "their customers are beyond the bound"
    assert len(others) == 8
    assert all("needs Customer" in error for _, error in others)
    hq.write(*(f"INSERT INTO Customer VALUES ({number}, 'Ada')" for number in range(1, 9)))
    await hq.heal(store)
    assert hq.rows("SELECT count(*) FROM Invoice WHERE Note = 'new'") == [(8,)]


MANAGED = """
CREATE TABLE "Customer" ("Id" INTEGER PRIMARY KEY, "Name" TEXT, "Manager" INTEGER);
CREATE TABLE "Invoice" ("Id" INTEGER PRIMARY KEY, "Customer" INTEGER, "Note" TEXT);
"""


async def test_a_link_to_what_nobody_has_never_leads_to_another_document_of_that_name(opened: Opened) -> None:
    types = {"Customer": {"naming": "database", "links": {"Manager": "Customer"}}, "Invoice": TYPES["Invoice"]}
    hq = await opened("hq", schema=MANAGED, doctypes=types, renamed=("Customer",))
    store = await opened("store", schema=MANAGED, doctypes=types)
    hq.write("INSERT INTO Customer VALUES (9, 'of hq', NULL)")
    store.write("INSERT INTO Customer VALUES (2, 'Ada', 9)", "INSERT INTO Invoice VALUES (1, 2, 'old')")
    await hq.pass_over(store)
    store.write("INSERT INTO Invoice VALUES (2, 2, 'new')", "UPDATE Invoice SET Note = 'new' WHERE Id = 1")
    await hq.pull_all(store)
    assert hq.rows("SELECT Id, Manager FROM Customer") == [(9, None)]
    assert ["needs Customer 9" in error for _, error in await hq.queue()] == [True, True]
    store.write("INSERT INTO Customer VALUES (9, 'the boss', NULL)")
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.rows('SELECT c."Name", m."Name" FROM "Customer" c JOIN "Customer" m ON m."Id" = c."Manager"') == [
        ("Ada", "the boss")
    ]
    assert hq.rows("SELECT count(*) FROM Invoice WHERE Note = 'new'") == [(2,)]


async def test_a_link_to_what_is_kept_back_later_in_the_page_is_waited_for(opened: Opened) -> None:
    """The database refuses nothing: there are no foreign keys, and customer 3 waits for a manager whom nobody has."""
    types = {"Customer": {"naming": "database", "links": {"Manager": "Customer"}}, "Invoice": TYPES["Invoice"]}
    hq = await opened("hq", schema=MANAGED, doctypes=types, renamed=("Customer",))
    store = await opened("store", schema=MANAGED, doctypes=types)
    hq.write("INSERT INTO Customer VALUES (2, 'of hq', NULL)", "INSERT INTO Customer VALUES (3, 'of hq', NULL)")
    for statement in (
        "INSERT INTO Invoice VALUES (1, 2, 'first')",
        "INSERT INTO Customer VALUES (2, 'Ada', 3)",
        "INSERT INTO Customer VALUES (3, 'boss', 9)",
        "INSERT INTO Customer VALUES (4, 'Bob', NULL)",
    ):
        store.write(statement)
        await store.capture.drain()
    await hq.pull_from(store)
    assert hq.rows("SELECT count(*) FROM Invoice") == [(0,)]
    assert hq.rows("SELECT Name FROM Customer ORDER BY Id") == [("of hq",), ("of hq",), ("Bob",)]
    assert sorted(await hq.queue()) == [
        ("held", "waits for Customer 2, which failed"),
        ("held", "waits for Customer 3, which failed"),
        ("parked", "needs Customer 9, which is neither here nor given by the producer"),
    ]
    store.write("INSERT INTO Customer VALUES (9, 'chairman', NULL)")
    await hq.pull_all(store)
    assert await hq.queue() == []
    managers = 'SELECT c."Name", m."Name" FROM "Customer" c JOIN "Customer" m ON m."Id" = c."Manager" ORDER BY 1'
    assert hq.rows(managers) == [("Ada", "boss"), ("boss", "chairman")]
    assert hq.rows("SELECT c.Name FROM Invoice i JOIN Customer c ON c.Id = i.Customer") == [("Ada",)]


async def test_with_the_same_names_nothing_that_is_fetched_waits_for_what_comes_later(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    types = {"Customer": {"links": {"Manager": "Customer"}}, "Invoice": TYPES["Invoice"]}
    strict = MANAGED.replace('"Note" TEXT', '"Note" TEXT CHECK ("Note" <> \'no\')')
    hq = await opened("hq", schema=strict, doctypes=types)
    store = await opened("store", schema=MANAGED, doctypes=types)
    store.write("INSERT INTO Customer VALUES (2, 'Ada', 3)")
    await hq.pass_over(store)
    for statement in (
        "INSERT INTO Invoice VALUES (1, 2, 'first')",
        "INSERT INTO Invoice VALUES (2, 2, 'no')",
        "INSERT INTO Customer VALUES (3, 'boss', NULL)",
    ):
        store.write(statement)
        await store.capture.drain()
    fetcher = store.fetcher(hq)
    monkeypatch.setattr(store, "fetcher", lambda _: fetcher)
    await hq.pull_from(store)
    assert [want.name for want in fetcher.asked] == [(2,)]
    assert hq.rows("SELECT Id, Manager FROM Customer ORDER BY Id") == [(2, 3), (3, None)]
    assert hq.rows("SELECT Id FROM Invoice") == [(1,)]
    assert len(await hq.queue()) == 1


async def test_what_is_fetched_leads_to_no_document_that_has_the_name_of_another_fetched_one(opened: Opened) -> None:
    named = MANAGED.replace('INTEGER PRIMARY KEY, "Name"', 'VARCHAR(40) PRIMARY KEY, "Name"')
    named = named.replace('"Manager" INTEGER', '"Manager" VARCHAR(40)').replace(
        '"Customer" INTEGER', '"Customer" VARCHAR(40)'
    )
    types = {"Customer": {"naming": "field:Name", "links": {"Manager": "Customer"}}, "Invoice": TYPES["Invoice"]}
    hq = await opened("hq", schema=named, doctypes=types, renamed=("Customer",))
    store = await opened("store", schema=named, doctypes=types)
    hq.write("INSERT INTO Customer VALUES ('boss', 'boss', 'of hq')")
    store.write("INSERT INTO Customer VALUES ('c9', 'boss', NULL)", "INSERT INTO Customer VALUES ('c2', 'Ada', 'c9')")
    await hq.pass_over(store)
    store.write("INSERT INTO Invoice VALUES (1, 'c2', 'first')")
    await hq.pull_all(store)
    assert hq.rows("SELECT Id FROM Customer") == [("boss",)]
    ((state, error),) = await hq.queue()
    assert (state, "same name, another document" in error) == ("parked", True)
    hq.write("UPDATE Customer SET Id = 'our boss', Name = 'our boss'")
    await hq.heal(store)
    assert await hq.queue() == []
    assert hq.rows("SELECT Id, Manager FROM Customer WHERE Id <> 'our boss' ORDER BY 1") == [
        ("Ada", "boss"),
        ("boss", None),
    ]


CHAINED = """
CREATE TABLE "Receipt" ("Id" INTEGER PRIMARY KEY, "Before" INTEGER REFERENCES "Receipt" ("Id"));
"""
RECEIPTS = {"Receipt": {}}


async def _receipts(site: Site, count: int) -> None:
    site.write(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < "
        f"{count}) INSERT INTO Receipt SELECT i, nullif(i - 1, 0) FROM n"
    )


async def test_a_chain_of_links_arrives_however_long_it_is(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    hq, store = [await opened(name, schema=CHAINED, doctypes=RECEIPTS) for name in ("hq", "store")]
    await _receipts(store, 3000)
    await hq.pass_over(store)
    store.write("INSERT INTO Receipt VALUES (3001, 3000)")
    fetcher = store.fetcher(hq)
    monkeypatch.setattr(store, "fetcher", lambda _: fetcher)
    commits: list[int] = []
    commit = hq.applier._commit

    async def counted(source: Source, units: list[Unit], *rest: Any, **more: Any) -> Any:
        commits.append(sum(len(unit.all) for unit in units))
        return await commit(source, units, *rest, **more)

    monkeypatch.setattr(hq.applier, "_commit", counted)
    await hq.pull_from(store)
    assert hq.rows("SELECT count(*), max(Id) FROM Receipt") == [(3001, 3001)]
    assert await hq.queue() == []
    assert fetcher.requests < 20, "many levels come with one request"
    assert max(commits) <= LARGEST_BATCH, "it is written in steps"
    assert len(commits) > 3000 / LARGEST_BATCH


async def test_links_in_a_circle_beyond_everything_end(opened: Opened) -> None:
    hq, store = [
        await opened(name, schema=CHAINED.replace(' REFERENCES "Receipt" ("Id")', ""), doctypes=LINKED)
        for name in ("hq", "store")
    ]
    await _receipts(store, 900)
    store.write("UPDATE Receipt SET Before = 900 WHERE Id = 1")
    await hq.pass_over(store)
    store.write("INSERT INTO Receipt VALUES (901, 900)")
    await hq.pull_from(store)
    assert hq.rows("SELECT count(*) FROM Receipt") == [(901,)]
    assert await hq.queue() == []


LINKED = {"Receipt": {"links": {"Before": "Receipt"}}}


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"max_documents": 30}, "producers.store.max_dependencies = 30"),
        ({"max_depth": 2}, "producers.store.max_dependency_depth = 2"),
    ],
)
async def test_what_is_parked_for_a_bound_names_it(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, bounds: dict[str, int], said: str
) -> None:
    hq, store = [await opened(name, schema=CHAINED, doctypes=RECEIPTS) for name in ("hq", "store")]
    await _receipts(store, 400)
    await hq.pass_over(store)
    store.write("INSERT INTO Receipt VALUES (401, 400)")
    source, unbound = hq.source(store), hq.source
    monkeypatch.setattr(hq, "source", lambda _: replace(source, **bounds))
    await hq.pull_from(store)
    ((_, error),) = await hq.queue()
    assert said in error
    monkeypatch.setattr(hq, "source", unbound)
    await hq.heal(store)
    assert hq.rows("SELECT count(*) FROM Receipt") == [(401,)]
