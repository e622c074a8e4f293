"""No event is lost, and none comes twice, however users write while changes are captured."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streamd.db.base import Changes, SiteDatabase
from streamd.errors import SiteBusy
from streamd.model import Change, Claim, LogEntry, name_from_text
from streamd.wire import read_json
from tests.contract.capture import writers
from tests.simulation.sites import Site
from tests.support.database_url import Engine
from tests.support.servers import ENGINES

WRITERS = 8


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param  # type: ignore[no-any-return]  # one of the above


@pytest.fixture
async def site(tmp_path: Path, engine: Engine) -> AsyncIterator[Site]:
    made = Site(tmp_path, "hq", schema=writers.SCHEMA, engine=engine, doctypes=writers.DOCTYPES)
    await made.open()
    yield made
    await made.close()


async def _capture_while_writing(site: Site, transactions: int, seed: int) -> writers.Writers:
    users = writers.Writers(site.access, WRITERS, transactions, seed)
    users.start()
    while users.busy:
        try:
            taken = await site.capture.run_once()
        except SiteBusy:
            continue  # as the daemon does
        if not taken:
            await asyncio.sleep(0.005)
    users.join()
    await site.capture.drain()
    return users


async def _log(site: Site) -> list[LogEntry]:
    return (await site.update_log.entries(limit=1_000_000))[::-1]


async def _documents(site: Site) -> dict[Any, dict[str, Any]]:
    """The site's documents as they are."""
    doctype = site.catalogue["Ticket"]
    async with site.database.snapshot() as reader:
        names = await reader.list_names(doctype, None, 1_000_000)
        found = await reader.read_documents(doctype, names)
    return {name: read_json(raw.whole()) for name, raw in found.items()}


async def _is_right(site: Site, users: writers.Writers) -> None:
    log = await _log(site)
    made = [name_from_text(entry.name)[0] for entry in log if entry.operation == "create"]
    assert len(made) == len(set(made)), "an event came twice"
    documents = await _documents(site)
    # What was made and deleted before anybody looked has no event where the engine cannot tell transactions apart.
    lost = {number for number in users.made - set(made) if (number,) in documents}
    assert not lost, f"{len(lost)} of {len(users.made)} new documents have no event"
    assert writers.replay(log) == documents


async def test_a_replay_of_the_log_gives_exactly_the_final_rows(site: Site) -> None:
    # SQLite lets them write one after the other, long transactions too.
    users = await _capture_while_writing(site, 16 if site.access.engine == "sqlite" else 40, 1)
    assert users.committed["long"] >= 5
    await _is_right(site, users)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 16))
async def test_a_replay_of_the_log_gives_exactly_the_final_rows_for_long(site: Site, seed: int) -> None:
    await _is_right(site, await _capture_while_writing(site, 1000, seed))


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"], indirect=True)
async def test_the_above_would_notice_a_cursor_over_ids(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids are given before transactions commit: a cursor passes over the ones that commit late."""
    monkeypatch.setattr(type(site.database), "read_changes", _after_the_last_id)
    users = await _capture_while_writing(site, 40, 1)
    with pytest.raises((AssertionError, KeyError)):
        await _is_right(site, users)


async def _after_the_last_id(database: SiteDatabase, claim: Claim, limit: int) -> Changes:
    async with database.snapshot() as reader:
        every: list[Change] = await reader.unclaimed(None)
    found = [change for change in every if change.id > claim.last_change][:limit]
    cut = len(found) == limit
    return Changes(found, cut, everything=not cut)
