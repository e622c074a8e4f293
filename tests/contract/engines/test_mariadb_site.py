"""What is special to MariaDB: its types, sessions of users, long readers, cascades, and how connections fail."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pymysql
import pytest
import structlog

from streamd.db import open_site
from streamd.db.base import SiteDatabase, TableWrite, WriteKind
from streamd.db.mariadb.checks import breaks_order
from streamd.db.mariadb.driver import split_at_values
from streamd.db.mariadb.names import between
from streamd.db.mariadb.site import MariadbSite
from streamd.errors import RowRefused, SiteBusy
from streamd.model import Change, Column, Kind, Row, Table
from streamd.wire import read_json
from tests.contract.conftest import Installed
from tests.contract.test_site_database import ADA, INVOICE, MARK, TEA, _waiting
from tests.simulation.sites import Site
from tests.support import servers
from tests.support.engines import open_access
from tests.support.polling import eventually

HOSTILE = (
    "'; DROP TABLE x; --",
    "\\",
    "\\'",
    "'\\",
    '"',
    "''",
    "a\0b",
    "\x1a",
    "\n\r\t\x01\x7f",
    "😀 𐀀 é ж",
    "%s %(a)s ? :x {y}",
    "trailing ",
    "",
    "\u2028",
)


@pytest.fixture
def engine() -> str:
    return "mariadb"


def _rows(changes: list[Change]) -> list[dict[str, Any]]:
    return [json.loads(change.after) for change in changes if change.after is not None]


@asynccontextmanager
async def _site(folder: Path, schema: str, *doctypes: str, **settings: Any) -> AsyncIterator[Site]:
    site = Site(folder, "hq", engine="mariadb", schema=schema, doctypes=dict.fromkeys(doctypes, settings))
    await site.open(logged=doctypes)
    try:
        yield site
    finally:
        await site.close()


@contextmanager
def _user(site: Site | Installed, *settings: str) -> Iterator[pymysql.cursors.Cursor]:
    """A user's own session, in which nothing is as we would set it."""
    there = site.access.database
    connection = pymysql.connect(
        host=there.host,
        port=there.port,
        user=there.user,
        password=there.password,
        database=there.name,
        charset="utf8mb4",
        autocommit=True,
    )
    try:
        with connection.cursor() as cursor:
            for setting in settings:
                cursor.execute(setting)
            yield cursor
    finally:
        connection.close()


async def _insert(site: Site, table: Table, *rows: Row) -> None:
    columns = tuple(column for column in table.columns if column.name in rows[0])
    values = [[row[column.name] for column in columns] for row in rows]
    async with site.database.transaction() as transaction:
        await transaction.write([TableWrite(WriteKind.INSERT, table.name, columns, (), values)])


async def _changes(site: Site) -> list[Change]:
    async with site.database.snapshot() as reader:
        claim = await reader.last_claim()
    assert claim is not None
    return list((await site.database.read_changes(claim, 1000)).rows)


# Values

TEXTS = """CREATE TABLE "Text" ("Id" INT PRIMARY KEY, "Value" LONGTEXT, "Raw" LONGBLOB)"""


def _drawing(schema: str, table: str) -> str:
    """The schema, with a table whose default draws from a sequence: its rows are inserted in another way."""
    return (
        f'CREATE SEQUENCE numbers; {schema}; ALTER TABLE "{table}" ADD COLUMN "Number" BIGINT DEFAULT NEXTVAL(numbers)'
    )


@pytest.mark.parametrize("draws", [False, True], ids=["", "draws"])
@pytest.mark.parametrize("many", [False, True], ids=["single", "many"])
async def test_no_text_and_no_bytes_are_taken_for_sql(tmp_path: Path, many: bool, draws: bool) -> None:
    async with _site(tmp_path, _drawing(TEXTS, "Text") if draws else TEXTS, "Text", exclude=["Number"] * draws) as site:
        table = (await site.database.tables())["Text"]
        rows = [
            {"Id": number, "Value": text, "Raw": {"$hex": text.encode().hex()}} for number, text in enumerate(HOSTILE)
        ]
        rows.append({"Id": 100, "Value": None, "Raw": {"$hex": bytes(range(256)).hex()}})
        for some in [rows] if many else [[row] for row in rows]:
            await _insert(site, table, *some)
        async with site.database.snapshot() as reader:
            found = await reader.read_documents(site.catalogue["Text"], [(row["Id"],) for row in rows])
        assert [read_json(found[(row["Id"],)].row) for row in rows] == rows
        assert [read_json(change.after or b"") for change in await _changes(site)] == rows


