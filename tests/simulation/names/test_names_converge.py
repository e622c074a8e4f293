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

from hypothesis import given
from hypothesis import strategies as st

from tests.simulation.flow.test_convergence import NAMES, settle
from tests.simulation.flow.test_convergence import act as act_elsewhere
from tests.simulation.sites import Site
from tests.support.examples import SITES

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
    st.tuples(st.just("line again"), NEW, LABELS),
    st.tuples(st.just("other line"), NEW, LABELS, LABELS),
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
KINDS = {"customer": "customer", "invoice": "invoice", "line": "line", "line again": "line", "other line": "line"}
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


class Lines:
    """Who made and removed which lines, and under which numbers."""

    def __init__(self, sites: dict[str, Site]) -> None:
        self._sites = sites
        self._made: dict[str, tuple[str, str, list[str]]] = {}
        self._gone: set[tuple[str, str]] = set()
        self._had: dict[str, list[tuple[object, str]]] = {name: [] for name in sites}

    def sql(self, name: str, step: tuple) -> list[str]:
        """A new line under the number of another one: of the last that was removed, or of one that goes with it."""
        what, first, *rest = step
        before = self._had[name][-1:] if what == "line again" else self._numbers(name, rest[0])
        if not before:
            return []
        ((number, _),) = before
        values = f"{number}, {one('Invoice', rest[-1])}, '{name}{first}', 1"
        insert = f"INSERT INTO Line (Id, Invoice, Label, Quantity) VALUES ({values})"
        return [insert] if what == "line again" else [*sql(name, ("unline", rest[0])), insert]

    def write(self, name: str, step: tuple) -> None:
        """Do what a step says, unless the database refuses it, and note it."""
        again = step[0] in ("line again", "other line")
        removed = (
            self._numbers(name, step[1 if step[0] == "unline" else 2]) if step[0] in ("unline", "other line") else []
        )
        statements = self.sql(name, step) if again else sql(name, step)
        with suppress(sqlite3.IntegrityError):
            self._sites[name].write(*statements)
            self._had[name] += removed
            self._gone |= {(name, label) for _, label in removed}
            if step[0] == "delete invoice":
                self._gone.add((name, step[1]))
            elif KINDS.get(step[0]) == "line" and statements:
                before = self._had[name][-1][1] if again else ""
                shared = [before, *self._made[before][2]] if before else []
                self._made[f"{name}{step[1]}"] = (name, step[-1], shared)

    def stay(self) -> set[str]:
        """The lines that nobody removed, nor their invoices.

        Not one under the number of a line that the other site removed, too: what happened at one site until it was
        captured may have been one row that changed.
        """
        gone = {label for _, label in self._gone}
        return {
            line
            for line, (site, invoice, shared) in self._made.items()
            if gone.isdisjoint((line, invoice))
            and not any(label in shared and other != site for other, label in self._gone)
        }

    def _numbers(self, name: str, label: str) -> list[tuple[object, str]]:
        return [(number, label) for (number,) in self._sites[name].rows(f"SELECT Id FROM Line WHERE Label = '{label}'")]


async def play(folder: Path, steps: list) -> None:
    sites = {
        name: Site(folder, name, schema=SCHEMA, doctypes=DOCTYPES, renamed=tuple(DOCTYPES)) for name in ("hq", "store")
    }
    for site in sites.values():
        await site.open()
    made: set[tuple[str, str, int]] = set()
    lines = Lines(sites)
    try:
        for name, step in steps:
            if step[0] in ELSEWHERE:
                await act_elsewhere(sites, name, step)
                continue
            if step[0] in KINDS:
                # A label is used once: it says which document is meant.
                label = (name, KINDS[step[0]], step[1])
                if label in made:
                    continue
                made.add(label)
            lines.write(name, step)
        await settle(sites)
        hq, store = sites["hq"], sites["store"]
        assert {name: await site.queue() for name, site in sites.items()} == {"hq": [], "store": []}
        for query in EVERYTHING:
            assert hq.rows(query) == store.rows(query)
        assert lines.stay() <= {label for (label,) in hq.rows("SELECT Label FROM Line")}
        for site in sites.values():
            assert site.rows("PRAGMA foreign_key_check") == []
    finally:
        for site in sites.values():
            await site.close()


@SITES
@given(STEPS)
def test_two_sites_with_names_of_their_own_always_end_with_the_same_documents(steps: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), steps))
