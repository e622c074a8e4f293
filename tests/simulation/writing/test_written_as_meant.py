"""What was written is what was meant: whatever a database makes of a row, it arrives as it was sent, or is parked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from streamd.apply import segment
from tests.simulation.sites import Site
from tests.support.database_url import Engine
from tests.support.matrix import engines_and
from tests.support.servers import ENGINES

SCHEMA = """
CREATE TABLE sheet (id INTEGER PRIMARY KEY, note VARCHAR(40), total INTEGER);
CREATE TABLE cell (
    id INTEGER PRIMARY KEY, sheet INTEGER NOT NULL REFERENCES sheet (id), note VARCHAR(40), worth INTEGER);
CREATE TABLE mark (id INTEGER PRIMARY KEY)
"""
TYPES: dict[str, Any] = {"sheet": {"children": {"cells": {"table": "cell", "parent_key": "sheet"}}}, "mark": {}}
PARENT_AND_CHILD = pytest.mark.parametrize("table", ["sheet", "cell"])
SWALLOWING = pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
"""The engines with triggers that take a write and do nothing, without an error."""

Pair = Callable[..., Any]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param  # type: ignore[no-any-return]  # one of the above


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Makes two open sites: pair(engine, schema, types, consumer's engine, schema and types)."""
    async with AsyncExitStack() as stack:

        async def make(
            engine: Engine,
            schema: str = SCHEMA,
            types: dict[str, Any] = TYPES,
            *,
            to: Engine | None = None,
            there: str | None = None,
            here: dict[str, Any] | None = None,
        ) -> tuple[Site, Site]:
            sites = (
                Site(tmp_path, "hq", schema=schema, engine=engine, doctypes=types),
                Site(tmp_path, "store", schema=there or schema, engine=to or engine, doctypes=here or types),
            )
            for site in sites:
                await site.open()
                stack.push_async_callback(site.close)
            return sites

        yield make


def before(site: Site, table: str, event: str, condition: str, effect: str) -> None:
    """A trigger of the user's that sets something in the row that is written, or makes nothing of it ("swallow")."""
    engine = site.access.engine
    row = "old" if event == "DELETE" else "new"
    condition = condition.replace("row.", f"{row}.")
    if engine == "postgresql":
        act = "RETURN NULL" if effect == "swallow" else f"new.{effect}"
        site.access.raw(
            f"CREATE FUNCTION {table}_{event} () RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF {condition} THEN {act}; END IF; RETURN {row}; END $$"
        )
        site.access.raw(
            f"CREATE TRIGGER acts_{event} BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_{event} ()"
        )
    elif engine == "mariadb":
        site.access.raw(
            f"CREATE TRIGGER {table}_{event} BEFORE {event} ON {table} FOR EACH ROW "
            f"BEGIN IF {condition} THEN SET new.{effect}; END IF; END"
        )
    elif effect == "swallow":
        site.access.raw(
            f"CREATE TRIGGER {table}_{event} BEFORE {event} ON {table} WHEN {condition} BEGIN SELECT RAISE(IGNORE); END"
        )
    else:
        site.access.raw(
            f"CREATE TRIGGER {table}_{event} AFTER {event} ON {table} WHEN {condition} BEGIN "
            f"UPDATE {table} SET {effect} WHERE id = new.id; END"
        )


def after(site: Site, table: str, event: str, statement: str) -> None:
    """A trigger of the user's that writes elsewhere, behind each row."""
    engine = site.access.engine
    if engine == "postgresql":
        site.access.raw(
            f"CREATE FUNCTION {table}_{event} () RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"{statement}; RETURN NULL; END $$"
        )
        end = f"EXECUTE FUNCTION {table}_{event} ()"
    else:
        end = f"BEGIN {statement}; END"
    site.access.raw(f"CREATE TRIGGER {table}_{event} AFTER {event} ON {table} FOR EACH ROW {end}")


async def refused(site: Site) -> str:
    """What the sync log says of what is parked."""
    return "\n".join(error for _, error in await site.queue())