TYPES = """CREATE TABLE "All Types" (
    "Id" BIGINT PRIMARY KEY, "tiny" TINYINT, "flag" BOOLEAN, "unsigned" BIGINT UNSIGNED, "filled" INT(8) ZEROFILL,
    "bits" BIT(10), "year" YEAR, "exact" DECIMAL(38,20), "filled exact" DECIMAL(10,2) ZEROFILL, "single" FLOAT,
    "double" DOUBLE, "date" DATE, "time" TIME, "time6" TIME(6), "moment" DATETIME, "moment6" DATETIME(6),
    "instant" TIMESTAMP NULL, "instant6" TIMESTAMP(6) NULL, "char" CHAR(10), "varchar" VARCHAR(40),
    "latin" VARCHAR(40) CHARACTER SET latin1, "cyrillic" VARCHAR(40) CHARACTER SET cp1251,
    "old utf8" TEXT CHARACTER SET utf8mb3, "other order" VARCHAR(40) COLLATE utf8mb4_unicode_ci,
    "binary order" VARCHAR(40) COLLATE utf8mb4_bin, "text" LONGTEXT, "enum" ENUM('a', 'B', 'it''s', '2'),
    "set" SET('x', 'y'), "json" JSON, "uuid" UUID, "address" INET6, "binary" BINARY(4), "varbinary" VARBINARY(40),
    "blob" LONGBLOB, "select" INT, "quo""te" INT, "back\\slash" INT, "question?" INT, "per%cent" INT,
    "UPPER" INT, "twice" INT AS ("select" * 2) STORED, "later" INT AS ("select" * 3) VIRTUAL
)"""

FULL = {
    "Id": 1,
    "tiny": -128,
    "flag": 1,
    "unsigned": 2**64 - 1,
    "filled": 42,
    "bits": 513,
    "year": 2024,
    "exact": "123456789012345678.12345678901234567890",
    "filled exact": "7.50",
    "single": 0.10000000149011612,
    "double": 1.7976931348623157e308,
    "date": "1969-12-31",
    "time": "-12:13:14",
    "time6": "25:00:00.5",
    "moment": "1900-01-01 00:00:00",
    "moment6": "2024-02-29 10:20:30.000001",
    "instant": "2024-10-27 00:30:00+00:00",
    "instant6": "2024-10-27 00:30:00.123456+00:00",
    "char": "c",
    "varchar": "é😀 ",
    "latin": "é",
    "cyrillic": "ж",
    "old utf8": "ж",
    "other order": "a",
    "binary order": "A",
    "text": "q\"\\/\0\x1a\n😀'",
    "enum": "it's",
    "set": "x,y",
    "json": '{"a" : [1.50, "é"]}',
    "uuid": "123e4567-e89b-12d3-a456-426614174000",
    "address": "::1",
    "binary": {"$hex": "00ff2700"},
    "varbinary": {"$hex": ""},
    "blob": {"$hex": "00ff275c"},
    "select": 5,
    'quo"te': 1,
    "back\\slash": 2,
    "question?": 3,
    "per%cent": 4,
    "UPPER": 6,
}
EDGE = {
    "Id": -(2**63),
    "tiny": 127,
    "flag": 0,
    "unsigned": 0,
    "filled": 0,
    "bits": 0,
    "year": 0,
    "exact": "-0.00000000000000000001",
    "filled exact": "0.00",
    "single": 3.4028234663852886e38,
    "double": 5e-324,
    "date": "0001-01-01",
    "time": "838:59:59",
    "time6": "00:00:00",
    "moment": "9999-12-31 23:59:59",
    "moment6": "0001-01-01 00:00:00",
    "instant": "1970-01-01 00:00:01+00:00",
    "instant6": "2038-01-19 03:14:07.999999+00:00",
    "char": "",
    "varchar": "",
    "latin": "",
    "cyrillic": "",
    "old utf8": "",
    "other order": "A ",
    "binary order": "a ",
    "text": "",
    "enum": "2",
    "set": "",
    "json": "null",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "address": "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "binary": {"$hex": "00000000"},
    "varbinary": {"$hex": "00"},
    "blob": {"$hex": "ab" * 100_000},
    "select": None,
    'quo"te': None,
    "back\\slash": None,
    "question?": None,
    "per%cent": None,
    "UPPER": None,
}
NOTHING = dict.fromkeys(FULL, None) | {"Id": 0}
STRANGE = (
    "SET time_zone = '+05:30'",
    "SET sql_mode = ''",
    "SET NAMES latin1",
    "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
)


