"""Chinook as a site: its document types as TOML, and what its users do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.data import make_chinook, make_empty_chinook
from tests.support.site import Site

CATALOGUE = """
[doctypes.Invoice]
[doctypes.Invoice.children.lines]
table = "InvoiceLine"
parent_key = "InvoiceId"

[doctypes.Playlist]
[doctypes.Playlist.children.tracks]
table = "PlaylistTrack"
parent_key = "PlaylistId"

[doctypes.Note]
dynamic_links = { party = "party_type" }

[doctypes.Customer]
[doctypes.Employee]
[doctypes.Track]
[doctypes.Album]
[doctypes.Artist]
[doctypes.Genre]
[doctypes.MediaType]
"""
"""Keys and links are left out where they follow from the tables."""

DOCTYPES = (
    "Invoice",
    "Playlist",
    "Note",
    "Customer",
    "Employee",
    "Track",
    "Album",
    "Artist",
    "Genre",
    "MediaType",
)

TABLES = (
    "Invoice",
    "InvoiceLine",
    "Playlist",
    "PlaylistTrack",
    "Note",
    "Customer",
    "Employee",
    "Track",
    "Album",
    "Artist",
    "Genre",
    "MediaType",
)

NOTE_TABLE = """
CREATE TABLE Note (
    NoteId INTEGER PRIMARY KEY,
    party_type TEXT,
    party INTEGER,
    text TEXT NOT NULL
)
"""

INVOICE = "INSERT INTO Invoice (InvoiceId, CustomerId, InvoiceDate, Total) VALUES"

OLD_INVOICES = 412
"""The last invoice of the sample data; its last line is `OLD_LINES`."""
OLD_LINES = 2240

NEW = {
    "Invoice": f"InvoiceId > {OLD_INVOICES}",
    "InvoiceLine": f"InvoiceLineId > {OLD_LINES}",
    "Note": "1",
}
"""The rows that tests make: equal at both sites in the end."""

ALL = dict.fromkeys(TABLES, "1")


def make_templates(folder: Path) -> tuple[Path, Path]:
    """A full and an empty Chinook, each with the table for dynamic links, to copy sites from."""
    full, empty = folder / "full.db", folder / "empty.db"
    make_chinook(full)
    make_empty_chinook(empty)
    for path in (full, empty):
        note = Site(folder / f"for-{path.stem}", path.stem, CATALOGUE)
        path.rename(note.database)
        note.execute(NOTE_TABLE)
        with note.connection() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        note.database.rename(path)
    return full, empty


def add_invoice(
    site: Site,
    invoice: int,
    *,
    customer: int = 1,
    tracks: Sequence[int] = (1, 2, 3, 4, 5),
    total: float = 4.95,
    city: str = "Stuttgart",
) -> None:
    """One transaction: an invoice, and a line for each track. Line ids follow from the invoice's."""
    with site.write() as connection:
        connection.execute(
            "INSERT INTO Invoice (InvoiceId, CustomerId, InvoiceDate, BillingCity, Total)"
            " VALUES (?, ?, '2026-11-23 00:00:00', ?, ?)",
            (invoice, customer, city, total),
        )
        connection.executemany(
            "INSERT INTO InvoiceLine VALUES (?, ?, ?, 0.99, 1)",
            [(line_id(invoice, index), invoice, track) for index, track in enumerate(tracks)],
        )


def line_id(invoice: int, index: int) -> int:
    """The id of the line that `add_invoice` makes at this place."""
    return invoice * 100 + index


def delete_invoice(site: Site, invoice: int) -> None:
    """One transaction: the lines, then the invoice."""
    with site.write() as connection:
        connection.execute("DELETE FROM InvoiceLine WHERE InvoiceId = ?", (invoice,))
        connection.execute("DELETE FROM Invoice WHERE InvoiceId = ?", (invoice,))


def add_customer(site: Site, customer: int, email: str, *, support: int | None = None) -> None:
    site.execute(
        "INSERT INTO Customer (CustomerId, FirstName, LastName, Email, SupportRepId)"
        " VALUES (?, 'Ada', 'Lovelace', ?, ?)",
        customer,
        email,
        support,
    )