def insert(table: str, note: str, number: int = 1) -> list[str]:
    made = [f"INSERT INTO sheet (id, note, total) VALUES ({number}, '{note if table == 'sheet' else 'x'}', 0)"]
    if table == "cell":
        made.append(f"INSERT INTO cell (id, sheet, note, worth) VALUES ({number}, {number}, '{note}', 0)")
    return made


@pytest.mark.parametrize(("engine", "together"), engines_and([True, False]))
async def test_a_trigger_of_a_rows_own_parks_it_however_events_are_batched(
    pair: Pair, engine: Engine, together: bool
) -> None:
    hq, store = await pair(engine)
    before(store, "sheet", "INSERT", "row.note = 'odd'", "note = 'changed here'")
    statements = [*insert("sheet", "odd"), *insert("sheet", "plain", 2)]
    for some in [statements] if together else [[each] for each in statements]:
        hq.write(*some)
        await store.pull_all(hq)
    assert "the row of sheet with id 1" in await refused(store)
    assert store.rows("SELECT id, note FROM sheet") == [(2, "plain")]


@SWALLOWING
@PARENT_AND_CHILD
async def test_a_row_that_is_swallowed_is_parked_and_nothing_else(pair: Pair, engine: Engine, table: str) -> None:
    hq, store = await pair(engine)
    before(store, table, "INSERT", "row.note = 'bad'", "swallow")
    hq.write(*insert(table, "bad"))
    hq.write(*insert(table, "good", 2))
    hq.write("INSERT INTO mark (id) VALUES (1)")
    await store.pull_all(hq)
    assert f"the row of {table} with id 1" in await refused(store)
    assert store.rows(f"SELECT id FROM {table}") == [(2,)]
    assert store.rows("SELECT id FROM sheet") == [(2,)]
    assert store.rows("SELECT id FROM mark") == [(1,)]


@SWALLOWING
@PARENT_AND_CHILD
@pytest.mark.parametrize("event", ["UPDATE", "DELETE"])
async def test_a_change_that_is_swallowed_is_parked(pair: Pair, engine: Engine, table: str, event: str) -> None:
    hq, store = await pair(engine)
    hq.write(*insert(table, "x"))
    await store.pull_all(hq)
    before(store, table, event, "row.id = 1", "swallow")
    hq.write(
        f"UPDATE {table} SET note = 'y' WHERE id = 1" if event == "UPDATE" else f"DELETE FROM {table} WHERE id = 1"
    )
    await store.pull_all(hq)
    assert await refused(store)
    assert store.rows(f"SELECT note FROM {table}") == [("x",)]


@pytest.mark.parametrize(("engine", "table", "event"), engines_and(["cell", "sheet"], ["UPDATE", "INSERT"]))
async def test_a_value_that_a_trigger_always_changes_is_parked_with_both_values(
    pair: Pair, engine: Engine, table: str, event: str
) -> None:
    hq, store = await pair(engine)
    if event == "UPDATE":
        hq.write(*insert(table, "first"))
        await store.pull_all(hq)
    for each in ("INSERT", "UPDATE"):
        before(store, table, each, "row.note = 'sent'", "note = 'kept'")
    hq.write(*(insert(table, "sent") if event == "INSERT" else [f"UPDATE {table} SET note = 'sent' WHERE id = 1"]))
    hq.write(*insert(table, "other", 2))
    await store.pull_all(hq)
    said = await refused(store)
    assert [word in said for word in ('"sent"', '"kept"', "accept_changes")] == [True, True, True]
    assert store.rows(f"SELECT note FROM {table} WHERE id = 2") == [("other",)]


@PARENT_AND_CHILD
async def test_where_triggers_have_the_last_word_what_they_change_is_noted(
    pair: Pair, engine: Engine, table: str
) -> None:
    hq, store = await pair(engine, here=TYPES | {"sheet": TYPES["sheet"] | {"accept_changes": True}})
    before(store, table, "INSERT", "row.note = 'sent'", "note = 'kept'")
    before(store, table, "UPDATE", "row.note = 'sent again'", "note = 'kept again'")
    hq.write(*insert(table, "sent"))
    await store.pull_all(hq)
    assert store.rows(f"SELECT note FROM {table}") == [("kept",)]
    hq.write(f"UPDATE {table} SET note = 'sent again' WHERE id = 1")
    await store.pull_all(hq)
    assert store.rows(f"SELECT note FROM {table}") == [("kept again",)]
    assert await refused(store) == ""
    notes = [entry.note for entry in await store.sync_log.list()]
    assert ["accept_changes" in note for note in notes] == [True, True]


