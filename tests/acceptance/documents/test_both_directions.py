"""Two sites that hold the same documents, each subscribed to the other."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.acceptance.conftest import Pair
from tests.support.compare import same_rows
from tests.support.sites.chinook import ALL, NEW, add_invoice, delete_invoice, line_id
from tests.support.sites.site import Site
from tests.support.sites.world import update_log


def exchange_markers(pair: Pair, first: int) -> None:
    """Send a note there and back again.

    A log is served in order, so their arrival proves that all that went before them, and all that it caused
    at the other side, has been served and applied.
    """
    for step, (here, there) in enumerate([(pair.hq, pair.store), (pair.store, pair.hq)] * 2):
        note = first + step
        here.execute("INSERT INTO Note VALUES (?, NULL, NULL, 'marker')", note)

        def arrived(there: Site = there, note: int = note) -> bool:
            return there.value("SELECT count(*) FROM Note WHERE NoteId = ?", note) == 1

        pair.world.eventually(arrived, f"{there.name} has the marker {note}")


def events(site: Site, doctype: str) -> Counter[tuple[str, str]]:
    return Counter((name, operation) for _, _, name, operation in update_log(site, doctype))


def test_a_change_travels_once_and_never_back(twins: Pair) -> None:
    twins.start()
    add_invoice(twins.hq, 1001)
    add_invoice(twins.store, 1002)
    twins.world.equal(twins.hq, twins.store, NEW)
    twins.hq.execute("UPDATE Invoice SET BillingCity = 'Bonn' WHERE InvoiceId = 1002")
    twins.store.execute("UPDATE InvoiceLine SET Quantity = 9 WHERE InvoiceLineId = ?", line_id(1001, 0))
    twins.world.equal(twins.hq, twins.store, NEW)
    delete_invoice(twins.hq, 1002)
    twins.world.equal(twins.hq, twins.store, NEW)
    exchange_markers(twins, 1)

    made = {
        twins.hq: {("[1001]", "create"), ("[1002]", "update"), ("[1002]", "delete")},
        twins.store: {("[1002]", "create"), ("[1001]", "update")},
    }
    every = made[twins.hq] | made[twins.store]
    for site, own in made.items():
        seen = events(site, "Invoice")
        assert set(seen) <= every, f"{site.name} logged what nobody did: {set(seen) - every}"
        assert own <= set(seen), f"{site.name} did not log {own - set(seen)}"
        assert max(seen.values()) == 1, f"{site.name} logged an edit more than once: {seen}"
    same_rows(twins.hq, twins.store, ALL)


def test_second_changes_before_the_first_came_back_do_not_play_ping_pong(twins: Pair) -> None:
    twins.start()
    for round_ in range(20):
        twins.hq.execute("UPDATE Customer SET Company = ? WHERE CustomerId = 7", f"hq {round_}")
        twins.store.execute("UPDATE Customer SET Address = ? WHERE CustomerId = 7", f"store {round_}")
    exchange_markers(twins, 1)
    before = [len(update_log(site, "Customer")) for site in (twins.hq, twins.store)]
    exchange_markers(twins, 10)
    after = [len(update_log(site, "Customer")) for site in (twins.hq, twins.store)]
    assert before == after, "the logs still grow although nobody writes"
    twins.world.equal(twins.hq, twins.store, ALL)
    assert twins.hq.rows("SELECT Company, Address FROM Customer WHERE CustomerId = 7") == [("hq 19", "store 19")]


@pytest.mark.matrix  # each time by documents/test_engine_pairs.py
def test_edits_of_one_field_end_equal_and_other_fields_merge(twins: Pair) -> None:
    add_invoice(twins.hq, 1001)
    twins.start()
    twins.world.equal(twins.hq, twins.store, ALL)
    twins.hq.stop()
    twins.store.stop()
    with twins.hq.write() as connection:
        connection.execute("UPDATE Invoice SET BillingCity = 'Bonn', Total = 5.5 WHERE InvoiceId = 1001")
        connection.execute("UPDATE InvoiceLine SET Quantity = 2 WHERE InvoiceLineId = ?", (line_id(1001, 0),))
        connection.execute("UPDATE Track SET UnitPrice = 1.49 WHERE TrackId = 9")
    with twins.store.write() as connection:
        connection.execute("UPDATE Invoice SET BillingCity = 'Ulm', BillingCountry = 'DE' WHERE InvoiceId = 1001")
        connection.execute("UPDATE InvoiceLine SET UnitPrice = 0.49 WHERE InvoiceLineId = ?", (line_id(1001, 0),))
        connection.execute("UPDATE InvoiceLine SET Quantity = 7 WHERE InvoiceLineId = ?", (line_id(1001, 1),))
        connection.execute("UPDATE Track SET UnitPrice = 1.99 WHERE TrackId = 9")
    twins.start()
    twins.world.caught_up(twins.store, twins.hq)
    twins.world.caught_up(twins.hq, twins.store)
    exchange_markers(twins, 1)
    same_rows(twins.hq, twins.store, ALL)
    city, total, country = twins.hq.rows(
        "SELECT BillingCity, Total, BillingCountry FROM Invoice WHERE InvoiceId = 1001"
    )[0]
    assert city in ("Bonn", "Ulm")
    assert (total, country) == (5.5, "DE"), "fields that only one side edited have to survive"
    assert twins.hq.rows("SELECT Quantity, UnitPrice FROM InvoiceLine WHERE InvoiceId = 1001 ORDER BY 1, 2")[-2:] == [
        (2, 0.49),
        (7, 0.99),
    ]
    # Both values of the conflict can be read in the sync log of one side at least.
    said = json.dumps([site.state_rows("SELECT data, note, error FROM sync_log") for site in (twins.hq, twins.store)])
    assert "Bonn" in said
    assert "Ulm" in said


@pytest.mark.matrix  # each time by simulation/flow/two_sites/test_conflicts.py
def test_the_newest_edit_of_a_field_wins_on_both_sides(twins: Pair) -> None:
    twins.start()
    twins.hq.stop()  # the store's edit is captured first, the one made later at headquarters is newer
    twins.store.execute("UPDATE Track SET UnitPrice = 1.11 WHERE TrackId = 9")
    twins.world.eventually(lambda: update_log(twins.store, "Track"), "the store logged its edit")
    twins.hq.execute("UPDATE Track SET UnitPrice = 2.22 WHERE TrackId = 9")
    twins.hq.start()
    exchange_markers(twins, 1)
    same_rows(twins.hq, twins.store, ALL)
    assert twins.store.value("SELECT UnitPrice FROM Track WHERE TrackId = 9") == 2.22


def test_different_invoices_with_one_number_are_parked_and_nothing_is_overwritten(twins: Pair) -> None:
    add_invoice(twins.hq, 1001, customer=1, city="Bonn", tracks=(1, 2))
    add_invoice(twins.store, 1001, customer=2, city="Ulm", tracks=(8, 9, 10))
    here, there = typed(twins.hq), typed(twins.store)
    twins.start()
    for site in (twins.hq, twins.store):
        twins.world.eventually(
            lambda site=site: site.json("log", "syncs", "--status", "failed"),
            f"{site.name} shows the clash",
            timeout=15,
        )
    exchange_markers(twins, 1)  # everything else goes on
    assert typed(twins.hq) == here
    assert typed(twins.store) == there
    for site, other in ((twins.hq, "Ulm"), (twins.store, "Bonn")):
        failed = site.json("log", "syncs", "--status", "failed")
        assert len(failed) == 1, failed
        assert failed[0]["doctype"] == "Invoice"
        assert failed[0]["error"]
        shown = site.cli("log", "show", str(failed[0]["id"]))
        assert "Bonn" in shown, f"both documents have to be shown at {site.name}:\n{shown}"
        assert "Ulm" in shown, f"both documents have to be shown at {site.name}:\n{shown}"
        assert other in json.dumps(site.json("log", "show", str(failed[0]["id"])))


def test_a_clash_of_numbers_heals_when_one_side_takes_another_number(twins: Pair) -> None:
    add_invoice(twins.hq, 1001, customer=1, tracks=(1, 2))
    add_invoice(twins.store, 1001, customer=2, tracks=(8, 9, 10))
    twins.start()
    for site in (twins.hq, twins.store):
        twins.world.eventually(
            lambda site=site: site.value("SELECT count(*) FROM streamd_parked"),
            f"{site.name} parked the clash",
        )
    with twins.store.write() as connection:
        connection.execute("PRAGMA defer_foreign_keys = ON")
        connection.execute("UPDATE Invoice SET InvoiceId = 2001 WHERE InvoiceId = 1001")
        connection.execute(
            "UPDATE InvoiceLine SET InvoiceId = 2001, InvoiceLineId = InvoiceLineId + 1000 WHERE InvoiceId = 1001"
        )
    twins.world.equal(twins.hq, twins.store, ALL, timeout=20)
    assert twins.hq.rows("SELECT InvoiceId, CustomerId FROM Invoice WHERE InvoiceId > 1000 ORDER BY 1") == [
        (1001, 1),
        (2001, 2),
    ]


def test_a_clash_of_numbers_heals_when_one_side_deletes_its_document(twins: Pair) -> None:
    """The store's invoice goes; the one at headquarters, which has the same number, stays and comes to the store."""
    add_invoice(twins.hq, 1001, customer=1, tracks=(1, 2))
    add_invoice(twins.store, 1001, customer=2, tracks=(8, 9, 10))
    twins.start()
    for site in (twins.hq, twins.store):
        twins.world.eventually(
            lambda site=site: site.value("SELECT count(*) FROM streamd_parked"), f"{site.name} parked the clash"
        )
    twins.hq.execute("UPDATE Invoice SET Total = 7.77 WHERE InvoiceId = 1001")
    delete_invoice(twins.store, 1001)
    exchange_markers(twins, 1)
    twins.world.equal(twins.hq, twins.store, ALL, timeout=20)
    assert twins.store.rows("SELECT CustomerId, Total FROM Invoice WHERE InvoiceId = 1001") == [(1, 7.77)]
    for site in (twins.hq, twins.store):
        twins.world.eventually(
            lambda site=site: site.value("SELECT count(*) FROM streamd_parked") == 0, f"{site.name} parks nothing"
        )


