"""Chinook as a site: its document types as TOML, and what its users do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from tests.data import chinook_script
from tests.support import servers
from tests.support.access import Access
from tests.support.database_url import DatabaseUrl, Engine
from tests.support.engines import open_access
from tests.support.sites.site import Site

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
    "Note": "true",
}
"""The rows that tests make: equal at both sites in the end."""

ALL = dict.fromkeys(TABLES, "true")


class Templates:
    """A full and an empty Chinook of one engine, each with the table for dynamic links, to copy sites from."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @cached_property
    def full(self) -> DatabaseUrl:
        access = open_access(servers.fresh_database(self.engine))
        access.raw(chinook_script(self.engine))
        _RENAMINGS.get(self.engine, _as_it_is)(access)
        access.execute(NOTE_TABLE)
        return access.database

    @cached_property
    def small(self) -> DatabaseUrl:
        """The first invoices, with what they link to: for tests that read everything again."""
        copy = servers.copy_database(self.full)
        access = open_access(copy)
        for table, rest in _REST:
            access.execute(f"DELETE FROM {table} WHERE {rest}")
        return copy

    @cached_property
    def empty(self) -> DatabaseUrl:
        copy = servers.copy_database(self.full)
        open_access(copy).empty()
        return copy


_REST = (
    ("PlaylistTrack", "TrackId > 20"),
    ("InvoiceLine", "InvoiceId > 40"),
    ("Invoice", "InvoiceId > 40"),
    ("Track", "TrackId > 20 AND TrackId NOT IN (SELECT TrackId FROM InvoiceLine)"),
    ("Album", "AlbumId NOT IN (SELECT AlbumId FROM Track)"),
    ("Artist", "ArtistId NOT IN (SELECT ArtistId FROM Album)"),
)
"""What the small one does not have, in the order in which it can be deleted."""


def _as_it_is(_access: Access) -> None:
    return


def _rename_as_elsewhere(access: Access) -> None:
    """PostgreSQL's script writes `invoice_line`; sites share names, so it becomes `InvoiceLine` as in the others."""
    for table in access.tables():
        for column in access.columns(table):
            access.execute(f'ALTER TABLE "{table}" RENAME COLUMN "{column}" TO "{_in_capitals(column)}"')
        access.execute(f'ALTER TABLE "{table}" RENAME TO "{_in_capitals(table)}"')


def _in_capitals(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


_RENAMINGS: dict[Engine, Callable[[Access], None]] = {"postgresql": _rename_as_elsewhere}


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
