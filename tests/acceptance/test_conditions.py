"""Subscriptions under a condition, with real daemons: what comes, what leaves, and what stays secret."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.support.database_url import Engine
from tests.support.site import Producer, Site, Wanted
from tests.support.world import Link, World, approvals

SCHEMA = """
CREATE TABLE "Customer" ("id" INTEGER PRIMARY KEY, "name" VARCHAR(40), "country" VARCHAR(10), "rating" INTEGER);
CREATE TABLE "Invoice" ("id" INTEGER PRIMARY KEY, "customer" INTEGER NOT NULL REFERENCES "Customer" ("id"),
    "country" VARCHAR(10), "total" NUMERIC(10,2), "margin" NUMERIC(10,2));
CREATE TABLE "Line" ("id" INTEGER PRIMARY KEY, "invoice" INTEGER NOT NULL REFERENCES "Invoice" ("id"),
    "item" VARCHAR(40), "cost" NUMERIC(10,2))
"""

CATALOGUE = """
[doctypes.Customer]
[doctypes.Invoice]
[doctypes.Invoice.children.lines]
table = "Line"
parent_key = "invoice"
"""

SECRETIVE = """
[doctypes.Customer]
exclude = ["rating"]
[doctypes.Invoice]
exclude = ["margin"]
[doctypes.Invoice.children.lines]
table = "Line"
parent_key = "invoice"
exclude = ["cost"]
"""

CONDITION = "doc.country == 'IN' and doc.total > 1000"


class Pair(NamedTuple):
    world: World
    hq: Site
    store: Site

    def invoices(self) -> list[tuple[object, ...]]:
        return self.store.rows('SELECT "id", "country" FROM "Invoice" ORDER BY 1')

    def has(self, *numbers: int) -> None:
        self.world.eventually(lambda: [number for number, _ in self.invoices()] == list(numbers), f"it has {numbers}")

    def marker(self, number: int) -> None:
        """What was written before at headquarters has been served, or left out, when this invoice arrives."""
        bill(self.hq, number, total=5000)
        self.world.eventually(lambda: (number, "IN") in self.invoices(), f"the marker {number} arrives")


def make(world: World, engines: tuple[Engine, Engine], on_leave: str, *, naming: bool = False) -> Pair:
    """Headquarters and a store; `naming`: the store names invoices itself."""
    hq = world.site("hq", SECRETIVE, engine=engines[0])
    store = world.site("store", CATALOGUE, engine=engines[1])
    for site in (hq, store):
        for statement in SCHEMA.split(";"):
            site.execute(statement)
    hq.execute("INSERT INTO \"Customer\" VALUES (1, 'Ada', 'US', 987654)")
    wanted = Wanted(
        "Invoice", {"condition": CONDITION, "on_leave": on_leave} | ({"use_same_name": False} if naming else {})
    )
    world.subscribe(Link(store, hq, [wanted]))
    assert CONDITION in hq.cli("consumers", "list"), "the operator sees what is asked for"
    hq.cli("consumers", "approve", "store")
    return Pair(world, hq, store)


def bill(site: Site, number: int, *, country: str = "IN", total: float = 2000) -> None:
    with site.write() as connection:
        connection.execute('INSERT INTO "Invoice" VALUES (?, 1, ?, ?, 123456)', (number, country, total))
        connection.execute('INSERT INTO "Line" VALUES (?, ?, ?, 765432)', (number * 10, number, "tea"))


@pytest.mark.parametrize(
    "engines", [("sqlite", "postgresql"), ("postgresql", "mariadb"), ("mariadb", "sqlite")], ids="-to-".join
)
def test_only_documents_that_satisfy_the_condition_come_and_they_leave_with_it(
    world: World, engines: tuple[Engine, Engine]
) -> None:
    pair = make(world, engines, "delete")
    hq, store = pair.hq, pair.store
    bill(hq, 1)
    bill(hq, 2, country="US")
    bill(hq, 3, total=10)
    pair.marker(4)
    pair.has(1, 4)
    assert store.value('SELECT "name" FROM "Customer"') == "Ada", "the customer comes with the invoice"

    # One comes to satisfy it: it arrives whole, with what happened to it before.
    hq.execute("INSERT INTO \"Line\" VALUES (25, 2, 'cup', 1)")
    hq.execute('UPDATE "Invoice" SET "country" = \'IN\' WHERE "id" = 2')
    pair.has(1, 2, 4)
    assert store.rows('SELECT "item" FROM "Line" WHERE "invoice" = 2 ORDER BY "id"') == [("tea",), ("cup",)]

    # What changes in its rows alone is judged by the document.
    hq.execute('UPDATE "Line" SET "item" = \'pot\' WHERE "id" = 25')
    hq.execute('UPDATE "Line" SET "item" = \'not for you\' WHERE "invoice" = 3')
    pair.marker(5)
    assert store.value('SELECT "item" FROM "Line" WHERE "id" = 25') == "pot"

    # One ceases to satisfy it: it leaves, and what becomes of it later is nobody's business.
    hq.execute('UPDATE "Invoice" SET "total" = 1 WHERE "id" = 1')
    pair.has(2, 4, 5)
    hq.execute('UPDATE "Invoice" SET "total" = 2 WHERE "id" = 1')
    hq.execute('DELETE FROM "Line" WHERE "invoice" = 3')
    hq.execute('DELETE FROM "Invoice" WHERE "id" = 3')
    pair.marker(6)
    pair.has(2, 4, 5, 6)
    # And it comes back.
    hq.execute('UPDATE "Invoice" SET "total" = 3000 WHERE "id" = 1')
    pair.has(1, 2, 4, 5, 6)
    assert store.rows('SELECT "item" FROM "Line" WHERE "invoice" = 1') == [("tea",)]
    notes = {note for (note,) in store.state_rows("SELECT note FROM sync_log WHERE doctype = 'Invoice'")}
    assert "came to satisfy the condition: taken whole" in notes
    assert not any("never here" in note for note in notes), "it was here before it left"

    assert store.rows("SELECT doctype, error FROM streamd_parked") == []
    nothing_secret_left(pair)
    another_condition_is_pending_again(pair)


def nothing_secret_left(pair: Pair) -> None:
    everything = repr(pair.hq.state_rows("SELECT * FROM update_log")) + repr(
        pair.hq.rows("SELECT * FROM streamd_change")
    )
    everything += repr([pair.store.rows(f'SELECT * FROM "{table}"') for table in ("Customer", "Invoice", "Line")])
    everything += repr(pair.store.state_rows("SELECT * FROM sync_log"))
    for secret in ("987654", "123456", "765432"):
        assert secret not in everything, f"{secret} left"
    assert pair.store.value('SELECT count(*) FROM "Line" WHERE "item" = ?', "not for you") == 0


def another_condition_is_pending_again(pair: Pair) -> None:
    pair.store.producers["hq"].doctypes = (Wanted("Invoice", {"condition": "doc.country == 'US'"}),)
    pair.store.restart()
    pair.world.eventually(
        lambda: approvals(pair.hq, pair.store) == {"Invoice": "Pending"}, "it has to be approved again"
    )
    bill(pair.hq, 20, country="US")
    pair.hq.cli("consumers", "approve", "store", "Invoice")
    pair.world.eventually(
        lambda: "after a break" in pair.store.cli("log", "syncs", "--status", "failed", "--json"),
        "what was missed in between is said",
    )
    assert pair.store.json("status")["gaps"] == 1
    assert "`streamd resync --doctype Invoice --whole`" in pair.store.cli("status")
    pair.store.cli("resync", "--doctype", "Invoice", "--whole")
    pair.world.eventually(lambda: (20, "US") in pair.invoices(), "and read again", timeout=20)
    pair.world.eventually(lambda: pair.store.json("status")["gaps"] == 0, "nothing is missing any more")


def test_what_leaves_may_stay_as_it_was_and_follows_again_when_it_comes_back(world: World) -> None:
    pair = make(world, ("sqlite", "sqlite"), "keep")
    bill(pair.hq, 1)
    pair.has(1)
    pair.hq.execute("UPDATE Invoice SET country = 'US' WHERE id = 1")
    pair.hq.execute("UPDATE Line SET item = 'unseen' WHERE invoice = 1")
    pair.marker(2)
    assert pair.invoices() == [(1, "IN"), (2, "IN")]
    assert pair.store.rows("SELECT item FROM Line WHERE invoice = 1") == [("tea",)]
    assert "does not satisfy the condition" in pair.store.cli("log", "syncs")
    pair.hq.execute("UPDATE Invoice SET country = 'IN', total = 1500 WHERE id = 1")
    pair.world.eventually(
        lambda: pair.store.rows("SELECT item FROM Line WHERE invoice = 1") == [("unseen",)], "it is taken whole"
    )
    assert pair.store.value("SELECT total FROM Invoice WHERE id = 1") == 1500


def test_what_left_and_comes_back_has_the_name_that_it_had_here(world: World) -> None:
    pair = make(world, ("sqlite", "sqlite"), "delete", naming=True)
    pair.store.execute("INSERT INTO Customer VALUES (1, 'Bo', 'US', 1)")
    pair.store.execute("INSERT INTO Invoice VALUES (50, 1, 'US', 1, 1)")
    bill(pair.hq, 1)
    pair.has(50, 51)
    bill(pair.hq, 2)
    pair.has(50, 51, 52)
    pair.hq.execute("UPDATE Invoice SET country = 'US' WHERE id = 1")
    pair.has(50, 52)
    bill(pair.hq, 3, total=3000)
    pair.has(50, 52, 53)
    pair.hq.execute("UPDATE Invoice SET country = 'IN', total = 4000 WHERE id = 1")
    pair.has(50, 51, 52, 53)
    assert pair.store.rows("SELECT total FROM Invoice WHERE id IN (51, 53) ORDER BY id") == [(4000,), (3000,)]
    # Also where it got another name there before the store heard of its coming.
    pair.hq.execute("UPDATE Invoice SET country = 'US' WHERE id = 2")
    pair.has(50, 51, 53)
    pair.store.stop()
    pair.hq.execute("UPDATE Invoice SET country = 'IN', total = 6000 WHERE id = 2")
    world.eventually(lambda: pair.hq.access.waiting_changes() == 0, "headquarters captures it")
    with pair.hq.write(deferred=True) as connection:
        connection.execute("UPDATE Invoice SET id = 9 WHERE id = 2")
        connection.execute("UPDATE Line SET invoice = 9 WHERE invoice = 2")
    pair.store.start()
    pair.has(50, 51, 52, 53)
    pair.hq.execute("UPDATE Invoice SET total = 7000 WHERE id = 9")
    world.eventually(
        lambda: pair.store.value("SELECT total FROM Invoice WHERE id = 52") == 7000, "it is the same one ever after"
    )


@pytest.mark.parametrize("naming", [False, True], ids=["same_names", "named_here"])
def test_what_came_left_and_was_renamed_while_the_store_was_away_is_there_in_the_end(
    world: World, naming: bool
) -> None:
    pair = make(world, ("sqlite", "sqlite"), "delete", naming=naming)
    pair.store.stop()

    def rename(old: int, new: int) -> None:
        with pair.hq.write(deferred=True) as connection:
            connection.execute("UPDATE Invoice SET id = ? WHERE id = ?", (new, old))
            connection.execute("UPDATE Line SET invoice = ? WHERE invoice = ?", (new, old))
        captured()

    def move(number: int, country: str) -> None:
        pair.hq.execute("UPDATE Invoice SET country = ? WHERE id = ?", country, number)
        captured()

    def captured() -> None:
        """What comes next is an event of its own."""
        world.eventually(lambda: pair.hq.access.waiting_changes() == 0, "headquarters captures it")

    for first in (10, 20, 40):
        bill(pair.hq, first, country="US", total=2000 + first)
        captured()
        move(first, "IN")
        rename(first, first + 1)
        rename(first + 1, first + 2)
        if first == 40:
            break  # it satisfies the condition all the time
        move(first + 2, "US")
    move(12, "IN")
    pair.store.start()
    bill(pair.hq, 30, total=5000)
    found = "SELECT total, item FROM Invoice JOIN Line ON Line.invoice = Invoice.id ORDER BY 1"
    world.eventually(
        lambda: pair.store.rows(found) == [(2010, "tea"), (2040, "tea"), (5000, "tea")], "what satisfies it is there"
    )
    assert pair.store.rows("SELECT state, error FROM streamd_parked") == []


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("doc.margin > 1", "margin"),
        ("doc.nothing > 1", "nothing"),
        ("doc.country ==", "condition"),
        ("frappe.session.user == 'x'", "frappe"),
    ],
)
def test_a_condition_that_cannot_be_judged_is_refused_with_the_reason(world: World, condition: str, said: str) -> None:
    hq = world.site("hq", SECRETIVE)
    store = world.site("store", CATALOGUE)
    for site in (hq, store):
        for statement in SCHEMA.split(";"):
            site.execute(statement)
        site.write_config()
        site.cli("install")
    hq.start()
    key = hq.json("keys", "create", "--for", "store")
    store.producers["hq"] = Producer(
        hq, key["api_key"], key["api_secret"], (Wanted("Invoice", {"condition": condition}),)
    )
    store.write_config()
    done = store.run("check")
    assert done.code != 0
    assert said in done.out + done.err
    assert approvals(hq, store) == {}