def _as_sent(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it comes out of the wire: numbers with a point are decimals."""
    sent = dict(row)
    for name in ("exact", "filled exact"):
        if sent[name] is not None:
            sent[name] = read_json(sent[name])
    return sent


def _comparable(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: float(value) if name in ("single", "double") and value is not None else value
        for name, value in row.items()
    }


@pytest.mark.parametrize("draws", [False, True], ids=["", "draws"])
async def test_every_type_is_read_captured_and_written_as_it_is(tmp_path: Path, draws: bool) -> None:
    schema = _drawing(TYPES, "All Types") if draws else TYPES
    async with (
        _site(tmp_path / "one", schema, "All Types", exclude=["Number"] * draws) as site,
        _site(tmp_path / "two", schema, "All Types", exclude=["Number"] * draws) as other,
    ):
        table = (await site.database.tables())["All Types"]
        rows = [_as_sent(row) for row in (FULL, EDGE, NOTHING)]
        await _insert(site, table, *rows)
        names = [(row["Id"],) for row in rows]
        doctype = site.catalogue["All Types"]
        async with site.database.snapshot() as reader:
            documents = await reader.read_documents(doctype, names)
            assert await reader.existing(doctype, names) == set(names)
        texts = [documents[name].row for name in names]
        assert [_comparable(read_json(text)) for text in texts] == [_comparable(row) for row in rows]
        assert b"123456789012345678.12345678901234567890" in texts[0], "an exact number stays exact"
        assert [change.after for change in await _changes(site)] == texts
        await _insert(other, table, *(read_json(text) for text in texts))
        with _user(site) as one, _user(other) as two:
            for user in (one, two):
                user.execute("SELECT * FROM `All Types` ORDER BY Id")
            assert two.fetchall() == one.fetchall()


async def test_what_a_users_session_has_set_does_not_change_the_captured_values(tmp_path: Path) -> None:
    async with _site(tmp_path, TYPES, "All Types") as site:
        await _insert(site, (await site.database.tables())["All Types"], _as_sent(FULL))
        with _user(site, *STRANGE) as user:
            user.execute("UPDATE `All Types` SET `select` = 6")
        _, change = await _changes(site)
        before, after = read_json(change.before or b""), read_json(change.after or b"")
        assert after == before | {"select": 6}
        assert _comparable(before) == _comparable(_as_sent(FULL))


async def test_an_hour_that_comes_twice_is_told_apart(tmp_path: Path) -> None:
    schema = 'CREATE TABLE "Shift" ("Id" INT PRIMARY KEY, "At" TIMESTAMP(3) NULL)'
    async with _site(tmp_path, schema, "Shift") as site:
        # A zone with summer time, without the server's own tables of zones: what is stored are seconds since 1970.
        await _insert(
            site,
            (await site.database.tables())["Shift"],
            {"Id": 1, "At": "2024-10-27 00:30:00+00:00"},
            {"Id": 2, "At": "2024-10-27T02:30:00.250+01:00"},
        )
        rows = _rows(await _changes(site))
        assert [row["At"] for row in rows] == ["2024-10-27 00:30:00+00:00", "2024-10-27 01:30:00.25+00:00"]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("tiny", 128),
        ("tiny", "1x"),
        ("tiny", read_json("1.5")),
        ("tiny", {"$hex": "31"}),
        ("unsigned", -1),
        ("unsigned", 2**64),
        ("bits", 1024),
        ("bits", "5"),
        ("year", 24),
        ("exact", read_json("0.123456789012345678901")),
        ("exact", read_json("1e999")),
        ("exact", read_json("123456789012345678901234567890.123456789012345678901234567890")),
        ("double", read_json("1e999")),
        ("double", read_json("-1e999")),
        ("double", read_json("0.12345678901234567890123")),
        ("date", "2024-01-01 10:00:00"),
        ("date", "2024-02-30"),
        ("time", "10:00:00.5"),
        ("moment", "2024-01-01 10:00:00.5"),
        ("moment", "2024-01-01 10:00:00+00:00"),
        ("moment", "infinity"),
        ("instant", "2039-01-01 00:00:00+00:00"),
        ("varchar", "x" * 41),
        ("varchar", {"$hex": "00"}),
        ("varchar", "\ud800"),
        ("latin", "ж"),
        ("old utf8", "😀"),
        ("enum", "b"),
        ("enum", "1"),
        ("enum", 1),
        ("set", "z"),
        ("json", "{"),
        ("uuid", "no uuid"),
        ("address", "no address"),
        ("binary", {"$hex": "00"}),
        ("varbinary", "text"),
        ("blob", {"$hex": "0"}),
    ],
)
async def test_what_a_column_cannot_hold_is_refused_and_not_made_to_fit(
    types_site: Site, column: str, value: object
) -> None:
    table = (await types_site.database.tables())["All Types"]
    with pytest.raises(RowRefused):
        await _insert(types_site, table, {"Id": 77, column: value})
    assert types_site.access.value('SELECT count(*) FROM "All Types"') == 0


@pytest.mark.parametrize(
    ("column", "value", "stands"),
    [
        ("tiny", True, 1),
        ("tiny", read_json("1.0"), 1),
        ("exact", 5, "5.00000000000000000000"),
        ("double", 5, 5.0),
        ("varchar", 5, "5"),
        ("varchar", read_json("1.50"), "1.50"),
        ("varchar", True, "1"),
        ("moment", "2024-01-01T10:00:00.000", "2024-01-01 10:00:00"),
        ("instant", "2024-01-01T10:00:00Z", "2024-01-01 10:00:00+00:00"),
        ("instant", "2024-01-01 10:00:00+05:30", "2024-01-01 04:30:00+00:00"),
        ("instant", "2024-01-01 10:00:00", "2024-01-01 10:00:00+00:00"),
        ("date", "2024-01-01 00:00:00", "2024-01-01"),
        ("date", "0000-00-00", "0000-00-00"),
        ("json", read_json('{"a":[1.50]}'), '{"a":[1.50]}'),
        ("uuid", "123E4567E89B12D3A456426614174000", "123e4567-e89b-12d3-a456-426614174000"),
    ],
)
async def test_values_of_other_kinds_are_written_where_nothing_is_lost(
    types_site: Site, column: str, value: object, stands: object
) -> None:
    table = (await types_site.database.tables())["All Types"]
    await _insert(types_site, table, {"Id": 78, column: value})
    async with types_site.database.snapshot() as reader:
        found = await reader.read_documents(types_site.catalogue["All Types"], [(78,)])
    got = read_json(found[(78,)].row)[column]
    assert (float(got) if isinstance(stands, float) else str(got) if column == "exact" else got) == stands


@pytest.fixture
async def types_site(tmp_path: Path) -> AsyncIterator[Site]:
    async with _site(tmp_path, TYPES, "All Types") as site:
        yield site


def test_a_question_mark_in_a_name_is_no_value() -> None:
    assert split_at_values("""INSERT INTO "a?""?" VALUES (?, '?''?', ?)""") == (
        """INSERT INTO "a?""?" VALUES (""",
        ", '?''?', ",
        ")",
    )


# Triggers


async def test_an_update_is_a_change_if_any_byte_changed_and_only_then(installed: Installed) -> None:
    installed.write(TEA)
    seen = len(await _waiting(installed))
    installed.write("UPDATE Item SET Label = Label, Stock = Stock + 0")
    assert len(await _waiting(installed)) == seen
    installed.write("UPDATE Item SET Label = UPPER(Label)", "UPDATE Item SET Label = CONCAT(Label, ' ')")
    assert len(await _waiting(installed)) == seen + 2


async def test_wide_tables_and_long_names_are_captured(tmp_path: Path) -> None:
    table, columns = "T" * 60, [f"a column with a long name, number {number}" for number in range(160)]
    schema = f'CREATE TABLE "{table}" ("Id" INT PRIMARY KEY, {", ".join(f"`{each}` TEXT" for each in columns)})'
    async with _site(tmp_path, schema.replace("`", '"'), table) as site:
        site.access.raw(f"INSERT INTO `{table}` (Id, `{columns[0]}`, `{columns[-1]}`) VALUES (1, 'a', 'z')")
        site.access.raw(f"UPDATE `{table}` SET `{columns[-1]}` = 'y'")
        site.access.raw(f"DELETE FROM `{table}`")
        changes = await _changes(site)
        assert [change.op for change in changes] == ["I", "U", "D"]
        assert _rows(changes)[1] == dict.fromkeys(columns) | {"Id": 1, columns[0]: "a", columns[-1]: "y"}
        there = await site.database.our_triggers()
        assert there == site.database.wanted_triggers(site.catalogue, await site.database.tables())
        assert all(len(name) <= 64 for name in there)


async def test_a_user_is_not_kept_waiting_by_what_we_apply(installed: Installed) -> None:
    installed.write(ADA, TEA)
    async with installed.database.transaction() as transaction:
        await transaction.mark({("Customer", (1,)): MARK})
        with _user(
            installed, "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET innodb_lock_wait_timeout=1"
        ) as user:
            user.execute("UPDATE Customer SET City = 'Rome' WHERE Id = 1")
            user.execute("INSERT INTO Item VALUES ('COF', 'Coffee', 1, 1)")
    assert [change.origin for change in await _waiting(installed)] == [""] * 4


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
        _user(installed, "BEGIN", "UPDATE Invoice SET Note = 'x' WHERE Id = 2") as user,
        _user(installed, short) as other,
    ):
        user.execute("UPDATE Line SET Quantity = 2 WHERE Id = 2")
        async with installed.database.transaction() as transaction:
            await transaction.lock_documents(doctype, names)  # raises where it waits for the user
            for held in ("UPDATE Invoice SET Note = 'y' WHERE Id = 8", "UPDATE Line SET Quantity = 3 WHERE Id = 8"):
                with pytest.raises(pymysql.err.OperationalError, match="Lock wait timeout"):
                    other.execute(held)
        user.execute("COMMIT")


async def test_a_row_too_large_for_json_becomes_a_gap_and_the_users_write_stands(tmp_path: Path) -> None:
    async with _site(tmp_path, TEXTS, "Text") as site:
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
    with _user(installed, "BEGIN", "SELECT * FROM Item FOR UPDATE"), pytest.raises(SiteBusy):
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
    async with _site(tmp_path, TYPES, "All Types") as site:
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
    async with _site(tmp_path, schema, "Bill", "Entry") as site:
        site.write('INSERT INTO "Bill" VALUES (1, 10)')
        site.write('DELETE FROM "Bill" WHERE "Id" = 1')
        assert [(change.table, change.op) for change in await _changes(site)] == [
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
    async with _site(tmp_path, """CREATE TABLE "Bill" ("Id" INT PRIMARY KEY)""", "Bill") as site:
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


@asynccontextmanager
async def _as_another(site: Site, *privileges: str) -> AsyncIterator[SiteDatabase]:
    """The site's database for a user of its own, with these privileges on the whole server."""
    user = servers.unprivileged_role(site.access.database)
    administrator = open_access(servers.administrator(site.access.database))
    administrator.execute(f"GRANT ALL PRIVILEGES ON {user.name}.* TO {user.user}@'%'")
    for privilege in privileges:
        administrator.execute(f"GRANT {privilege} ON *.* TO {user.user}@'%'")
    database = open_site(user.url)
    try:
        yield database
    finally:
        await database.close()


async def test_a_table_that_was_truncated_is_said_once_also_if_nobody_looked_meanwhile(tmp_path: Path) -> None:
    async with _site(tmp_path, TRUNCATED, "Bill", "Größe / $") as site:
        async with _as_another(site, "PROCESS") as database:
            assert await database.note_unseen(site.catalogue) == []
            site.write('INSERT INTO "Bill" VALUES (3, 30)')
            assert await database.note_unseen(site.catalogue) == []
        site.access.raw("TRUNCATE TABLE `Größe / $`; TRUNCATE TABLE Bill; INSERT INTO Bill VALUES (4, 40)")
        async with _as_another(site, "PROCESS") as database:
            assert await database.note_unseen(site.catalogue) == [
                "Bill was emptied (TRUNCATE)",
                "Größe / $ was emptied (TRUNCATE)",
            ]
            assert await database.note_unseen(site.catalogue) == []
        assert [(change.table, change.op) for change in await _changes(site)] == [
            ("Bill", "I"),
            ("Bill", "I"),
            ("Bill", "T"),
            ("Größe / $", "T"),
        ]


async def test_a_table_that_was_made_anew_in_another_way_is_not_taken_for_an_emptied_one(tmp_path: Path) -> None:
    latest = "SELECT MAX(made_at) FROM streamd_table"
    async with _site(tmp_path, TRUNCATED, "Bill") as site, _as_another(site, "PROCESS") as database:
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
    async with _site(tmp_path, TRUNCATED, "Bill") as site, _as_another(site) as database:
        assert await database.note_unseen(site.catalogue) == []
        site.access.raw("TRUNCATE TABLE Bill")
        assert await database.note_unseen(site.catalogue) == []
        assert any("TRUNCATE" in text for text in await database.warnings(site.catalogue))


# Names and collations


async def test_a_name_that_a_collation_takes_for_another_is_refused_and_not_merged(installed: Installed) -> None:
    installed.write("INSERT INTO Item VALUES ('abc', 'Abc', 1, 1)")
    doctype, table = installed.catalogue["Item"], (await installed.database.tables())["Item"]
    async with installed.database.snapshot() as reader:
        assert await reader.existing(doctype, [("ABC",), ("abc ",), ("abc",)]) == {("abc",)}
        assert (await reader.read_documents(doctype, [("ABC",)])) == {}
    with pytest.raises(RowRefused, match="Duplicate"):
        await _insert(installed.site, table, {"Code": "ABC", "Label": "other"})


async def test_keys_of_every_kind_carry_their_marks(tmp_path: Path) -> None:
    schema = """CREATE TABLE "Key" ("a" VARCHAR(20) CHARACTER SET latin1 NOT NULL, "b" DECIMAL(10,2) NOT NULL,
        "c" DATE NOT NULL, "d" BIT(4) NOT NULL, "e" DATETIME(3) NOT NULL, "f" TIMESTAMP(6) NOT NULL DEFAULT 0,
        "g" UUID NOT NULL, "h" BIGINT UNSIGNED NOT NULL, "i" ENUM('x') NOT NULL, "n" INT,
        CONSTRAINT "k" UNIQUE ("a", "b", "c", "d", "e", "f", "g", "h", "i"))"""
    key = list("abcdefghi")
    async with _site(tmp_path, schema, "Key", key=key) as site:
        name = (
            "é ",
            1.5,
            "2024-01-02",
            3,
            "2024-01-02 03:04:05.25",
            "2024-10-27 00:30:00.5+00:00",
            "123e4567-e89b-12d3-a456-426614174000",
            2**64 - 1,
            "x",
        )
        doctype, table = site.catalogue["Key"], (await site.database.tables())["Key"]
        by_name = {column.name: column for column in table.columns}
        columns, where = (by_name["n"],), tuple(by_name[each] for each in key)
        async with site.database.transaction() as transaction:
            await transaction.mark({("Key", name): MARK})
            await transaction.write([TableWrite(WriteKind.INSERT, "Key", where, (), [name])])
            await transaction.lock_documents(doctype, [name])
            await transaction.write([TableWrite(WriteKind.UPDATE, "Key", columns, where, [(1, *name)], exactly=True)])
            await transaction.write([TableWrite(WriteKind.UPDATE, "Key", columns, where, [(2, *name)], exactly=True)])
        async with site.database.snapshot() as reader:
            assert await reader.existing(doctype, [name]) == {name}
            assert await reader.list_names(doctype, None, 10) == [name]
            assert await reader.list_names(doctype, name, 10) == []
        assert [change.origin for change in await _changes(site)] == [MARK] * 3


# Capture


async def test_a_transaction_that_goes_on_for_long_does_not_stop_the_capture(installed: Installed) -> None:
    installed.write(TEA)
    with _user(installed, "BEGIN", "INSERT INTO Customer VALUES (2, 'Bob', NULL, NULL)") as bob:
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
    """A dump keeps the removed changes alive; without a floor each look goes through all of them."""
    site = open_site(servers.administrator(installed.access.database).url)
    installed.site.capture._database = site
    assert isinstance(site, MariadbSite)
    with _user(
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
        assert site._watch.floor(claim, 0) > 5000, "an idle look begins after what was removed"
    await site.close()


async def test_what_appears_below_an_id_that_was_taken_is_not_lost_to_the_floor(installed: Installed) -> None:
    site = open_site(servers.administrator(installed.access.database).url)
    installed.site.capture._database = site
    with _user(installed, "BEGIN", "INSERT INTO Customer VALUES (2, 'Bob', NULL, NULL)") as bob:
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


# Blind spots


async def _blind_spots(folder: Path, schema: str, *doctypes: str, **settings: Any) -> list[str]:
    async with _site(folder, schema, *doctypes, **settings) as site:
        return await site.database.blind_spots(site.catalogue, await site.database.tables())


async def test_a_plain_site_has_no_blind_spots(installed: Installed) -> None:
    assert await installed.database.blind_spots(installed.catalogue, await installed.database.tables()) == []


@pytest.mark.parametrize(
    ("settings", "replicating", "said"),
    [
        ({"wsrep_on": "ON"}, False, "Galera"),
        ({}, True, "replica"),
        ({"read_only": "ON"}, False, "read-only"),
        ({"read_only": "1"}, False, "read-only"),
        ({"auto_increment_increment": "2"}, False, "auto_increment_increment is not 1"),
        ({"log_bin": "ON", "binlog_format": "STATEMENT"}, False, "binlog_format"),
    ],
)
def test_a_server_that_breaks_the_order_of_changes_is_refused_with_the_mend(
    settings: dict[str, str], replicating: bool, said: str
) -> None:
    (found,) = breaks_order(settings, replicating)
    assert said in found
    assert "(hint: " in found


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"wsrep_on": "OFF", "read_only": "OFF", "auto_increment_increment": "1"},
        {"log_bin": "OFF", "binlog_format": "STATEMENT"},
        {"log_bin": "ON", "binlog_format": "MIXED"},
    ],
)
def test_an_ordinary_server_is_not_refused(settings: dict[str, str]) -> None:
    assert breaks_order(settings, False) == []


