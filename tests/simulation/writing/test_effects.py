"""What the consumer's own database does to documents by itself never reaches the site that they came from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import pytest

from tests.simulation.sites import Site
from tests.support.database_url import Engine
from tests.support.matrix import engines_and
from tests.support.servers import ENGINES

TABLES = """CREATE TABLE customer (id INTEGER PRIMARY KEY, code VARCHAR(20) UNIQUE, name VARCHAR(20));
CREATE TABLE invoice (id INTEGER PRIMARY KEY, customer_id INTEGER, note VARCHAR(20), customer_code VARCHAR(20));
CREATE TABLE line (id INTEGER PRIMARY KEY, invoice_id INTEGER NOT NULL, qty INTEGER,
    FOREIGN KEY (invoice_id) REFERENCES invoice (id) ON DELETE CASCADE)"""
TYPES: dict[str, Any] = {
    "customer": {},
    "invoice": {
        "links": {"customer_id": "customer"},
        "children": {"lines": {"table": "line", "parent_key": "invoice_id"}},
    },
}
# What a trigger here does.
DELETES = "DELETE FROM line; DELETE FROM invoice;"
CHANGES = "UPDATE invoice SET note = 'mine';"
MAKES = "INSERT INTO invoice VALUES (99, NULL, 'mine', NULL);"
ROWS = "UPDATE line SET qty = qty - 1;"
TOUCHES = "UPDATE invoice SET note = 'touched' WHERE id = NEW.invoice_id;"
COUNTS = "UPDATE invoice SET customer_id = customer_id - 1 WHERE id = 7;"

Make = Callable[..., Coroutine[Any, Any, Site]]
Sold = Callable[..., Coroutine[Any, Any, tuple[Site, Site]]]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    """The store's: what databases do by themselves differs."""
    return cast("Engine", request.param)


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Make]:
    """Makes a site: `key` and `code` are what foreign keys of its invoices do."""
    async with AsyncExitStack() as stack:

        async def one(name: str, engine: Engine = "sqlite", key: str = "", code: str = "", **more: Any) -> Site:
            schema = TABLES.replace("customer_code VARCHAR(20))", f"customer_code VARCHAR(20){_keys(key, code)})")
            types = {name: TYPES[name] | more.get(name, {}) for name in TYPES}
            site = Site(tmp_path, name, schema=schema, engine=engine, doctypes=types)
            await site.open()
            stack.push_async_callback(site.close)
            return site

        yield one


@pytest.fixture
def sold(make: Make, engine: Engine) -> Sold:
    """Makes headquarters, with a sale that is at the store as well; says how the store is, and how it is `there`."""

    async def begin(there: Mapping[str, Any] = MappingProxyType({}), **here: Any) -> tuple[Site, Site]:
        sites = await make("hq", **there), await make("store", engine, **here)
        sale(sites[0])
        await assert_settled(*sites)
        return sites

    return begin


def _keys(key: str, code: str) -> str:
    found = f", FOREIGN KEY (customer_id) REFERENCES customer (id) {key}" if key else ""
    return found + (f", FOREIGN KEY (customer_code) REFERENCES customer (code) {code}" if code else "")


def trigger(site: Site, does: str, on: str = "UPDATE ON customer") -> None:
    if site.access.engine == "postgresql":
        function(site, does)
        site.write(f"CREATE TRIGGER clean AFTER {on} FOR EACH ROW EXECUTE FUNCTION clean()")
    else:
        each = "FOR EACH ROW " if site.access.engine == "mariadb" else ""
        site.write(f"CREATE TRIGGER clean AFTER {on} {each}BEGIN {does} END")


def function(site: Site, does: str) -> None:
    site.write(f"CREATE FUNCTION clean() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does} RETURN NULL; END $$")


def checked(site: Site, *statements: str) -> None:
    """One transaction with foreign keys, as long as it does not say otherwise."""
    with site.access.write() as connection:
        for statement in statements:
            connection.execute(statement)


def everything(site: Site) -> dict[str, list[tuple[object, ...]]]:
    return {table: site.rows(f"SELECT * FROM {table} ORDER BY id") for table in ("customer", "invoice", "line")}


def sale(site: Site) -> None:
    site.write(
        "INSERT INTO customer VALUES (1, 'one', 'Ada'), (2, 'two', 'Bob')",
        "INSERT INTO invoice VALUES (1, 1, 'good', NULL)",
        "INSERT INTO line VALUES (1, 1, 10)",
    )


async def both_ways(hq: Site, store: Site) -> None:
    await store.pull_all(hq)
    await hq.pull_all(store)
    await store.pull_all(hq)