def test_equal_documents_made_on_both_sides_are_one(twins: Pair) -> None:
    for site in (twins.hq, twins.store):
        site.execute("INSERT INTO Genre VALUES (900, 'Schlager')")
    twins.start()
    exchange_markers(twins, 1)
    twins.store.execute("UPDATE Genre SET Name = 'Volksmusik' WHERE GenreId = 900")
    twins.world.eventually(
        lambda: twins.hq.value("SELECT Name FROM Genre WHERE GenreId = 900") == "Volksmusik",
        "the edit arrives",
    )
    assert [site.value("SELECT count(*) FROM streamd_parked") for site in (twins.hq, twins.store)] == [0, 0]


def test_two_busy_sites_end_equal(twins: Pair) -> None:
    twins.start()
    for step in range(60):
        add_invoice(twins.hq, 1001 + step, customer=1 + step % 59)
        add_invoice(twins.store, 3001 + step, customer=1 + step % 59)
        twins.hq.execute("UPDATE Track SET UnitPrice = ? WHERE TrackId = ?", 1 + step / 100, 1 + step % 7)
        twins.store.execute(
            "UPDATE Track SET UnitPrice = ?, Bytes = ? WHERE TrackId = ?", 2 + step / 100, step, 1 + step % 5
        )
        twins.store.execute("UPDATE Invoice SET Total = ? WHERE InvoiceId = ?", step, 1001 + step // 2)
        if step % 5 == 0:
            delete_invoice(twins.hq, 1001 + step)
    exchange_markers(twins, 1)
    exchange_markers(twins, 10)
    twins.world.equal(twins.hq, twins.store, ALL, timeout=15)
    assert [site.value("SELECT count(*) FROM streamd_parked") for site in (twins.hq, twins.store)] == [0, 0]


def typed(site: Site) -> list[tuple[object, ...]]:
    return site.rows("SELECT * FROM Invoice WHERE InvoiceId = 1001") + site.rows(
        "SELECT * FROM InvoiceLine WHERE InvoiceId = 1001 ORDER BY 1"
    )