OWN_COLUMNS = """
CREATE TABLE sheet (id INTEGER PRIMARY KEY, a VARCHAR(40), b VARCHAR(40){own});
CREATE TABLE cell (
    id INTEGER PRIMARY KEY, sheet INTEGER NOT NULL REFERENCES sheet (id), a VARCHAR(40), b VARCHAR(40){own})
"""
SHEETS = {"sheet": TYPES["sheet"]}
ROWS = (
    "INSERT INTO sheet (id, a, b) VALUES (1, 'a', 'b'), (2, 'a', 'b')",
    "INSERT INTO cell (id, sheet, a, b) VALUES (1, 1, 'a', 'b'), (2, 2, 'a', 'b')",
)


@pytest.mark.parametrize(
    ("engine", "table", "condition", "others"),
    engines_and(
        ["cell", "sheet"],
        ["row.id = 1 AND row.a <> old.a", "row.id = 1"],
        [("UPDATE sheet SET a = 'y' WHERE id = 2",), ()],
    ),
)
async def test_a_column_that_did_not_come_and_is_changed_here_parks_the_row(
    pair: Pair, engine: Engine, table: str, condition: str, others: tuple[str, ...]
) -> None:
    hq, store = await pair(engine, OWN_COLUMNS.format(own=""), SHEETS)
    hq.write(*ROWS)
    await store.pull_all(hq)
    before(store, table, "UPDATE", condition, "b = 'mine'")
    hq.write(f"UPDATE {table} SET a = 'z' WHERE id = 1", *others)
    await store.pull_all(hq)
    said = await refused(store)
    assert [word in said for word in ('"mine"', '"b"', "in b", "trigger")] == [True, True, True, True]
    assert store.rows(f"SELECT a, b FROM {table} WHERE id = 1") == [("a", "b")]
    assert store.rows("SELECT a FROM sheet WHERE id = 2") == [("y" if others else "a",)]


@PARENT_AND_CHILD
async def test_where_triggers_have_the_last_word_a_column_that_did_not_come_is_noted(
    pair: Pair, engine: Engine, table: str
) -> None:
    here = {"sheet": TYPES["sheet"] | {"accept_changes": True}}
    hq, store = await pair(engine, OWN_COLUMNS.format(own=""), SHEETS, here=here)
    hq.write(*ROWS)
    await store.pull_all(hq)
    before(store, table, "UPDATE", "row.id = 1", "b = 'mine'")
    hq.write(f"UPDATE {table} SET a = 'z' WHERE id = 1")
    await store.pull_all(hq)
    assert await refused(store) == ""
    assert store.rows(f"SELECT a, b FROM {table} WHERE id = 1") == [("z", "mine")]
    assert any(f"{table}.b" in entry.note for entry in await store.sync_log.list())


@PARENT_AND_CHILD
async def test_a_stamp_in_a_column_that_the_producer_does_not_have_is_the_sites_own(
    pair: Pair, engine: Engine, table: str
) -> None:
    there = OWN_COLUMNS.format(own=", updated_here VARCHAR(40)")
    hq, store = await pair(engine, OWN_COLUMNS.format(own=""), SHEETS, there=there)
    before(store, table, "UPDATE", "row.id = 1", "updated_here = 'now'")
    hq.write(*ROWS)
    await store.pull_all(hq)
    hq.write(f"UPDATE {table} SET a = 'z' WHERE id = 1")
    await store.pull_all(hq)
    assert await refused(store) == ""
    assert store.rows(f"SELECT a, b, updated_here FROM {table} WHERE id = 1") == [("z", "b", "now")]


