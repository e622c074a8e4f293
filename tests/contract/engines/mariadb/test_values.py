"""MariaDB's types: read, captured, written and refused as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from streamd.db.mariadb.driver import split_at_values
from streamd.errors import RowRefused
from streamd.wire import read_json
from tests.contract.engines.mariadb.sessions import (
    TEXTS,
    TYPES,
    changes_of,
    insert_rows,
    mariadb_site,
    rows_after,
    session,
)
from tests.simulation.sites import Site

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


def _drawing(schema: str, table: str) -> str:
    """The schema, with a table whose default draws from a sequence: its rows are inserted in another way."""
    return (
        f'CREATE SEQUENCE numbers; {schema}; ALTER TABLE "{table}" ADD COLUMN "Number" BIGINT DEFAULT NEXTVAL(numbers)'
    )


@pytest.mark.parametrize("draws", [False, True], ids=["", "draws"])
@pytest.mark.parametrize("many", [False, True], ids=["single", "many"])
async def test_no_text_and_no_bytes_are_taken_for_sql(tmp_path: Path, many: bool, draws: bool) -> None:
    async with mariadb_site(
        tmp_path, _drawing(TEXTS, "Text") if draws else TEXTS, "Text", exclude=["Number"] * draws
    ) as site:
        table = (await site.database.tables())["Text"]
        rows = [
            {"Id": number, "Value": text, "Raw": {"$hex": text.encode().hex()}} for number, text in enumerate(HOSTILE)
        ]
        rows.append({"Id": 100, "Value": None, "Raw": {"$hex": bytes(range(256)).hex()}})
        for some in [rows] if many else [[row] for row in rows]:
            await insert_rows(site, table, *some)
        async with site.database.snapshot() as reader:
            found = await reader.read_documents(site.catalogue["Text"], [(row["Id"],) for row in rows])
        assert [read_json(found[(row["Id"],)].row) for row in rows] == rows
        assert [read_json(change.after or b"") for change in await changes_of(site)] == rows


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
    "single": 0.1,
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
    "single": 3.4028235e38,
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
        mariadb_site(tmp_path / "one", schema, "All Types", exclude=["Number"] * draws) as site,
        mariadb_site(tmp_path / "two", schema, "All Types", exclude=["Number"] * draws) as other,
    ):
        table = (await site.database.tables())["All Types"]
        rows = [_as_sent(row) for row in (FULL, EDGE, NOTHING)]
        await insert_rows(site, table, *rows)
        names = [(row["Id"],) for row in rows]
        doctype = site.catalogue["All Types"]
        async with site.database.snapshot() as reader:
            documents = await reader.read_documents(doctype, names)
            assert await reader.existing(doctype, names) == set(names)
        texts = [documents[name].row for name in names]
        assert [_comparable(read_json(text)) for text in texts] == [_comparable(row) for row in rows]
        assert b"123456789012345678.12345678901234567890" in texts[0], "an exact number stays exact"
        assert [change.after for change in await changes_of(site)] == texts
        await insert_rows(other, table, *(read_json(text) for text in texts))
        with session(site) as one, session(other) as two:
            for user in (one, two):
                user.execute("SELECT * FROM `All Types` ORDER BY Id")
            assert two.fetchall() == one.fetchall()


async def test_what_a_users_session_has_set_does_not_change_the_captured_values(tmp_path: Path) -> None:
    async with mariadb_site(tmp_path, TYPES, "All Types") as site:
        await insert_rows(site, (await site.database.tables())["All Types"], _as_sent(FULL))
        with session(site, *STRANGE) as user:
            user.execute("UPDATE `All Types` SET `select` = 6")
        _, change = await changes_of(site)
        before, after = read_json(change.before or b""), read_json(change.after or b"")
        assert after == before | {"select": 6}
        assert _comparable(before) == _comparable(_as_sent(FULL))


async def test_an_hour_that_comes_twice_is_told_apart(tmp_path: Path) -> None:
    schema = 'CREATE TABLE "Shift" ("Id" INT PRIMARY KEY, "At" TIMESTAMP(3) NULL)'
    async with mariadb_site(tmp_path, schema, "Shift") as site:
        # A zone with summer time, without the server's own tables of zones: what is stored are seconds since 1970.
        await insert_rows(
            site,
            (await site.database.tables())["Shift"],
            {"Id": 1, "At": "2024-10-27 00:30:00+00:00"},
            {"Id": 2, "At": "2024-10-27T02:30:00.250+01:00"},
        )
        rows = rows_after(await changes_of(site))
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
        await insert_rows(types_site, table, {"Id": 77, column: value})
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
    await insert_rows(types_site, table, {"Id": 78, column: value})
    async with types_site.database.snapshot() as reader:
        found = await reader.read_documents(types_site.catalogue["All Types"], [(78,)])
    got = read_json(found[(78,)].row)[column]
    assert (float(got) if isinstance(stands, float) else str(got) if column == "exact" else got) == stands


@pytest.fixture
async def types_site(tmp_path: Path) -> AsyncIterator[Site]:
    async with mariadb_site(tmp_path, TYPES, "All Types") as site:
        yield site


def test_a_question_mark_in_a_name_is_no_value() -> None:
    assert split_at_values("""INSERT INTO "a?""?" VALUES (?, '?''?', ?)""") == (
        """INSERT INTO "a?""?" VALUES (""",
        ", '?''?', ",
        ")",
    )
