"""A document that cannot be applied: it is parked, its later events wait, the others go on, and it heals."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Pair
from tests.support.sites.chinook import INVOICE, NEW, add_customer, add_invoice
from tests.support.sites.world import nothing_synced_twice

CUSTOMERS = "CustomerId BETWEEN 100 AND 899"


def queue(pair: Pair) -> list[tuple[str, str]]:
    return pair.store.rows("SELECT doctype, state FROM streamd_parked ORDER BY id")


@pytest.fixture
def poisoned(pair: Pair) -> Pair:
    """Customer 100 of headquarters has the e-mail address of the store's own customer 900, unique there.

    An update of it and an invoice that needs it follow, and other documents after those.
    """
    pair.store.execute("CREATE UNIQUE INDEX one_email ON Customer (Email)")
    add_customer(pair.store, 900, "ada@example.org")
    pair.start()
    add_customer(pair.hq, 100, "ada@example.org")
    pair.world.eventually(lambda: queue(pair) == [("Customer", "parked")], "the customer is parked")
    pair.hq.execute("UPDATE Customer SET Company = 'Engines' WHERE CustomerId = 100")
    add_invoice(pair.hq, 1001, customer=100)
    add_invoice(pair.hq, 1002, customer=1)
    add_customer(pair.hq, 101, "grace@example.org")
    pair.world.equal(pair.hq, pair.store, {"Customer": "CustomerId = 101", "Invoice": "InvoiceId = 1002"})
    pair.world.eventually(lambda: len(queue(pair)) == 3, "the customer is parked, its update and its invoice are held")
    return pair


def healed(pair: Pair, timeout: float = 15) -> None:
    pair.world.equal(pair.hq, pair.store, {**NEW, "Customer": CUSTOMERS}, timeout=timeout)
    pair.world.eventually(lambda: queue(pair) == [], "nothing is parked or held any more")


def test_what_cannot_be_applied_is_shown_with_its_error_and_what_waits_for_it(poisoned: Pair) -> None:
    assert queue(poisoned)[0] == ("Customer", "parked")
    assert {state for _, state in queue(poisoned)[1:]} == {"held"}
    assert poisoned.store.value("SELECT count(*) FROM Invoice WHERE InvoiceId = 1001") == 0
    failed = poisoned.store.json("log", "syncs", "--status", "failed")
    assert [(entry["doctype"], entry["status"]) for entry in failed] == [("Customer", "Failed")]
    assert "Email" in failed[0]["error"], "the database's own words have to be there"
    assert "ada@example.org" in poisoned.store.cli("log", "show", str(failed[0]["id"]))
    rows = poisoned.store.rows("SELECT CustomerId, Email FROM Customer WHERE Email LIKE 'ada@%'")
    assert rows == [(900, "ada@example.org")]


@pytest.mark.matrix  # each time by documents/test_engine_pairs.py
def test_it_heals_by_itself_when_the_source_mends_it(poisoned: Pair) -> None:
    poisoned.hq.execute("UPDATE Customer SET Email = 'lovelace@example.org' WHERE CustomerId = 100")
    healed(poisoned)
    assert poisoned.store.rows("SELECT Company, Email FROM Customer WHERE CustomerId = 100") == [
        ("Engines", "lovelace@example.org")
    ]
    nothing_synced_twice(poisoned.store)


def test_it_heals_when_the_source_deletes_it(poisoned: Pair) -> None:
    with poisoned.hq.write() as connection:
        connection.execute("DELETE FROM InvoiceLine WHERE InvoiceId = 1001")
        connection.execute("DELETE FROM Invoice WHERE InvoiceId = 1001")
        connection.execute("DELETE FROM Customer WHERE CustomerId = 100")
    healed(poisoned)


def test_it_heals_by_itself_when_the_consumer_mends_it(poisoned: Pair) -> None:
    poisoned.store.execute("UPDATE Customer SET Email = 'ada@store.example.org' WHERE CustomerId = 900")
    healed(poisoned, timeout=30)
    nothing_synced_twice(poisoned.store)


def test_it_heals_at_once_with_resync_when_the_consumer_mended_it(poisoned: Pair) -> None:
    poisoned.store.stop()
    poisoned.store.execute("DELETE FROM Customer WHERE CustomerId = 900")
    failed = poisoned.store.json("log", "syncs", "--status", "failed")
    poisoned.store.cli("resync", str(failed[0]["id"]))
    poisoned.store.start()
    healed(poisoned, timeout=5)


def test_it_heals_after_a_restart(poisoned: Pair) -> None:
    poisoned.store.stop()
    poisoned.hq.stop()
    poisoned.store.execute("DELETE FROM Customer WHERE CustomerId = 900")
    poisoned.store.cli("resync", "--all")
    poisoned.start()
    healed(poisoned)


def test_discarding_lets_go_of_the_event_and_the_others_go_on(poisoned: Pair) -> None:
    for entry in poisoned.store.json("log", "syncs", "--status", "failed"):
        poisoned.store.cli("discard", str(entry["id"]))
    add_invoice(poisoned.hq, 1003, customer=2)
    poisoned.world.equal(poisoned.hq, poisoned.store, {"Invoice": "InvoiceId = 1003"})
    discarded = poisoned.store.json("log", "syncs", "--status", "discarded")
    assert [entry["doctype"] for entry in discarded] == ["Customer"]
    assert poisoned.store.rows("SELECT Email FROM Customer WHERE CustomerId = 900") == [("ada@example.org",)]
    # What was held behind it is not lost: it arrives as soon as the source makes it possible.
    poisoned.store.execute("DELETE FROM Customer WHERE CustomerId = 900")
    poisoned.store.cli("resync", "--all", "--whole")
    healed(poisoned, timeout=60)


def test_a_resync_reads_the_document_whole_as_it_is_now(poisoned: Pair) -> None:
    poisoned.store.stop()
    poisoned.hq.execute("UPDATE Customer SET Email = 'whole@example.org', City = 'London' WHERE CustomerId = 100")
    failed = poisoned.store.json("log", "syncs", "--status", "failed")
    poisoned.store.cli("resync", str(failed[0]["id"]), "--whole")
    poisoned.store.start()
    healed(poisoned)


def test_a_row_that_the_database_refuses_leaves_nothing_of_its_document(pair: Pair) -> None:
    """The third line is refused: neither the invoice nor the first two lines may stay."""
    pair.store.execute(
        "CREATE TRIGGER no_such_quantity BEFORE INSERT ON InvoiceLine WHEN new.Quantity > 100"
        " BEGIN SELECT raise(ABORT, 'nobody buys that many'); END"
    )
    pair.start()
    with pair.hq.write() as connection:
        connection.execute(f"{INVOICE} (1001, 1, '2026-01-01', 1)")
        connection.executemany(
            "INSERT INTO InvoiceLine VALUES (?, 1001, 1, 0.99, ?)", [(100100, 1), (100101, 1), (100102, 101)]
        )
    add_invoice(pair.hq, 1002)
    pair.world.equal(pair.hq, pair.store, {"Invoice": "InvoiceId = 1002", "InvoiceLine": "InvoiceId = 1002"})
    pair.world.eventually(lambda: queue(pair) == [("Invoice", "parked")], "the invoice is parked")
    assert pair.store.value("SELECT count(*) FROM Invoice WHERE InvoiceId = 1001") == 0
    assert pair.store.value("SELECT count(*) FROM InvoiceLine WHERE InvoiceId = 1001") == 0
    assert "nobody buys that many" in pair.store.json("log", "syncs", "--status", "failed")[0]["error"]
    pair.hq.execute("UPDATE InvoiceLine SET Quantity = 100 WHERE InvoiceLineId = 100102")
    pair.world.equal(pair.hq, pair.store, NEW)
    pair.world.eventually(lambda: queue(pair) == [], "nothing is parked any more")
