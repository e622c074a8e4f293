"""Unique values go round among documents: the consumer ends as the producer, whatever constraints its database has.

The producer has no constraints, so its users can give any value to any document within one transaction. The consumer
has one of each kind on every engine. It serves others in turn: what it logs has to be updates, as at the producer.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.model import Operation
from tests.simulation.sites import Site
from tests.support.database_url import Engine
from tests.support.examples import SERVERS
from tests.support.servers import ENGINES

SIZE = 4


@dataclass(frozen=True)
class Place:
    """A column whose values are unique at the consumer: `values` has one for each row, and one that is free."""

    table: str
    column: str
    values: tuple[str, ...]


NUMBERS = ("1", "2", "3", "4", "5")
CODES = ("'AAA'", "'BBB'", "'CCC'", "'DDD'", "'EEE'")
DAYS = tuple(f"'2024-01-0{day}'" for day in (1, 2, 3, 4, 5))
MAILS = tuple(f"'{name}@e'" for name in ("ann", "bob", "eva", "ida", "zoe"))
RANGES = ("'[1,5)'", "'[5,9)'", "'[9,12)'", "'[12,20)'", "'[20,21)'")

PLACES = [
    Place("number", "pos", NUMBERS),
    Place("tight", "pos", NUMBERS),
    Place("maybe", "pos", NUMBERS),
    Place("code", "code", CODES),
    Place("day", "day", DAYS),
    Place("mail", "mail", MAILS),
    Place("part", "pos", NUMBERS),
    Place("pair", "pos", NUMBERS),
    Place("line", "line_no", NUMBERS),
    Place("org", "code", CODES),
    Place("room", "during", RANGES),
]
TABLES = ("list", *(place.table for place in PLACES), "member")

PRODUCER = "; ".join(
    [
        "CREATE TABLE list (id INTEGER PRIMARY KEY, memo VARCHAR(20))",
        *(
            f"CREATE TABLE {place.table} (id INTEGER PRIMARY KEY, {place.column} TEXT, more INTEGER)"
            for place in PLACES
            if place.column not in ("pos", "line_no", "day")
        ),
        *(
            f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, pos INTEGER, more INTEGER)"
            for name in ("number", "tight", "maybe", "part", "pair")
        ),
        "CREATE TABLE day (id INTEGER PRIMARY KEY, day DATE, more INTEGER)",
        "CREATE TABLE line (id INTEGER PRIMARY KEY, list INTEGER, line_no INTEGER, more INTEGER)",
        "CREATE TABLE member (id INTEGER PRIMARY KEY, org INTEGER)",
    ]
)

COMMON = """
CREATE TABLE list (id INTEGER PRIMARY KEY, memo VARCHAR(20));
CREATE TABLE number (id INTEGER PRIMARY KEY, pos INTEGER NOT NULL UNIQUE, more INTEGER);
CREATE TABLE tight (id INTEGER PRIMARY KEY, pos INTEGER NOT NULL UNIQUE CHECK (pos BETWEEN 1 AND 5), more INTEGER);
CREATE TABLE maybe (id INTEGER PRIMARY KEY, pos INTEGER UNIQUE, more INTEGER);
CREATE TABLE code (id INTEGER PRIMARY KEY, code VARCHAR(3) NOT NULL UNIQUE, more INTEGER);
CREATE TABLE day (id INTEGER PRIMARY KEY, day DATE NOT NULL UNIQUE, more INTEGER);
CREATE TABLE pair (id INTEGER PRIMARY KEY, pos INTEGER NOT NULL, more INTEGER, UNIQUE (more, pos));
CREATE TABLE line (id INTEGER PRIMARY KEY, list INTEGER NOT NULL REFERENCES list (id) ON DELETE CASCADE,
    line_no INTEGER NOT NULL, more INTEGER, UNIQUE (list, line_no));
CREATE TABLE org (id INTEGER PRIMARY KEY, code VARCHAR(3) NOT NULL UNIQUE CHECK (length(code) = 3), more INTEGER);
CREATE TABLE member (id INTEGER PRIMARY KEY, org INTEGER REFERENCES org (id) ON DELETE CASCADE);
CREATE TABLE note (id INTEGER PRIMARY KEY, org INTEGER REFERENCES org (id) ON DELETE SET NULL);
"""
INDEXED = """
CREATE TABLE mail (id INTEGER PRIMARY KEY, mail VARCHAR(20) NOT NULL, more INTEGER);
CREATE UNIQUE INDEX mail_once ON mail (lower(mail));
CREATE TABLE part (id INTEGER PRIMARY KEY, pos INTEGER NOT NULL, more INTEGER);
CREATE UNIQUE INDEX part_once ON part (pos) WHERE pos > 0;
"""
CONSUMERS: dict[Engine, str] = {
    "sqlite": COMMON
    + INDEXED
    + "CREATE TABLE room (id INTEGER PRIMARY KEY, during TEXT NOT NULL UNIQUE, more INTEGER)",
    "postgresql": COMMON
    + INDEXED
    + "CREATE TABLE room (id INTEGER PRIMARY KEY, during int4range NOT NULL, more INTEGER, "
    "EXCLUDE USING gist (during WITH &&))",
    "mariadb": COMMON
    + """
