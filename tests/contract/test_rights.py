"""Rights that are missing: seen before anything runs, each with the statement that grants it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamd.db import open_site
from streamd.db.base import TableWrite, WriteKind
from streamd.db.postgresql.sql import grants
from streamd.errors import Problem, TypeRefused
from streamd.model import Catalogue
from tests.contract.conftest import Installed
from tests.support import servers
from tests.support.database_url import DatabaseUrl
from tests.support.engines import open_access

SERVERS = pytest.mark.parametrize("engine", ["postgresql", "mariadb"])


async def missing(database: DatabaseUrl, catalogue: Catalogue, *written: str) -> list[Problem]:
    site = open_site(database.url)
    try:
        return await site.missing_rights(catalogue, written)
    finally:
        await site.close()


def grant(installed: Installed, role: DatabaseUrl, rights: str) -> None:
    """All that the daemon needs, but of the users' tables these rights."""
    if installed.access.engine == "mariadb":
        access = open_access(servers.administrator(installed.access.database))
        access.raw(f"GRANT {rights} ON `{role.name}`.* TO '{role.user}'@'%'")
        return
    for statement in grants(role.user):
        installed.access.raw(statement)
    installed.access.raw(f'GRANT {rights} ON ALL TABLES IN SCHEMA public TO "{role.user}"')


@SERVERS
async def test_a_role_that_may_only_read_lacks_what_the_types_need_that_it_subscribed_to(installed: Installed) -> None:
    role = servers.unprivileged_role(installed.access.database)
    grant(installed, role, "SELECT")
    assert await missing(role, installed.catalogue) == []
    found = await missing(role, installed.catalogue, "Customer")
    assert [each.what for each in found] == ["the user of site.database lacks INSERT, UPDATE, DELETE on Customer"]
    open_access(servers.administrator(installed.access.database)).raw(found[0].hint)
    assert await missing(role, installed.catalogue, "Customer") == []


@SERVERS
async def test_what_the_database_denies_is_said_with_the_grant_that_mends_it(installed: Installed) -> None:
    role = servers.unprivileged_role(installed.access.database)
    grant(installed, role, "SELECT")
    if installed.access.engine == "mariadb":
        grant_ours(installed, role)
    doctype = installed.catalogue["Customer"]
    site = open_site(role.url)
    try:
        with pytest.raises(TypeRefused) as refused:
            async with site.transaction() as transaction:
                row = tuple(None for _ in doctype.columns)
                await transaction.write([TableWrite(WriteKind.INSERT, "Customer", doctype.columns, (), [row])])
    finally:
        await site.close()
    assert "GRANT SELECT, INSERT, UPDATE, DELETE ON" in refused.value.hint


def grant_ours(installed: Installed, role: DatabaseUrl) -> None:
    access = open_access(servers.administrator(installed.access.database))
    for (table,) in access.rows(
        f"SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{role.name}' "
        "AND TABLE_NAME LIKE 'streamd%'"
    ):
        access.raw(f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{role.name}`.`{table}` TO '{role.user}'@'%'")


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_a_file_or_folder_that_cannot_be_written_is_named(
    installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = installed.access.database
    assert await missing(database, installed.catalogue) == []
    folder = Path(database.name).resolve().parent
    # Those who run tests may be allowed everything.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder)
    (found,) = await missing(database, installed.catalogue)
    assert found.what == f"{folder} cannot be written by this user"
