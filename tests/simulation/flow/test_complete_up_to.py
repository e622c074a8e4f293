"""What a site says to be in its log is there: nothing was committed before that moment which is not."""

from __future__ import annotations

import pytest

from streamd.store.engine import now_ms
from tests.simulation.conftest import Opened
from tests.support.database_url import Engine


@pytest.mark.parametrize("engine", ["sqlite", "postgresql", "mariadb"])
async def test_a_transaction_that_is_open_is_counted_when_it_is_committed(engine: Engine, opened: Opened) -> None:
    site = await opened("hq", engine=engine)
    await site.capture.drain()
    before = site.capture.watermarks.latest
    assert before is not None
    with site.access.connection() as open_one:
        open_one.execute("BEGIN")
        open_one.execute("INSERT INTO \"Item\" VALUES ('a', 'A', 1, 1)")
        if engine != "sqlite":  # there a second writer would wait for the first one
            site.access.execute("INSERT INTO \"Item\" VALUES ('b', 'B', 1, 1)")
        await site.capture.drain()
        open_meanwhile = site.capture.watermarks.latest
        assert open_meanwhile is not None
        assert open_meanwhile >= before, "an open transaction does not hold it up"
        committed = now_ms()
        open_one.execute("COMMIT")
    assert open_meanwhile <= committed, "what was committed later is not claimed"
    head = await site.update_log.head()
    assert head is not None
    covered = site.capture.watermarks.at(head.cursor)
    assert covered is not None
    assert covered <= committed, "nor by the log's end, until it is in the log"
    await site.capture.drain()
    head = await site.update_log.head()
    assert head is not None
    covered = site.capture.watermarks.at(head.cursor)
    assert covered is not None
    assert covered >= committed


async def test_a_backlog_is_complete_up_to_no_moment_until_all_of_it_is_in_the_log(opened: Opened) -> None:
    site = await opened("hq")
    await site.capture.drain()
    began = now_ms()
    for number in range(120):
        site.access.execute(f"INSERT INTO Item VALUES ('{number}', 'L{number}', 1, 1)")
    await site.capture.run_once()
    through = site.capture.watermarks.latest
    assert through is not None
    assert through <= began
    await site.capture.drain()
    through = site.capture.watermarks.latest
    assert through is not None
    assert through >= began
