"""What the benchmark writes: invoices with lines, deterministic, as a shop's own program would write them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

SCHEMA = """
CREATE TABLE Invoice (
    InvoiceId INTEGER PRIMARY KEY,
    Customer TEXT NOT NULL,
    InvoiceDate DATETIME NOT NULL,
    BillingAddress TEXT,
    BillingCity TEXT,
    BillingCountry TEXT,
    Status TEXT NOT NULL DEFAULT 'open',
    Total NUMERIC(10, 2) NOT NULL
);
CREATE TABLE InvoiceLine (
    InvoiceLineId INTEGER PRIMARY KEY,
    InvoiceId INTEGER NOT NULL REFERENCES Invoice (InvoiceId),
    Item TEXT NOT NULL,
    Description TEXT,
    UnitPrice NUMERIC(10, 2) NOT NULL,
    Quantity INTEGER NOT NULL
);
CREATE INDEX InvoiceLineInvoice ON InvoiceLine (InvoiceId);
"""

CATALOGUE = """
[doctypes.Invoice]
[doctypes.Invoice.children.lines]
table = "InvoiceLine"
parent_key = "InvoiceId"
"""

INSERT_INVOICE = "INSERT INTO Invoice VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
INSERT_LINE = "INSERT INTO InvoiceLine VALUES (?, ?, ?, ?, ?, ?)"

Row = tuple[object, ...]


def invoice(number: int, lines: int) -> tuple[Row, list[Row]]:
    """The row of an invoice, and the rows of its lines."""
    items = [
        (
            number * 100 + index,
            number,
            f"ITEM-{(number * 7 + index) % 5000:05d}",
            f"Article {(number * 7 + index) % 5000} of the autumn catalogue, blue",
            round(0.99 + (number + index) % 400 * 0.1, 2),
            1 + index % 4,
        )
        for index in range(lines)
    ]
    total = round(sum(item[4] * item[5] for item in items), 2)  # type: ignore[operator,misc]
    row = (
        number,
        f"C-{number % 2000:05d}",
        f"2026-11-{1 + number % 28:02d} 10:{number % 60:02d}:00",
        f"Long Street {number % 300}",
        "Neuburg an der Donau",
        "Germany",
        "open",
        total,
    )
    return row, list(items)


def invoices(first: int, count: int, lines: int) -> Iterator[tuple[Row, list[Row]]]:
    return (invoice(number, lines) for number in range(first, first + count))


def make(path: Path) -> None:
    """An empty shop, in WAL mode."""
    connection = connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(SCHEMA)
    connection.close()


def connect(path: Path) -> sqlite3.Connection:
    """The shop's own connection: foreign keys on, and commits that do not wait for the disk, as WAL allows.

    With `synchronous = FULL` each commit would wait for the disk, and what a trigger costs would hardly show.
    """
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def write(connection: sqlite3.Connection, documents: list[tuple[Row, list[Row]]]) -> None:
    """Each invoice in a transaction of its own."""
    for row, items in documents:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(INSERT_INVOICE, row)
        connection.executemany(INSERT_LINE, items)
        connection.execute("COMMIT")
