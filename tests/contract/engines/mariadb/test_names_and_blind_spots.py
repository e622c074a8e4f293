"""Names as MariaDB compares them, and what streamd cannot follow there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import structlog

from streamd.db.base import TableWrite, WriteKind
from streamd.db.mariadb.checks import breaks_order
from streamd.db.mariadb.names import between
from streamd.errors import RowRefused
from streamd.model import Column, Kind
from tests.contract.conftest import Installed
from tests.contract.engines.mariadb.sessions import changes_of, insert_rows, mariadb_site
from tests.contract.site.writes import MARK


async def test_a_name_that_a_collation_takes_for_another_is_refused_and_not_merged(installed: Installed) -> None:
    installed.write("INSERT INTO Item VALUES ('abc', 'Abc', 1, 1)")
    doctype, table = installed.catalogue["Item"], (await installed.database.tables())["Item"]
    async with installed.database.snapshot() as reader:
        assert await reader.existing(doctype, [("ABC",), ("abc ",), ("abc",)]) == {("abc",)}
        assert (await reader.read_documents(doctype, [("ABC",)])) == {}
    with pytest.raises(RowRefused, match="Duplicate"):
        await insert_rows(installed.site, table, {"Code": "ABC", "Label": "other"})


async def test_keys_of_every_kind_carry_their_marks(tmp_path: Path) -> None:
    schema = """CREATE TABLE "Key" ("a" VARCHAR(20) CHARACTER SET latin1 NOT NULL, "b" DECIMAL(10,2) NOT NULL,
        "c" DATE NOT NULL, "d" BIT(4) NOT NULL, "e" DATETIME(3) NOT NULL, "f" TIMESTAMP(6) NOT NULL DEFAULT 0,
        "g" UUID NOT NULL, "h" BIGINT UNSIGNED NOT NULL, "i" ENUM('x') NOT NULL, "n" INT,
        CONSTRAINT "k" UNIQUE ("a", "b", "c", "d", "e", "f", "g", "h", "i"))"""
    key = list("abcdefghi")
    async with mariadb_site(tmp_path, schema, "Key", key=key) as site:
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
        assert [change.origin for change in await changes_of(site)] == [MARK] * 3


async def _blind_spots(folder: Path, schema: str, *doctypes: str, **settings: Any) -> list[str]:
    async with mariadb_site(folder, schema, *doctypes, **settings) as site:
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
    async with mariadb_site(tmp_path, schema, "A") as site:
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


async def test_tables_without_transactions_are_refused(tmp_path: Path) -> None:
    (found,) = await _blind_spots(tmp_path, 'CREATE TABLE "A" ("Id" INT PRIMARY KEY) ENGINE = MyISAM', "A")
    assert "MyISAM" in found


def test_only_whole_numbers_that_nearly_all_follow_each_other_are_found_as_a_range() -> None:
    key = [Column("id", "bigint(20)", Kind.INTEGER)]
    assert between(key, [(3,), (1,), (2,)]) == ('t."id" BETWEEN ? AND ?', [1, 3])
    assert between(key, [(1,), (5,), (3,)]) is not None
    for names in ([(1,), (9,)], [(1,), ("2",)], [((1 << 63) - 1,), (1 << 63,)], []):
        assert between(key, names) is None
    assert between([Column("id", "varchar(9)", Kind.TEXT)], [(1,), (2,)]) is None
