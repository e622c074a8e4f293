"""Two sites that number their documents each by itself: whatever their users do, they end with the same documents.

Every document and row has a label that says who made it; numbers are the sites' own, and nothing is compared by them.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.simulation.sites import Site
from tests.simulation.test_convergence import NAMES, settle
from tests.simulation.test_convergence import act as act_elsewhere

SCHEMA = """
CREATE TABLE "Customer" ("Id" INTEGER PRIMARY KEY, "Label" TEXT NOT NULL, "City" TEXT,
    "Manager" INTEGER REFERENCES "Customer" ("Id"));
CREATE TABLE "Invoice" ("Id" INTEGER PRIMARY KEY, "Label" TEXT NOT NULL,
    "Customer" INTEGER NOT NULL REFERENCES "Customer" ("Id"), "Note" TEXT);
CREATE TABLE "Line" ("Id" INTEGER PRIMARY KEY, "Invoice" INTEGER NOT NULL REFERENCES "Invoice" ("Id"),
    "Label" TEXT NOT NULL, "Quantity" INTEGER NOT NULL);
"""
DOCTYPES: dict[str, Any] = {
    "Customer": {},
    "Invoice": {"children": {"lines": {"table": "Line", "parent_key": "Invoice"}}},
}

LABELS = st.builds(lambda site, number: f"{site}{number}", NAMES, st.integers(1, 3))
NEW = st.integers(1, 3)
WORDS = st.sampled_from("abc")

WRITES = st.one_of(
    st.tuples(st.just("customer"), NEW),
    st.tuples(st.just("invoice"), NEW, LABELS),
    st.tuples(st.just("line"), NEW, LABELS),
    st.tuples(st.just("city"), LABELS, WORDS),
    st.tuples(st.just("note"), LABELS, WORDS),
    st.tuples(st.just("quantity"), LABELS, st.integers(0, 9)),
    st.tuples(st.just("manager"), LABELS, LABELS),
    st.tuples(st.just("sold to"), LABELS, LABELS),
    st.tuples(st.just("unline"), LABELS),
    st.tuples(st.just("delete invoice"), LABELS),
    st.tuples(st.just("rename invoice"), LABELS, st.integers(50, 53)),
    st.tuples(st.just("rename customer"), LABELS, st.integers(50, 53)),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(NAMES, WRITES),
        st.tuples(NAMES, WRITES),
        st.tuples(NAMES, WRITES),
        st.tuples(NAMES, st.tuples(st.just("pull"), st.integers(1, 5))),
        st.tuples(NAMES, st.just(("restart",))),
        st.tuples(NAMES, st.just(("crash between claim and append",))),
        st.tuples(NAMES, st.just(("capture",))),
    ),
    min_size=1,
    max_size=25,
)
ELSEWHERE = ("pull", "restart", "crash between claim and append", "capture")

EVERYTHING = (
    "SELECT c.Label, c.City, m.Label FROM Customer c LEFT JOIN Customer m ON m.Id = c.Manager ORDER BY 1",
    "SELECT i.Label, c.Label, i.Note FROM Invoice i JOIN Customer c ON c.Id = i.Customer ORDER BY 1",
    "SELECT l.Label, i.Label, l.Quantity FROM Line l JOIN Invoice i ON i.Id = l.Invoice ORDER BY 1",
)


def one(table: str, label: str) -> str:
    return f"(SELECT Id FROM {table} WHERE Label = '{label}')"


def sql(site: str, step: tuple) -> list[str]:
    what, first, *rest = step
    mine = f"{site}{first}"
    second = rest[0] if rest else None
    return {
        "customer": lambda: [f"INSERT INTO Customer (Label) VALUES ('{mine}')"],
        "invoice": lambda: [f"INSERT INTO Invoice (Label, Customer) VALUES ('{mine}', {one('Customer', str(second))})"],
        "line": lambda: [
            f"INSERT INTO Line (Invoice, Label, Quantity) VALUES ({one('Invoice', str(second))}, '{mine}', 1)"
        ],
        "city": lambda: [f"UPDATE Customer SET City = '{second}' WHERE Label = '{first}'"],
        "note": lambda: [f"UPDATE Invoice SET Note = '{second}' WHERE Label = '{first}'"],
        "quantity": lambda: [f"UPDATE Line SET Quantity = {second} WHERE Label = '{first}'"],
        "manager": lambda: [f"UPDATE Customer SET Manager = {one('Customer', str(second))} WHERE Label = '{first}'"],
        "sold to": lambda: [f"UPDATE Invoice SET Customer = {one('Customer', str(second))} WHERE Label = '{first}'"],
        "unline": lambda: [f"DELETE FROM Line WHERE Label = '{first}'"],
        "delete invoice": lambda: [
            f"DELETE FROM Line WHERE Invoice = {one('Invoice', first)}", f"DELETE FROM Invoice WHERE Label = '{first}'"
        ],
        "rename invoice": lambda: [
            f"UPDATE Line SET Invoice = {second} WHERE Invoice = {one('Invoice', first)}",
            f"UPDATE Invoice SET Id = {second} WHERE Label = '{first}'",
        ],
        "rename customer": lambda: [
            f"UPDATE Invoice SET Customer = {second} WHERE Customer = {one('Customer', first)}",
            f"UPDATE Customer SET Manager = {second} WHERE Manager = {one('Customer', first)}",
            f"UPDATE Customer SET Id = {second} WHERE Label = '{first}'",
        ],
    }[what]()  # fmt: skip


async def play(folder: Path, steps: list) -> None:
    sites = {
        name: Site(folder, name, schema=SCHEMA, doctypes=DOCTYPES, renamed=tuple(DOCTYPES)) for name in ("hq", "store")
    }
    for site in sites.values():
        await site.open()
    made: set[tuple[str, str, int]] = set()
    try:
        for name, step in steps:
            if step[0] in ELSEWHERE:
                await act_elsewhere(sites, name, step)
                continue
            if step[0] in ("customer", "invoice", "line"):
                # A label is used once: it says which document is meant.
                if (name, step[0], step[1]) in made:
                    continue
                made.add((name, step[0], step[1]))
            with suppress(sqlite3.IntegrityError):
                sites[name].write(*sql(name, step))
        await settle(sites)
        hq, store = sites["hq"], sites["store"]
        assert {name: await site.queue() for name, site in sites.items()} == {"hq": [], "store": []}
        for query in EVERYTHING:
            assert hq.rows(query) == store.rows(query)
        for site in sites.values():
            assert site.rows("PRAGMA foreign_key_check") == []
    finally:
        for site in sites.values():
            await site.close()


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_two_sites_with_names_of_their_own_always_end_with_the_same_documents(steps: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), steps))


@pytest.mark.soak
@pytest.mark.timeout(3600)
@settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_two_sites_with_names_of_their_own_always_end_with_the_same_documents_for_long(steps: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), steps))