@SWALLOWING
async def test_where_triggers_have_the_last_word_a_missing_row_is_parked_all_the_same(
    pair: Pair, engine: Engine
) -> None:
    hq, store = await pair(engine, here=TYPES | {"sheet": TYPES["sheet"] | {"accept_changes": True}})
    before(store, "cell", "INSERT", "row.note = 'bad'", "swallow")
    hq.write(*insert("cell", "bad"))
    await store.pull_all(hq)
    assert "is not there" in await refused(store)
    assert store.rows("SELECT id FROM sheet") == []


@SWALLOWING
@PARENT_AND_CHILD
async def test_a_deleted_row_that_comes_back_is_parked(pair: Pair, engine: Engine, table: str) -> None:
    hq, store = await pair(engine)
    hq.write(*insert(table, "x"))
    await store.pull_all(hq)
    columns = {"sheet": "id, note", "cell": "id, sheet, note"}[table]
    values = ", ".join(f"old.{column}" for column in columns.split(", "))
    after(store, table, "DELETE", f"INSERT INTO {table} ({columns}) VALUES ({values})")
    hq.write(f"DELETE FROM {table} WHERE id = 1")
    await store.pull_all(hq)
    assert "is still there" in await refused(store)


async def test_a_total_that_triggers_of_both_sites_keep_is_that_of_the_producer(pair: Pair, engine: Engine) -> None:
    hq, store = await pair(engine)
    for site in (hq, store):
        after(site, "cell", "INSERT", "UPDATE sheet SET total = total + new.worth WHERE id = new.sheet")
    hq.write(*insert("sheet", "x"), "INSERT INTO cell (id, sheet, note, worth) VALUES (1, 1, 'a', 5)")
    await store.pull_all(hq)
    hq.write(*(f"INSERT INTO cell (id, sheet, note, worth) VALUES ({n}, 1, 'b', {n})" for n in range(2, 5)))
    await store.pull_all(hq)
    assert await refused(store) == ""
    assert store.rows("SELECT total FROM sheet") == hq.rows("SELECT total FROM sheet") == [(14,)]
    assert any("written again" in entry.note for entry in await store.sync_log.list())


STOCK = """
CREATE TABLE product (id INTEGER PRIMARY KEY, stock INTEGER);
CREATE TABLE sale (id INTEGER PRIMARY KEY, product INTEGER REFERENCES product (id), quantity INTEGER)
"""


async def test_a_stock_that_triggers_of_both_sites_lower_is_that_of_the_producer(pair: Pair, engine: Engine) -> None:
    hq, store = await pair(engine, STOCK, {"product": {}, "sale": {}})
    for site in (hq, store):
        after(site, "sale", "INSERT", "UPDATE product SET stock = stock - new.quantity WHERE id = new.product")
    hq.write("INSERT INTO product (id, stock) VALUES (1, 100)")
    await store.pull_all(hq)
    for number in range(1, 6):
        hq.write(f"INSERT INTO sale (id, product, quantity) VALUES ({number}, 1, 3)")
        await store.pull_all(hq)
    assert await refused(store) == ""
    assert store.rows("SELECT stock FROM product") == [(85,)]
    assert store.rows("SELECT count(*) FROM sale") == [(5,)]


