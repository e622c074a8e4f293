"""Values that Python, or its JSON, cannot read stop neither capture nor other documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamd.model import Operation
from tests.simulation.sites import Site
from tests.simulation.writing.meant.arriving import arrives
from tests.simulation.writing.meant.triggers import Pair
from tests.support import servers
from tests.support.database_url import Engine
from tests.support.engines import open_access

DEEP = "[" * 3000 + "]" * 3000


@pytest.mark.parametrize("value", ["""'"\\ud800"'""", """'{"a": ["\\ud800", {"b": "}"}], "c": 1}'""", f"'{DEEP}'"])
async def test_json_that_python_cannot_read_stops_nothing(pair: Pair, value: str) -> None:
    _, error = await arrives(pair, "postgresql", "json", value, "postgresql", "json")
    assert error.startswith("v (json) cannot hold ")
    assert "it is no JSON that can be written" in error


@pytest.mark.parametrize("value", ["""'"\\ud800"'""", f"'{DEEP}'"])
async def test_such_json_arrives_where_it_is_text(pair: Pair, value: str) -> None:
    store, error = await arrives(pair, "postgresql", "json", value, "sqlite", "TEXT")
    assert error == ""
    assert store.rows("SELECT v FROM t WHERE id = 1") == [(value.strip("'"),)]


async def test_no_json_of_a_users_is_refused_by_our_triggers(pair: Pair) -> None:
    schema = "CREATE TABLE t (id int PRIMARY KEY, v json, secret text)"
    there = "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)"
    hq, store = await pair(
        "postgresql", schema, {"t": {"exclude": ["secret"]}}, to="sqlite", there=there, here={"t": {}}
    )
    values = ['"\\u0000"', '"\\ud800"', DEEP]
    hq.write(*(f"INSERT INTO t VALUES ({place}, '{value}', 'hush')" for place, value in enumerate(values)))
    hq.write("UPDATE t SET secret = 'hush hush'", "UPDATE t SET v = 'null' WHERE id = 0")
    await store.pull_all(hq)
    assert await store.queue() == []
    assert store.rows("SELECT v FROM t ORDER BY id") == [(None,), *((value,) for value in values[1:])]


async def test_bytes_that_are_no_text_are_a_gap_and_stop_no_capture(tmp_path: Path) -> None:
    schema = "CREATE TABLE t (id int PRIMARY KEY, v text, j json)"
    site = Site(tmp_path, "hq", schema=schema, engine="postgresql", doctypes={"t": {}})
    everything = open_access(servers.administrator(site.access.database))
    everything.execute("UPDATE pg_database SET encoding = 0 WHERE datname = current_database()")  # SQL_ASCII
    await site.open()
    try:
        for number, value in enumerate(["'a', '{}'", "E'\\xff', '{}'", "'c', E'\"\\xff\"'", "'d', '{}'"]):
            site.write(f"INSERT INTO t VALUES ({number}, {value})")
        await site.capture.drain()
        entries = await site.update_log.entries()
        assert [(entry.operation, entry.name) for entry in sorted(entries, key=lambda entry: entry.sequence)] == [
            (Operation.CREATE, "[0]"),
            (Operation.GAP, '[""]'),
            (Operation.GAP, '[""]'),
            (Operation.CREATE, "[3]"),
        ]
        reasons = [entry.data for entry in entries if entry.operation == Operation.GAP]
        assert ["t 2 holds text that is not valid UTF-8" in reasons[0], "t 1 holds" in reasons[1]] == [True, True]
    finally:
        await site.close()


@pytest.mark.parametrize("number", ["1" + "0" * 5000, "-" + "9" * 6000])
@pytest.mark.parametrize(("to", "declared"), [("postgresql", "numeric"), ("sqlite", "TEXT")])
async def test_numbers_of_thousands_of_digits_arrive(pair: Pair, number: str, to: Engine, declared: str) -> None:
    store, error = await arrives(pair, "postgresql", "numeric", number, to, declared)
    assert error == ""
    assert store.rows("SELECT CAST(v AS text) FROM t WHERE id = 1") == [(number,)]