@pytest.mark.parametrize("rule", ["ON DELETE CASCADE", "ON DELETE SET NULL", "ON UPDATE CASCADE"])
async def test_what_the_server_would_change_by_itself_in_other_documents_is_refused(tmp_path: Path, rule: str) -> None:
    schema = f"""CREATE TABLE "A" ("Id" INT PRIMARY KEY);
        CREATE TABLE "B" ("Id" INT PRIMARY KEY, "A" INT, FOREIGN KEY ("A") REFERENCES "A" ("Id") {rule})"""
    (found,) = await _blind_spots(tmp_path, schema, "A", "B")
    assert rule in found
    assert "RESTRICT" in found


@pytest.mark.parametrize(
    ("key", "refused"),
    [
        ('"Id" VARCHAR(624) PRIMARY KEY', False),
        ('"Id" VARCHAR(625) PRIMARY KEY', True),
        ('"Id" VARCHAR(750) CHARACTER SET latin1 PRIMARY KEY', False),
        ('"Id" VARCHAR(300), "No" INT, "Of" VARCHAR(300), PRIMARY KEY ("Id", "No", "Of")', False),
        ('"Id" VARCHAR(350), "No" INT, "Of" VARCHAR(350), PRIMARY KEY ("Id", "No", "Of")', True),
        ('"Id" UUID PRIMARY KEY', False),
    ],
)
async def test_names_that_could_be_longer_than_what_is_remembered_are_refused(
    tmp_path: Path, key: str, refused: bool
) -> None:
    found = await _blind_spots(tmp_path, f'CREATE TABLE "A" ({key}, "x" INT)', "A")
    assert [("names of A can have" in text, "at most 624 characters" in text) for text in found] == [
        (True, True)
    ] * refused


