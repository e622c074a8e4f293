"""Every common type, with values at its edges, from each engine to each other one: what arrives is equal."""

from __future__ import annotations

import asyncio
import json
import math
import struct
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.simulation.sites import Site
from tests.support.database_url import Engine
from tests.support.examples import SERVERS
from tests.support.matrix import ALL_PAIRS
from tests.support.servers import ENGINES, server

TABLE = "Group of Types"
"""With spaces; and columns that are reserved words, or need quotes."""


_FIRST = datetime(1000, 1, 1)  # noqa: DTZ001  # naive on purpose, as all of these
_LAST = datetime(9999, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001
_STAMPS_FROM, _STAMPS_TO = datetime(1970, 1, 2), datetime(2038, 1, 18)  # noqa: DTZ001


def _same(value: Any) -> Any:
    return value


def _decimal(value: Any) -> Any:
    return Decimal(str(value)).normalize()


def _instant(value: Any) -> Any:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _moment(value: Any) -> Any:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _time(value: Any) -> Any:
    if isinstance(value, str):
        return time.fromisoformat(value)
    if isinstance(value, time):
        return value
    return (_FIRST + value).time()  # PyMySQL gives a timedelta


def _single(value: Any) -> Any:
    """The 32-bit float that a number is kept as."""
    return struct.pack("f", float(value))


@dataclass(frozen=True)
class Sort:
    """One column: how each engine calls its type, what it may hold, and what its values mean."""

    name: str
    types: tuple[str, str, str]
    values: st.SearchStrategy[Any]
    meaning: Callable[[Any], Any] = _same

    def type_at(self, engine: Engine) -> str:
        return self.types[ENGINES.index(engine)]


_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
_JSON = st.recursive(
    st.booleans() | st.integers(-(10**9), 10**9) | _TEXT | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
).map(lambda value: [value])
_SINCE_1000 = st.datetimes(_FIRST, _LAST)
_STAMPS = st.datetimes(_STAMPS_FROM, _STAMPS_TO, timezones=st.just(UTC))
_INT64 = st.sampled_from([-(2**63), 2**63 - 1, 0, -1]) | st.integers(-(2**63), 2**63 - 1)

_HUNDREDTHS = st.integers(-99999, 99999).map(lambda number: number / 100)
"""MariaDB shows six digits of a FLOAT."""
_UINT64 = st.just(2**64 - 1) | st.integers(0, 2**64 - 1)

SORTS = (
    Sort("big", ("INTEGER", "bigint", "BIGINT"), _INT64),
    Sort("select", ("INTEGER", "smallint", "SMALLINT"), st.integers(-(2**15), 2**15 - 1)),
    Sort(
        "Exact Number",
        ("TEXT", "numeric(38,20)", "DECIMAL(38,20)"),
        st.decimals(-(10**17), 10**17, places=20, allow_nan=False)
        | st.sampled_from([Decimal("0.00000000000000000001"), Decimal("999999999999999999.99999999999999999999")]),
        Decimal,
    ),
    Sort(
        "price",
        ("NUMERIC(10,2)", "numeric(10,2)", "DECIMAL(10,2)"),
        st.decimals(-99999999, 99999999, places=2),
        _decimal,
    ),
    Sort("float", ("REAL", "double precision", "DOUBLE"), st.floats(allow_nan=False, allow_infinity=False)),
    Sort("Flag", ("BOOLEAN", "boolean", "BOOLEAN"), st.booleans(), bool),
    Sort("text", ("TEXT", "text", "LONGTEXT"), st.just("") | st.just("😀 'ü\" \\ \n %s ?") | _TEXT),
    Sort("order", ("VARCHAR(80)", "varchar(80)", "VARCHAR(80)"), _TEXT),
    Sort(
        "bytes",
        ("BLOB", "bytea", "LONGBLOB"),
        st.just(b"") | st.just(bytes(range(256))) | st.binary(max_size=60),
        bytes,
    ),
    Sort("day", ("DATE", "date", "DATE"), st.dates(date(1000, 1, 1)), lambda value: date.fromisoformat(str(value))),
    Sort("hour", ("TIME", "time", "TIME(6)"), st.times(), _time),
    Sort("moment", ("DATETIME", "timestamp", "DATETIME(6)"), _SINCE_1000, _moment),
    Sort("instant", ("TIMESTAMPTZ", "timestamptz", "TIMESTAMP(6) NULL"), _STAMPS, _instant),
    Sort("id of", ("UUID", "uuid", "UUID"), st.uuids(version=4).map(str), lambda value: UUID(str(value))),
    Sort(
        "json",
        ("JSON", "jsonb", "JSON"),
        _JSON.map(lambda value: json.dumps(value, ensure_ascii=False)),
        lambda value: json.loads(value) if isinstance(value, str) else value,
    ),
    Sort("col\"quo'te", ("TEXT", "text", "TEXT"), _TEXT),
)
"""What the others have no word for stands on their side as what it travels as."""

OWN: dict[Engine, tuple[Sort, ...]] = {
    "sqlite": (),
    "postgresql": (
        Sort(
            "numbers",
            ("TEXT", "integer[]", "LONGTEXT"),
            st.lists(st.integers(-(2**31), 2**31 - 1), max_size=3),
            lambda value: json.loads(value) if isinstance(value, str) else value,
        ),
        Sort(
            "padded", ("TEXT", "char(5)", "CHAR(5)"), st.sampled_from(["", "ab", "abcde"]), lambda value: value.rstrip()
        ),
        Sort("kind", ("TEXT", "mood", "TEXT"), st.sampled_from(["calm", "über", "so-so"])),
        Sort("single", ("REAL", "real", "DOUBLE"), _HUNDREDTHS, _single),
        Sort("address", ("TEXT", "inet", "TEXT"), st.sampled_from(["10.0.0.1", "::1", "10.1.0.0/16"]), str),
    ),
    "mariadb": (
        Sort(
            "unsigned",
            ("TEXT", "numeric(20,0)", "BIGINT UNSIGNED"),
            st.just(2**64 - 1) | st.integers(0, 2**64 - 1),
            int,
        ),
        Sort(
            "bits",
            ("INTEGER", "bigint", "BIT(16)"),
            st.integers(0, 2**16 - 1),
            lambda value: int.from_bytes(value, "big") if isinstance(value, bytes) else value,
        ),
        Sort("colour", ("TEXT", "text", "ENUM('red','grün','')"), st.sampled_from(["red", "grün", ""])),
        Sort("some", ("TEXT", "text", "SET('a','b','c')"), st.sampled_from(["", "a", "a,c"])),
        Sort("year", ("INTEGER", "integer", "YEAR"), st.integers(1901, 2155)),
        Sort("latin", ("TEXT", "text", "VARCHAR(20) CHARACTER SET latin1"), st.sampled_from(["", "Käse", "naïve €"])),
        Sort("single", ("REAL", "real", "FLOAT"), _HUNDREDTHS, _single),
        Sort("measured", ("NUMERIC(10,2)", "numeric(10,2)", "FLOAT"), _HUNDREDTHS, _single),
    ),
}


def _sorts(producer: Engine) -> tuple[Sort, ...]:
    return SORTS + OWN[producer]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _schema(engine: Engine, producer: Engine) -> str:
    columns = ", ".join(f"{_quoted(sort.name)} {sort.type_at(engine)}" for sort in _sorts(producer))
    # Made of another column, so it is nobody's to write.
    twice = f'"twice" {"integer" if engine == "postgresql" else "INTEGER"} GENERATED ALWAYS AS ("select" * 2) STORED'
    mood = "CREATE TYPE mood AS ENUM ('calm', 'über', 'so-so');" if engine == "postgresql" else ""
    return f'{mood} CREATE TABLE "{TABLE}" ("Id" INTEGER PRIMARY KEY, {columns}, {twice})'


def _given(engine: Engine, value: Any) -> Any:
    """A value as a user of this engine writes it."""
    if engine != "sqlite":
        return value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat(" ")
    return value.isoformat() if isinstance(value, date | time) else value


def _rows(producer: Engine) -> st.SearchStrategy[list[list[Any]]]:
    return st.lists(
        st.tuples(*(st.none() | sort.values for sort in _sorts(producer))).map(list), min_size=1, max_size=6
    )


class Pair:
    """Two sites that stay open over many examples: each writes rows, changes them, and compares."""

    def __init__(self, folder: Path, producer: Engine, consumer: Engine) -> None:
        self.sorts = _sorts(producer)
        self.one, self.other = (
            Site(folder, name, schema=_schema(engine, producer), engine=engine, doctypes={TABLE: {}})
            for name, engine in (("hq", producer), ("store", consumer))
        )
        self._last = 0

    async def travel(self, rows: list[list[Any]], again: list[list[Any]]) -> None:
        engine = self.one.access.engine
        first, self._last = self._last + 1, self._last + len(rows)
        columns = ", ".join(_quoted(sort.name) for sort in self.sorts)
        with self.one.access.write() as connection:
            for number, row in enumerate(rows, first):
                connection.execute(
                    f'INSERT INTO "{TABLE}" ("Id", {columns}) VALUES ({", ".join("?" * (len(row) + 1))})',
                    [number, *(_given(engine, value) for value in row)],
                )
        await self._compare(first)
        changes = ", ".join(f"{_quoted(sort.name)} = ?" for sort in self.sorts)
        with self.one.access.write() as connection:
            for number, row in enumerate(again[: len(rows)], first):
                values = [_given(engine, value) for value in row]
                connection.execute(f'UPDATE "{TABLE}" SET {changes} WHERE "Id" = ?', [*values, number])
        await self._compare(first)

    async def _compare(self, first: int) -> None:
        await self.other.pull_all(self.one)
        assert await self.other.queue() == []
        there, here = self._meanings(self.one, first), self._meanings(self.other, first)
        for one, other in zip(there, here, strict=True):
            assert one == other
        assert await self.one.pull_all(self.other) == 0

    def _meanings(self, site: Site, first: int) -> list[dict[str, Any]]:
        names = ", ".join(_quoted(sort.name) for sort in self.sorts)
        rows = site.rows(f'SELECT {names}, "twice" FROM "{TABLE}" WHERE "Id" >= {first} ORDER BY "Id"')
        return [
            {
                sort.name: None if value is None else sort.meaning(value)
                for sort, value in zip(self.sorts, row[:-1], strict=True)
            }
            | {"twice": row[-1]}
            for row in rows
        ]


@pytest.mark.hypothesis
@pytest.mark.parametrize("engines", ALL_PAIRS)
def test_every_type_comes_out_equal(engines: tuple[Engine, Engine]) -> None:
    producer, consumer = engines
    for engine in engines:
        server(engine)
    edges = [[None] * len(_sorts(producer))]

    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        pair = Pair(Path(folder), producer, consumer)
        runner.run(pair.one.open())
        runner.run(pair.other.open())

        @SERVERS
        @given(_rows(producer), _rows(producer))
        @example(edges, edges)
        def travels(rows: list[list[Any]], again: list[list[Any]]) -> None:
            runner.run(pair.travel(rows, again))

        try:
            travels()
        finally:
            runner.run(pair.one.close())
            runner.run(pair.other.close())


@pytest.mark.parametrize(
    ("producer", "consumer"), [("postgresql", "postgresql"), ("postgresql", "sqlite"), ("sqlite", "postgresql")]
)
async def test_infinite_numbers_travel_where_both_engines_have_them(
    tmp_path: Path, producer: Engine, consumer: Engine
) -> None:
    sites = [
        Site(
            tmp_path,
            name,
            schema='CREATE TABLE "Size" ("Id" INTEGER PRIMARY KEY, "Value" double precision)',
            engine=engine,
            doctypes={"Size": {}},
        )
        for name, engine in (("hq", producer), ("store", consumer))
    ]
    for site in sites:
        await site.open()
    with sites[0].access.write() as connection:
        for number, value in enumerate((math.inf, -math.inf, 5e-324, 1.7976931348623157e308, -0.0)):
            connection.execute('INSERT INTO "Size" VALUES (?, ?)', [number, value])
    await sites[1].pull_all(sites[0])
    expected = [math.inf, -math.inf, 5e-324, 1.7976931348623157e308, -0.0]
    assert [value for (value,) in sites[1].rows('SELECT "Value" FROM "Size" ORDER BY "Id"')] == expected
    assert await sites[1].queue() == []
    for site in sites:
        await site.close()


async def test_an_equal_document_is_adopted_although_its_columns_are_of_other_types(tmp_path: Path) -> None:
    hq = Site(tmp_path, "hq", schema='CREATE TABLE "Item" ("Id" TEXT PRIMARY KEY, "Rate" TEXT)', doctypes={"Item": {}})
    schema = 'CREATE TABLE "Item" ("Id" TEXT PRIMARY KEY, "Rate" NUMERIC)'
    store = Site(tmp_path, "store", schema=schema, doctypes={"Item": {}})
    await hq.open()
    await store.open()
    try:
        store.write("INSERT INTO \"Item\" VALUES ('a', 5)")
        await store.capture.drain()
        hq.write("INSERT INTO \"Item\" VALUES ('a', '5')")
        await store.pull_all(hq)
        assert await store.queue() == []
        hq.write('UPDATE "Item" SET "Rate" = \'6\'')
        await store.pull_all(hq)
        assert (await store.queue(), store.rows('SELECT "Rate" FROM "Item"')) == ([], [(6,)])
    finally:
        await hq.close()
        await store.close()
