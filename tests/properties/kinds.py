"""Kinds of columns: what each engine calls them, which values are tried, and what those mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from tests.support.database_url import Engine
from tests.support.meaning import Meaning, meaning


@dataclass(frozen=True, repr=False)
class Kind:
    """One kind of column.

    `types` are the declarations by engine; `others` are declarations that do not hold every value of the kind, or hold
    it in another form. `values` are tried in this order, so the first are the plainest. `reads` says how a text is
    read (`tests.support.meaning`).
    """

    name: str
    types: Mapping[Engine, str]
    values: tuple[Any, ...]
    others: Mapping[Engine, tuple[str, ...]]
    reads: str = ""
    unique: bool = False
    check: str = ""

    def __repr__(self) -> str:
        return self.name

    def meant(self, value: Any) -> Meaning:
        """What a value that a database gave means."""
        if self.name == "padded" and isinstance(value, str):
            value = value.rstrip()
        return meaning(value, self.reads)


def _kind(
    name: str,
    types: tuple[str, str, str],
    values: tuple[Any, ...],
    others: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] = ((), (), ()),
    **more: Any,
) -> Kind:
    engines: tuple[Engine, ...] = ("sqlite", "postgresql", "mariadb")
    return Kind(name, dict(zip(engines, types, strict=True)), values, dict(zip(engines, others, strict=True)), **more)


def _at(*parts: int) -> datetime:
    return datetime(*parts)  # type: ignore[arg-type]  # noqa: DTZ001  # naive on purpose


WORD = _kind(
    "word",
    ("VARCHAR(40)", "varchar(40)", "VARCHAR(40)"),
    ("a", "b", "c", "B", "00123", "", "ä", "a ", "abcdef"),
    (("STRING", "INTEGER"), ("varchar(3)",), ("VARCHAR(3)", "VARCHAR(40) CHARACTER SET latin1")),
    unique=True,
    check="\"{}\" <> 'c'",
)
INT = _kind(
    "int",
    ("INTEGER", "integer", "INTEGER"),
    (1, 2, 3, 0, -1, 70000),
    (("TEXT", "BOOLEAN"), ("smallint", "bigint"), ("SMALLINT", "TINYINT", "INTEGER UNSIGNED")),
    unique=True,
    reads="decimal",
    check='"{}" <> 3',
)
BIG = _kind(
    "big",
    ("INTEGER", "bigint", "BIGINT"),
    (1, 2**63 - 1, -(2**63), 2**53 + 1),
    (("REAL", "TEXT"), ("numeric",), ("DOUBLE",)),
    reads="decimal",
)
TEXT = _kind(
    "text",
    ("TEXT", "text", "LONGTEXT"),
    ("x", "", "😀 'ü\" \\ \n %s ?", "y" * 300, " z\t", "a\0b"),
    (("VARCHAR(10)",), ("varchar(10)",), ("TINYTEXT", "TEXT CHARACTER SET latin1")),
)
PRICE = _kind(
    "price",
    ("NUMERIC(10,2)", "numeric(10,2)", "DECIMAL(10,2)"),
    (Decimal("1.50"), Decimal("2"), Decimal("0"), Decimal("-0.01"), Decimal("99999999.99")),
    (("REAL", "TEXT"), ("numeric(6,1)", "double precision"), ("DECIMAL(6,1)", "DOUBLE")),
    reads="decimal",
    unique=True,
    check='"{}" >= 0',
)
EXACT = _kind(
    "exact",
    ("TEXT", "numeric(38,20)", "DECIMAL(38,20)"),
    (Decimal("1"), Decimal("0.00000000000000000001"), Decimal("12345678901234567.12345678901234567891")),
    (("DECIMAL(38,20)",), ("numeric",), ("DECIMAL(30,5)",)),
    reads="decimal",
)
REAL = _kind(
    "real",
    ("REAL", "double precision", "DOUBLE"),
    (0.5, 52.520008, 1 / 3, 1e300, -0.0, 8460.118448544279),
    (("NUMERIC",), ("numeric(12,6)",), ("DECIMAL(12,6)",)),
    reads="decimal",
)
BOOL = _kind(
    "bool",
    ("BOOLEAN", "boolean", "BOOLEAN"),
    (True, False),
    (("TEXT",), ("integer",), ("SMALLINT",)),
    reads="decimal",
)
DAY = _kind(
    "day",
    ("DATE", "date", "DATE"),
    (date(2024, 2, 29), date(2024, 3, 1), date(1000, 1, 1), date(9999, 12, 31)),
    (("TEXT",), ("timestamp",), ("DATETIME", "TIMESTAMP NULL")),
    reads="moment",
    unique=True,
)
MOMENT = _kind(
    "moment",
    ("DATETIME", "timestamp", "DATETIME(6)"),
    (_at(2024, 2, 29, 12, 30), _at(2024, 2, 29, 12, 30, 0, 123456), _at(1000, 1, 1), _at(2038, 1, 19, 3, 14, 8)),
    (("TEXT",), ("timestamp(0)", "date"), ("DATETIME", "DATETIME(3)")),
    reads="moment",
)
INSTANT = _kind(
    "instant",
    ("TIMESTAMPTZ", "timestamptz", "TIMESTAMP(6) NULL"),
    (datetime(2024, 2, 29, 12, 30, tzinfo=UTC), datetime(2001, 9, 9, 1, 46, 40, 5, tzinfo=UTC)),
    reads="zoned",
)
HOUR = _kind(
    "hour",
    ("TIME", "time", "TIME(6)"),
    (time(8), time(23, 59, 59, 250000)),
    ((), ("time(0)",), ("TIME",)),
    reads="time",
)
JSON = _kind(
    "json",
    ("JSON", "jsonb", "JSON"),
    ('{"a": [1, 2.5, null]}', "[]", '{"b": "ü\\n", "a": 100}'),
    (("TEXT",), ("json", "text"), ("LONGTEXT",)),
    reads="json",
)
BYTES = _kind(
    "bytes",
    ("BLOB", "bytea", "LONGBLOB"),
    (b"\x01", b"", bytes(range(256))),
    ((), (), ("VARBINARY(10)", "BINARY(4)")),
)
UUID = _kind(
    "uuid",
    ("UUID", "uuid", "UUID"),
    ("00000000-0000-4000-8000-000000000001", "a0000000-0000-4000-8000-00000000000f"),
    (("TEXT",), ("text",), ("CHAR(36)",)),
)
PADDED = _kind("padded", ("CHAR(5)", "char(5)", "CHAR(5)"), ("ab", "abcde", ""))

KINDS = (WORD, INT, PRICE, REAL, TEXT, BIG, EXACT, BOOL, DAY, MOMENT, INSTANT, HOUR, JSON, BYTES, UUID, PADDED)


def given(engine: Engine, kind: Kind, value: Any) -> Any:
    """A value as a user of this engine writes it."""
    if engine != "sqlite" or value is None:
        return value
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat(" ")
    return value.isoformat() if isinstance(value, date | time) else value