async def assert_settled(hq: Site, store: Site) -> None:
    """In the end nothing waits at the store, and both are equal."""
    await both_ways(hq, store)
    assert await store.queue() == []
    assert everything(store) == everything(hq)


async def open_again(site: Site) -> None:
    """The daemon looks again where a table gets its first trigger."""
    await site.close()
    await site.open()


async def assert_refused(hq: Site, store: Site, *words: str) -> None:
    """The store says why; nothing of it comes to headquarters, nor changes at the store."""
    before = everything(hq), everything(store)
    await both_ways(hq, store)
    assert (everything(hq), everything(store)) == before
    ((state, error),) = await store.queue()
    assert state == "parked"
    assert all(word in error for word in words), error


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL"])
async def test_what_a_foreign_key_here_would_do_is_refused_until_the_producer_did_it(sold: Sold, action: str) -> None:
    hq, store = await sold(key=f"ON DELETE {action}")
    # Headquarters has no foreign key: its invoice stays.
    hq.write("DELETE FROM customer WHERE id = 1")
    await assert_refused(hq, store, "deleting customer 1 would also", "invoice 1", f"ON DELETE {action}")
    hq.write("UPDATE invoice SET customer_id = 2")
    await assert_settled(hq, store)
    assert hq.rows("SELECT customer_id FROM invoice") == [(2,)]


async def test_a_document_that_is_reached_through_a_table_without_documents_is_kept_as_well(sold: Sold) -> None:
    hq, store = await sold()
    store.write(
        "CREATE TABLE account (id INTEGER PRIMARY KEY, customer INTEGER, parent INTEGER, "
        "FOREIGN KEY (customer) REFERENCES customer (id) ON DELETE CASCADE, "
        "FOREIGN KEY (parent) REFERENCES account (id) ON DELETE CASCADE)",
        "INSERT INTO account VALUES (1, 1, 1)",
        "INSERT INTO account VALUES (2, NULL, 1)",
        "DROP TABLE line",
        "DROP TABLE invoice",
        "CREATE TABLE invoice (id INTEGER PRIMARY KEY, customer_id INTEGER, note VARCHAR(20), "
        "customer_code VARCHAR(20), account INTEGER, FOREIGN KEY (account) REFERENCES account (id) ON DELETE CASCADE)",
        "CREATE TABLE line (id INTEGER PRIMARY KEY, invoice_id INTEGER NOT NULL, qty INTEGER, "
        "FOREIGN KEY (invoice_id) REFERENCES invoice (id) ON DELETE CASCADE)",
    )
    await open_again(store)
    store.write("INSERT INTO invoice VALUES (1, 1, 'good', NULL, 2)", "INSERT INTO line VALUES (1, 1, 10)")
    await store.capture.drain()
    hq.write("DELETE FROM customer WHERE id = 1")
    await store.pull_all(hq)
    ((state, error),) = await store.queue()
    assert state == "parked"
    assert "invoice 1" in error
    assert store.rows("SELECT count(*) FROM line") == [(1,)]


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL"])
async def test_what_foreign_keys_did_at_both_sites_is_applied(sold: Sold, action: str) -> None:
    hq, store = await sold(key=f"ON DELETE {action}", there={"key": f"ON DELETE {action}"})
    hq.write("DELETE FROM customer WHERE id = 1")
    await assert_settled(hq, store)
    assert len(store.rows("SELECT id FROM invoice WHERE customer_id IS NULL")) == (action == "SET NULL")


async def test_what_comes_in_several_pages_is_whole_in_the_end(sold: Sold) -> None:
    hq, store = await sold(key="ON DELETE CASCADE", there={"key": "ON DELETE CASCADE"})
    hq.write("DELETE FROM customer WHERE id = 1")
    while await store.pull_from(hq, limit=1):
        pass
    await assert_settled(hq, store)
    assert store.rows("SELECT * FROM line") == []


async def test_an_invoice_whose_events_wait_is_not_removed_with_its_old_customer(sold: Sold, engine: Engine) -> None:
    hq, store = await sold(key="ON DELETE CASCADE")
    store.write("UPDATE customer SET code = 'other' WHERE id = 2")
    hq.write("UPDATE invoice SET note = 'longer than twenty characters', customer_id = 2")
    if engine == "sqlite":
        store.write(
            "CREATE TRIGGER refuse BEFORE UPDATE ON invoice WHEN length(NEW.note) > 20 "
            "BEGIN SELECT RAISE(ABORT, 'too long'); END"
        )
    hq.write("DELETE FROM customer WHERE id = 1")
    await both_ways(hq, store)
    assert [state for state, _ in await store.queue()] == ["parked", "parked"]
    assert hq.rows("SELECT count(*) FROM invoice") == store.rows("SELECT count(*) FROM line") == [(1,)]
    hq.write("UPDATE invoice SET note = 'short'")
    await assert_settled(hq, store)