CREATE TABLE mail (id INTEGER PRIMARY KEY, mail VARCHAR(20) NOT NULL, more INTEGER,
    low VARCHAR(20) AS (lower(mail)) PERSISTENT UNIQUE);
CREATE TABLE part (id INTEGER PRIMARY KEY, pos INTEGER NOT NULL, more INTEGER,
    plus INTEGER AS (if(pos > 0, pos, NULL)) VIRTUAL UNIQUE);
CREATE TABLE room (id INTEGER PRIMARY KEY, during VARCHAR(20) NOT NULL UNIQUE, more INTEGER);
""",
}

DOCTYPES = {
    "list": {"children": {"lines": {"table": "line", "parent_key": "list"}}},
    **{place.table: {} for place in PLACES if place.table != "line"},
    "member": {},
}

TURN = st.tuples(
    st.sampled_from(range(len(PLACES))),
    # Some rows' new values: a rotation, a swap, or a chain that ends at the free value.
    st.permutations(range(SIZE + 1)),
)
TURNS = st.lists(st.lists(TURN, min_size=1, max_size=6), min_size=1, max_size=4)


async def exchange(folder: Path, engine: Engine, turns: list[list[tuple[int, list[int]]]], page: int = 500) -> None:
    hq = Site(folder, "hq", schema=PRODUCER, doctypes=DOCTYPES)
    store = Site(folder, "store", schema=CONSUMERS[engine], doctypes=DOCTYPES, engine=engine)
    for site in (hq, store):
        await site.open()
    try:
        hq.write("INSERT INTO list VALUES (1, 'm')", *(insert for place in PLACES for insert in inserts(place)))
        hq.write(*(f"INSERT INTO member VALUES ({number}, {number})" for number in range(1, SIZE + 1)))
        await store.pull_from(hq, limit=500)
        store.write(*(f"INSERT INTO note VALUES ({number}, {number})" for number in range(1, SIZE + 1)))
        await store.capture.drain()
        head = await store.update_log.head()
        assert head is not None
        for turn in turns:
            hq.write(*(update for index, order in turn for update in updates(PLACES[index], order)))
            while await store.pull_from(hq, limit=page):
                pass
            await store.heal(hq)
            assert await store.queue() == []
        for table in TABLES:
            assert rows(store, table) == rows(hq, table), table
        assert store.rows("SELECT id, org FROM note ORDER BY id") == [(n, n) for n in range(1, SIZE + 1)]
        # SQLite tells no transactions apart: no batch may end between a row's removal and its return.
        store.capture._batch = 3 if engine == "sqlite" else 10_000
        await store.capture.drain()
        logged, _, _ = await store.update_log.read(
            head.cursor, dict.fromkeys(DOCTYPES, 0), not_through="nobody", limit=10_000, max_bytes=1 << 30
        )
        others = [
            (entry.doctype, entry.name, entry.operation) for entry in logged if entry.operation != Operation.UPDATE
        ]
        assert others == []
        assert all(entry.origin for entry in logged)
    finally:
        for site in (hq, store):
            await site.close()


def inserts(place: Place) -> list[str]:
    columns = f"id, {place.column}, more" + (", list" if place.table == "line" else "")
    tail = ", 7, 1" if place.table == "line" else ", 7"
    return [
        f"INSERT INTO {place.table} ({columns}) VALUES ({number}, {value}{tail})"
        for number, value in enumerate(place.values[:SIZE], 1)
    ]


def updates(place: Place, order: list[int]) -> list[str]:
    return [
        f"UPDATE {place.table} SET {place.column} = {place.values[to]} WHERE id = {number}"
        for number, to in enumerate(order[:SIZE], 1)
    ]


def rows(site: Site, table: str) -> list[tuple[str, ...]]:
    columns = {place.table: place.column for place in PLACES} | {"list": "memo", "member": "org"}
    found = site.rows(f"SELECT id, {columns[table]} FROM {table} ORDER BY id")
    return [tuple(text(each) for each in row) for row in found]


def text(value: object) -> str:
    bounds = (getattr(value, "lower", None), getattr(value, "upper", None))
    if isinstance(bounds[0], int):
        return f"[{bounds[0]},{bounds[1]})"
    return str(value)


@pytest.mark.parametrize("engine", ENGINES)
@SERVERS
@given(TURNS)
def test_unique_values_that_go_round_arrive(engine: Engine, turns: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(exchange(Path(folder), engine, turns))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_circle_in_every_kind_of_constraint_arrives(engine: Engine) -> None:
    """All kinds within one transaction; then row by row back to where they were, through the free value."""
    circle = [(index, [1, 2, 3, 0, 4]) for index in range(len(PLACES))]
    chain = [(index, [1, 2, 3, 4, 0]) for index in range(len(PLACES))]
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(exchange(Path(folder), engine, [circle, chain]))


@SERVERS
@given(TURNS)
def test_halves_of_an_exchange_that_were_parked_apart_heal_together(turns: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(exchange(Path(folder), "sqlite", turns, page=1))
