"""Values that one engine would change silently arrive as they were sent, or are refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulation.writing.meant.triggers import Pair, after, insert, refused
from tests.support.database_url import Engine

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
