"""Amounts of more digits than SQLite keeps, which the other engines hold exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamd.check.columns import unfit
from streamd.wire import describe
from tests.simulation.sites import Site
from tests.support.database_url import Engine

SCHEMA = 'CREATE TABLE "Item" ("Sku" VARCHAR(20) PRIMARY KEY, "Amount" {})'
HELD = ["123456789012345.6789", "12345678901234.5678", "1234567890123.4567"]
TAKEN = {"3": 123456789012.3456, "4": 12345678901.2345}


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"])
async def test_an_amount_that_sqlite_cannot_hold_is_parked_alone_with_what_to_do_and_comes_once_that_is_done(
    tmp_path: Path, engine: Engine
) -> None:
    hq = Site(tmp_path, "hq", engine=engine, schema=SCHEMA.format("NUMERIC(19,4)"), doctypes={"Item": {}})
    store = Site(tmp_path, "store", schema=SCHEMA.format("NUMERIC(19,4)"), doctypes={"Item": {}})
    await hq.open()
    await store.open()
    there = [describe(hq.catalogue["Item"])]
    assert unfit(store.catalogue, there, enforced=store.database.enforces_types) == {}
    for number, amount in enumerate([*HELD, *TAKEN.values()]):
        hq.write(f"INSERT INTO \"Item\" VALUES ('{number}', {amount})")
    await store.pull_all(hq)
    assert dict(store.rows('SELECT "Sku", "Amount" FROM "Item"')) == TAKEN  # type: ignore[arg-type]
    queue = await store.queue()
    assert [state for state, _ in queue] == ["parked"] * 3
    for (_, error), amount in zip(queue, HELD, strict=True):
        assert f"Amount (NUMERIC(19,4)) cannot hold {amount}" in error
        assert "Declare the column TEXT at this site" in error
    store.write('DROP TABLE "Item"', SCHEMA.format("TEXT"))
    await store.close()
    await store.open()
    await store.heal(hq)
    assert await store.queue() == []
    assert dict(store.rows('SELECT "Sku", "Amount" FROM "Item"')) == dict(zip("012", HELD, strict=True))  # type: ignore[arg-type]
    await hq.close()
    await store.close()


async def test_a_type_that_is_paused_says_what_would_become_of_its_values(tmp_path: Path) -> None:
    hq = Site(tmp_path, "hq", schema=SCHEMA.format("NUMERIC(19,4)"), doctypes={"Item": {}})
    store = Site(tmp_path, "store", schema=SCHEMA.format("REAL"), doctypes={"Item": {}})
    await hq.open()
    await store.open()
    there = [describe(hq.catalogue["Item"])]
    (why,) = unfit(store.catalogue, there, enforced=store.database.enforces_types).values()
    assert "numbers of more than 15 digits are rounded here" in why
    assert "declare the column TEXT at this site" in why
    await hq.close()
    await store.close()
