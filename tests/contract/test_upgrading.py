"""A site that the release before installed works with this one after `install`, on every engine."""

from __future__ import annotations

import msgspec
import pytest

from streamd.common import clock as hlc
from streamd.db import open_site
from streamd.db.base import SITE_SCHEMA
from streamd.db.postgresql.sql import grants
from streamd.errors import NotInstalled
from streamd.identity import Identity
from streamd.lifecycle.installing import install_site, require_tables
from streamd.model import DocumentId, Event, LinkId, QueuedEvent, Record, RowId
from streamd.rowids import RowIds
from tests.contract.conftest import Installed
from tests.contract.site.writes import ADA, waiting
from tests.support import servers


def _go_back(installed: Installed) -> None:
    """Make of it what the release before left there."""
    ours = "streamd." if installed.access.engine == "postgresql" else ""
    for statement in (
        f"DROP TABLE {ours}streamd_counterpart",
        f"DROP TABLE {ours}streamd_series",
        f"DROP TABLE {ours}streamd_life",
        f"DROP TABLE {ours}streamd_identity",
        f"DROP TABLE {ours}streamd_row_ids",
        f"DROP TABLE {ours}streamd_told",
        f'UPDATE {ours}streamd_site SET "schema" = 1',
    ):
        installed.access.execute(statement)


async def _install(installed: Installed) -> list[str]:
    tables = await installed.database.tables()
    return await install_site("hq", installed.database, installed.catalogue, tables, installed.site.state)


async def test_the_tables_of_the_release_before_are_completed(installed: Installed) -> None:
    database, claim = installed.database, await installed.claim()
    await database.set_name("hq")
    installed.write(ADA)
    _go_back(installed)
    before, triggers = await database.identity(), await database.our_triggers()
    with pytest.raises(NotInstalled) as refused:
        require_tables(before)
    assert "streamd install" in refused.value.hint
    assert await _install(installed) == ["brought streamd's tables in the site's database to this release's schema"]
    after = await database.identity()
    require_tables(after)
    assert before is not None
    assert after is not None
    assert (after.site, after.schema) == (before.site, SITE_SCHEMA)
    assert await database.our_triggers() == triggers
    assert (await installed.claim(), len(await waiting(installed))) == (claim, 1), "nothing was lost"
    async with database.transaction() as transaction:
        await transaction.put_row_ids([("Item", DocumentId((1,)), RowIds())])
        assert await transaction.next_numbers("S", 1) == 1
    assert await _install(installed) == []


async def test_what_the_release_before_remembered_of_names_is_kept_as_ids(installed: Installed) -> None:
    ours = "streamd." if installed.access.engine == "postgresql" else ""
    event = Event(7, "00", 7, "Item", ("b",), "delete", "c9", 1)
    records = [Record("Item", (name,), "s", (name,), f"c{name}", seen={"log": 1}) for name in "abcde"]
    records[0].deleted_at = 5
    async with installed.database.transaction() as transaction:
        await transaction.put_records(records)
        await transaction.enqueue([QueuedEvent(0, "hq", "log", event, "parked", "no", 1, 0)])
    for statement in (
        f"DROP TABLE {ours}streamd_identity",
        f"DROP TABLE {ours}streamd_told",
        f'UPDATE {ours}streamd_site SET "schema" = 5',
        f'INSERT INTO {ours}streamd_life VALUES (\'Item\', \'["b"]\', \'[["","","c1",null],["c2","c2"]]\')',
        f"INSERT INTO {ours}streamd_life VALUES ('Item', '[\"c\"]', '[[\"\",\"\"]]')",
        f"UPDATE {ours}streamd_document SET renamed_to = '[\"b\"]' WHERE name = '[\"d\"]'",
        f'UPDATE {ours}streamd_parked SET event = replace(event, \'"clock"\', \'"life":"c2","clock"\')',
    ):
        installed.access.execute(statement)
    await _install(installed)
    async with installed.database.snapshot() as reader:
        rows = await reader.identities("Item", [(name,) for name in "abcde"])
        found = await reader.records("Item", [(name,) for name in "abcde"])
        (queued,) = await reader.queue()
    assert sorted(rows, key=repr) == [
        Identity("Item", DocumentId(("a",)), ("a",), "ca", 5),
        Identity("Item", DocumentId(("b",), "c2"), ("b",), "c2"),
    ]
    assert {name: record.id for (name,), record in found.items()} == {
        "a": None,
        "b": DocumentId(("b",), "c2"),
        "c": None,
        "e": None,
    }
    assert queued.event == msgspec.structs.replace(event, id=DocumentId(("b",), "c2"))
    assert await _install(installed) == []


