"""Triggers in MariaDB: what they capture, how they are renewed, and tables that are truncated."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pymysql
import pytest

from streamd.errors import SiteBusy
from tests.contract.conftest import Installed
from tests.contract.engines.mariadb.sessions import (
    TEXTS,
    TYPES,
    as_another,
    changes_of,
    mariadb_site,
    rows_after,
    session,
)
from tests.contract.site.writes import ADA, MARK, TEA, waiting
from tests.simulation.sites import Site
from tests.support.polling import eventually


async def test_an_update_is_a_change_if_any_byte_changed_and_only_then(installed: Installed) -> None:
    installed.write(TEA)
    seen = len(await waiting(installed))
    installed.write("UPDATE Item SET Label = Label, Stock = Stock + 0")
    assert len(await waiting(installed)) == seen
    installed.write("UPDATE Item SET Label = UPPER(Label)", "UPDATE Item SET Label = CONCAT(Label, ' ')")
    assert len(await waiting(installed)) == seen + 2


async def test_wide_tables_and_long_names_are_captured(tmp_path: Path) -> None:
    table, columns = "T" * 60, [f"a column with a long name, number {number}" for number in range(160)]
    schema = f'CREATE TABLE "{table}" ("Id" INT PRIMARY KEY, {", ".join(f"`{each}` TEXT" for each in columns)})'
    async with mariadb_site(tmp_path, schema.replace("`", '"'), table) as site:
        site.access.raw(f"INSERT INTO `{table}` (Id, `{columns[0]}`, `{columns[-1]}`) VALUES (1, 'a', 'z')")
        site.access.raw(f"UPDATE `{table}` SET `{columns[-1]}` = 'y'")
        site.access.raw(f"DELETE FROM `{table}`")
        changes = await changes_of(site)
        assert [change.op for change in changes] == ["I", "U", "D"]
        assert rows_after(changes)[1] == dict.fromkeys(columns) | {"Id": 1, columns[0]: "a", columns[-1]: "y"}
        there = await site.database.our_triggers()
        assert there == site.database.wanted_triggers(site.catalogue, await site.database.tables())
        assert all(len(name) <= 64 for name in there)


async def test_a_user_is_not_kept_waiting_by_what_we_apply(installed: Installed) -> None:
    installed.write(ADA, TEA)
    async with installed.database.transaction() as transaction:
        await transaction.mark({("Customer", (1,)): MARK})
        with session(
            installed, "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET innodb_lock_wait_timeout=1"
        ) as user:
            user.execute("UPDATE Customer SET City = 'Rome' WHERE Id = 1")
            user.execute("INSERT INTO Item VALUES ('COF', 'Coffee', 1, 1)")
    assert [change.origin for change in await waiting(installed)] == [""] * 4


async def test_locking_documents_waits_for_no_other_rows_and_holds_these(installed: Installed) -> None:
    installed.write(
        ADA,
        TEA,
        *(f"INSERT INTO Invoice VALUES ({number}, 1, 'n')" for number in range(1, 9)),
        *(f"INSERT INTO Line VALUES ({number}, {number}, 'tea', 1)" for number in range(1, 9)),
    )
    doctype, names = installed.catalogue["Invoice"], [(number,) for number in (1, 3, 4, 5, 6, 7, 8, 99)]
    short = "SET innodb_lock_wait_timeout = 1"
    with (
        session(installed, "BEGIN", "UPDATE Invoice SET Note = 'x' WHERE Id = 2") as user,
        session(installed, short) as other,
    ):
        user.execute("UPDATE Line SET Quantity = 2 WHERE Id = 2")
        async with installed.database.transaction() as transaction:
            await transaction.lock_documents(doctype, names)  # raises where it waits for the user
            for held in ("UPDATE Invoice SET Note = 'y' WHERE Id = 8", "UPDATE Line SET Quantity = 3 WHERE Id = 8"):
                with pytest.raises(pymysql.err.OperationalError, match="Lock wait timeout"):
                    other.execute(held)
        user.execute("COMMIT")


async def test_a_row_too_large_for_json_becomes_a_gap_and_the_users_write_stands(tmp_path: Path) -> None:
    async with mariadb_site(tmp_path, TEXTS, "Text") as site:
        limit = int(site.access.value("SELECT @@max_allowed_packet"))
        site.access.raw(f"INSERT INTO `Text` SELECT 1, NULL, REPEAT('x', {limit // 2 + 10})")
        await site.capture.drain()
        assert [entry.operation for entry in await site.update_log.entries()] == ["gap"]


async def test_installing_again_renews_only_what_differs(installed: Installed) -> None:
    made = "SELECT TRIGGER_NAME, CREATED FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE()"
    before = dict(installed.access.rows(made))
    installed.access.raw("DROP TRIGGER streamd_Item_update")
    installed.access.raw("ALTER TABLE Customer ADD Mail TEXT")
    tables = await installed.database.tables()
    await installed.database.run_script(installed.database.install_script(installed.catalogue, tables))
    after = dict(installed.access.rows(made))
    assert before.keys() == after.keys()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"streamd_Item_update"} | {
        f"streamd_Customer_{event}" for event in ("insert", "update", "delete")
    }


async def test_installing_does_not_wait_behind_a_long_transaction_for_ever(installed: Installed) -> None:
    installed.access.raw("DROP TRIGGER streamd_Item_update")
    tables = await installed.database.tables()
    with session(installed, "BEGIN", "SELECT * FROM Item FOR UPDATE"), pytest.raises(SiteBusy):
        await installed.database.run_script(installed.database.install_script(installed.catalogue, tables))
    await installed.database.run_script(installed.database.install_script(installed.catalogue, tables))
    assert await installed.database.our_triggers() == installed.database.wanted_triggers(installed.catalogue, tables)


async def test_a_column_that_a_migration_dropped_is_noticed_as_a_difference(installed: Installed) -> None:
    installed.access.raw("ALTER TABLE Customer DROP COLUMN City")
    wanted = installed.database.wanted_triggers(installed.catalogue, await installed.database.tables())
    there = await installed.database.our_triggers()
    assert {name for name in wanted if wanted[name] != there[name]} == {
        f"streamd_Customer_{event}" for event in ("insert", "update", "delete")
    }


async def test_the_script_can_be_given_to_the_client(tmp_path: Path) -> None:
    async with mariadb_site(tmp_path, TYPES, "All Types") as site:
        tables = await site.database.tables()
        wanted = site.database.wanted_triggers(site.catalogue, tables)
        script = site.database.script_text(site.database.install_script(site.catalogue, tables))
        remove = site.database.script_text(site.database.uninstall_script(wanted, keep_tables=False))
        _client(site, remove)
        assert await site.database.our_triggers() == {}
        _client(site, script)
        assert await site.database.our_triggers() == wanted
        assert await site.database.identity() is not None


def _client(site: Site, script: str) -> None:
    there = site.access.database
    subprocess.run(
        ["mariadb", "-h", there.host, "-P", str(there.port), "-u", there.user, f"-p{there.password}", there.name],
        input=script.encode(),
        check=True,
    )


async def test_what_a_users_older_trigger_writes_is_captured_behind_the_row_that_caused_it(tmp_path: Path) -> None:
    schema = """
        CREATE TABLE "Bill" ("Id" INT PRIMARY KEY, "Total" INT);
        CREATE TABLE "Entry" ("Id" INT AUTO_INCREMENT PRIMARY KEY, "Bill" INT, "Text" VARCHAR(40));
        CREATE TRIGGER second_entry AFTER INSERT ON "Bill" FOR EACH ROW
            INSERT INTO "Entry" ("Bill", "Text") VALUES (NEW."Id", 'second');
        CREATE TRIGGER first_entry AFTER INSERT ON "Bill" FOR EACH ROW PRECEDES second_entry
            INSERT INTO "Entry" ("Bill", "Text") VALUES (NEW."Id", 'first');
        CREATE TRIGGER removed AFTER DELETE ON "Bill" FOR EACH ROW DELETE FROM "Entry" WHERE "Bill" = OLD."Id"
    """
    async with mariadb_site(tmp_path, schema, "Bill", "Entry") as site:
        site.write('INSERT INTO "Bill" VALUES (1, 10)')
        site.write('DELETE FROM "Bill" WHERE "Id" = 1')
        assert [(change.table, change.op) for change in await changes_of(site)] == [
            ("Bill", "I"),
            ("Entry", "I"),
            ("Entry", "I"),
            ("Bill", "D"),
            ("Entry", "D"),
            ("Entry", "D"),
        ]


async def test_a_trigger_of_ours_that_fires_behind_a_users_is_made_again_and_nothing_was_missed(
    tmp_path: Path,
) -> None:
    async with mariadb_site(tmp_path, """CREATE TABLE "Bill" ("Id" INT PRIMARY KEY)""", "Bill") as site:
        site.access.raw(
            "CREATE TRIGGER theirs AFTER INSERT ON `Bill` FOR EACH ROW PRECEDES `streamd_Bill_insert` SET @seen = 1"
        )
        tables = await site.database.tables()
        wanted, there = site.database.wanted_triggers(site.catalogue, tables), await site.database.our_triggers()
        assert {name for name in wanted if wanted[name] != there[name]} == {"streamd_Bill_insert"}
        assert site.database.outgrown(there, site.catalogue, tables) == {}
        await site.database.run_script(site.database.install_script(site.catalogue, tables))
        assert await site.database.our_triggers() == wanted
        site.access.raw("DROP TRIGGER theirs")
        assert await site.database.our_triggers() == wanted


TRUNCATED = """
    CREATE TABLE "Größe / $" ("Id" INT AUTO_INCREMENT PRIMARY KEY); INSERT INTO "Größe / $" VALUES (1), (2);
    CREATE TABLE "Bill" ("Id" INT PRIMARY KEY, "Total" INT); INSERT INTO "Bill" VALUES (1, 10), (2, 20)
