"""Whatever waits for a database may be stopped at any moment: a client goes away, a daemon ends, somebody is woken."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import insert

from streamd.store.engine import State
from streamd.store.schema import heartbeat
from tests.simulation.sites import Site
from tests.support.database_url import Engine
from tests.support.sabotage import Saboteur
from tests.support.servers import ENGINES
from tests.support.sites.serving import ProducerSite, state_database

TIMES = 80
STEP_SECONDS = 0.0002


async def test_capture_that_is_cancelled_anywhere_goes_on_without_loss_or_repetition(hq: ProducerSite) -> None:
    client = await hq.consumer("store")
    await client.shake_hands("Invoice")
    await hq.approve("Invoice")
    for number in range(100, 100 + TIMES):
        with hq.write() as connection:
            connection.execute("INSERT INTO Invoice VALUES (?, 1, '1.00')", (number,))
        # Each time a little later, from before the first statement to after the last.
        with suppress(TimeoutError):
            async with asyncio.timeout((number - 100) * STEP_SECONDS):
                await hq.capture.run_once()
    await hq.capture.drain()
    page = (await client.events(limit=1000)).json
    assert [event["name"] for event in page["events"]] == [[number] for number in range(100, 100 + TIMES)]


async def test_a_write_that_is_cancelled_anywhere_leaves_no_lock_behind(tmp_path: Path, state_template: Path) -> None:
    state = State(state_database(state_template, tmp_path), "a")
    beat = {"pid": 1, "host": "h", "version": "1", "started_at": 1, "beat_at": 1, "captured": 0, "problem": ""}
    other = sqlite3.connect(tmp_path / "state.db", timeout=0, isolation_level=None)
    try:
        for number in range(TIMES):
            with suppress(TimeoutError):
                async with asyncio.timeout(number * STEP_SECONDS / 2), state.write() as connection:
                    await connection.execute(insert(heartbeat).values(site=str(number), **beat))
            other.execute("BEGIN IMMEDIATE")  # raises at once if somebody holds the lock
            other.execute("ROLLBACK")
    finally:
        other.close()
        await state.close()


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_read_that_is_stopped_anywhere_leaves_no_old_snapshot_to_the_next_one(
    tmp_path: Path, engine: Engine
) -> None:
    site = Site(tmp_path, "store", engine=engine)
    await site.open()

    async def read() -> None:
        async with site.database.snapshot() as reader:
            await reader.queue()

    stopped = Saboteur(read)
    for place in range(1, 100):
        stopped.arm(place, RuntimeError("stopped"))
        with suppress(RuntimeError):
            await stopped()
        for count in (2 * place - 1, 2 * place):
            site.write(f"INSERT INTO \"Customer\" VALUES ({count}, 'x', NULL, NULL)")
            seen = await asyncio.gather(*(site.database.table_rows("Customer", ["Id"]) for _ in range(3)))
            assert [len(rows) for rows in seen] == [count] * 3
        if not stopped.reached:
            break
    assert place > 2
    await site.close()
