"""Whatever two sites' users do, in whatever order pages travel and daemons restart: the sites end equal (I1-I4)."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulation.sites import Site
from tests.support.examples import SITES

IDS = st.integers(1, 4)
NAMES = st.sampled_from(["hq", "store"])

# Each site gives documents numbers of its own: two that have one name at two sites are another promise.
WRITES = st.one_of(
    st.tuples(st.just("customer"), IDS),
    st.tuples(st.just("item"), IDS),
    st.tuples(st.just("invoice"), IDS, IDS, NAMES),
    st.tuples(st.just("line"), IDS, IDS, IDS),
    st.tuples(st.just("city"), IDS, st.sampled_from("abc"), NAMES),
    st.tuples(st.just("price"), IDS, st.integers(0, 9), NAMES),
    st.tuples(st.just("stock"), IDS, st.integers(0, 9), NAMES),
    st.tuples(st.just("quantity"), IDS, st.integers(0, 9), NAMES),
    st.tuples(st.just("manager"), IDS, IDS, NAMES),
    st.tuples(st.just("unline"), IDS, NAMES),
    st.tuples(st.just("delete invoice"), IDS, NAMES),
    st.tuples(st.just("delete customer"), IDS, NAMES),
    st.tuples(st.just("rename item"), IDS, NAMES),
    st.tuples(st.just("item under an old name"), IDS),
    st.tuples(st.just("delete item"), st.sampled_from("in"), IDS, NAMES),
    st.tuples(st.just("exchange items"), IDS, IDS),
    st.tuples(st.just("price of a renamed one"), IDS, st.integers(0, 9), NAMES),
)
# A few names, given up and taken again and again.
AGAIN = st.one_of(
    *(
        st.tuples(st.just(what), st.integers(1, 2), *rest)
        for what, *rest in (
            ("price", st.integers(0, 9), NAMES),
            ("stock", st.integers(0, 9), NAMES),
            ("rename item", NAMES),
            ("item under an old name",),
            ("item under an old name",),
            ("exchange items", st.integers(1, 2)),
            ("price of a renamed one", st.integers(0, 9), NAMES),
        )
    ),
    st.tuples(st.just("delete item"), st.sampled_from("in"), st.integers(1, 2), NAMES),
)
BEGIN = [("hq", ("item", 1)), ("store", ("item", 1)), ("hq", ("item", 2))]
AGAIN_STEPS = st.lists(
    st.one_of(
        st.tuples(NAMES, AGAIN),
        st.tuples(NAMES, AGAIN),
        st.tuples(NAMES, AGAIN),
        st.tuples(NAMES, st.tuples(st.just("pull"), st.integers(1, 5))),
        st.tuples(NAMES, st.just(("capture",))),
        st.tuples(NAMES, st.just(("crash between claim and append",))),
    ),
    min_size=5,
    max_size=25,
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


def base(name: str) -> int:
    return 100 if name == "hq" else 200


def sql(site: str, step: tuple) -> list[str]:
    what, *values = step
    owner = base(values[-1]) if isinstance(values[-1], str) and values[-1] in ("hq", "store") else base(site)
    one, mine = owner + next(value for value in values if isinstance(value, int)), base(site)
    statements = {
        "customer": lambda: [f"INSERT INTO Customer VALUES ({base(site) + values[0]}, 'c', NULL, NULL)"],
        "item": lambda: [
            f"INSERT INTO Item VALUES ('i{base(site) + values[0]}', 'label {base(site) + values[0]}', 1.5, 0)"
        ],
        "invoice": lambda: [f"INSERT INTO Invoice VALUES ({base(site) + values[0]}, {owner + values[1]}, NULL)"],
        "line": lambda: [f"INSERT INTO Line VALUES ({mine + values[0]}, {mine + values[1]}, 'i{mine + values[2]}', 1)"],
        "city": lambda: [f"UPDATE Customer SET City = '{values[1]}' WHERE Id = {one}"],
        "price": lambda: [f"UPDATE Item SET Price = {values[1]} WHERE Code = 'i{one}'"],
        "stock": lambda: [f"UPDATE Item SET Stock = {values[1]} WHERE Code = 'i{one}'"],
        "quantity": lambda: [f"UPDATE Line SET Quantity = {values[1]} WHERE Id = {one}"],
        "manager": lambda: [f"UPDATE Customer SET Manager = {base('hq') + values[1]} WHERE Id = {one}"],
        "unline": lambda: [f"DELETE FROM Line WHERE Id = {one}"],
        "delete invoice": lambda: [f"DELETE FROM Line WHERE Invoice = {one}", f"DELETE FROM Invoice WHERE Id = {one}"],
        "delete customer": lambda: [f"DELETE FROM Customer WHERE Id = {one}"],
        "rename item": lambda: [
            f"UPDATE Item SET Code = 'n{one}' WHERE Code = 'i{one}'",
            f"UPDATE Line SET Item = 'n{one}' WHERE Item = 'i{one}'",
        ],
        "item under an old name": lambda: [f"INSERT INTO Item VALUES ('i{base(site) + values[0]}', NULL, 2.5, 0)"],
        "delete item": lambda: [
            f"DELETE FROM Line WHERE Item = '{values[0]}{one}'",
            f"DELETE FROM Item WHERE Code = '{values[0]}{one}'",
        ],
        "exchange items": lambda: [
            f"UPDATE {table} SET {column} = '{after}' WHERE {column} = '{before}'"
            for before, after in (
                (f"i{one}", f"x{one}"),
                (f"i{mine + values[1]}", f"i{one}"),
                (f"x{one}", f"i{mine + values[1]}"),
            )
            for table, column in (("Item", "Code"), ("Line", "Item"))
        ],
        "price of a renamed one": lambda: [f"UPDATE Item SET Price = {values[1]} WHERE Code = 'n{one}'"],
    }
    return statements[what]()


async def act(sites: dict[str, Site], name: str, step: tuple) -> None:
    site, other = sites[name], sites["store" if name == "hq" else "hq"]
    if step[0] == "pull":
        await site.capture.drain()
        await site.pull_from(other, limit=step[1])
    elif step[0] == "restart":
        await site.close()
        await site.open()
    elif step[0] == "capture":
        await site.capture.drain()
    elif step[0] == "crash between claim and append":
        await site.crash_between_claim_and_append()
    else:
        # Where the site's own database says no, nothing happened.
        with suppress(sqlite3.IntegrityError):
            site.write(*sql(name, step))


async def settle(sites: dict[str, Site]) -> None:
    hq, store = sites["hq"], sites["store"]
    for _ in range(12):
        moved = await hq.pull_all(store) + await store.pull_all(hq)
        if not moved:
            return
    pytest.fail("the two sites never come to rest")


async def play(folder: Path, steps: list) -> None:
    sites = {name: Site(folder, name) for name in ("hq", "store")}
    for site in sites.values():
        await site.open()
    try:
        for name, step in steps:
            await act(sites, name, step)
        await settle(sites)
        hq, store = sites["hq"], sites["store"]
        queues = {name: await site.queue() for name, site in sites.items()}
        assert queues == {"hq": [], "store": []}
        assert hq.everything() == store.everything()
        for site in sites.values():
            assert site.rows("PRAGMA foreign_key_check") == []
            assert site.began_anew == ""
    finally:
        for site in sites.values():
            await site.close()


@SITES
@given(STEPS)
def test_two_sites_always_end_equal(steps: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), steps))


@SITES
@given(AGAIN_STEPS)
def test_two_sites_that_use_names_again_always_end_equal(steps: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder), BEGIN + steps))
