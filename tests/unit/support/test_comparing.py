"""Comparing rows in tests: what is called equal within one engine and across two, and what is not."""

# ruff: noqa: DTZ001  (moments without a zone are among what is compared)
from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from tests.support import servers
from tests.support.access import Access
from tests.support.engines import open_access, translate
from tests.support.meaning import meanings

ID = "0b1f6c1e-6f0e-4a57-9a8e-111111111111"


def mean_the_same(one: Any, other: Any) -> bool:
    ones, others = meanings([(one,)], [(other,)])
    return ones == others


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (None, None),
        (0.1, Decimal("0.1")),
        (5, Decimal("5.00")),
        (True, 1),
        (-0.0, 0),
        (math.inf, Decimal("Infinity")),
        (math.nan, math.nan),
        (2**63 - 1, Decimal(2**63 - 1)),
        ("12345678901234567890.123456789012345678900", Decimal("12345678901234567890.1234567890123456789")),
        ("2026-11-23 00:00:00", datetime(2026, 11, 23)),
        ("2026-11-23", datetime(2026, 11, 23)),
        ("2026-11-23 12:00:00.000001", datetime(2026, 11, 23, 12, 0, 0, 1)),
        (datetime(2026, 11, 23, 12), datetime(2026, 11, 23, 14, tzinfo=timezone(timedelta(hours=2)))),
        ("2026-11-23T12:00:00+00:00", datetime(2026, 11, 23, 12, tzinfo=UTC)),
        ("1965-01-02", date(1965, 1, 2)),
        ("13:14:15.5", time(13, 14, 15, 500_000)),
        (timedelta(hours=13), time(13)),
        (b"\x00\xff", memoryview(b"\x00\xff")),
        (ID, UUID(ID)),
        ('{"b": [1, 2], "a": null}', {"a": None, "b": [1, 2]}),
    ],
)
def test_what_means_the_same_is_equal(one: Any, other: Any) -> None:
    assert mean_the_same(one, other)
    assert mean_the_same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (None, ""),
        (None, 0),
        ("1", 1),
        ("", b""),
        ("a", b"a"),
        ("a", "A"),
        ("a", "a "),
        (0.1 + 0.2, Decimal("0.3")),
        (2**53, 2**53 + 1),
        ("12345678901234567890.1234567890123456788", Decimal("12345678901234567890.1234567890123456789")),
        ("0.1", 0.1),
        ("2026-11-23 00:00:00", "2026-11-23"),
        ("soon", datetime(2026, 11, 23)),
        (datetime(2026, 11, 23, 12), datetime(2026, 11, 23, 12, tzinfo=timezone(timedelta(hours=2)))),
        ("[1, 2]", "[1,2]"),
    ],
)
def test_what_does_not_mean_the_same_differs(one: Any, other: Any) -> None:
    assert not mean_the_same(one, other)
    assert not mean_the_same(other, one)


def test_rows_are_compared_whatever_their_order_and_their_number() -> None:
    ones, others = meanings([(1, "b"), (2, None)], [(Decimal(2), None), (Decimal(1), "b")])
    assert ones == others
    ones, others = meanings([(1, "b")], [(1, "b"), (1, "b")])
    assert ones != others
    assert meanings([], []) == ([], [])


def test_statements_of_tests_are_written_once_for_every_engine() -> None:
    def quoted(word: str) -> str:
        return f"<{word}>"

    statement = "SELECT Name, \"A b\", 'it''s 5 % ?', 1e5 FROM t WHERE x = ? AND y LIKE 'a%'"
    assert translate(statement, quoted, bound=True) == (
        "<SELECT> <Name>, \"A b\", 'it''s 5 %% ?', 1e5 <FROM> <t> <WHERE> <x> = %s <AND> <y> <LIKE> 'a%%'"
    )
    assert translate("SELECT 'a%'", str, bound=False) == "SELECT 'a%'"


@pytest.mark.parametrize("engine", servers.ENGINES)
def test_within_one_engine_rows_are_compared_exactly(engine: servers.Engine) -> None:
    access = open_access(servers.fresh_database(engine))
    access.execute("CREATE TABLE Pet (PetId INTEGER PRIMARY KEY, Price NUMERIC(10, 2), Born TIMESTAMP NULL)")
    access.execute("INSERT INTO Pet VALUES (?, ?, ?)", 1, "1.50", None)
    access.execute("INSERT INTO Pet VALUES (2, NULL, '2026-11-23 00:00:00')")
    first, second = access.typed_rows("Pet")
    assert [first[0][1], second[0][1]] == [1, 2]
    assert first[1] == (("real", 1.5) if engine == "sqlite" else ("Decimal", Decimal("1.50")))
    assert second[1][1] is None
    with access.write() as connection:
        connection.executemany("INSERT INTO Pet VALUES (?, ?, ?)", [(3, 1, None), (4, 2, None)])
    with pytest.raises(access.errors):
        delete_all_and_fail(access)
    assert access.value("SELECT count(*) FROM Pet") == 4
    servers.drop_database(access.database)


def delete_all_and_fail(access: Access) -> None:
    with access.write() as connection:
        connection.execute("DELETE FROM Pet")
        connection.execute("INSERT INTO Pet VALUES (1, 1, NULL), (1, 1, NULL)")


@pytest.mark.parametrize("engine", servers.ENGINES)
def test_a_key_and_the_links_to_it_change_in_one_transaction(engine: servers.Engine) -> None:
    access = open_access(servers.fresh_database(engine))
    access.execute("CREATE TABLE Owner (OwnerId INTEGER PRIMARY KEY)")
    access.execute(
        "CREATE TABLE Pet (PetId INTEGER PRIMARY KEY, OwnerId INTEGER,"
        " FOREIGN KEY (OwnerId) REFERENCES Owner (OwnerId))"
    )
    access.execute("INSERT INTO Owner VALUES (1)")
    access.execute("INSERT INTO Pet VALUES (1, 1)")
    with access.write(deferred=True) as connection:
        connection.execute("UPDATE Owner SET OwnerId = 9")
        connection.execute("UPDATE Pet SET OwnerId = 9")
    assert access.rows("SELECT OwnerId FROM Pet") == [(9,)]
    with pytest.raises(access.errors):
        access.execute("UPDATE Pet SET OwnerId = 8")
    access.empty()
    assert access.rows("SELECT * FROM Pet") == access.rows("SELECT * FROM Owner") == []
    servers.drop_database(access.database)
