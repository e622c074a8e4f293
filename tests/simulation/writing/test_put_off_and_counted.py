"""Triggers that act late, or that the server counts: what they do is seen, and what they do elsewhere is no mistake."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.sites import Site
from tests.support.database_url import Engine

SHEETS = """
CREATE TABLE sheet (id INTEGER PRIMARY KEY, note VARCHAR(40));
CREATE TABLE cell (id INTEGER PRIMARY KEY, sheet INTEGER NOT NULL, worth INTEGER)
"""
TYPES: dict[str, Any] = {"sheet": {"children": {"cells": {"table": "cell", "parent_key": "sheet"}}}}
COUNTED = ["CREATE TABLE counted (id INTEGER PRIMARY KEY, n INTEGER)", "INSERT INTO counted VALUES (1, 0), (2, 0)"]
FLAGS = "CREATE TABLE flag (id INTEGER PRIMARY KEY, size {kind} NOT NULL UNIQUE)"

Pair = Callable[..., Any]


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Makes two open sites: pair(engine, schema, types)."""
    async with AsyncExitStack() as stack:

        async def make(engine: Engine, schema: str, types: dict[str, Any], there: str | None = None) -> list[Site]:
            sites = [
                Site(tmp_path, "hq", schema=schema, engine=engine, doctypes=types),
                Site(tmp_path, "store", schema=there or schema, engine=engine, doctypes=types, offers=()),
            ]
            for site in sites:
                await site.open()
                stack.push_async_callback(site.close)
            return sites

        yield make


async def beside(site: Site, *statements: str) -> None:
    """The site's own tables and triggers, with which the daemon starts again."""
    await site.close()
    with site.access.connection() as connection:
        for statement in statements:
            connection.execute(statement)
    await site.open()


async def late(site: Site, event: str, effect: str) -> None:
    """A trigger that does something to the row when the transaction ends."""
    await beside(
        site,
        f"CREATE FUNCTION late_{event}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN {effect} WHERE id = NEW.id; RETURN NULL; END $$",
        f"CREATE CONSTRAINT TRIGGER late_{event} AFTER {event} ON sheet DEFERRABLE INITIALLY DEFERRED "
        f"FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION late_{event}()",
    )


@pytest.mark.parametrize("event", ["INSERT", "UPDATE"])
@pytest.mark.parametrize("effect", ["UPDATE sheet SET note = upper(note)", "DELETE FROM sheet"])
async def test_what_a_trigger_does_when_the_transaction_ends_parks_the_row(pair: Pair, event: str, effect: str) -> None:
    hq, store = await pair("postgresql", SHEETS, TYPES)
    hq.write("INSERT INTO sheet VALUES (1, 'first')")
    await store.pull_all(hq)
    await late(store, event, effect)
    hq.write("INSERT INTO sheet VALUES (2, 'abc')" if event == "INSERT" else "UPDATE sheet SET note = 'abc'")
    await store.pull_all(hq)
    ((state, error),) = await store.queue()
    assert state == "parked"
    assert "trigger" in error
    assert store.rows("SELECT id, note FROM sheet") == [(1, "first")]


@pytest.mark.parametrize("event", ["UPDATE", "DELETE"])
async def test_rows_that_a_trigger_updates_elsewhere_are_not_taken_for_ours(pair: Pair, event: str) -> None:
    hq, store = await pair("mariadb", SHEETS, TYPES)
    trigger = f"CREATE TRIGGER t AFTER {event} ON cell FOR EACH ROW UPDATE counted SET n = n + 1"
    await beside(store, *COUNTED, trigger)
    hq.write("INSERT INTO sheet VALUES (1, 'a')", "INSERT INTO cell VALUES (1, 1, 1), (2, 1, 2), (3, 1, 3)")
    await store.pull_all(hq)
    hq.write("UPDATE cell SET worth = worth + 10" if event == "UPDATE" else "DELETE FROM cell WHERE id < 3")
    await store.pull_all(hq)
    assert await store.queue() == []
    cells = "SELECT id, worth FROM cell ORDER BY id"
    assert store.rows(cells) == hq.rows(cells)
    assert store.rows("SELECT min(n) FROM counted")[0][0] == (3 if event == "UPDATE" else 2)


@pytest.mark.parametrize(("kind", "values"), [("ENUM('a', 'b')", "ab"), ("ENUM('a', 'b', 'c')", "abc")])
async def test_values_go_round_where_the_column_takes_no_other(pair: Pair, kind: str, values: str) -> None:
    free = FLAGS.format(kind="VARCHAR(5)").replace(" UNIQUE", "")
    hq, store = await pair("mariadb", free, {"flag": {}}, FLAGS.format(kind=kind))
    hq.write(*(f"INSERT INTO flag VALUES ({number}, '{value}')" for number, value in enumerate(values)))
    await store.pull_all(hq)
    turned = values[1:] + values[:1]
    hq.write(*(f"UPDATE flag SET size = '{value}' WHERE id = {number}" for number, value in enumerate(turned)))
    await store.pull_all(hq)
    assert await store.queue() == []
    assert store.rows("SELECT size FROM flag ORDER BY id") == [(value,) for value in turned]