async def test_a_code_that_changes_takes_nobody_along_whom_the_producer_did_not(sold: Sold) -> None:
    hq, store = await sold(code="ON UPDATE CASCADE")
    hq.write("UPDATE invoice SET customer_code = 'one'")
    await assert_settled(hq, store)
    hq.write("UPDATE customer SET code = 'first' WHERE id = 1")
    await assert_refused(hq, store, "ON UPDATE CASCADE", "customer_code of invoice 1")
    hq.write("UPDATE invoice SET customer_code = NULL")
    await assert_settled(hq, store)


@pytest.mark.parametrize(
    ("engine", "action", "links"), engines_and(["CASCADE", "SET NULL", "NO ACTION"], [{"customer_id": "customer"}, {}])
)
async def test_a_rename_takes_along_what_refers_to_the_document(sold: Sold, links: dict[str, str], action: str) -> None:
    hq, store = await sold(key=f"ON UPDATE {action}", invoice={"links": links})
    hq.write("UPDATE customer SET id = 3 WHERE id = 1", "UPDATE invoice SET customer_id = 3")
    await assert_settled(hq, store)
    assert store.rows("SELECT customer_id FROM invoice") == [(3,)]


@pytest.mark.parametrize(
    ("does", "words"),
    [
        (DELETES, ("deleted invoice 1", "deleted a row of line")),
        (MAKES, ("made invoice 99",)),
    ],
    ids=["deletes", "makes"],
)
async def test_what_a_trigger_here_does_to_other_documents_is_refused(
    sold: Sold, engine: Engine, does: str, words: tuple[str, ...]
) -> None:
    hq, store = await sold()
    trigger(store, does)
    hq.write("UPDATE customer SET name = 'Ada L.' WHERE id = 1")
    await assert_refused(hq, store, "writing customer 1", *words)
    store.write("DROP TRIGGER clean" + (" ON customer" if engine == "postgresql" else ""))
    await assert_settled(hq, store)


async def test_where_a_type_is_open_to_effects_they_are_edits_of_this_site(sold: Sold) -> None:
    hq, store = await sold(invoice={"side_effects": "local"})
    trigger(store, CHANGES)
    hq.write("UPDATE customer SET name = 'Ada L.' WHERE id = 1")
    await both_ways(hq, store)
    assert await store.queue() == []
    assert hq.rows("SELECT note FROM invoice") == [("mine",)]
    assert everything(store) == everything(hq)
    notes = [entry.note for entry in await store.sync_log.list() if entry.doctype == "customer"]
    assert any("an edit of this site" in note and "invoice 1" in note for note in notes)


@pytest.mark.parametrize(
    ("does", "words"),
    [(CHANGES, 'note: "good", now "mine"'), (ROWS, "qty: 10, now 9")],
    ids=["its own row", "a child row"],
)
async def test_what_a_trigger_here_changes_is_put_back_where_the_producer_has_the_word(
    sold: Sold, does: str, words: str
) -> None:
    hq, store = await sold()
    trigger(store, does)
    hq.write("UPDATE customer SET name = 'Ada L.' WHERE id = 1")
    await assert_settled(hq, store)
    assert hq.rows("SELECT note, qty FROM invoice JOIN line ON invoice_id = invoice.id") == [("good", 10)]
    (note,) = [each.note for each in await store.sync_log.list(doctype="customer") if each.update_type == "update"]
    assert words in note
    assert "put back" in note


@pytest.mark.parametrize("engine", ["postgresql"])
async def test_what_a_trigger_does_at_the_end_of_the_transaction_is_seen_as_well(sold: Sold) -> None:
    hq, store = await sold()
    function(store, DELETES)
    store.write(
        "CREATE CONSTRAINT TRIGGER clean AFTER UPDATE ON customer DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION clean()",
    )
    await open_again(store)
    hq.write("UPDATE customer SET name = 'Ada L.' WHERE id = 1")
    await assert_refused(hq, store, "writing customer 1", "deleted invoice 1")


async def test_a_document_of_this_site_alone_is_not_changed_by_what_arrives(sold: Sold) -> None:
    hq, store = await sold()
    store.write("UPDATE invoice SET note = 'good' WHERE id = 1", "INSERT INTO invoice VALUES (50, 2, 'own', NULL)")
    hq.write("DELETE FROM line", "DELETE FROM invoice")
    await both_ways(hq, store)
    trigger(store, CHANGES)
    hq.write("UPDATE customer SET name = 'Ada L.' WHERE id = 1")
    await assert_refused(hq, store, "changed invoice 50", 'note: "own", now "mine"')