"""


async def test_a_table_that_was_truncated_is_said_once_also_if_nobody_looked_meanwhile(tmp_path: Path) -> None:
    async with mariadb_site(tmp_path, TRUNCATED, "Bill", "Größe / $") as site:
        async with as_another(site, "PROCESS") as database:
            assert await database.note_unseen(site.catalogue) == []
            site.write('INSERT INTO "Bill" VALUES (3, 30)')
            assert await database.note_unseen(site.catalogue) == []
        site.access.raw("TRUNCATE TABLE `Größe / $`; TRUNCATE TABLE Bill; INSERT INTO Bill VALUES (4, 40)")
        async with as_another(site, "PROCESS") as database:
            assert await database.note_unseen(site.catalogue) == [
                "Bill was emptied (TRUNCATE)",
                "Größe / $ was emptied (TRUNCATE)",
            ]
            assert await database.note_unseen(site.catalogue) == []
        assert [(change.table, change.op) for change in await changes_of(site)] == [
            ("Bill", "I"),
            ("Bill", "I"),
            ("Bill", "T"),
            ("Größe / $", "T"),
        ]


async def test_a_table_that_was_made_anew_in_another_way_is_not_taken_for_an_emptied_one(tmp_path: Path) -> None:
    latest = "SELECT MAX(made_at) FROM streamd_table"
    async with mariadb_site(tmp_path, TRUNCATED, "Bill") as site, as_another(site, "PROCESS") as database:
        for anew in (
            "OPTIMIZE TABLE Bill",
            "ALTER TABLE Bill FORCE",
            "ALTER TABLE Bill ADD COLUMN More INT FIRST, ALGORITHM = COPY",
            "CREATE TABLE Bill2 LIKE Bill; RENAME TABLE Bill TO Bill1, Bill2 TO Bill",
        ):
            assert await database.note_unseen(site.catalogue) == []
            eventually(
                lambda: site.access.value("SELECT UNIX_TIMESTAMP()") > site.access.value(latest), "a second later"
            )
            site.access.raw(anew)
            assert await database.note_unseen(site.catalogue) == [], anew
            site.access.raw("TRUNCATE TABLE Bill")
            assert await database.note_unseen(site.catalogue) == ["Bill was emptied (TRUNCATE)"], anew


async def test_without_the_privilege_a_truncated_table_is_not_noticed_and_check_says_so(tmp_path: Path) -> None:
    async with mariadb_site(tmp_path, TRUNCATED, "Bill") as site, as_another(site) as database:
        assert await database.note_unseen(site.catalogue) == []
        site.access.raw("TRUNCATE TABLE Bill")
        assert await database.note_unseen(site.catalogue) == []
        assert any("TRUNCATE" in text for text in await database.warnings(site.catalogue))
