"""Two real Frappe sites: what users do at one arrives at the other, by the names of DocTypes alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from tests.support.access import Connection
from tests.support.sites.frappe import OFFERED, FrappeSite, SiteName
from tests.support.sites.world import Link, World, approvals

EVERYTHING = {
    "tabNote": "true",
    "tabNote Seen By": "true",
    "tabRetail Category": "true",
    "tabRetail Customer": "true",
    "tabRetail Invoice": "true",
    "tabRetail Invoice Item": "true",
    "tabRetail Item": "true",
    "tabRetail Payment": "true",
    "tabSingles": "doctype = 'Retail Settings'",
    "tabToDo": "true",
    "tabUser": "true",
    "tabHas Role": "parenttype = 'User'",
}
"""What both sites have of `OFFERED`: table → condition."""

PAYMENTS = {"tabRetail Payment": "true"}
INVOICES = {"tabRetail Invoice": "name LIKE 'INV-R%'", "tabRetail Invoice Item": "parent LIKE 'INV-R%'"}
ITEMS = {"tabRetail Item": "true", "tabRetail Invoice Item": "true"}
USERS = {"tabUser": "true", "tabHas Role": "parenttype = 'User'"}
SINGLE = {"tabSingles": "doctype = 'Retail Settings'"}
CATEGORIES = {"tabRetail Category": "true"}

BOOKKEEPING = "name, owner, creation, modified, modified_by, docstatus, idx"
WHO_AND_WHEN = ("clerk1@example.com", "2026-05-06 07:08:09.123456", "2026-05-07 01:02:03.000001", "clerk3@example.com")
WANTED = ("Note", "Retail Category", "Retail Invoice", "Retail Settings")
"""What the store wants where it does not want everything."""
WHOLE_SECONDS = 60


class Frappes(NamedTuple):
    """Headquarters and a store."""

    world: World
    hq: FrappeSite
    store: FrappeSite

    def equal(self, tables: dict[str, str] | None = None, timeout: float = 20) -> None:
        self.world.equal(self.hq, self.store, tables or EVERYTHING, timeout)

    def settled(self) -> None:
        """Nothing is parked, and both sites are equal."""
        self.equal()
        for site in (self.hq, self.store):
            assert site.rows("SELECT doctype, name, error FROM streamd_parked") == []


def make(world: World, name: SiteName, offers: Sequence[str]) -> FrappeSite:
    site = FrappeSite(world.folder / name, name)
    site.offers = tuple(offers)
    world.sites.append(site)
    return site


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frappes]:
    """Both sites, running, each with the other as its producer; the store has read all that was at headquarters."""
    world = World(tmp_path_factory.mktemp("frappe"))
    try:
        pair = Frappes(world, make(world, "hq", OFFERED), make(world, "store", OFFERED))
        world.connect(Link(pair.store, pair.hq, OFFERED), Link(pair.hq, pair.store, OFFERED))
        for doctype in OFFERED:
            pair.store.cli("resync", "--doctype", doctype, "--whole")
        pair.equal(timeout=WHOLE_SECONDS)
        yield pair
        world.stop()
    finally:
        world.close()
        world.drop()


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frappes]:
    """Both sites, running; the store has nothing of its own, and wants a few DocTypes of headquarters from now on."""
    world = World(tmp_path_factory.mktemp("narrow"))
    try:
        pair = Frappes(world, make(world, "hq", OFFERED), make(world, "store", ()))
        world.connect(Link(pair.store, pair.hq, WANTED))
        yield pair
        world.stop()
    finally:
        world.close()
        world.drop()


def insert(connection: Connection, doctype: str, **values: Any) -> None:
    """A row, as the application writes it."""
    owner, creation, modified, modified_by = WHO_AND_WHEN
    row = {"owner": owner, "creation": creation, "modified": modified, "modified_by": modified_by} | values
    columns = ", ".join(f'"{column}"' for column in row)
    marks = ", ".join("?" * len(row))
    connection.execute(f'INSERT INTO "tab{doctype}" ({columns}) VALUES ({marks})', tuple(row.values()))


def child(connection: Connection, doctype: str, of: tuple[str, str, str], name: str, **values: Any) -> None:
    """A child row; `of` is the parent's DocType and name, and the field."""
    parenttype, parent, parentfield = of
    insert(connection, doctype, name=name, parent=parent, parenttype=parenttype, parentfield=parentfield, **values)


