"""What Chinook's users are promised, between every engine and every other one.

One test for each pair of engines, because starting two daemons is what costs time; its steps are functions. The
store begins empty, and each site is subscribed to everything of the other.
"""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Kit, Pair
from tests.support.compare import contained_rows
from tests.support.matrix import FEW_PAIRS, Engines
from tests.support.sites.chinook import (
    ALL,
    CATALOGUE,
    DOCTYPES,
    INVOICE,
    NEW,
    add_customer,
    add_invoice,
    delete_invoice,
    line_id,
)
from tests.support.sites.world import Link, World, nothing_synced_twice

# Five tracks of different albums, artists, genres and media types.
MIXED_TRACKS = (1, 2, 77, 3350, 3503)

BURST = 60
KILLED_AFTER = 20

MADE = {
    **NEW,
    "Playlist": "PlaylistId > 18",
    "PlaylistTrack": "PlaylistId > 18",
    "Customer": "CustomerId > 59",
}


@pytest.mark.parametrize("engines", FEW_PAIRS)
def test_chinook_travels_between(engines: Engines, kit: Kit, world: World) -> None:
    hq_engine, store_engine = engines
    hq = world.site("hq", CATALOGUE, kit.templates(hq_engine).full)
    store = world.site("store", CATALOGUE, kit.templates(store_engine).empty)
    store.execute("CREATE UNIQUE INDEX one_email ON Customer (Email)")
    world.connect(Link(store, hq, DOCTYPES), Link(hq, store, DOCTYPES))
    pair = Pair(world, hq, store)

    a_new_invoice_arrives_with_everything_that_it_links_to(pair)
    every_change_of_an_invoice_and_its_lines_arrives(pair)
    child_rows_of_a_composite_key_arrive(pair)
    a_dynamic_link_brings_the_document_that_it_names(pair)
    what_cannot_be_applied_is_parked_and_heals_and_the_others_go_on(pair)
    what_the_store_makes_and_edits_arrives_at_headquarters(pair)
    a_killed_store_loses_nothing_and_edits_of_both_sites_merge(pair)
    nothing_is_left_over(pair)


def ids(rows: list[tuple[object, ...]]) -> set[object]:
    return {row[0] for row in rows}


def a_new_invoice_arrives_with_everything_that_it_links_to(pair: Pair) -> None:
    add_invoice(pair.hq, 1001, customer=1, tracks=MIXED_TRACKS)
    pair.world.equal(pair.hq, pair.store, NEW)
    assert ids(pair.store.rows("SELECT InvoiceId FROM Invoice")) == {1001}
    assert ids(pair.store.rows("SELECT CustomerId FROM Customer")) == {1}
    # The customer's support employee is 3, whose manager is 2, whose manager is 1.
    assert pair.store.rows("SELECT EmployeeId, ReportsTo FROM Employee ORDER BY 1") == [(1, None), (2, 1), (3, 2)]
    assert ids(pair.store.rows("SELECT TrackId FROM Track")) == set(MIXED_TRACKS)
    for table, key in (("Album", "AlbumId"), ("Genre", "GenreId"), ("MediaType", "MediaTypeId")):
        tracks = ", ".join(map(str, MIXED_TRACKS))
        wanted = ids(pair.hq.rows(f"SELECT DISTINCT {key} FROM Track WHERE TrackId IN ({tracks})"))
        assert ids(pair.store.rows(f"SELECT {key} FROM {table}")) == wanted
    artists = ids(pair.store.rows("SELECT DISTINCT ArtistId FROM Album"))
    assert ids(pair.store.rows("SELECT ArtistId FROM Artist")) == artists
    contained_rows(pair.store, pair.hq, ALL)


