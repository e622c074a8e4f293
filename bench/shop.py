"""What the benchmark writes: invoices with lines, deterministic, as a shop's own program would write them."""

from __future__ import annotations

from collections.abc import Iterator

CATALOGUE = """
[doctypes.Invoice]
[doctypes.Invoice.children.lines]
table = "InvoiceLine"
parent_key = "InvoiceId"
"""

Row = tuple[object, ...]

Document = tuple[Row, list[Row]]
"""The row of an invoice, and the rows of its lines."""


def invoice(number: int, lines: int) -> Document:
    """One invoice, which is the same each time."""
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


def invoices(first: int, count: int, lines: int) -> Iterator[Document]:
    """`count` invoices, numbered from `first` on."""
    return (invoice(number, lines) for number in range(first, first + count))