async def test_a_name_that_cannot_be_remembered_holds_nothing_up(tmp_path: Path) -> None:
    schema = """CREATE TABLE "A" ("Id" VARCHAR(624) PRIMARY KEY, "x" INT)"""
    long = "\x01" * 600  # six bytes each, as JSON
    async with _site(tmp_path, schema, "A") as site:
        with structlog.testing.capture_logs() as said:
            for statement in ("INSERT INTO A VALUES (?, 1)", "UPDATE A SET x = 2 WHERE Id = ?"):
                for name in (long, long[:-1], "short"):
                    site.access.execute(statement, name)
                await site.capture.drain()
        events = [(entry.operation, len(entry.name)) for entry in await site.update_log.entries()][::-1]
        lengths = [len(json.dumps([name])) for name in (long, long[:-1], "short")]
        assert events == [(operation, length) for operation in ("create", "update") for length in lengths]
        async with site.database.snapshot() as reader:
            assert (await reader.records("A", [(long,), ("short",)])).keys() == {("short",)}
    assert [line["event"] for line in said if line["log_level"] == "warning"] == ["edits_not_remembered"]


async def test_a_cascade_within_a_document_is_covered_by_its_own_delete(tmp_path: Path) -> None:
    schema = """CREATE TABLE "A" ("Id" INT PRIMARY KEY);
        CREATE TABLE "L" ("Id" INT PRIMARY KEY, "A" INT, FOREIGN KEY ("A") REFERENCES "A" ("Id") ON DELETE CASCADE)"""
    lines = {"lines": {"table": "L", "key": "Id", "parent_key": "A"}}
    assert await _blind_spots(tmp_path, schema, "A", children=lines) == []
    (found,) = await _blind_spots(
        tmp_path, schema.replace("ON DELETE CASCADE", "ON UPDATE SET NULL"), "A", children=lines
    )
    assert "change their keys" in found, "a rename does not say that the document loses its rows"


async def test_tables_without_transactions_and_geometries_are_refused(tmp_path: Path) -> None:
    schema = """CREATE TABLE "A" ("Id" INT PRIMARY KEY) ENGINE = MyISAM;
        CREATE TABLE "G" ("Id" INT PRIMARY KEY, "Where" POINT)"""
    found = await _blind_spots(tmp_path, schema, "A", "G")
    assert [word in text for word, text in zip(("MyISAM", "point"), found, strict=True)] == [True] * 2


# Connections


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
    with _user(installed, "BEGIN", "UPDATE Item SET Stock = 1") as user:
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


def test_only_whole_numbers_that_nearly_all_follow_each_other_are_found_as_a_range() -> None:
    key = [Column("id", "bigint(20)", Kind.INTEGER)]
    assert between(key, [(3,), (1,), (2,)]) == ('t."id" BETWEEN ? AND ?', [1, 3])
    assert between(key, [(1,), (5,), (3,)]) is not None
    for names in ([(1,), (9,)], [(1,), ("2",)], [((1 << 63) - 1,), (1 << 63,)], []):
        assert between(key, names) is None
    assert between([Column("id", "varchar(9)", Kind.TEXT)], [(1,), (2,)]) is None
