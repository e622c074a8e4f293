"""Documents that are found by what their columns hold, compared exactly, on every engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from streamd.model import Name
from streamd.wire import read_json
from tests.simulation.sites import Site
from tests.support.database_url import Engine
from tests.support.servers import ENGINES

SCHEMAS: dict[Engine, str] = {
    "sqlite": """CREATE TABLE "Thing" ("Id" INTEGER PRIMARY KEY, "Text" VARCHAR(40) COLLATE NOCASE, "Whole" INTEGER,
        "Exact" NUMERIC(10,2), "Float" REAL, "Flag" BOOLEAN, "Day" DATE, "At" TIMESTAMP, "Raw" BLOB, "Uuid" CHAR(36),
        "se""lect?" TEXT)""",
    "postgresql": """CREATE COLLATION anyhow (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        CREATE TABLE "Thing" ("Id" int PRIMARY KEY, "Text" varchar(40) COLLATE anyhow, "Whole" int,
        "Exact" numeric(10,2), "Float" real, "Flag" boolean, "Day" date, "At" timestamp, "Raw" bytea, "Uuid" uuid,
        "se""lect?" text)""",
    "mariadb": """CREATE TABLE "Thing" ("Id" INT PRIMARY KEY, "Text" VARCHAR(40) COLLATE utf8mb4_general_ci,
        "Whole" INT, "Exact" DECIMAL(10,2), "Float" DOUBLE, "Flag" BOOLEAN, "Day" DATE, "At" DATETIME,
        "Raw" VARBINARY(40), "Uuid" UUID, "se""lect?" TEXT)""",
}
UUID = "123e4567-e89b-12d3-a456-426614174000"
ROW = (1, "Ada", 7, "2.50", 0.5, True, "2026-03-01", "2026-03-01 10:00:00", b"\x00\xff", UUID, "x")
NAMES = ("Text", "Whole", "Exact", "Float", "Flag", "Day", "At", "Raw", "Uuid", 'se"lect?')


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param  # type: ignore[no-any-return]  # one of the above


@pytest.fixture
async def site(tmp_path: Path, engine: Engine) -> AsyncIterator[Site]:
    made = Site(tmp_path, "hq", schema=SCHEMAS[engine], engine=engine, doctypes={"Thing": {}})
    await made.open()
    rows = [ROW, (2, "ADA", 8, *ROW[3:]), (3, *[None] * 10), (4, "ada ", 8, *ROW[3:-1], "' OR 1 = 1 --")]
    marks = ", ".join("?" * 11)
    with made.access.connection() as connection:
        for row in rows:
            connection.execute(f'INSERT INTO "Thing" VALUES ({marks})', row)
    yield made
    await made.close()


async def _find(site: Site, limit: int = 10, /, **values: Any) -> list[Name]:
    async with site.database.snapshot() as reader:
        return sorted(await reader.find_documents(site.catalogue["Thing"], values, limit))


HELD: tuple[tuple[str, Any], ...] = (
    ("Whole", 7), ("Whole", read_json("7.0")), ("Whole", "7"), ("Exact", read_json("2.5")), ("Exact", 2.5),
    ("Exact", read_json("2.50")), ("Float", read_json("0.5")), ("Flag", True), ("Flag", 1), ("Day", "2026-03-01"),
    ("At", "2026-03-01 10:00:00"), ("Raw", {"$hex": "00ff"}), ("Uuid", UUID), ('se"lect?', "x"),
)  # fmt: skip


async def test_a_document_is_found_by_what_a_column_holds(site: Site) -> None:
    for column, value in HELD:
        assert await _find(site, Text="Ada", **{column: value}) == [(1,)], f"{column} = {value!r}"


async def test_text_is_compared_exactly_whatever_the_collation(site: Site) -> None:
    assert await _find(site, Text="Ada") == [(1,)]
    assert await _find(site, Text="ADA") == [(2,)]
    assert await _find(site, Text="ada") == []
    assert await _find(site, Text="ada ") == [(4,)]


LONG: dict[Engine, tuple[tuple[str, str], ...]] = {
    "sqlite": (("INTEGER", "-9223372036854775808"), ("NUMERIC(38,0)", "100000000000000000000")),
    "postgresql": (("numeric(38,20)", "123456789012345678.01234567890123456789"), ("numeric", "36893488147419103232")),
    "mariadb": (
        ("DECIMAL(38,20)", "123456789012345678.01234567890123456789"),
        ("BIGINT UNSIGNED", "18446744073709551615"),
    ),
}


async def test_numbers_are_found_to_their_last_digit(tmp_path: Path, engine: Engine) -> None:
    (first, number), (second, other) = LONG[engine]
    schema = f'CREATE TABLE "Thing" ("Id" INTEGER PRIMARY KEY, "First" {first}, "Second" {second})'
    site = Site(tmp_path, "hq", schema=schema, engine=engine, doctypes={"Thing": {}})
    await site.open()
    try:
        site.write(f'INSERT INTO "Thing" VALUES (1, {number}, {other})')
        assert await _find(site, First=number, Second=other) == [(1,)]
        assert await _find(site, First=read_json(number), Second=read_json(other)) == [(1,)]
        for near in (number[:-1] + "7", read_json(number[:-1] + "7")):
            assert await _find(site, First=near) == []
    finally:
        await site.close()


async def test_all_values_have_to_be_held_and_null_is_equal_to_nothing(site: Site) -> None:
    assert await _find(site, Whole=8) == [(2,), (4,)]
    assert await _find(site, Whole=8, Text="Ada") == []
    assert await _find(site, Whole=None) == []
    assert await _find(site, Text=None, Whole=8) == []
    assert await _find(site) == [], "who seeks nothing finds nothing"


async def test_no_more_are_given_than_were_asked_for(site: Site) -> None:
    assert len(await _find(site, 2, Exact=read_json("2.5"))) == 2
    assert len(await _find(site, 1, Flag=True)) == 1


ODD: tuple[Any, ...] = (
    1 << 70, -1.5, read_json("1e999"), read_json("1e-999"), read_json("123456789012345678901234567890.123456789"),
    float("nan"), "", "x" * 5000, "a\0b", "\ud800", "' OR 1 = 1 --x", "\\", {"$hex": "zz"}, {"$hex": ""}, {"a": 1},
    [1], "2026-02-30", "infinity", "10:00", "{}", "NaN", "1e400",
)  # fmt: skip


async def test_what_no_column_holds_is_found_nowhere_and_fails_nowhere(site: Site) -> None:
    thing = site.catalogue["Thing"]
    async with site.database.transaction() as transaction:
        for column in NAMES:
            for value in ODD:
                found = await transaction.find_documents(thing, {column: value}, 10)
                assert found == [], f"{column} = {value!r}"
        assert await transaction.find_documents(thing, {"Text": "Ada"}, 10) == [(1,)]


async def test_a_column_is_never_taken_for_sql(site: Site) -> None:
    assert await _find(site, **{'se"lect?': "' OR 1 = 1 --"}) == [(4,)]
    assert await _find(site, **{'"Id" OR 1 = 1 --': 1}) == [], "an unknown column is held by nothing"


async def test_columns_that_do_not_travel_cannot_be_probed(site: Site) -> None:
    thing = site.catalogue["Thing"]
    kept = tuple(column for column in thing.columns if column.name != "Whole")
    async with site.database.snapshot() as reader:
        assert await reader.find_documents(replace(thing, columns=kept, excluded=("Whole",)), {"Whole": 7}, 5) == []