async def test_a_row_of_the_document_that_the_producer_left_alone_is_not_changed_here(sold: Sold) -> None:
    hq, store = await sold()
    trigger(store, TOUCHES, "INSERT ON line")
    await open_again(store)
    hq.write("INSERT INTO line VALUES (2, 1, 20)")
    await both_ways(hq, store)
    assert everything(store) == everything(hq)
    assert store.rows("SELECT note FROM invoice") == [("good",)]
    hq.write("INSERT INTO line VALUES (3, 1, 30)", "UPDATE invoice SET note = 'touched'")
    await assert_settled(hq, store)


@pytest.mark.parametrize(("engine", "pages"), engines_and([2, 1, 3, 20]))
async def test_a_number_that_triggers_count_down_at_both_sites_is_the_same_at_both(
    sold: Sold, engine: Engine, pages: int
) -> None:
    hq, store = await sold(invoice={"links": {}}, there={"engine": engine, "invoice": {"links": {}}})
    hq.write("INSERT INTO invoice VALUES (7, 100, 'stock', NULL)")
    await assert_settled(hq, store)
    for site in (hq, store):
        trigger(site, COUNTS, "INSERT ON line")
        await open_again(site)
    for number in range(2, 7):
        hq.write(f"INSERT INTO line VALUES ({number}, 1, 1)")
    while await store.pull_from(hq, limit=pages):
        pass
    await assert_settled(hq, store)
    assert hq.rows("SELECT customer_id FROM invoice WHERE id = 7") == [(95,)]


async def test_a_refused_event_holds_up_no_other_of_its_batch(sold: Sold) -> None:
    hq, store = await sold(key="ON DELETE CASCADE")
    hq.write("DELETE FROM customer WHERE id = 1")
    hq.write("UPDATE customer SET name = 'Bobby' WHERE id = 2")
    hq.write("INSERT INTO customer VALUES (3, 'three', 'Cy')")
    await both_ways(hq, store)
    assert len(await store.queue()) == 1
    assert store.rows("SELECT id, name FROM customer ORDER BY id") == [(1, "Ada"), (2, "Bobby"), (3, "Cy")]


REPLACED = (
    ["REPLACE INTO invoice VALUES (1, 1, 'replaced', NULL)"],
    ["REPLACE INTO invoice VALUES (1, 1, 'good', NULL)"],
    ["DELETE FROM invoice", "INSERT INTO invoice VALUES (1, 1, 'again', NULL)", "INSERT INTO line VALUES (2, 1, 20)"],
    ["REPLACE INTO invoice VALUES (1, 1, 'a', NULL)", "INSERT INTO line VALUES (1, 1, 30), (2, 1, 20)"],
    ["REPLACE INTO invoice VALUES (1, 1, 'a', NULL)", "UPDATE invoice SET id = 5, note = 'b'"],
    ["REPLACE INTO invoice VALUES (1, 1, 'a', NULL)", "DELETE FROM invoice"],
    [
        "SET @@foreign_key_checks = 0",
        "REPLACE INTO invoice VALUES (1, 1, 'its rows stay', NULL)",
        "SET @@foreign_key_checks = 1",
    ],
)


@pytest.mark.parametrize("statements", REPLACED, ids=range(len(REPLACED)))
@pytest.mark.parametrize("pages", [1, 20])
async def test_child_rows_that_a_cascade_of_mariadb_removed_unseen_are_gone_at_the_consumer(
    make: Make, statements: list[str], pages: int
) -> None:
    hq, relay, store = await make("hq", "mariadb"), await make("relay", "postgresql"), await make("store")
    sale(hq)
    for one, other in ((relay, hq), (store, relay)):
        await one.pull_all(other)
    assert everything(store) == everything(hq)
    checked(hq, *statements)
    hq.write("UPDATE customer SET name = 'Ada L.' WHERE id = 1")
    for one, other in ((relay, hq), (store, relay)):
        while await one.pull_from(other, limit=pages):
            pass
        await one.pull_all(other)
    assert await relay.queue() == await store.queue() == []
    assert everything(relay) == everything(store) == everything(hq)


async def test_a_row_that_was_added_here_meanwhile_stays_where_the_parent_was_replaced_there(make: Make) -> None:
    hq, store = await make("hq", "mariadb"), await make("store")
    sale(hq)
    await both_ways(hq, store)
    checked(hq, "REPLACE INTO invoice VALUES (1, 1, 'replaced', NULL)")
    store.write("INSERT INTO line VALUES (7, 1, 70)")
    await both_ways(hq, store)
    await both_ways(hq, store)
    assert everything(store) == everything(hq)
    assert hq.rows("SELECT id FROM line") == [(7,)]
