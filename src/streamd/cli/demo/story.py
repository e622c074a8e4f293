"""What happens in `streamd demo`: changes at two shops, each with the rows that tell that it arrived."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

from streamd.cli.demo.sites import DemoSite

Probe = tuple[str, tuple[Any, ...]]
"""A query with its values: equal at both sites when the change has arrived."""

PRICES = {
    "TEA-1": ("Assam, 100 g", "TEA", "6.90"),
    "TEA-2": ("Darjeeling, 100 g", "TEA", "9.40"),
    "COF-1": ("Espresso, 250 g", "COFFEE", "8.20"),
}

INVOICE = "SELECT * FROM Invoice WHERE Number = ?"
LINES = "SELECT * FROM InvoiceLine WHERE Invoice = ? ORDER BY Id"
ITEM = "SELECT * FROM Item WHERE Code = ?"
ITEM_PRICES = "SELECT * FROM Price WHERE Item = ? ORDER BY Currency"
CUSTOMER = "SELECT * FROM Customer WHERE Code = ?"


@dataclass(frozen=True)
class Step:
    """A change: where it is made, where it has to arrive, what it is, and what there is to notice."""

    source: DemoSite
    target: DemoSite
    what: str
    notice: str
    make: Callable[[], list[Probe]]


def story(hq: DemoSite, store: DemoSite) -> list[Step]:
    """The changes that each show one thing, in order."""
    return [
        Step(
            hq,
            store,
            "three new items, each with two prices",
            "their categories were missing at the store, and were fetched first",
            lambda: _new_items(hq),
        ),
        Step(
            store,
            hq,
            "invoice INV-1 with 3 lines",
            "its customer was unknown at headquarters, and was fetched first",
            lambda: _sell(store, 1, "C-2", ("TEA-1", "TEA-2", "COF-1")),
        ),
        Step(
            hq,
            store,
            "a price changed",
            "an update: only the difference travels",
            lambda: _reprice(hq, "COF-1", "7.95"),
        ),
        Step(
            store,
            hq,
            "INV-1 corrected: a line changed, one removed, one added",
            "one document, one update",
            lambda: _correct(store),
        ),
        Step(
            hq,
            store,
            "an item that nobody bought was deleted",
            "a delete, with its prices",
            lambda: _delete_item(hq, "TEA-9"),
        ),
        Step(
            store,
            hq,
            "C-2 edited at both sites at once: city here, e-mail there",
            "both edits are at both sites; an edit of one field would go to the newest",
            lambda: _edit_at_both(hq, store),
        ),
        Step(
            store,
            hq,
            "invoice INV-2",
            "",
            lambda: _sell(store, 2, "C-1", ("TEA-1",)),
        ),
        Step(store, hq, "INV-2 was cancelled", "a delete, with its lines", lambda: _cancel(store, "INV-2")),
    ]


def everyday(hq: DemoSite, store: DemoSite) -> Iterator[Step]:
    """Changes without an end, of the kind that shops make all day."""
    chance = random.Random(1)  # noqa: S311 - which item is sold next is no secret
    number = 2
    while True:
        number += 1
        items = tuple(chance.sample(sorted(PRICES), k=chance.randint(1, 3)))
        customer = chance.choice(("C-1", "C-2"))
        yield Step(
            store,
            hq,
            f"invoice INV-{number} with {len(items)} line{'s' if len(items) > 1 else ''}",
            "",
            partial(_sell, store, number, customer, items),
        )
        item = chance.choice(sorted(PRICES))
        price = str((Decimal(PRICES[item][2]) * chance.randint(90, 110) / 100).quantize(Decimal("0.01")))
        yield Step(
            hq,
            store,
            f"{item} costs {price} now",
            "",
            partial(_reprice, hq, item, price),
        )


def _new_items(hq: DemoSite) -> list[Probe]:
    with hq.writing() as connection:
        for code, (title, category, price) in {**PRICES, "TEA-9": ("Lapsang, 100 g", "TEA", "12.00")}.items():
            connection.execute("INSERT INTO Item VALUES (?, ?, ?)", (code, title, category))
            connection.executemany(
                "INSERT INTO Price VALUES (?, ?, ?)",
                [(code, "EUR", float(price)), (code, "CHF", float(price) + 0.5)],
            )
    return [("SELECT * FROM Item ORDER BY Code", ()), ("SELECT * FROM Price ORDER BY Item, Currency", ())]


def _sell(store: DemoSite, number: int, customer: str, items: tuple[str, ...]) -> list[Probe]:
    name = f"INV-{number}"
    with store.writing() as connection:
        prices = [
            connection.execute("SELECT Amount FROM Price WHERE Item = ? AND Currency = 'EUR'", (item,)).fetchone()[0]
            for item in items
        ]
        connection.execute("INSERT INTO Invoice VALUES (?, ?, date('now'), ?)", (name, customer, round(sum(prices), 2)))
        connection.executemany(
            "INSERT INTO InvoiceLine (Invoice, Item, Quantity, Amount) VALUES (?, ?, 1, ?)",
            [(name, item, price) for item, price in zip(items, prices, strict=True)],
        )
    return [(INVOICE, (name,)), (LINES, (name,)), (CUSTOMER, (customer,))]


def _reprice(hq: DemoSite, item: str, price: str) -> list[Probe]:
    with hq.writing() as connection:
        connection.execute("UPDATE Price SET Amount = ? WHERE Item = ? AND Currency = 'EUR'", (float(price), item))
    return [(ITEM, (item,)), (ITEM_PRICES, (item,))]


def _correct(store: DemoSite) -> list[Probe]:
    with store.writing() as connection:
        connection.execute("UPDATE InvoiceLine SET Quantity = 2 WHERE Invoice = 'INV-1' AND Item = 'TEA-1'")
        connection.execute("DELETE FROM InvoiceLine WHERE Invoice = 'INV-1' AND Item = 'TEA-2'")
        connection.execute(
            "INSERT INTO InvoiceLine (Invoice, Item, Quantity, Amount) VALUES ('INV-1', 'COF-1', 3, 7.95)"
        )
        connection.execute(
            "UPDATE Invoice SET Total ="
            " (SELECT round(sum(Quantity * Amount), 2) FROM InvoiceLine WHERE Invoice = 'INV-1')"
            " WHERE Number = 'INV-1'"
        )
    return [(INVOICE, ("INV-1",)), (LINES, ("INV-1",))]


def _delete_item(hq: DemoSite, item: str) -> list[Probe]:
    with hq.writing() as connection:
        connection.execute("DELETE FROM Price WHERE Item = ?", (item,))
        connection.execute("DELETE FROM Item WHERE Code = ?", (item,))
    return [(ITEM, (item,)), (ITEM_PRICES, (item,))]


def _edit_at_both(hq: DemoSite, store: DemoSite) -> list[Probe]:
    with store.writing() as connection:
        connection.execute("UPDATE Customer SET City = 'Neu-Ulm' WHERE Code = 'C-2'")
    with hq.writing() as connection:
        connection.execute("UPDATE Customer SET Email = 'hello@corner-cafe.example' WHERE Code = 'C-2'")
    return [(CUSTOMER, ("C-2",))]


def _cancel(store: DemoSite, name: str) -> list[Probe]:
    with store.writing() as connection:
        connection.execute("DELETE FROM InvoiceLine WHERE Invoice = ?", (name,))
        connection.execute("DELETE FROM Invoice WHERE Number = ?", (name,))
    return [(INVOICE, (name,)), (LINES, (name,))]