@SWALLOWING
async def test_without_reading_back_a_swallowed_row_would_be_called_synced(
    pair: Pair, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> dict[object, str]:
        return {}

    monkeypatch.setattr(segment, "verify", nothing)
    hq, store = await pair(engine)
    before(store, "sheet", "INSERT", "row.note = 'bad'", "swallow")
    hq.write(*insert("sheet", "bad"))
    await store.pull_all(hq)
    assert await refused(store) == ""
    assert store.rows("SELECT id FROM sheet") == []


async def test_a_rename_is_read_again_under_the_new_name(pair: Pair, engine: Engine) -> None:
    schema = SCHEMA.replace("REFERENCES sheet (id)", "REFERENCES sheet (id) ON UPDATE CASCADE")
    hq, store = await pair(engine, schema)
    hq.write(*insert("cell", "x"))
    await store.pull_all(hq)
    hq.write("UPDATE sheet SET id = 7 WHERE id = 1", *(["UPDATE cell SET sheet = 7"] if engine == "mariadb" else []))
    await store.pull_all(hq)
    assert await refused(store) == ""
    assert store.rows("SELECT id, sheet FROM cell") == [(1, 7)]


# SQLite's own


@pytest.mark.parametrize("clause", ["IGNORE", "REPLACE", "FAIL", "ROLLBACK"])
async def test_a_conflict_clause_of_the_table_never_decides(pair: Pair, clause: str) -> None:
    schema = (
        f"CREATE TABLE acct (id INTEGER PRIMARY KEY, email TEXT UNIQUE ON\n CONFLICT {clause}, note TEXT);"
        "CREATE TABLE mark (id INTEGER PRIMARY KEY)"
    )
    hq, store = await pair("sqlite", schema, {"acct": {}, "mark": {}})
    store.write("INSERT INTO acct VALUES (100, 'x@example', 'made here'), (2, 'z@example', 'made here')")
    hq.write("INSERT INTO acct VALUES (1, 'x@example', 'from afar')", "INSERT INTO mark VALUES (1)")
    await store.pull_all(hq)
    assert "UNIQUE" in await refused(store)
    hq.write("INSERT INTO acct VALUES (3, 'y@example', 'from afar')")
    await store.pull_all(hq)
    hq.write("UPDATE acct SET email = 'z@example' WHERE id = 3")
    await store.pull_all(hq)
    assert len(await store.queue()) == 2
    assert store.rows("SELECT id, note FROM acct ORDER BY id") == [
        (2, "made here"),
        (3, "from afar"),
        (100, "made here"),
    ]
    assert store.rows("SELECT id FROM mark") == [(1,)]


async def test_conflict_clauses_of_a_users_trigger_still_decide(pair: Pair) -> None:
    schema = "CREATE TABLE word (id INTEGER PRIMARY KEY, text TEXT); CREATE TABLE seen (text TEXT PRIMARY KEY)"
    hq, store = await pair("sqlite", schema, {"word": {}})
    after(store, "word", "INSERT", "INSERT OR IGNORE INTO seen VALUES (new.text)")
    hq.write("INSERT INTO word VALUES (1, 'tea'), (2, 'tea')")
    await store.pull_all(hq)
    assert await refused(store) == ""
    assert store.rows("SELECT * FROM seen") == [("tea",)]


@pytest.mark.parametrize("declared", ["STRING", "NUMERIC", "DECIMAL(10,2)", "INTEGER", "REAL", "DATE", ""])
async def test_text_is_text_or_refused_whatever_the_columns_affinity_is(pair: Pair, declared: str) -> None:
    schema = "CREATE TABLE item (id INTEGER PRIMARY KEY, code {});CREATE TABLE mark (id INTEGER PRIMARY KEY)"
    types: dict[str, Any] = {"item": {}, "mark": {}}
    hq, store = await pair("sqlite", schema.format("TEXT"), types, there=schema.format(declared))
    hq.write("INSERT INTO item VALUES (1, '00123'), (2, '1e3'), (3, 'plain')", "INSERT INTO mark VALUES (1)")
    await store.pull_all(hq)
    kept = dict(store.rows("SELECT id, code FROM item"))
    assert kept.pop(3) == "plain"
    assert kept == ({1: "00123", 2: "1e3"} if declared == "" else {2: 1000} if declared in _NUMERIC else {})
    assert store.rows("SELECT id FROM mark") == [(1,)]


_NUMERIC = ("NUMERIC", "DECIMAL(10,2)", "INTEGER", "REAL")
"""Columns that are declared to hold numbers: there a text that is one is that number, unless it begins with zeros."""


@pytest.mark.parametrize("to", ["postgresql", "mariadb"])
async def test_decimals_of_more_digits_than_sqlite_keeps_are_refused_by_it(pair: Pair, to: Engine) -> None:
    schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, amount DECIMAL(30,8))"
    hq, store = await pair(to, schema, {"t": {}}, to="sqlite")
    hq.write("INSERT INTO t VALUES (1, 1234567890123456.78), (2, 12.5), (3, 0.12345678), (4, 12345678901234567.5)")
    await store.pull_all(hq)
    assert store.rows("SELECT id, amount FROM t ORDER BY id") == [(2, 12.5), (3, 0.12345678)]
    assert len(await store.queue()) == 2


