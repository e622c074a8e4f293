"""Connections that are lost, refused or replaced, on every server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamd.db import open_site
from streamd.errors import SiteBusy, SiteError
from tests.contract.conftest import Installed
from tests.contract.site.writes import ADA, ON_A_SERVER, rename_of
from tests.support import servers
from tests.support.engines import open_access


@ON_A_SERVER
async def test_lost_connections_are_replaced(installed: Installed) -> None:
    installed.write(ADA)
    async with installed.database.transaction() as transaction:
        await transaction.write([rename_of(installed, 1, "before")])
    claim = await installed.claim()
    await installed.database.read_changes(claim, 10)
    _cut_our_connections(installed)
    tried = 0
    while True:
        try:
            async with installed.database.transaction() as transaction:
                await transaction.write([rename_of(installed, 1, "after")])
            await installed.database.read_changes(claim, 10)
            break
        except SiteBusy:
            tried += 1
            assert tried < 12, "no connection is ever replaced"
    assert installed.access.value("SELECT Name FROM Customer") == "after"


@ON_A_SERVER
async def test_a_connection_that_is_lost_within_a_transaction_writes_nothing(installed: Installed) -> None:
    installed.write(ADA)
    with pytest.raises(SiteBusy):
        async with installed.database.transaction() as transaction:
            await transaction.write([rename_of(installed, 1, "lost")])
            _cut_our_connections(installed)
            await transaction.write([rename_of(installed, 1, "lost too")])
    assert installed.access.value("SELECT Name FROM Customer") == "Ada"


def _cut_our_connections(installed: Installed) -> None:
    database = installed.access.database
    admin = open_access(servers.administrator(database))
    if database.engine == "postgresql":
        admin.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'streamd'"
            " AND datname = current_database()"
        )
        return
    theirs = "SELECT id FROM information_schema.processlist WHERE db = ? AND id <> connection_id()"
    for (connection,) in admin.rows(theirs, database.name):
        admin.execute(f"KILL CONNECTION {connection}")


@ON_A_SERVER
async def test_a_wrong_password_or_database_is_said_without_the_password(installed: Installed) -> None:
    there = installed.access.database
    for wrong in (replace(there, name="no_such_database"), replace(there, user="nobody_here", password="secret-word")):
        site = open_site(wrong.url)
        try:
            with pytest.raises(SiteError) as refused:
                await site.identity()
        finally:
            await site.close()
        assert "secret-word" not in str(refused.value)
        assert "site.database" in refused.value.hint


@ON_A_SERVER
async def test_a_server_that_is_away_is_busy(installed: Installed) -> None:
    there = replace(installed.access.database, port=1)
    site = open_site(there.url)
    try:
        with pytest.raises(SiteBusy, match=there.host):
            await site.identity()
    finally:
        await site.close()