async def test_what_the_release_before_remembered_of_names_at_other_sites_is_kept_as_ids(installed: Installed) -> None:
    """The till made invoice 1, and calls it 5 by now; it is 57 here. Ours is 8 there. Rows 101 and 8 are the till's."""
    ours = "streamd." if installed.access.engine == "postgresql" else ""
    identity = await installed.database.identity()
    assert identity is not None
    here, till = identity.site, "11111111-2222-3333-4444-555555555555"
    clocks = {site: hlc.reading(1, 0, site) for site in (here, till)}
    event = Event(7, "00", 7, "Item", (8,), "update", "c9", 1, links=(LinkId("Other", (3,), None),))
    async with installed.database.transaction() as transaction:
        await transaction.put_records(
            [
                Record("Item", (57,), till, (1,), "c1", {"lines/[900]": clocks[here]}),
                Record("Item", (2,), here, (2,), "c2", {"lines/[8]": clocks[till]}),
            ]
        )
        await transaction.enqueue([QueuedEvent(0, till, "log", event, "parked", "no", 1, 0)])
    said = '"own":[{"doctype":"Item","name":[8],"own":[2],"rows":{"lines":[[[5],[50]]]}},'
    said += '{"doctype":"Item","name":[1],"own":[57]}],"clock"'
    for statement in (
        f'UPDATE {ours}streamd_site SET "schema" = 6',
        f"INSERT INTO {ours}streamd_counterpart VALUES "
        f"('{till}', 'Item', 'a', '[5]', 'b', '[57]', '{{\"lines\":{{\"[10]\":[101],\"[12]\":[900],\"[13]\":[]}}}}')",
        f"INSERT INTO {ours}streamd_counterpart VALUES "
        f"('{till}', 'Item', 'c', '[8]', 'd', '[2]', '{{\"lines\":{{\"[5]\":[50],\"[80]\":[8]}}}}')",
        f"UPDATE {ours}streamd_parked SET event = replace(event, '\"clock\"', '{said}')",
    ):
        installed.access.execute(statement)
    await _install(installed)
    born, own = DocumentId((1,), site=till), DocumentId((2,))
    async with installed.database.snapshot() as reader:
        assert await reader.identities("Item", [(57,), (2,)]) == [Identity("Item", born, (57,), "c1")]
        assert (await reader.records("Item", [(57,)]))[(57,)].remote_name == (5,), "as it is called at the till by now"
        assert await reader.row_ids("Item", [born, own]) == {
            born: RowIds({"lines": {"[101]": RowId(10)}}),
            own: RowIds({"lines": {"[8]": RowId(80, till)}}),
        }
        (queued,) = await reader.queue()
    assert queued.event == msgspec.structs.replace(
        event,
        id=DocumentId((2,), site=here),
        rows={"lines": [(5, RowId(50))]},
        links=(LinkId("Other", (3,), None), LinkId("Item", (1,), DocumentId((57,), site=here))),
    )
    assert await _install(installed) == []


async def test_tables_of_a_newer_release_are_not_touched(installed: Installed) -> None:
    ours = "streamd." if installed.access.engine == "postgresql" else ""
    installed.access.execute(f'UPDATE {ours}streamd_site SET "schema" = {SITE_SCHEMA + 1}')
    with pytest.raises(NotInstalled) as refused:
        require_tables(await installed.database.identity())
    assert "newer" in refused.value.hint
    tables = await installed.database.tables()
    await installed.database.run_script(installed.database.install_script(installed.catalogue, tables))
    identity = await installed.database.identity()
    assert identity is not None
    assert identity.schema == SITE_SCHEMA + 1


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
async def test_a_role_that_was_given_its_rights_before_has_them_on_the_new_tables(installed: Installed) -> None:
    role = servers.unprivileged_role(installed.access.database)
    for statement in grants(role.user):
        installed.access.execute(statement)
    _go_back(installed)
    await _install(installed)
    running = open_site(role.url)
    try:
        async with running.transaction() as transaction:
            await transaction.put_row_ids([("Item", DocumentId((1,)), RowIds())])
            assert await transaction.next_numbers("S", 2) == 1
            assert await transaction.last_claim() == await installed.claim()
    finally:
        await running.close()