REALS = (999999999.99, 1000000000.01, 1102057468.93, 52.12345678, 0.0000123457, 1.1, 0.1 + 0.2, 19.99 * 3)


@pytest.mark.parametrize("to", ["postgresql", "mariadb"])
async def test_reals_of_sqlite_arrive_in_decimals_as_the_numbers_that_they_mean(pair: Pair, to: Engine) -> None:
    schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, amount DECIMAL(22,10))"
    hq, store = await pair("sqlite", schema, {"t": {}}, to=to)
    hq.write(*(f"INSERT INTO t VALUES ({number}, {value!r})" for number, value in enumerate(REALS)))
    await store.pull_all(hq)
    assert await refused(store) == ""
    assert [(number, float(value)) for number, value in store.rows("SELECT * FROM t ORDER BY id")] == [
        (number, round(value, 10)) for number, value in enumerate(REALS)
    ]


@pytest.mark.parametrize("to", ["postgresql", "mariadb"])
async def test_a_decimal_that_would_lose_digits_is_refused(pair: Pair, to: Engine) -> None:
    schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, amount DECIMAL(18,{}))"
    hq, store = await pair("sqlite", schema.format(8), {"t": {}}, to=to, there=schema.format(2))
    hq.write("INSERT INTO t VALUES (1, 52.12345678), (2, 0.005), (3, 0.25)")
    await store.pull_all(hq)
    assert [number for number, _ in store.rows("SELECT * FROM t")] == [3]
    assert len(await store.queue()) == 2


# MariaDB's own


async def test_a_number_zero_stays_zero(pair: Pair) -> None:
    schema = "CREATE TABLE grp (id INTEGER {} PRIMARY KEY, name VARCHAR(20))"
    hq, store = await pair(
        "sqlite", schema.format(""), {"grp": {}}, to="mariadb", there=schema.format("AUTO_INCREMENT")
    )
    hq.write("INSERT INTO grp VALUES (0, 'All'), (5, 'Tea')")
    await store.pull_all(hq)
    hq.write("UPDATE grp SET name = 'Everything' WHERE id = 0")
    await store.pull_all(hq)
    assert store.rows("SELECT * FROM grp ORDER BY id") == [(0, "Everything"), (5, "Tea")]


async def test_a_column_that_renews_itself_keeps_what_the_producer_has(pair: Pair) -> None:
    schema = (
        "CREATE TABLE doc (id INTEGER PRIMARY KEY, hits INTEGER, "
        "at DATETIME(3) DEFAULT current_timestamp(3) ON UPDATE current_timestamp(3), "
        "seen TIMESTAMP NOT NULL DEFAULT current_timestamp ON UPDATE current_timestamp)"
    )
    hq, store = await pair("mariadb", schema, {"doc": {}})
    hq.write("INSERT INTO doc VALUES (1, 0, '2020-01-01 10:00:00.5', '2020-01-01 10:00:00')")
    await store.pull_all(hq)
    hq.write("UPDATE doc SET hits = 1, at = at, seen = seen")
    await store.pull_all(hq)
    assert hq.rows("SELECT hits FROM doc") == [(1,)]
    assert store.rows("SELECT * FROM doc") == hq.rows("SELECT * FROM doc")


async def test_an_update_that_changes_nothing_renews_no_column_at_a_consumer(pair: Pair) -> None:
    schema = "CREATE TABLE doc (id INTEGER PRIMARY KEY, hits INTEGER, at DATETIME(3) ON UPDATE current_timestamp(3))"
    hq, store = await pair("mariadb", schema, {"doc": {}})
    hq.write("INSERT INTO doc VALUES (1, 5, NULL), (2, 5, '2020-01-01 10:00:00.5')")
    await store.pull_all(hq)
    hq.write("UPDATE doc SET hits = 5")
    assert await hq.capture.run_once() == 0, "nothing changed"
    hq.write("UPDATE doc SET hits = 6, at = NULL WHERE id = 1", "UPDATE doc SET hits = 6 WHERE id = 1")
    await store.pull_all(hq)
    hq.write("UPDATE doc SET at = '2021-01-01 10:00:00.5' WHERE id = 2")
    await store.pull_all(hq)
    assert await store.queue() == []
    assert hq.rows("SELECT id, at IS NULL FROM doc ORDER BY id") == [(1, 1), (2, 0)]
    assert store.rows("SELECT * FROM doc ORDER BY id") == hq.rows("SELECT * FROM doc ORDER BY id")


