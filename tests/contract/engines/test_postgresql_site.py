"""What is special to PostgreSQL: roles, sessions, and migrations of users."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import psycopg
import pytest

from streamd.db import open_site
from streamd.db.base import TableWrite, WriteKind
from streamd.db.postgresql.session import PostgresqlTransaction
from streamd.db.postgresql.site import PostgresqlSite
from streamd.db.postgresql.sql import NOW_MS, grants
from streamd.db.postgresql.values import SESSION
from streamd.errors import SiteError
from streamd.model import Change, Kind, Operation
from tests.contract.conftest import Installed
from tests.contract.site.writes import ADA, INVOICE, MARK, TEA, rename_of, waiting
from tests.simulation.sites import Site
from tests.support import servers
from tests.support.engines import open_access


@pytest.fixture
def engine() -> str:
    return "postgresql"


def _rows(changes: list[Change]) -> list[dict[str, object]]:
    return [json.loads(change.after) for change in changes if change.after is not None]


async def test_a_role_without_rights_on_our_tables_is_captured_all_the_same(installed: Installed) -> None:
    user = servers.unprivileged_role(installed.access.database)
    installed.access.raw(f'GRANT INSERT, SELECT, UPDATE ON "Customer" TO "{user.user}"')
    open_access(user).execute(ADA)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        open_access(user).execute("INSERT INTO streamd.streamd_origin VALUES ('Customer', 'i1', 'forged')")
    assert [change.origin for change in await waiting(installed)] == [""]


async def test_a_user_cannot_forge_an_origin_with_a_setting(installed: Installed) -> None:
    user = servers.unprivileged_role(installed.access.database)
    installed.access.raw(f'GRANT INSERT, SELECT ON "Customer" TO "{user.user}"')
    with open_access(user).connection() as connection:
        connection.execute("SELECT set_config('streamd.applying', 'on', false)")
        connection.execute(ADA)
    assert [change.origin for change in await waiting(installed)] == [""]


async def test_the_running_role_needs_no_right_to_change_the_schema(installed: Installed) -> None:
    role = servers.unprivileged_role(installed.access.database)
    for statement in grants(role.user):
        installed.access.raw(statement)
    installed.access.raw(f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "{role.user}"')
    installed.write(ADA)
    running = open_site(role.url)
    try:
        tables = await running.tables()
        assert await running.our_triggers() == running.wanted_triggers(installed.catalogue, tables)
        await running.set_name("hq")
        changes = (await running.read_changes(await installed.claim(), 10)).rows
        assert len(changes) == 1
        async with running.transaction() as transaction:
            await transaction.mark({("Customer", (1,)): MARK})
            await transaction.write([rename_of(installed, 1, "ours")])
            await transaction.put_checkpoint("p", "l", 1, "n")
        with pytest.raises(SiteError) as refused:
            await running.run_script(["CREATE TABLE streamd.more (a int)"])
        assert "install" in refused.value.hint
    finally:
        await running.close()


async def test_what_a_users_session_has_set_does_not_change_the_captured_values(installed: Installed) -> None:
    installed.access.raw('ALTER TABLE "Customer" ADD at timestamptz, ADD seen interval, ADD raw bytea, ADD size float8')
    tables = await installed.database.tables()
    assert tables["Customer"].column("raw") is not None
    with installed.access.connection() as connection:
        for setting in (
            "timezone = 'Asia/Kolkata'",
            "datestyle = 'German'",
            "intervalstyle = 'iso_8601'",
            "bytea_output = 'escape'",
            "extra_float_digits = -5",
            "search_path = pg_catalog",
        ):
            connection.execute(f"SET {setting}")
        connection.execute(
            "INSERT INTO public.\"Customer\" VALUES (1, 'Ada', NULL, NULL, '2026-03-01 12:00:00.5+05:30',"
            " '1 day 02:03:04', '\\x00ff', 0.1)"
        )
    (row,) = _rows(await waiting(installed))
    assert row["at"] == "2026-03-01 06:30:00.5+00:00"
    assert row["seen"] == "1 day 02:03:04"
    assert row["raw"] == {"$hex": "00ff"}
    assert row["size"] == 0.1


async def test_triggers_write_values_with_the_settings_with_which_we_read_them(installed: Installed) -> None:
    configured = installed.access.rows(
        "SELECT DISTINCT unnest(p.proconfig) FROM pg_proc p WHERE p.pronamespace = 'streamd'::regnamespace"
    )
    found = {name.lower(): value for (setting,) in configured for name, _, value in [setting.partition("=")]}
    # Of money, no other locale can be counted on to be there: it would write 1.234,50 €.
    assert (
        found.items()
        >= {
            name: SESSION[name]
            for name in ("datestyle", "intervalstyle", "bytea_output", "extra_float_digits", "lc_monetary")
        }.items()
    )


async def test_what_the_database_has_set_for_all_sessions_does_not_change_ours(installed: Installed) -> None:
    installed.write(ADA)
    for setting in (
        *("xmloption = document", "standard_conforming_strings = off", "transform_null_equals = on"),
        *("quote_all_identifiers = on", "array_nulls = off", "default_transaction_isolation = serializable"),
        *("default_transaction_deferrable = on", "default_transaction_read_only = on"),
    ):
        installed.access.raw(f'ALTER DATABASE "{installed.access.database.name}" SET {setting}')
    running = open_site(installed.access.configured)
    try:
        tables = await running.tables()
        assert await running.our_triggers() == running.wanted_triggers(installed.catalogue, tables)
        await running.set_name("hq")
        async with running.transaction() as transaction:
            assert await transaction.last_claim() is not None
    finally:
        await running.close()


async def test_a_schema_of_the_users_cannot_stand_before_what_our_triggers_call(installed: Installed) -> None:
    installed.access.raw("CREATE SCHEMA evil")
    installed.access.raw(
        "CREATE FUNCTION evil.row_to_json(anyelement) RETURNS json LANGUAGE sql AS $$ SELECT '{\"Id\": 666}'::json $$"
    )
    installed.access.raw(
        "CREATE FUNCTION evil.to_jsonb(anyelement) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{\"Id\": 666}'::jsonb $$"
    )
    installed.access.raw("CREATE FUNCTION evil.same(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'")
    installed.access.raw("CREATE OPERATOR evil.= (leftarg = text, rightarg = text, function = evil.same)")
    with installed.access.connection() as connection:
        connection.execute("SET search_path = evil, pg_catalog, public")
        connection.execute(ADA)
        connection.execute("UPDATE Customer SET Name = 'Eve' WHERE Id = 1")
    created, renamed = await waiting(installed)
    assert [json.loads(each.after or "")["Id"] for each in (created, renamed)] == [1, 1]
    assert json.loads(renamed.after or "")["Name"] == "Eve"


async def test_transactions_that_overlap_are_read_one_behind_the_other_and_never_in_part(installed: Installed) -> None:
    insert = "INSERT INTO Customer VALUES (?, 'x', NULL, NULL)"
    claim = await installed.claim()
    with installed.access.connection() as one, installed.access.connection() as two:
        for connection in (one, two):
            connection.execute("BEGIN")
        for number in range(1, 9):
            (one if number % 2 else two).execute(insert, (number,))
        two.execute("COMMIT")
        first = await installed.database.read_changes(claim, 2)
        one.execute("COMMIT")
    assert [json.loads(each.after or "")["Id"] for each in first.rows] == [2, 4, 6, 8], "more than the limit, but whole"
    assert len({each.tx for each in first.rows}) == 1
    rows = list((await installed.database.read_changes(claim, 100)).rows)
    assert [len(list(of_one)) for _, of_one in groupby(rows, key=lambda each: each.tx)] == [4, 4]


async def test_no_change_is_noted_for_later_than_it_is(installed: Installed) -> None:
    ahead = f"{NOW_MS} - extract(epoch FROM clock_timestamp()) * 1000"
    assert installed.access.value(f"SELECT max({ahead}) FROM generate_series(1, 5000)") <= 0


async def test_emptying_a_table_is_a_gap_that_consumers_see(installed: Installed) -> None:
    installed.write(ADA, TEA, INVOICE)
    installed.access.raw('TRUNCATE "Line", "Invoice"')
    await installed.site.capture.drain()
    gaps = [entry for entry in await installed.site.update_log.entries() if entry.operation == Operation.GAP]
    assert {entry.doctype for entry in gaps} == {"Invoice"}
    assert all("TRUNCATE" in entry.data for entry in gaps)


async def test_a_session_that_plays_a_replica_is_captured(installed: Installed) -> None:
    with open_access(servers.administrator(installed.access.database)).connection() as connection:
        connection.execute("SET session_replication_role = 'replica'")
        connection.execute(ADA)
    assert len(await waiting(installed)) == 1


async def test_a_disabled_trigger_is_noticed(installed: Installed) -> None:
    before = await installed.database.our_triggers()
    open_access(servers.administrator(installed.access.database)).raw('ALTER TABLE "Item" DISABLE TRIGGER ALL')
    gone = before.keys() - (await installed.database.our_triggers()).keys()
    assert installed.database.doctypes_behind(gone, installed.catalogue, await installed.database.tables()) == ["Item"]


async def test_no_migration_of_a_user_breaks_the_writes_of_users(installed: Installed) -> None:
    installed.write(ADA)
    for change, write in (
        ('ALTER TABLE "Customer" ADD "Mail" text', "UPDATE Customer SET Mail = 'a@b' WHERE Id = 1"),
        ('ALTER TABLE "Customer" DROP COLUMN "City"', "UPDATE Customer SET Mail = 'c@d' WHERE Id = 1"),
        ('ALTER TABLE "Customer" RENAME "Mail" TO "Email"', "UPDATE Customer SET Email = 'e@f' WHERE Id = 1"),
        ('ALTER TABLE "Customer" ALTER "Email" TYPE varchar(90)', "UPDATE Customer SET Email = 'g@h' WHERE Id = 1"),
        ('ALTER TABLE "Customer" ADD "Doc" json, ADD "Tags" text[]', "UPDATE Customer SET Email = 'i@j' WHERE Id = 1"),
    ):
        installed.access.raw(change)
        installed.write(write)
    rows = _rows(await waiting(installed))
    assert [row.get("Mail") or row.get("Email") for row in rows[1:]] == ["a@b", "c@d", "e@f", "g@h", "i@j"]


async def test_an_update_that_changes_nothing_is_no_change_also_beside_json(installed: Installed) -> None:
    installed.access.raw('ALTER TABLE "Customer" ADD "Doc" json')
    installed.write(ADA, """UPDATE Customer SET "Doc" = '{"a": 1}' WHERE Id = 1""")
    seen = len(await waiting(installed))
    installed.write("UPDATE Customer SET Name = 'Ada' WHERE Id = 1")
    assert len(await waiting(installed)) == seen


async def test_our_trigger_sees_a_change_before_what_a_users_trigger_makes_of_it(installed: Installed) -> None:
    installed.access.raw(
        """CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE "Customer" SET "City" = upper("City") WHERE "Id" = NEW."Id"; RETURN NULL; END $$;
        CREATE TRIGGER aaa AFTER INSERT ON "Customer" FOR EACH ROW EXECUTE FUNCTION shout()"""
    )
    installed.write(ADA)
    changes = await waiting(installed)
    assert [change.op for change in changes] == ["I", "U"]
    assert [row["City"] for row in _rows(changes)] == ["Turin", "TURIN"]


async def test_a_long_name_of_a_table_is_no_obstacle(tmp_path: Path) -> None:
    table = "T" * 60
    site = Site(
        tmp_path,
        "hq",
        engine="postgresql",
        schema=f'CREATE TABLE "{table}" ("Id" int PRIMARY KEY)',
        doctypes={table: {}},
    )
    await site.open()
    try:
        site.write(f'INSERT INTO "{table}" VALUES (1)')
        assert await site.capture.run_once() == 1
    finally:
        await site.close()


async def test_a_long_reader_does_not_make_an_idle_look_go_through_what_was_removed(installed: Installed) -> None:
    """A dump keeps the removed changes alive; without a low watermark each look goes through all of them."""
    assert isinstance(installed.database, PostgresqlSite)
    with installed.access.connection() as dump:
        dump.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        dump.execute("SELECT count(*) FROM Item")
        installed.access.raw("INSERT INTO \"Customer\" SELECT n, 'x', NULL, NULL FROM generate_series(1, 6000) AS n")
        installed.site.capture._batch = 500
        await installed.site.capture.drain()
        installed.write("UPDATE Customer SET Name = 'y' WHERE Id = 1")
        await installed.site.capture.drain()
        await installed.site.capture.drain()
        claim = await installed.claim()
        assert (await installed.database.read_changes(claim, 1000)).rows == []
        assert installed.database._low_watermark.id > 6000, "an idle look begins after what was removed"
        dump.execute("COMMIT")


async def test_a_trigger_that_is_made_once_we_asked_for_triggers_is_noticed_all_the_same(installed: Installed) -> None:
    doctype = installed.catalogue["Customer"]
    columns, key = doctype.columns, doctype.key[0]
    place = [column.name for column in columns].index(key)
    text = next(column.name for column in columns if column.kind == Kind.TEXT and column.name != key)
    one, other = (tuple(str(n) if column.kind == Kind.TEXT else n for column in columns) for n in (1, 2))
    async with installed.database.transaction() as transaction:
        assert isinstance(transaction, PostgresqlTransaction)
        await transaction.write([TableWrite(WriteKind.INSERT, doctype.table, columns, (), [one])])
        assert await transaction.not_as_written(doctype.table, columns, [place], [one]) == set()
    async with installed.database.transaction() as transaction:
        assert isinstance(transaction, PostgresqlTransaction)
        write = TableWrite(WriteKind.INSERT, doctype.table, columns, (), [other])
        await transaction._inserted.begin([write])
        installed.access.raw(
            "CREATE FUNCTION late () RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f'UPDATE "{doctype.table}" SET "{text}" = \'late\' WHERE "{key}" = new."{key}"; RETURN NULL; END $$;'
            f'CREATE TRIGGER late AFTER INSERT ON "{doctype.table}" FOR EACH ROW EXECUTE FUNCTION late ()'
        )
        await transaction._write(write)
        assert await transaction.not_as_written(doctype.table, columns, [place], [other]) == {0}
