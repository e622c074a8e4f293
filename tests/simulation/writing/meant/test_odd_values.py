"""Values that few columns hold: they arrive as they are, or the document is parked with the column and a way out.

Nothing of it stops other documents.
"""

from __future__ import annotations

import pytest

from tests.simulation.writing.meant.arriving import arrives
from tests.simulation.writing.meant.triggers import Pair
from tests.support.database_url import Engine


@pytest.mark.parametrize(("to", "declared"), [("postgresql", "float8"), ("sqlite", "REAL"), ("mariadb", "DOUBLE")])
@pytest.mark.parametrize("number", ["1e5000", "1e-5000"])
async def test_a_number_beyond_all_floats_becomes_neither_infinity_nor_zero(
    pair: Pair, number: str, to: Engine, declared: str
) -> None:
    _, error = await arrives(pair, "postgresql", "numeric", number, to, declared)
    assert error != ""


async def test_minus_zero_arrives(pair: Pair) -> None:
    for_both = "float8, w real"
    hq, store = await pair("postgresql", f"CREATE TABLE t (id int PRIMARY KEY, v {for_both}, x text)", {"t": {}})
    hq.write("INSERT INTO t VALUES (1, '-0', '-0', ':-0,'), (2, -0.5, '-0', NULL)")
    await store.pull_all(hq)
    assert await store.queue() == []
    assert store.rows("SELECT v::text, w::text, x FROM t ORDER BY id") == [("-0", "-0", ":-0,"), ("-0.5", "-0", None)]


FLOATS = ("0.1", "0.1234567", "1.1754944e-38", "3.4028233e38", "-9.8765435e-5", "16777216", "1.0000001", "-0.3")


@pytest.mark.parametrize(
    ("engine", "single", "to", "others"),
    [
        ("mariadb", "FLOAT", "postgresql", ("real", "float8", "numeric", "text")),
        ("postgresql", "real", "mariadb", ("FLOAT", "DOUBLE", "VARCHAR(60)", "FLOAT")),
        ("mariadb", "FLOAT", "sqlite", ("REAL", "NUMERIC", "TEXT", "")),
    ],
)
async def test_a_float_of_32_bits_arrives_as_the_number_that_was_meant(
    pair: Pair, engine: Engine, single: str, to: Engine, others: tuple[str, ...]
) -> None:
    table = "CREATE TABLE t (id INTEGER PRIMARY KEY, a {}, b {}, c {}, d {})"
    there = table.format(*others)
    hq, store = await pair(engine, table.format(*[single] * 4), {"t": {}}, to=to, there=there)
    hq.write(*(f"INSERT INTO t VALUES ({place}, {', '.join([each] * 4)})" for place, each in enumerate(FLOATS)))
    await store.pull_all(hq)
    assert await store.queue() == []
    for row, meant in zip(store.rows("SELECT a, b, c, d FROM t ORDER BY id"), FLOATS, strict=True):
        # MariaDB shows no more than six digits of a FLOAT.
        known = [value for value, declared in zip(row, others, strict=True) if declared != "FLOAT"]
        assert [float(str(value)) for value in known] == [float(meant)] * len(known)
    assert await store.read_whole(hq, "t", repair=True)
    assert await store.queue() == []
    assert await hq.pull_all(store) == 0


@pytest.mark.parametrize(("to", "declared"), [("postgresql", "real"), ("mariadb", "FLOAT")])
async def test_a_double_that_no_float_of_32_bits_is_is_parked_with_both(pair: Pair, to: Engine, declared: str) -> None:
    _, error = await arrives(pair, "sqlite", "REAL", "0.123456789", to, declared)
    assert "holds 0.1234567" in error
    assert "and not 0.123456789: the column" in error
    assert "keeps fewer digits" in error