def save_single(connection: Connection, doctype: str, **values: str | None) -> None:
    """What the application does to save a single: all of its rows go, and come again."""
    rows = connection.execute('SELECT field, value FROM "tabSingles" WHERE doctype = ?', (doctype,)).fetchall()
    there: dict[str, str | None] = dict(rows)
    connection.execute('DELETE FROM "tabSingles" WHERE doctype = ?', (doctype,))
    for field, value in (there | values).items():
        connection.execute('INSERT INTO "tabSingles" (doctype, field, value) VALUES (?, ?, ?)', (doctype, field, value))


def single(site: FrappeSite, doctype: str) -> dict[str, str | None]:
    return dict(site.rows('SELECT field, value FROM "tabSingles" WHERE doctype = ?', doctype))


def test_what_was_there_arrives_as_it_was(both: Frappes) -> None:
    assert both.store.value('SELECT count(*) FROM "tabRetail Invoice Item"') >= 1000
    assert both.store.value('SELECT count(*) FROM "tabUser"') >= 11
    for table in ("tabRetail Invoice", "tabRetail Payment", "tabNote"):
        query = f'SELECT {BOOKKEEPING} FROM "{table}" ORDER BY name'
        assert both.store.rows(query) == both.hq.rows(query)
    both.settled()


def test_a_payment_is_submitted_cancelled_and_amended(both: Frappes) -> None:
    first, second = "PAY-2026-01001", "PAY-2026-01001-1"
    with both.hq.write() as connection:
        insert(
            connection, "Retail Payment", name=first, party_type="Retail Customer", party="CUST-00001",
            amount="12.340000000", rate="0.1", paid_on="2026-02-28 23:59:59.999999", at="13:14:15.000016",
            naming_series="PAY-.YYYY.-.#####",
        )  # fmt: skip
    both.equal(PAYMENTS)
    for docstatus in (1, 2):
        both.hq.execute('UPDATE "tabRetail Payment" SET docstatus = ? WHERE name = ?', docstatus, first)
        both.equal(PAYMENTS)
        assert both.store.value('SELECT docstatus FROM "tabRetail Payment" WHERE name = ?', first) == docstatus
    with both.hq.write() as connection:
        insert(connection, "Retail Payment", name=second, amended_from=first, amount="13", docstatus=1)
    both.equal(PAYMENTS)
    query = f'SELECT {BOOKKEEPING} FROM "tabRetail Payment" WHERE name IN (?, ?)'
    assert both.store.rows(query, first, second) == both.hq.rows(query, first, second)
    assert both.store.value('SELECT owner FROM "tabRetail Payment" WHERE name = ?', second) == WHO_AND_WHEN[0]
    both.settled()


def test_rows_of_an_invoice_are_edited_at_both_sites(both: Frappes) -> None:
    invoice, items = ("Retail Invoice", "INV-R1", "items"), "Retail Invoice Item"
    with both.hq.write() as connection:
        insert(connection, "Retail Invoice", name="INV-R1", invoice_no="INV-R1", customer="CUST-00002", total="30")
        for number in range(1, 4):
            child(connection, items, invoice, f"r1-{number}", idx=number, item=f"ITEM-0000{number}", qty="1", rate="10")
    both.equal(INVOICES)
    with both.store.write() as connection:
        connection.execute('DELETE FROM "tabRetail Invoice Item" WHERE name = ?', ("r1-1",))
        connection.execute('UPDATE "tabRetail Invoice Item" SET idx = idx - 1 WHERE parent = ?', ("INV-R1",))
        connection.execute('UPDATE "tabRetail Invoice Item" SET qty = 5, amount = 50 WHERE name = ?', ("r1-2",))
        child(connection, items, invoice, "r1-4", idx=3, item="ITEM-00009", qty="2", rate="10")
        connection.execute('UPDATE "tabRetail Invoice" SET total = 80, status = ? WHERE name = ?', ("Paid", "INV-R1"))
    both.equal(INVOICES)
    query = 'SELECT name FROM "tabRetail Invoice Item" WHERE parent = ? ORDER BY idx'
    assert both.hq.rows(query, "INV-R1") == [("r1-2",), ("r1-3",), ("r1-4",)]
    with both.hq.write() as connection:
        connection.execute('DELETE FROM "tabRetail Invoice Item" WHERE parent = ?', ("INV-R1",))
        connection.execute('DELETE FROM "tabRetail Invoice" WHERE name = ?', ("INV-R1",))
    both.equal(INVOICES)
    assert both.store.rows(query, "INV-R1") == []
    both.settled()


