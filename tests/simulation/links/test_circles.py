"""Documents that link to each other in a circle go together, whatever else was refused beside them."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.simulation.sites import Site
from tests.support.database_url import Engine
from tests.support.servers import ENGINES

PEOPLE = (
    "CREATE TABLE person (id INTEGER PRIMARY KEY, boss INTEGER, FOREIGN KEY (boss) REFERENCES person (id)); "
    "CREATE TABLE mark (id INTEGER PRIMARY KEY, v INTEGER CHECK (v < {}))"
)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_circle_that_is_deleted_beside_a_refused_document_is_deleted(tmp_path: Path, engine: Engine) -> None:
    types = {"person": {}, "mark": {}}
    hq = Site(tmp_path, "hq", schema=PEOPLE.format(100), engine=engine, doctypes=types)
    store = Site(tmp_path, "store", schema=PEOPLE.format(10), engine=engine, doctypes=types)
    async with AsyncExitStack() as stack:
        for site in (hq, store):
            await site.open()
            stack.push_async_callback(site.close)
        hq.write("INSERT INTO person VALUES (1, NULL), (2, 1), (3, 2)", "UPDATE person SET boss = 3 WHERE id = 1")
        await store.pull_all(hq)
        hq.write(
            "INSERT INTO mark VALUES (1, 50)",
            "UPDATE person SET boss = NULL",
            "DELETE FROM person WHERE id = 1",
            "DELETE FROM person WHERE id = 2",
            "DELETE FROM person WHERE id = 3",
        )
        await store.pull_all(hq)
        await store.heal(hq)
        assert store.rows("SELECT id FROM person") == []
        assert [state for state, _ in await store.queue()] == ["parked"]
        assert store.rows("SELECT id FROM mark") == []