@pytest.mark.parametrize(
    ("engine", "declared", "value", "to", "other", "why"),
    [
        ("sqlite", "TEXT", "'a' || char(0) || 'b'", "postgresql", "text", "NUL character"),
        ("mariadb", "JSON", """'"\\\\u0000"'""", "postgresql", "jsonb", "NUL character"),
        (
            "postgresql",
            "numeric",
            "18446744073709551616",
            "sqlite",
            "INTEGER",
            "up to 64 bits. Declare the column TEXT",
        ),
        ("sqlite", "BLOB", "x'6162'", "postgresql", "text", "these are bytes"),
        ("sqlite", "BLOB", "x'6162'", "postgresql", "jsonb", "these are bytes, and it holds JSON"),
        ("sqlite", "BLOB", "x'6162'", "mariadb", "JSON", "these are bytes, and it holds JSON"),
        ("sqlite", "INTEGER", "9007199254740993", "mariadb", "FLOAT", "keeps fewer digits"),
        ("sqlite", "INTEGER", "9007199254740993", "postgresql", "real", "keeps fewer digits"),
        ("postgresql", "text", "'20240229'", "mariadb", "DATE", "write it in full at the producer"),
        ("postgresql", "date", "'0044-03-15 BC'", "mariadb", "DATE", "Incorrect date value: '0044-03-15 BC'"),
    ],
)
async def test_what_a_column_cannot_hold_is_parked_with_its_name(
    pair: Pair, engine: Engine, declared: str, value: str, to: Engine, other: str, why: str
) -> None:
    _, error = await arrives(pair, engine, declared, value, to, other)
    assert why in error
    assert " v" in f" {error}" or "`v`" in error


@pytest.mark.parametrize("value", ["~0", "1 << 63", "5"])
async def test_all_bits_arrive(pair: Pair, value: str) -> None:
    store, error = await arrives(pair, "mariadb", "BIT(64)", value, "mariadb", "BIT(64)")
    assert error == ""
    assert store.rows(f"SELECT v = {value} FROM t WHERE id = 1") == [(1,)]


@pytest.mark.parametrize(("charset", "byte"), [("cp1250", "81"), ("ascii", "80"), ("ucs2", "D800")])
async def test_a_character_that_unicode_lacks_is_never_a_question_mark(pair: Pair, charset: str, byte: str) -> None:
    declared = f"VARCHAR(10) CHARACTER SET {charset}"
    _, error = await arrives(pair, "mariadb", declared, f"_{charset} x'{byte}'", "mariadb", declared)
    assert error == "the producer cannot read this document: v: not valid UTF-8 text. Correct it there"


async def test_question_marks_and_other_characters_of_a_charset_arrive(pair: Pair) -> None:
    declared = "VARCHAR(10) CHARACTER SET cp1250"
    store, error = await arrives(pair, "mariadb", declared, "'?ž€'", "mariadb", declared)
    assert (error, store.rows("SELECT v FROM t WHERE id = 1")) == ("", [("?ž€",)])


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("GEOMETRY", "ST_GeomFromText('LINESTRING(0 0,1 1)', 4326)"),
        ("POINT NOT NULL DEFAULT POINT(0, 0)", "POINT(1.5, 2)"),
    ],
)
async def test_geometries_arrive_with_their_reference_system(pair: Pair, declared: str, value: str) -> None:
    hq, store = await pair("mariadb", f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {declared})", {"t": {}})
    hq.write("INSERT INTO t VALUES (1, POINT(9, 9))" if "POINT" in declared else "INSERT INTO t VALUES (1, NULL)")
    await store.pull_all(hq)
    hq.write(f"UPDATE t SET v = {value}")
    await store.pull_all(hq)
    assert await store.queue() == []
    assert store.rows("SELECT HEX(v) FROM t") == hq.rows(f"SELECT HEX({value})")
    store.write("UPDATE t SET v = POINT(7, 8)")
    await hq.pull_all(store)
    assert hq.rows("SELECT ST_AsText(v) FROM t") == [("POINT(7 8)",)]
