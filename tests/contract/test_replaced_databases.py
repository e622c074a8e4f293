"""A database that is another one than was opened: restored in place, or another file under its name."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamd.errors import Fenced, SiteReplaced, StateReplaced
from streamd.lifecycle.guard import Guard
from streamd.model import Cursor
from streamd.store.engine import State
from streamd.store.heartbeat import Heartbeat
from tests.contract.conftest import Installed
from tests.simulation.sites import Site
from tests.support.database_url import Engine

CUSTOMER = """INSERT INTO "Customer" ("Id", "Name") VALUES ({}, 'Ada')"""


@pytest.fixture
async def store(tmp_path: Path, engine: Engine) -> AsyncIterator[Site]:
    """A site of the same engine that pulls from `installed`."""
    site = Site(tmp_path, "store", engine=engine)
    await site.open()
    yield site
    await site.close()


async def _guard(site: Site) -> Guard:
    tables = await site.database.tables()
    return Guard(site.database, site.catalogue, tables, site=site.site, claimed=lambda: site.capture.claimed)


def _bookkeeping(site: Site, table: str) -> str:
    return f"streamd.{table}" if site.access.engine == "postgresql" else table


async def _restore_claim(site: Site) -> None:
    """Take another batch, and let the database be as it was before it, but for a change that came since."""
    site.write(CUSTOMER.format(1))
    await site.capture.drain()
    table = _bookkeeping(site, "streamd_capture")
    before = site.access.value(f"SELECT batch FROM {table}")
    site.write(CUSTOMER.format(2))
    await site.capture.drain()
    site.write(f"UPDATE {table} SET batch = {before}, digest = 'as it was'", CUSTOMER.format(3))


async def test_a_producer_that_was_restored_in_place_is_not_taken_for_a_second_daemon(installed: Installed) -> None:
    guard = await _guard(installed.site)
    assert await guard.look() == ""
    await _restore_claim(installed.site)
    assert "restored" in await guard.look(), "it shows before anything is captured"
    with pytest.raises(SiteReplaced, match="restored"):
        await installed.site.capture.drain()


async def test_a_claim_of_another_log_is_still_another_daemons(installed: Installed) -> None:
    installed.write(CUSTOMER.format(1))
    await installed.site.capture.drain()
    table = _bookkeeping(installed.site, "streamd_capture")
    installed.write(f"UPDATE {table} SET log = 'another'", CUSTOMER.format(2))
    with pytest.raises(Fenced):
        await installed.site.capture.drain()


async def test_a_database_that_became_another_sites_is_noticed(installed: Installed) -> None:
    guard = await _guard(installed.site)
    installed.write(f"UPDATE {_bookkeeping(installed.site, 'streamd_site')} SET site = 'another', name = 'elsewhere'")
    assert "elsewhere" in await guard.look()


async def test_a_consumer_that_was_restored_in_place_passes_over_nothing(installed: Installed, store: Site) -> None:
    """What came between the restored checkpoint and the page under way would never be asked for again."""
    hq = installed.site
    installed.write(CUSTOMER.format(1))
    await store.pull_all(hq)
    place = await store.applier.places.read(hq.site)
    assert place is not None
    # As a restore leaves it:
    emptied = ['"Customer"', *(_bookkeeping(store, name) for name in ("streamd_document", "streamd_change"))]
    checkpoint = _bookkeeping(store, "streamd_checkpoint")
    store.write(*(f"DELETE FROM {table}" for table in emptied), f"UPDATE {checkpoint} SET sequence = 0, nonce = ''")

    installed.write(CUSTOMER.format(2))
    await hq.capture.drain()
    head = await hq.update_log.head()
    assert head is not None
    with pytest.raises(SiteReplaced, match="checkpoint"):
        await store.applier.apply(store.source(hq), [], head.cursor, frozenset(store.types), hq.fetcher(store))
    assert await store.applier.places.read(hq.site) == Cursor(place.log, 0, "")
    await store.pull_all(hq)
    assert store.rows('SELECT "Id" FROM "Customer" ORDER BY 1') == [(1,), (2,)]


# A file under the same name


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path, "hq")
    await site.open()
    yield site
    await site.close()


def _copy_in_place(file: Path) -> None:
    """What `VACUUM INTO` and `mv` do."""
    copy = file.with_name("copy.db")
    with sqlite3.connect(file) as connection:
        connection.execute("VACUUM INTO ?", [str(copy)])
    connection.close()
    os.replace(copy, file)
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)


HAPPENINGS = {
    "replaced": _copy_in_place,
    "removed": lambda file: file.unlink(),
    "WAL": lambda file: file.with_name(file.name + "-wal").unlink(),
}


@pytest.mark.parametrize("what", HAPPENINGS)
async def test_nothing_is_written_into_a_site_file_that_is_no_longer_there(site: Site, what: str) -> None:
    site.write(CUSTOMER.format(1))
    await site.capture.drain()
    HAPPENINGS[what](site.file)
    with pytest.raises(SiteReplaced, match=what):
        async with site.database.transaction():
            pytest.fail("a transaction began on what is not there")
    with pytest.raises(SiteReplaced, match=what):
        await (await _guard_without_tables(site)).look()


async def _guard_without_tables(site: Site) -> Guard:
    return Guard(site.database, site.catalogue, {}, site=site.site, claimed=lambda: None)


async def test_a_transaction_does_not_commit_into_a_file_that_was_replaced_meanwhile(site: Site) -> None:
    with pytest.raises(SiteReplaced, match="replaced"):
        async with site.database.transaction() as transaction:
            await transaction.put_checkpoint("producer", "log", 1, "nonce")
            _copy_in_place(site.file)
    await site.close()
    await site.open()
    async with site.database.snapshot() as reader:
        assert await reader.checkpoint("producer") is None


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
async def test_a_file_that_only_its_own_programs_change_is_not_taken_for_another_one(tmp_path: Path, mode: str) -> None:
    site = Site(tmp_path, "hq")
    site.access.execute(f"PRAGMA journal_mode = {mode}")
    await site.open()
    for number in range(3):
        site.write(CUSTOMER.format(number + 1))
        await site.capture.drain()
        site.access.execute("VACUUM")
        site.access.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if mode == "DELETE":
        site.access.execute("PRAGMA journal_mode = WAL")
        site.write(CUSTOMER.format(9))
    await site.capture.drain()
    assert await (await _guard(site)).look() == ""
    await site.close()


@pytest.mark.parametrize("what", HAPPENINGS)
async def test_nothing_is_written_into_a_state_that_is_no_longer_there(site: Site, what: str) -> None:
    state = State(site.settings.state.database, site.site)
    await Heartbeat(state).beat(captured=1)
    HAPPENINGS[what](site.state_file)
    with pytest.raises(StateReplaced, match=what):
        await Heartbeat(state).beat(captured=2)
    with pytest.raises(StateReplaced, match=what):
        await Heartbeat(state).current()
    await state.close()
