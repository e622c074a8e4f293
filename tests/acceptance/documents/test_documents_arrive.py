"""Headquarters has the full Chinook, the store an empty one: what is changed there arrives here, whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import Pair
from tests.support.compare import contained_rows
from tests.support.sites.chinook import INVOICE, NEW, TABLES, add_invoice, delete_invoice, line_id
from tests.support.sites.site import Site
from tests.support.sites.world import World, nothing_synced_twice

EVERYTHING = dict.fromkeys(TABLES, "1")

# Five tracks of different albums, artists, genres and media types.
MIXED_TRACKS = (1, 2, 77, 3350, 3503)


@pytest.fixture(scope="module")
def shared(one_way: tuple[Site, Site], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both sites, running, for all tests that do not mind what others made: each has invoices of its own."""
    world = World(tmp_path_factory.mktemp("shared"))
    try:
        pair = Pair(world, *world.copy(one_way))
        pair.start()
        yield pair
        world.stop()
    finally:
        world.close()


def column(rows: list[tuple[object, ...]]) -> set[object]:
    return {row[0] for row in rows}


def test_a_new_invoice_arrives_with_everything_that_it_links_to(pair: Pair) -> None:
    pair.start()
    add_invoice(pair.hq, 1001, customer=1, tracks=MIXED_TRACKS)
    pair.world.equal(pair.hq, pair.store, NEW)

    assert column(pair.store.rows("SELECT InvoiceId FROM Invoice")) == {1001}
    assert pair.store.value("SELECT count(*) FROM InvoiceLine WHERE InvoiceId = 1001") == 5
    assert column(pair.store.rows("SELECT CustomerId FROM Customer")) == {1}
    # The customer's support employee is 3, whose manager is 2, whose manager is 1.
    assert pair.store.rows("SELECT EmployeeId, ReportsTo FROM Employee ORDER BY 1") == [
        (1, None),
        (2, 1),
        (3, 2),
    ]
    assert column(pair.store.rows("SELECT TrackId FROM Track")) == set(MIXED_TRACKS)
    for table, key in (("Album", "AlbumId"), ("Genre", "GenreId"), ("MediaType", "MediaTypeId")):
        tracks = ", ".join(map(str, MIXED_TRACKS))
        wanted = column(pair.hq.rows(f"SELECT DISTINCT {key} FROM Track WHERE TrackId IN ({tracks})"))
        assert len(wanted) > 1, "the tracks were meant to be of several kinds"
        assert column(pair.store.rows(f"SELECT {key} FROM {table}")) == wanted
    artists = column(pair.store.rows("SELECT DISTINCT ArtistId FROM Album"))
    assert column(pair.store.rows("SELECT ArtistId FROM Artist")) == artists
    contained_rows(pair.store, pair.hq, EVERYTHING)
    nothing_synced_twice(pair.store)