async def test_zero_dates_and_timestamps_stay_as_they_are(pair: Pair) -> None:
    schema = "CREATE TABLE t (id INTEGER PRIMARY KEY, ts TIMESTAMP NULL, d DATE, dt DATETIME)"
    hq, store = await pair("mariadb", schema, {"t": {}})
    zero = "'0000-00-00 00:00:00'"
    hq.write("SET sql_mode = 'ANSI_QUOTES'", f"INSERT INTO t VALUES (1, {zero}, '0000-00-00', {zero})")
    await store.pull_all(hq)
    assert await refused(store) == ""
    assert store.rows("SELECT CAST(ts AS CHAR), CAST(d AS CHAR), CAST(dt AS CHAR) FROM t") == [
        ("0000-00-00 00:00:00", "0000-00-00", "0000-00-00 00:00:00")
    ]


# PostgreSQL's own


@pytest.mark.parametrize(
    ("make", "declared", "value"),
    [
        ("CREATE DOMAIN j1 AS jsonb; CREATE DOMAIN j2 AS j1", "j2", """'{"k": 1}'"""),
        ("CREATE DOMAIN j1 AS jsonb; CREATE DOMAIN j2 AS j1 NOT NULL", "j2", "'null'"),
        ("CREATE DOMAIN n1 AS numeric(8,2); CREATE DOMAIN n2 AS n1", "n2", "1.50"),
        ("SELECT 1", "jsonb NOT NULL", "'null'"),
        ("SELECT 1", "json NOT NULL", "'null'"),
        ("SELECT 1", "character(8)", "'ab'"),
        ("SELECT 1", "interval", "'36 hours'"),
        ("SELECT 1", "int[] NOT NULL", "'{1,NULL}'"),
        ("AS JSON", "shade", "'red'"),
        ("AS JSON", "shade[]", "'{red,blue}'"),
        ("AS JSON; CREATE DOMAIN shadow AS shade", "shadow", "'red'"),
    ],
)
async def test_a_type_of_ones_own_arrives_as_it_is(pair: Pair, make: str, declared: str, value: str) -> None:
    with_cast = (
        "CREATE TYPE shade AS ENUM ('red', 'blue');"
        "CREATE FUNCTION as_json (shade) RETURNS json LANGUAGE sql AS 'SELECT json_build_object(1, $1::text)';"
        "CREATE CAST (shade AS json) WITH FUNCTION as_json (shade)"
    )
    types: dict[str, Any] = {"t": {}}
    schema = f"{make.replace('AS JSON', with_cast)};CREATE TABLE t (id int PRIMARY KEY, v {declared}, n int)"
    hq, store = await pair("postgresql", schema, types)
    hq.write(f"INSERT INTO t VALUES (1, {value}, 1), (2, {value}, 2)")
    await store.pull_all(hq)
    hq.write("UPDATE t SET n = 3 WHERE id = 1", "DELETE FROM t WHERE id = 2")
    hq.write(f"UPDATE t SET v = {value}, n = 4 WHERE id = 1")
    await store.pull_all(hq)
    assert await refused(store) == ""
    query = "SELECT id, v::text, n FROM t ORDER BY id"
    assert store.rows(query) == hq.rows(query) != []


async def test_a_rule_that_makes_nothing_of_a_row_is_noticed(pair: Pair) -> None:
    hq, store = await pair("postgresql")
    store.access.raw("CREATE RULE nothing AS ON INSERT TO sheet WHERE new.note = 'bad' DO INSTEAD NOTHING")
    hq.write(*insert("sheet", "bad"), *insert("sheet", "good", 2))
    await store.pull_all(hq)
    assert "is not there" in await refused(store)
    assert store.rows("SELECT id FROM sheet") == [(2,)]