def test_a_renamed_item_is_followed_by_what_links_to_it(both: Frappes) -> None:
    with both.hq.write() as connection:  # as the application renames: the document, then each link to it
        connection.execute(
            'UPDATE "tabRetail Item" SET name = ?, item_code = ? WHERE name = ?', ("TEA", "TEA", "ITEM-00007")
        )
        connection.execute('UPDATE "tabRetail Invoice Item" SET item = ? WHERE item = ?', ("TEA", "ITEM-00007"))
    both.equal(ITEMS)
    assert both.store.value('SELECT count(*) FROM "tabRetail Item" WHERE name = ?', "ITEM-00007") == 0
    assert both.store.value('SELECT count(*) FROM "tabRetail Invoice Item" WHERE item = ?', "TEA") > 0
    both.hq.execute('UPDATE "tabRetail Item" SET rate = 4.5 WHERE name = ?', "TEA")
    both.settled()


def test_the_roles_of_a_user_travel_and_those_of_a_report_do_not(both: Frappes) -> None:
    clerk = ("User", "clerk4@example.com", "roles")
    with both.hq.write() as connection:
        child(connection, "Has Role", clerk, "role-1", idx=1, role="Accounts User")
        child(connection, "Has Role", clerk, "role-2", idx=2, role="Sales User")
        child(connection, "Has Role", ("Report", "ToDo", "roles"), "role-3", idx=9, role="Sales User")
        connection.execute('UPDATE "tabUser" SET user_type = ? WHERE name = ?', ("System User", clerk[1]))
    both.equal(USERS)
    both.store.execute('DELETE FROM "tabHas Role" WHERE name = ?', "role-1")
    both.equal(USERS)
    assert both.store.rows('SELECT name FROM "tabHas Role" WHERE parent = ?', clerk[1]) == [("role-2",)]
    both.settled()
    assert both.store.rows('SELECT name FROM "tabHas Role" WHERE name = ?', "role-3") == []


def test_a_single_is_changed_at_both_sites(both: Frappes) -> None:
    with both.hq.write() as connection:
        save_single(connection, "Retail Settings", default_rate="2.5", modified_by="clerk1@example.com")
    both.equal(SINGLE)
    with both.store.write() as connection:
        save_single(connection, "Retail Settings", company="Müller & Søn GmbH", walk_in=None)
    both.equal(SINGLE)
    assert single(both.hq, "Retail Settings")["company"] == "Müller & Søn GmbH"
    assert single(both.store, "Retail Settings")["default_rate"] == "2.5"
    with both.store.write() as connection:
        connection.execute('DELETE FROM "tabSingles" WHERE doctype = ? AND field = ?', ("Retail Settings", "walk_in"))
    both.settled()
    assert single(both.hq, "Website Settings") != single(both.store, "Website Settings"), "nobody asked for these"


def test_a_todo_of_a_note_arrives_with_its_note(both: Frappes) -> None:
    with both.store.write() as connection:
        insert(connection, "Note", name="Nøte 🎸", title="Nøte 🎸", content="<p></p>")
        child(connection, "Note Seen By", ("Note", "Nøte 🎸", "seen_by"), "seen-1", idx=1, user="clerk5@example.com")
        insert(
            connection, "ToDo", name="todo-1", owner="clerk5@example.com", description="read it", reference_type="Note",
            reference_name="Nøte 🎸", role="",
        )  # fmt: skip
    both.settled()
    assert both.hq.value('SELECT reference_name FROM "tabToDo" WHERE name = ?', "todo-1") == "Nøte 🎸"