def test_every_change_of_an_invoice_and_its_lines_arrives(shared: Pair) -> None:
    add_invoice(shared.hq, 1101)
    add_invoice(shared.hq, 1102, tracks=(6, 7))
    shared.world.equal(shared.hq, shared.store, NEW)

    shared.hq.execute("UPDATE InvoiceLine SET Quantity = 3, UnitPrice = 1.99 WHERE InvoiceLineId = ?", line_id(1101, 0))
    shared.world.equal(shared.hq, shared.store, NEW)
    shared.hq.execute("INSERT INTO InvoiceLine VALUES (?, 1101, 3000, 0.99, 2)", line_id(1101, 50))
    shared.world.equal(shared.hq, shared.store, NEW)
    shared.hq.execute("DELETE FROM InvoiceLine WHERE InvoiceLineId = ?", line_id(1101, 1))
    shared.world.equal(shared.hq, shared.store, NEW)
    shared.hq.execute("UPDATE InvoiceLine SET InvoiceId = 1102 WHERE InvoiceLineId = ?", line_id(1101, 2))
    shared.world.equal(shared.hq, shared.store, NEW)
    assert shared.store.value("SELECT InvoiceId FROM InvoiceLine WHERE InvoiceLineId = ?", line_id(1101, 2)) == 1102

    with shared.hq.write() as connection:  # all of it at once, in one transaction
        connection.execute("UPDATE Invoice SET Total = 12.34, BillingCity = NULL WHERE InvoiceId = 1101")
        connection.execute("DELETE FROM InvoiceLine WHERE InvoiceLineId = ?", (line_id(1102, 0),))
        connection.execute("INSERT INTO InvoiceLine VALUES (?, 1102, 3001, 0.99, 1)", (line_id(1102, 60),))
        connection.execute("UPDATE InvoiceLine SET InvoiceId = 1102 WHERE InvoiceLineId = ?", (line_id(1101, 3),))
        connection.execute("UPDATE InvoiceLine SET InvoiceLineId = 77777 WHERE InvoiceLineId = ?", (line_id(1101, 4),))
    shared.world.equal(shared.hq, shared.store, NEW)

    delete_invoice(shared.hq, 1102)
    shared.world.equal(shared.hq, shared.store, NEW)
    assert shared.store.value("SELECT count(*) FROM Invoice WHERE InvoiceId = 1102") == 0
    assert shared.store.value("SELECT count(*) FROM InvoiceLine WHERE InvoiceId = 1102") == 0
    contained_rows(shared.store, shared.hq, EVERYTHING)
    nothing_synced_twice(shared.store)


def test_a_line_that_is_moved_to_a_new_invoice_arrives_there(shared: Pair) -> None:
    add_invoice(shared.hq, 1201)
    shared.world.equal(shared.hq, shared.store, NEW)
    with shared.hq.write() as connection:
        connection.execute(f"{INVOICE} (1203, 2, '2026-01-01', 0.99)")
        connection.execute("UPDATE InvoiceLine SET InvoiceId = 1203 WHERE InvoiceLineId = ?", (line_id(1201, 2),))
    shared.world.equal(shared.hq, shared.store, NEW)
    with shared.hq.write() as connection:  # and back, and the new invoice is gone again
        connection.execute("UPDATE InvoiceLine SET InvoiceId = 1201 WHERE InvoiceId = 1203")
        connection.execute("DELETE FROM Invoice WHERE InvoiceId = 1203")
    shared.world.equal(shared.hq, shared.store, NEW)
    shared.world.eventually(
        lambda: shared.store.value("SELECT count(*) FROM streamd_parked") == 0, "nothing is parked any more"
    )


def test_an_invoice_that_was_there_before_arrives_whole_with_its_first_change(shared: Pair) -> None:
    shared.hq.execute("UPDATE Invoice SET BillingCity = 'Ulm' WHERE InvoiceId = 98")
    shared.world.equal(shared.hq, shared.store, {"Invoice": "InvoiceId = 98", "InvoiceLine": "InvoiceId = 98"})
    assert shared.store.value("SELECT count(*) FROM InvoiceLine WHERE InvoiceId = 98") > 0


def test_a_playlist_with_child_rows_of_a_composite_key_arrives(shared: Pair) -> None:
    new = {"Playlist": "PlaylistId > 18", "PlaylistTrack": "PlaylistId > 18"}
    with shared.hq.write() as connection:
        connection.execute("INSERT INTO Playlist VALUES (19, 'Zug nach München')")
        connection.executemany("INSERT INTO PlaylistTrack VALUES (19, ?)", [(track,) for track in range(100, 110)])
    shared.world.equal(shared.hq, shared.store, new)
    with shared.hq.write() as connection:
        connection.execute("INSERT INTO PlaylistTrack VALUES (19, 500)")
        connection.execute("DELETE FROM PlaylistTrack WHERE PlaylistId = 19 AND TrackId = 100")
        connection.execute("UPDATE PlaylistTrack SET TrackId = 501 WHERE PlaylistId = 19 AND TrackId = 101")
        connection.execute("INSERT INTO Playlist VALUES (20, NULL)")
        connection.execute("INSERT INTO PlaylistTrack VALUES (20, 500)")
    shared.world.equal(shared.hq, shared.store, new)
    assert shared.store.value("SELECT count(*) FROM PlaylistTrack WHERE PlaylistId = 19") == 10
    with shared.hq.write() as connection:
        connection.execute("DELETE FROM PlaylistTrack WHERE PlaylistId = 19")
        connection.execute("DELETE FROM Playlist WHERE PlaylistId = 19")
    shared.world.equal(shared.hq, shared.store, new)
    contained_rows(shared.store, shared.hq, EVERYTHING)