def every_change_of_an_invoice_and_its_lines_arrives(pair: Pair) -> None:
    add_invoice(pair.hq, 1101)
    add_invoice(pair.hq, 1102, tracks=(6, 7))
    pair.hq.execute("UPDATE InvoiceLine SET Quantity = 3, UnitPrice = 1.99 WHERE InvoiceLineId = ?", line_id(1101, 0))
    pair.world.equal(pair.hq, pair.store, NEW)
    with pair.hq.write() as connection:
        connection.execute("UPDATE Invoice SET Total = 12.34, BillingCity = NULL WHERE InvoiceId = 1101")
        connection.execute("DELETE FROM InvoiceLine WHERE InvoiceLineId = ?", (line_id(1102, 0),))
        connection.execute("INSERT INTO InvoiceLine VALUES (?, 1102, 3001, 0.99, 1)", (line_id(1102, 60),))
        connection.execute("UPDATE InvoiceLine SET InvoiceId = 1102 WHERE InvoiceLineId = ?", (line_id(1101, 3),))
        connection.execute("UPDATE InvoiceLine SET InvoiceLineId = 77777 WHERE InvoiceLineId = ?", (line_id(1101, 4),))
    pair.world.equal(pair.hq, pair.store, NEW)
    delete_invoice(pair.hq, 1102)
    # One that was there before: it comes whole with its first change.
    pair.hq.execute("UPDATE Invoice SET BillingCity = 'Ulm' WHERE InvoiceId = 98")
    pair.world.equal(pair.hq, pair.store, {**NEW, "Invoice": "InvoiceId > 412 OR InvoiceId = 98"})
    pair.world.equal(pair.hq, pair.store, {"InvoiceLine": "InvoiceId = 98"})
    assert pair.store.value("SELECT count(*) FROM InvoiceLine WHERE InvoiceId = 98") > 0
    assert pair.store.value("SELECT count(*) FROM InvoiceLine WHERE InvoiceId = 1102") == 0


def child_rows_of_a_composite_key_arrive(pair: Pair) -> None:
    with pair.hq.write() as connection:
        connection.execute("INSERT INTO Playlist VALUES (19, ?)", ("Zug nach München",))
        connection.executemany("INSERT INTO PlaylistTrack VALUES (19, ?)", [(track,) for track in range(100, 110)])
    pair.world.equal(pair.hq, pair.store, MADE)
    with pair.hq.write() as connection:
        connection.execute("INSERT INTO PlaylistTrack VALUES (19, 500)")
        connection.execute("DELETE FROM PlaylistTrack WHERE PlaylistId = 19 AND TrackId = 100")
        connection.execute("UPDATE PlaylistTrack SET TrackId = 501 WHERE PlaylistId = 19 AND TrackId = 101")
        connection.execute("INSERT INTO Playlist VALUES (20, NULL)")
        connection.execute("INSERT INTO PlaylistTrack VALUES (20, 500)")
    pair.world.equal(pair.hq, pair.store, MADE)
    assert pair.store.value("SELECT count(*) FROM PlaylistTrack WHERE PlaylistId = 19") == 10


def a_dynamic_link_brings_the_document_that_it_names(pair: Pair) -> None:
    pair.hq.execute("INSERT INTO Note VALUES (1, 'Customer', 5, ?)", 'calls back 🎸 "quickly", they \\ we said')
    pair.world.equal(pair.hq, pair.store, NEW)
    assert ids(pair.store.rows("SELECT CustomerId FROM Customer")) >= {1, 5}
    pair.hq.execute("UPDATE Note SET party_type = 'Artist', party = 90 WHERE NoteId = 1")
    pair.hq.execute("INSERT INTO Note VALUES (2, NULL, NULL, '')")
    pair.world.equal(pair.hq, pair.store, NEW)
    assert pair.store.rows("SELECT Name FROM Artist WHERE ArtistId = 90") == [("Iron Maiden",)]