def test_categories_arrive_parents_first(both: Frappes) -> None:
    both.store.access.raw("CREATE TABLE written (number INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(140))")
    both.store.access.raw(
        "CREATE TRIGGER note_order AFTER INSERT ON `tabRetail Category` FOR EACH ROW "
        "INSERT INTO written (name) VALUES (NEW.name)"
    )
    with both.hq.write() as connection:  # the leaf first: its parents are not there yet
        for name, parent in (("Oolong", "Leaf"), ("Leaf", "Hot"), ("Hot", "Drinks")):
            insert(connection, "Retail Category", name=name, category_name=name, parent_category=parent)
    both.equal(CATEGORIES)
    written = [name for (name,) in both.store.rows("SELECT name FROM written ORDER BY number")]
    assert written == ["Hot", "Leaf", "Oolong"]
    both.store.access.raw("DROP TRIGGER note_order")
    with both.hq.write() as connection:
        connection.execute('UPDATE "tabRetail Category" SET parent_category = ? WHERE name = ?', ("Food", "Leaf"))
        connection.execute('UPDATE "tabRetail Category" SET parent_category = NULL WHERE name = ?', ("Oolong",))
    both.settled()


def test_an_invoice_brings_its_customer_and_items_although_only_invoices_are_wanted(narrow: Frappes) -> None:
    assert set(approvals(narrow.hq, narrow.store)) == set(WANTED)
    narrow.hq.execute('UPDATE "tabRetail Invoice" SET remarks = ? WHERE name = ?', "look", "INV-00003")
    wanted = {"tabRetail Invoice": "name = 'INV-00003'", "tabRetail Invoice Item": "parent = 'INV-00003'"}
    narrow.equal(wanted)
    assert narrow.store.rows('SELECT name FROM "tabRetail Customer"') == [("CUST-00003",)]
    items = narrow.store.rows('SELECT DISTINCT item FROM "tabRetail Invoice Item" ORDER BY item')
    assert narrow.store.rows('SELECT name FROM "tabRetail Item" ORDER BY name') == items
    narrow.world.contained(narrow.store, narrow.hq, dict.fromkeys(("tabRetail Customer", "tabRetail Item"), "true"))


def test_the_first_change_of_a_single_brings_all_its_values(narrow: Frappes) -> None:
    assert single(narrow.store, "Retail Settings") == {}
    with narrow.hq.write() as connection:
        save_single(connection, "Retail Settings", default_rate="7")
    narrow.equal(SINGLE)
    assert single(narrow.store, "Retail Settings")["company"] == "Müller & Søn"


def test_no_link_brings_a_user_along(narrow: Frappes) -> None:
    with narrow.hq.write() as connection:
        for name, user in (("known", "Administrator"), ("strange", "clerk5@example.com")):
            insert(connection, "Note", name=name, title=name, content="")
            child(connection, "Note Seen By", ("Note", name, "seen_by"), f"seen-{name}", idx=1, user=user)
    narrow.world.caught_up(narrow.store, narrow.hq)
    assert narrow.store.rows('SELECT name FROM "tabNote"') == [("known",)]
    assert narrow.store.value('SELECT count(*) FROM "tabUser" WHERE name LIKE ?', "clerk%") == 0
    ((error,),) = narrow.store.rows("SELECT error FROM streamd_parked")
    assert "User clerk5@example.com" in error


def test_what_comes_belongs_to_the_subscriber_where_one_is_set(narrow: Frappes) -> None:
    owner, creation, modified, _ = WHO_AND_WHEN
    times = f"CAST(creation AS CHAR) = '{creation}' AND CAST(modified AS CHAR) = '{modified}'"
    query = f'SELECT owner, modified_by, is_group, {times} FROM "tabRetail Category" WHERE name = ?'
    narrow.store.stop()
    narrow.store.producers["hq"].settings["subscriber"] = "sync@example.com"
    narrow.store.start()
    with narrow.hq.write() as connection:
        insert(connection, "Retail Category", name="Ours", category_name="Ours", is_group=0)
    expected = ("sync@example.com", "sync@example.com")
    narrow.world.eventually(
        lambda: narrow.store.rows(query, "Ours") == [(*expected, 0, 1)], "it is the subscriber's, with its times"
    )
    update = 'UPDATE "tabRetail Category" SET is_group = 1, modified_by = ? WHERE name = ?'
    narrow.hq.execute(update, "Guest", "Ours")
    narrow.world.eventually(lambda: narrow.store.rows(query, "Ours") == [(*expected, 1, 1)], "the edit is, too")
    assert narrow.hq.rows(query, "Ours") == [(owner, "Guest", 1, 1)]