def test_a_dynamic_link_brings_the_document_that_it_names(pair: Pair) -> None:
    pair.start()
    pair.hq.execute("INSERT INTO Note VALUES (1, 'Customer', 5, 'calls back')")
    pair.world.equal(pair.hq, pair.store, NEW)
    assert pair.store.rows("SELECT CustomerId FROM Customer") == [(5,)]
    pair.hq.execute("UPDATE Note SET party_type = 'Artist', party = 90 WHERE NoteId = 1")
    pair.hq.execute("INSERT INTO Note VALUES (2, NULL, NULL, 'of nobody')")
    pair.world.equal(pair.hq, pair.store, NEW)
    assert pair.store.rows("SELECT ArtistId, Name FROM Artist") == [(90, "Iron Maiden")]
    contained_rows(pair.store, pair.hq, EVERYTHING)


def test_a_changed_key_renames_the_document(shared: Pair) -> None:
    add_invoice(shared.hq, 1501, customer=1)
    shared.world.equal(shared.hq, shared.store, NEW)
    with shared.hq.write() as connection:
        connection.execute("PRAGMA defer_foreign_keys = ON")
        connection.execute("UPDATE Invoice SET InvoiceId = 5001, Total = 7.77 WHERE InvoiceId = 1501")
        connection.execute("UPDATE InvoiceLine SET InvoiceId = 5001 WHERE InvoiceId = 1501")
    shared.world.equal(shared.hq, shared.store, NEW)
    assert shared.store.rows("SELECT InvoiceId, Total FROM Invoice WHERE InvoiceId IN (1501, 5001)") == [(5001, 7.77)]
    shared.hq.execute("UPDATE Invoice SET Total = 8.88 WHERE InvoiceId = 5001")
    shared.world.equal(shared.hq, shared.store, NEW)
    assert shared.store.value("SELECT count(*) FROM InvoiceLine WHERE InvoiceId = 5001") == 5


@pytest.mark.matrix  # each time by simulation/names/test_renames_of_referenced.py
def test_a_changed_key_of_a_linked_document_takes_its_links_along(pair: Pair) -> None:
    pair.start()
    add_invoice(pair.hq, 1601, customer=1)
    pair.world.equal(pair.hq, pair.store, NEW)
    with pair.hq.write() as connection:
        connection.execute("PRAGMA defer_foreign_keys = ON")
        connection.execute("UPDATE Customer SET CustomerId = 9001 WHERE CustomerId = 1")
        connection.execute("UPDATE Invoice SET CustomerId = 9001 WHERE CustomerId = 1")
    pair.world.equal(pair.hq, pair.store, {**NEW, "Customer": "CustomerId IN (1, 9001)"})
    pair.world.caught_up(pair.store, pair.hq)
    pair.world.equal(pair.hq, pair.store, {"Invoice": "CustomerId = 9001", "Customer": "CustomerId IN (1, 9001)"})
    contained_rows(pair.store, pair.hq, EVERYTHING)


def test_a_name_that_is_used_again_in_one_transaction_is_the_new_document(shared: Pair) -> None:
    add_invoice(shared.hq, 1701, customer=1)
    shared.world.equal(shared.hq, shared.store, NEW)
    with shared.hq.write() as connection:
        connection.execute("DELETE FROM InvoiceLine WHERE InvoiceId = 1701")
        connection.execute("DELETE FROM Invoice WHERE InvoiceId = 1701")
        connection.execute(f"{INVOICE} (1701, 2, '2026-01-01', 1)")
        connection.execute("INSERT INTO InvoiceLine VALUES (?, 1701, 9, 0.99, 1)", (line_id(1701, 0),))
    shared.world.equal(shared.hq, shared.store, NEW)


