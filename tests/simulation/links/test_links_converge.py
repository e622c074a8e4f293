"""However names are used again, and whatever way events take: no link ever comes to mean another document.

Pairs, a hub with two spokes, and a ring. Each site's application keeps its own links right, as most do: it deletes no
customer that it has invoices of, and a renamed one's invoices follow. Each invoice has one customer for all its life.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulation.sites import Site
from tests.support.examples import SITES

SCHEMA = """
CREATE TABLE "Customer" ("Id" TEXT PRIMARY KEY NOT NULL, "Who" TEXT NOT NULL, "City" TEXT);
CREATE TABLE "Invoice" ("Id" TEXT PRIMARY KEY NOT NULL, "Customer" TEXT NOT NULL {key}, "Note" TEXT);
"""
KEY = 'REFERENCES "Customer" ("Id")'
TYPES: dict[str, Any] = {"Customer": {}, "Invoice": {"links": {"Customer": "Customer"}}}
NAMES = ("a", "b", "c")
WAYS: dict[str, Sequence[tuple[str, str]]] = {
    "pair": [("a", "b"), ("b", "a")],
    "hub": [("a", "b"), ("b", "a"), ("a", "c"), ("c", "a")],
    "ring": [(one, other) for one, other in pairwise([*NAMES, "a"])],
}
"""Who pulls from whom."""

WHO = st.integers(0, 2)
STEPS = st.lists(
    st.tuples(
        WHO,
        st.one_of(
            st.tuples(st.just("make"), st.integers(0, 1)),
            st.tuples(st.just("bill"), WHO, st.integers(0, 1)),
            st.tuples(st.just("bill"), WHO, st.integers(0, 1)),
            st.tuples(st.just("rename"), WHO, st.integers(0, 1), st.integers(0, 1)),
            st.tuples(st.just("delete"), WHO, st.integers(0, 1)),
            st.tuples(st.just("city"), WHO, st.integers(0, 1)),
            st.tuples(st.just("pull"), st.integers(1, 5)),
            st.tuples(st.just("pull"), st.just(50)),
            st.just(("crash",)),
        ),
    ),
    min_size=4,
    max_size=25,
)


class Shop:
    """Sites whose users do these steps; `meant` has for each invoice the customer that it was made for."""

    def __init__(self, folder: Path, topology: str, key: str) -> None:
        self.ways = WAYS[topology]
        names = sorted({name for way in self.ways for name in way})
        self.sites = {name: Site(folder, name, schema=SCHEMA.format(key=key), doctypes=TYPES) for name in names}
        self.meant: dict[str, str] = {}
        self._made = 0

    async def play(self, steps: Iterable[tuple[int, tuple]]) -> None:
        names = list(self.sites)
        for number, step in steps:
            await self._act(names[number % len(names)], step)

    async def _act(self, name: str, step: tuple) -> None:
        site, (what, *values) = self.sites[name], step
        if what == "pull":
            for one, other in self.ways:
                if one == name:
                    await site.pull_from(self.sites[other], limit=values[0])
            return
        if what == "crash":
            await site.crash_between_claim_and_append()
            return
        await site.capture.drain()
        self._made += 1
        # Each site gives names of its own, again and again; all may change what the others made.
        owner = list(self.sites)[values[0] % len(self.sites)] if what not in ("make",) else name
        found = f"{owner}{values[1] if len(values) > 1 else values[0]}"
        billed = site.rows(f"SELECT 1 FROM Invoice WHERE Customer = '{found}'")
        statements = {
            "make": lambda: [f"INSERT INTO Customer VALUES ('{found}', '{name} {self._made}', NULL)"],
            "bill": lambda: [f"INSERT INTO Invoice SELECT '{name}-{self._made}', Id, NULL FROM Customer "
                             f"WHERE Id = '{found}'"],
            "rename": lambda: [f"UPDATE Customer SET Id = '{name}{values[2]}' WHERE Id = '{found}'",
                               f"UPDATE Invoice SET Customer = '{name}{values[2]}' WHERE Customer = '{found}'"],
            "delete": lambda: [] if billed else [f"DELETE FROM Customer WHERE Id = '{found}'"],
            "city": lambda: [f"UPDATE Customer SET City = '{self._made}' WHERE Id = '{found}'"],
        }[what]()  # fmt: skip
        with suppress(sqlite3.IntegrityError):
            site.write("PRAGMA defer_foreign_keys = ON", *statements)
        await site.capture.drain()
        self.meant |= {
            str(invoice): str(who)
            for invoice, who in billed_for(site)
            if who is not None and str(invoice) not in self.meant and str(invoice).startswith(f"{name}-{self._made}")
        }

    async def settle(self) -> None:
        for _ in range(20):
            moved = [await self.sites[one].pull_all(self.sites[other]) for one, other in self.ways]
            if not any(moved):
                return
        pytest.fail("the sites never come to rest")

    async def judge(self) -> None:
        for site in self.sites.values():
            wrong = [
                (invoice, who, self.meant[str(invoice)])
                for invoice, who in billed_for(site)
                if who is not None and who != self.meant[str(invoice)]
            ]
            assert wrong == [], f"at {site.name}: invoice, customer, meant"
            assert site.began_anew == ""
        queues = [each for site in self.sites.values() for each in await site.queue()]
        if not queues:
            ends = [(billed_for(site), site.rows("SELECT * FROM Customer ORDER BY 2")) for site in self.sites.values()]
            assert all(end == ends[0] for end in ends), ends


def billed_for(site: Site) -> list[tuple[object, ...]]:
    return site.rows("SELECT i.Id, c.Who FROM Invoice i LEFT JOIN Customer c ON c.Id = i.Customer ORDER BY 1")


async def play(folder: Path, topology: str, key: str, steps: list) -> None:
    shop = Shop(folder, topology, key)
    try:
        for site in shop.sites.values():
            await site.open()
        await shop.play([(0, ("make", 0)), (0, ("make", 1)), *steps])
        await shop.settle()
        await shop.judge()
    finally:
        for site in shop.sites.values():
            await site.close()


@pytest.mark.parametrize("key", [KEY, ""], ids=["foreign key", "no foreign key"])
@pytest.mark.parametrize("topology", WAYS)
@SITES
@given(STEPS)
def test_a_link_never_comes_to_mean_another_document(topology: str, key: str, steps: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), topology, key, steps))
