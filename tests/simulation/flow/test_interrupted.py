"""A loop whose statement never returns is interrupted, and its next turn works with the same database."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from streamd.db import open_site
from streamd.lifecycle.loops import Loop
from tests.simulation.sites import Site
from tests.support.database_url import Engine
from tests.support.processes.outage import Passage
from tests.support.sites.serving import until

SLEEP = {"postgresql": "SELECT pg_sleep(1000)", "mariadb": "SELECT SLEEP(1000)"}

SLEEPERS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
    "mariadb": "SELECT count(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%'",
}


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"])
@pytest.mark.parametrize("held", [False, True], ids=["the statement sleeps", "the server is not heard"])
async def test_what_never_returns_is_cancelled_and_the_next_turn_works(
    engine: Engine, held: bool, tmp_path: Path
) -> None:
    site = Site(tmp_path, "hq", engine=engine)
    way = Passage(site.access.database.host, site.access.database.port)
    database = open_site(way.to(site.access.database).url)
    begun, done = asyncio.Event(), asyncio.Event()

    async def turn() -> None:
        async with database.transaction() as transaction:
            if not begun.is_set():
                begun.set()
                await transaction._fetch(SLEEP[engine])  # type: ignore[attr-defined]  # any statement would do
            await transaction._fetch("SELECT 1")  # type: ignore[attr-defined]
        done.set()
        await asyncio.Event().wait()

    await site.open()
    loop = Loop("capture", turn)
    task = asyncio.create_task(loop.run())
    try:
        await until(begun.is_set, "it waits", 60)
        await until(lambda: bool(site.access.value(SLEEPERS[engine])), "the server has the statement", 60)
        if held:
            way.hold()
        loop.interrupt("it did not answer")
        if held:
            way.release()
        await until(done.is_set, "the next turn works", 60)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await database.close()
        await site.close()
        way.end()