@pytest.mark.matrix  # each time by simulation/names/test_exchanges.py
def test_documents_that_swap_a_unique_value_arrive(pair: Pair) -> None:
    for site in (pair.hq, pair.store):
        site.execute("CREATE UNIQUE INDEX one_name ON MediaType (Name)")
    pair.start()
    with pair.hq.write() as connection:
        connection.executemany("INSERT INTO MediaType VALUES (?, ?)", [(100, "reel"), (101, "tape")])
    pair.world.equal(pair.hq, pair.store, {"MediaType": "MediaTypeId >= 100"})
    with pair.hq.write() as connection:
        connection.execute("UPDATE MediaType SET Name = 'between' WHERE MediaTypeId = 100")
        connection.execute("UPDATE MediaType SET Name = 'reel' WHERE MediaTypeId = 101")
        connection.execute("UPDATE MediaType SET Name = 'tape' WHERE MediaTypeId = 100")
    pair.world.equal(pair.hq, pair.store, {"MediaType": "MediaTypeId >= 100"})


def test_values_arrive_as_they_are(shared: Pair) -> None:
    values = [
        0.1 + 0.2, 1e300, 5e-324, 0.1, -0.99, 1234567890.12, 2**63 - 1, -(2**63), 0, 1.0, 98765432109876.54,
    ]  # fmt: skip
    texts = ["", 'Ünïcödé 🎸 \u0001\t\n"\\', "a' OR 1=1 --", "null", "1e5", "x" * 10_000, "\u2028"]
    with shared.hq.write() as connection:
        for index, value in enumerate(values):
            connection.execute(
                f"{INVOICE} (?, 1, '2026-01-01', ?)",
                (2000 + index, value),
            )
        for index, text in enumerate(texts):
            connection.execute("INSERT INTO Note VALUES (?, NULL, NULL, ?)", (index, text))
        connection.execute("INSERT INTO Note VALUES (90, NULL, NULL, ?)", (sqlite3.Binary(bytes(range(256))),))
        connection.execute("INSERT INTO Genre VALUES (900, ?)", (sqlite3.Binary(b""),))
        connection.execute("INSERT INTO Genre VALUES (901, NULL)")
        connection.execute("INSERT INTO Genre VALUES (902, '')")
    shared.world.equal(shared.hq, shared.store, {**NEW, "Genre": "GenreId >= 900"})


def test_an_employee_who_becomes_the_manager_of_the_own_manager_arrives(shared: Pair) -> None:
    with shared.hq.write() as connection:
        connection.execute("PRAGMA defer_foreign_keys = ON")
        connection.execute(
            "INSERT INTO Employee (EmployeeId, LastName, FirstName, ReportsTo) VALUES (100, 'A', 'a', 101)"
        )
        connection.execute(
            "INSERT INTO Employee (EmployeeId, LastName, FirstName, ReportsTo) VALUES (101, 'B', 'b', 100)"
        )
        connection.execute(
            "INSERT INTO Employee (EmployeeId, LastName, FirstName, ReportsTo) VALUES (102, 'C', 'c', 102)"
        )
    shared.world.equal(shared.hq, shared.store, {"Employee": "EmployeeId >= 100"})
    with shared.hq.write() as connection:
        connection.execute("UPDATE Employee SET ReportsTo = NULL WHERE EmployeeId >= 100")
        connection.execute("DELETE FROM Employee WHERE EmployeeId >= 100")
    shared.world.equal(shared.hq, shared.store, {"Employee": "EmployeeId >= 100"})


def test_a_burst_of_invoices_arrives_to_the_last_one(shared: Pair) -> None:
    for invoice in range(20_001, 20_301):
        add_invoice(shared.hq, invoice, customer=1 + invoice % 59, tracks=range(1 + invoice % 3000, 6 + invoice % 3000))
    shared.world.equal(shared.hq, shared.store, NEW, timeout=20)
    contained_rows(shared.store, shared.hq, EVERYTHING)
    nothing_synced_twice(shared.store)
