"""Sessions of users and long readers beside the capture, and how connections fail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamd.db import open_site
from streamd.db.base import TableWrite, WriteKind
from streamd.db.mariadb.site import MariadbSite
from streamd.errors import SiteBusy
from tests.contract.conftest import Installed
from tests.contract.engines.mariadb.sessions import session
from tests.contract.site.writes import ADA, INVOICE, TEA
from tests.support import servers
from tests.support.engines import open_access


async def test_a_transaction_that_goes_on_for_long_does_not_stop_the_capture(installed: Installed) -> None:
    installed.write(TEA)
    with session(installed, "BEGIN", "INSERT INTO Customer VALUES (2, 'Bob', NULL, NULL)") as bob:
        installed.write(ADA)
        await installed.site.capture.drain()
        installed.write("UPDATE Item SET Stock = 9")
        await installed.site.capture.drain()
        await installed.site.capture.drain()
        assert len(await installed.site.update_log.entries()) == 3, "what others do meanwhile does not wait for Bob"
        bob.execute("COMMIT")
    await installed.site.capture.drain()
    entries = await installed.site.update_log.entries()
    assert sorted(entry.name for entry in entries) == ['["tea"]', '["tea"]', "[1]", "[2]"]


async def test_a_long_reader_does_not_make_an_idle_look_go_through_what_was_removed(installed: Installed) -> None:
    """A dump keeps the removed changes alive; without a low watermark each look goes through all of them."""
    site = open_site(servers.administrator(installed.access.database).url)
    installed.site.capture._database = site
    assert isinstance(site, MariadbSite)
    with session(
        installed,
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT",
    ) as dump:
        dump.execute("SELECT count(*) FROM Item")
        installed.access.raw("INSERT INTO Customer SELECT seq, 'x', NULL, NULL FROM seq_1_to_5000")
        installed.site.capture._batch = 500
        await installed.site.capture.drain()
        for number in range(5):
            installed.write(f"UPDATE Customer SET Name = 'y{number}' WHERE Id = 1")
            await installed.site.capture.drain()
            await asyncio.sleep(0.3)
        claim = await installed.claim()
        assert (await site.read_changes(claim, 1000)).rows == []
        dump.execute("COMMIT")
        assert site._watch.low_watermark(claim, 0) > 5000, "an idle look begins after what was removed"
    await site.close()


async def test_what_appears_below_an_id_that_was_taken_is_not_lost_to_the_floor(installed: Installed) -> None:
    site = open_site(servers.administrator(installed.access.database).url)
    installed.site.capture._database = site
    with session(installed, "BEGIN", "INSERT INTO Customer VALUES (2, 'Bob', NULL, NULL)") as bob:
        for number in range(600):
            installed.write(f"INSERT INTO Item VALUES ('i{number}', 'l{number}', 1, 1)")
        for number in range(6):
            installed.write(f"UPDATE Item SET Stock = {number + 5} WHERE Code = 'i1'")
            await installed.site.capture.drain()
            await asyncio.sleep(0.3)
        bob.execute("COMMIT")
    await installed.site.capture.drain()
    await site.close()
    assert "[2]" in [entry.name for entry in await installed.site.update_log.entries(limit=10_000)]


async def test_without_the_privilege_to_see_transactions_capture_works_and_it_is_said(installed: Installed) -> None:
    installed.write(ADA, TEA, INVOICE)
    for _ in range(3):
        await installed.site.capture.drain()
    assert any("PROCESS" in text for text in await installed.database.warnings(installed.catalogue))
    admin = open_site(servers.administrator(installed.access.database).url)
    try:
        assert not any("PROCESS" in text for text in await admin.warnings(installed.catalogue))
    finally:
        await admin.close()


async def test_a_killed_connection_is_busy_once_and_then_replaced(installed: Installed) -> None:
    installed.write(TEA)
    admin = open_access(servers.administrator(installed.access.database))
    with pytest.raises(SiteBusy):
        async with installed.database.transaction() as transaction:
            await transaction.put_checkpoint("p", "l", 1, "n")
            _kill_all(admin, installed.access.database.name)
            await transaction.put_checkpoint("p", "l", 2, "n")
    _kill_all(admin, installed.access.database.name)
    async with installed.database.transaction() as transaction:
        assert await transaction.checkpoint("p") is None


def _kill_all(admin: Any, database: str) -> None:
    for (number,) in admin.rows(
        "SELECT id FROM information_schema.processlist WHERE db = ? AND user <> 'root'", database
    ):
        admin.raw(f"KILL {number}")


async def test_a_deadlock_within_a_savepoint_is_busy_and_not_a_refused_row(installed: Installed) -> None:
    installed.write(ADA, TEA)
    doctype = installed.catalogue["Customer"]
    items = (await installed.database.tables())["Item"]
    by_name = {column.name: column for column in items.columns}
    write = TableWrite(WriteKind.UPDATE, "Item", (by_name["Stock"],), (by_name["Code"],), [(7, "tea")])
    with session(installed, "BEGIN", "UPDATE Item SET Stock = 1") as user:
        # The user has written much: the server undoes the one who wrote less.
        user.execute("INSERT INTO Customer SELECT seq, 'x', NULL, NULL FROM seq_100_to_3000")
        loop = asyncio.get_running_loop()
        with pytest.raises(SiteBusy):
            async with installed.database.transaction() as transaction:
                await transaction.lock_documents(doctype, [(1,)])
                waiting = loop.run_in_executor(None, user.execute, "UPDATE Customer SET Name = 'z' WHERE Id = 1")
                await asyncio.sleep(0.2)
                async with transaction.savepoint():
                    await transaction.write([write])
        await waiting
        user.execute("ROLLBACK")
    async with installed.database.transaction() as transaction:
        await transaction.write([write])


async def test_cancelled_reads_and_writes_leave_every_connection_usable(installed: Installed) -> None:
    installed.write(*(f"INSERT INTO Customer VALUES ({number}, 'x', NULL, NULL)" for number in range(1, 200)))
    doctype, names = installed.catalogue["Customer"], [(number,) for number in range(1, 200)]

    async def work() -> None:
        async with installed.database.snapshot() as reader:
            await reader.read_documents(doctype, names)
        async with installed.database.transaction() as transaction:
            await transaction.lock_documents(doctype, names)
            await transaction.put_checkpoint("p", "l", 1, "n")

    for step in range(60):
        task = asyncio.create_task(work())
        await asyncio.sleep(step / 4000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await work()
    async with installed.database.snapshot() as reader:
        assert len(await reader.read_documents(doctype, names)) == len(names)