def what_cannot_be_applied_is_parked_and_heals_and_the_others_go_on(pair: Pair) -> None:
    """Only the store wants e-mail addresses to differ, and has that of the new customer already."""

    def queue() -> list[tuple[object, ...]]:
        return pair.store.rows("SELECT doctype, state FROM streamd_parked ORDER BY id")

    add_customer(pair.store, 900, "ada@example.org")
    pair.world.equal(pair.hq, pair.store, {"Customer": "CustomerId = 900"})
    add_customer(pair.hq, 100, "ada@example.org")
    pair.world.eventually(lambda: queue() == [("Customer", "parked")], "the customer is parked")
    add_invoice(pair.hq, 1201, customer=100)
    add_invoice(pair.hq, 1202, customer=2)
    pair.world.equal(pair.hq, pair.store, {"Invoice": "InvoiceId = 1202", "InvoiceLine": "InvoiceId = 1202"})
    pair.world.eventually(
        lambda: queue() == [("Customer", "parked"), ("Invoice", "held")], "the invoice waits for its customer"
    )
    failed = pair.store.json("log", "syncs", "--status", "failed")
    assert [entry["doctype"] for entry in failed] == ["Customer"]
    assert "one_email" in failed[0]["error"] or "Email" in failed[0]["error"], "the database's own words"
    pair.hq.execute("UPDATE Customer SET Email = 'lovelace@example.org' WHERE CustomerId = 100")
    pair.world.equal(pair.hq, pair.store, MADE, timeout=15)
    pair.world.eventually(lambda: queue() == [], "nothing is parked any more")


def what_the_store_makes_and_edits_arrives_at_headquarters(pair: Pair) -> None:
    add_invoice(pair.store, 3001, customer=5, tracks=(1, 77))
    pair.store.execute("UPDATE Customer SET Company = 'Engines', Fax = '' WHERE CustomerId = 100")
    pair.store.execute("DELETE FROM InvoiceLine WHERE InvoiceLineId = ?", line_id(1101, 1))
    pair.world.equal(pair.hq, pair.store, MADE)
    assert pair.hq.value("SELECT count(*) FROM InvoiceLine WHERE InvoiceId = 3001") == 2
    delete_invoice(pair.store, 3001)
    pair.world.equal(pair.hq, pair.store, MADE)
    assert pair.hq.value("SELECT count(*) FROM Invoice WHERE InvoiceId = 3001") == 0


def a_killed_store_loses_nothing_and_edits_of_both_sites_merge(pair: Pair) -> None:
    for invoice in range(2001, 2001 + BURST):
        add_invoice(pair.hq, invoice, customer=1 + invoice % 59, tracks=(invoice, invoice + 1))
        if invoice == 2000 + KILLED_AFTER:
            pair.store.kill()
    # Its users go on while its daemon is away.
    with pair.store.write() as connection:
        connection.execute("UPDATE Invoice SET BillingCity = 'Ulm', BillingCountry = 'DE' WHERE InvoiceId = 1001")
        connection.execute("UPDATE InvoiceLine SET UnitPrice = 0.49 WHERE InvoiceLineId = ?", (line_id(1001, 0),))
        connection.execute(f"{INVOICE} (3002, 1, '2026-11-24 12:34:56', 0.01)")
    with pair.hq.write() as connection:
        connection.execute("UPDATE Invoice SET BillingCity = 'Bonn', Total = 5.5 WHERE InvoiceId = 1001")
        connection.execute("UPDATE InvoiceLine SET Quantity = 2 WHERE InvoiceLineId = ?", (line_id(1001, 0),))
    pair.store.start()
    pair.world.equal(pair.hq, pair.store, MADE, timeout=20)
    pair.world.caught_up(pair.store, pair.hq)
    pair.world.caught_up(pair.hq, pair.store)
    pair.world.equal(pair.hq, pair.store, MADE)
    for site in (pair.hq, pair.store):
        (city, country, total) = site.rows(
            "SELECT BillingCity, BillingCountry, Total FROM Invoice WHERE InvoiceId = 1001"
        )[0]
        assert city in ("Bonn", "Ulm")
        assert (country, float(total)) == ("DE", 5.5), "fields that only one side edited have to survive"
        (quantity, price) = site.rows(
            "SELECT Quantity, UnitPrice FROM InvoiceLine WHERE InvoiceLineId = ?", line_id(1001, 0)
        )[0]
        assert (quantity, float(price)) == (2, 0.49)


def nothing_is_left_over(pair: Pair) -> None:
    contained_rows(pair.store, pair.hq, ALL)
    for site in (pair.hq, pair.store):
        assert site.rows("SELECT doctype, name, error FROM streamd_parked") == []
        nothing_synced_twice(site)
        said = site.state_rows("SELECT status, error FROM producers")
        assert "resync" not in repr(said).lower(), said
