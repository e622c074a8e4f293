"""What is read back is compared by what it means: nothing that was lost passes, nothing that is the same is refused."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.apply.source import ColumnsThere
from streamd.apply.write.ordering import Planned
from streamd.apply.write.readback import Difference, cause_of, differences, reads, renames_of, rows_meant
from streamd.apply.write.rowwrite import RowWrite, delete_writes, insert_writes, rename_writes, update_writes
from streamd.apply.write.stored import has_fewer_digits, is_stored
from streamd.apply.write.writer import columns_of
from streamd.db.numbers import fitting
from streamd.db.sqlite.values import short_numbers
from streamd.model import Catalogue, ChildTable, Column, Document, DocumentType, Kind, Link, Operation, Row
from streamd.wire import read_json


def column(declared: str, kind: Kind) -> Column:
    return Column("c", declared, kind)


D = Decimal
TEXT, CHAR = column("text", Kind.TEXT), column("character(5)", Kind.TEXT)
NUMBER, WHOLE = column("numeric(12,2)", Kind.DECIMAL), column("integer", Kind.INTEGER)
FLOAT, STRING = column("double", Kind.FLOAT), column("STRING", Kind.ANY)
JSON, BYTES, SET = column("jsonb", Kind.JSON), column("bytea", Kind.BYTES), column("set('a','b')", Kind.TEXT)
MOMENT, ZONED = column("timestamp", Kind.DATETIME), column("timestamptz", Kind.DATETIME_ZONED)


@pytest.mark.parametrize(
    ("where", "meant", "found"),
    [
        (TEXT, "a", "a"),
        (TEXT, D("12.50"), "12.50"),
        (TEXT, True, "true"),
        (CHAR, "ab", "ab   "),
        (CHAR, "ab  ", "ab"),
        (SET, "b,a", "a,b"),
        (NUMBER, D("1.5"), D("1.50")),
        (NUMBER, "12.50", D("12.5")),
        (NUMBER, D("52.1200000000000003"), D("52.12")),
        (NUMBER, D("59.970000000000006"), D("59.97")),
        (WHOLE, True, 1),
        (WHOLE, D("5.0"), 5),
        (FLOAT, D("0.1"), D("0.100000000000000006")),
        (FLOAT, D("0.1"), D("0.10000000149011612")),
        (JSON, '{"a":1.0,"b":[]}', '{"b": [], "a": 1}'),
        (JSON, "null", None),
        (JSON, "5", 5),
        (BYTES, {"$hex": "FF"}, {"$hex": "ff"}),
        (BYTES, "a", {"$hex": "61"}),
        (MOMENT, "2024-01-01T10:00:00.500", "2024-01-01 10:00:00.5"),
        (MOMENT, "2024-01-01 10:00:00+00:00", "2024-01-01 10:00:00"),
        (ZONED, "2024-01-01 12:00:00+02:00", "2024-01-01 10:00:00+00:00"),
        (ZONED, "2024-01-01 10:00:00.5", "2024-01-01T10:00:00.500+00:00"),
    ],
)
def test_what_a_column_keeps_in_its_own_way_is_the_same(where: Column, meant: Any, found: Any) -> None:
    assert is_stored(where, meant, found)


@pytest.mark.parametrize(
    ("where", "meant", "found"),
    [
        (TEXT, "a", "A"),
        (TEXT, "a ", "a"),
        (TEXT, "a", None),
        (TEXT, None, "a"),
        (TEXT, None, ""),
        (STRING, "00123", 123),
        (STRING, "1.10", D("1.1")),
        (WHOLE, "00123", 123),
        (WHOLE, 5, 6),
        (WHOLE, None, 0),
        (NUMBER, D("1.005"), D("1.00")),
        (NUMBER, D("52.12345678"), D("52.12")),
        (NUMBER, D("1234567890123456.78"), D("1234567890123456.75")),
        (NUMBER, D("1234567890123456.78"), D("1234567890123456.8")),
        (FLOAT, 9007199254740993, 9007199254740992),
        (FLOAT, D("0.123456789"), D("0.12345679")),
        (JSON, '{"a": true}', '{"a": 1}'),
        (BYTES, {"$hex": "ff"}, {"$hex": "ff00"}),
        (MOMENT, "2024-01-01 10:00:00.5", "2024-01-01 10:00:01"),
        (MOMENT, "2024-01-01 10:00:00+02:00", "2024-01-01 10:00:00"),
        (ZONED, "0000-00-00 00:00:00+00:00", None),
        (ZONED, "2024-01-01 10:00:00", "2024-01-01 09:00:00+00:00"),
    ],
)
def test_what_lost_something_is_another_value(where: Column, meant: Any, found: Any) -> None:
    assert not is_stored(where, meant, found)


SINGLE = column("float", Kind.FLOAT)


@pytest.mark.parametrize(
    ("where", "meant", "found"),
    [
        (NUMBER, D("1.005"), D("1.01")),
        (NUMBER, D("1.005"), D("1.00")),
        (NUMBER, D("-0.009"), 0),
        (NUMBER, D("12.345"), 12),
        (NUMBER, D("1234567890123456.78"), D("1234567890123456.75")),
        (FLOAT, 9007199254740993, 9007199254740992),
        (SINGLE, D("0.123456789"), D("0.12345679")),
    ],
)
def test_a_number_that_was_rounded_or_cut_has_fewer_digits(where: Column, meant: Any, found: Any) -> None:
    assert has_fewer_digits(where, meant, found)
    assert "fewer digits" in cause_of(where, meant, found)


@pytest.mark.parametrize(
    ("where", "meant", "found"),
    [
        (WHOLE, 1, 2),
        (WHOLE, D("1.5"), 2),
        (NUMBER, 1, 2),
        (NUMBER, 1000, 1001),
        (NUMBER, D("1.25"), D("1.26")),
        (NUMBER, D("1.255"), D("1.27")),
        (FLOAT, D("0.5"), D("0.75")),
        (FLOAT, 1, 2),
    ],
)
def test_another_number_was_changed_by_something_else(where: Column, meant: Any, found: Any) -> None:
    assert not has_fewer_digits(where, meant, found)
    assert "trigger" in cause_of(where, meant, found)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_of_sqlite_travels_as_the_shortest_number_that_it_is(number: float) -> None:
    row = b'{"t":"1.2345678901234567890 \\" 0.1234567890123456789","n":%.17e}' % number
    found = read_json(short_numbers(row))
    assert found["t"] == '1.2345678901234567890 " 0.1234567890123456789'
    assert struct.pack("d", float(found["n"])) == struct.pack("d", number)
    assert short_numbers(row).endswith(b'"n":%s}' % repr(number).encode())


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=6, allow_nan=False))
def test_a_number_that_a_float_keeps_is_found_in_the_float(number: Decimal) -> None:
    long = Decimal(format(float(number), ".17g"))
    assert fitting(long, 6) == number


def test_digits_that_somebody_meant_are_not_rounded_away() -> None:
    assert fitting(D("52.12345678"), 2) is None
    assert fitting(D("0.005"), 2) is None
    assert fitting(D("1234567890123456.781"), 2) is None
    assert fitting(D("59.970000000000006"), 2) == D("59.97")


CELL = ChildTable(
    "cells",
    "cell",
    ("id",),
    ("sheet",),
    (Column("id", "int", Kind.INTEGER), Column("sheet", "int", Kind.INTEGER), Column("note", "text", Kind.TEXT)),
)
SHEET = DocumentType(
    "Sheet",
    "sheet",
    ("id",),
    (Column("id", "int", Kind.INTEGER), Column("note", "text", Kind.TEXT), Column("next", "int", Kind.INTEGER)),
    (Link(("next",), "Sheet"),),
    (CELL,),
)
CATALOGUE = Catalogue({"Sheet": SHEET}, frozenset())
COLUMNS = columns_of(CATALOGUE)
HERE = Document("Sheet", (1,), {"id": 1, "note": "x", "next": None}, {"cells": [{"id": 7, "sheet": 1, "note": "y"}]})


def planned(operation: str, writes: Sequence[RowWrite], renamed_from: tuple[int] | None = None) -> list[Planned]:
    return [Planned(SHEET, operation, (2,) if renamed_from else (1,), renamed_from, writes, HERE)]


ALL = {("Sheet", ""): SHEET.written_names, ("Sheet", "cells"): CELL.written_names}
"""The producer has each column."""


def compared(group: Sequence[Planned], tables: dict[str, list[Row]], there: ColumnsThere = ALL) -> list[Difference]:
    renames = renames_of(group, CATALOGUE)
    return [
        each
        for read in reads(rows_meant(group, there))
        for each in differences(read, tables.get(read.table, []), COLUMNS[read.table], renames.get(read.table, {}))
    ]


MADE = planned(Operation.CREATE, insert_writes(SHEET, HERE.fields, HERE.children))
STANDS: dict[str, list[Row]] = {"sheet": [HERE.fields], "cell": HERE.children["cells"]}


def test_a_document_that_stands_as_it_was_made_differs_in_nothing() -> None:
    assert compared(MADE, STANDS) == []


@pytest.mark.parametrize("table", ["sheet", "cell"])
def test_a_row_that_is_missing_or_under_another_parent_is_said(table: str) -> None:
    (said,) = compared(MADE, STANDS | {table: []})
    assert f"the row of {table}" in str(said)
    assert "is not there" in str(said)
    moved = [{"id": 7, "sheet": 2, "note": "y"}]
    assert len(compared(MADE, STANDS | {"cell": moved})) == 1


def test_a_changed_value_is_said_with_both_values_and_a_cause() -> None:
    (said,) = compared(MADE, STANDS | {"sheet": [{"id": 1, "note": "X", "next": None}]})
    assert (said.column, said.value, said.found) == ("note", "x", "X")
    assert "trigger" in said.cause


@pytest.mark.parametrize("there", [{}, ALL | {("Sheet", ""): frozenset({"id", "note"})}])
def test_columns_that_the_producer_does_not_have_are_the_sites_own(there: ColumnsThere) -> None:
    group = planned(Operation.UPDATE, update_writes(SHEET, (1,), {"note": "new"}))
    assert compared(group, {"sheet": [{"id": 1, "note": "new", "next": 99}]}, there) == []


def test_a_column_that_did_not_come_has_to_be_as_it_was() -> None:
    group = planned(Operation.UPDATE, update_writes(SHEET, (1,), {"note": "new"}))
    assert compared(group, {"sheet": [{"id": 1, "note": "new", "next": None}]}) == []
    (said,) = compared(group, {"sheet": [{"id": 1, "note": "new", "next": 99}]})
    assert (said.column, said.value, said.found) == ("next", None, 99)
    group = planned(Operation.UPDATE, RowWrite.update_child(CELL, (1,), (7,), {"sheet": 1}))
    (said,) = compared(group, {"cell": [{"id": 7, "sheet": 1, "note": "mine"}]})
    assert (said.column, said.value, said.found) == ("note", "y", "mine")


def test_a_row_with_bytes_that_are_no_text_is_read_no_further_than_it_was_written() -> None:
    here = Document("Sheet", (1,), {"id": 1, "note": "x\ufffd", "next": None})
    group = [Planned(SHEET, Operation.UPDATE, (1,), None, update_writes(SHEET, (1,), {"next": 2}), here)]
    (read,) = reads(rows_meant(group, ALL))
    assert read.columns == ("id", "next")


def test_a_deleted_document_has_to_be_gone_with_all_its_rows() -> None:
    group = planned(Operation.DELETE, delete_writes(SHEET, HERE))
    assert compared(group, {}) == []
    assert len(compared(group, STANDS)) == 2
    # The child row may be another document's by now.
    assert compared(group, {"cell": [{"id": 7, "sheet": 2, "note": "y"}]}) == []


def test_a_renamed_document_is_under_its_new_name_with_its_rows() -> None:
    group = planned(Operation.UPDATE, rename_writes(SHEET, (1,), (2,)), (1,))
    sheet, cell = {"id": 2, "note": "x", "next": None}, {"id": 7, "sheet": 2, "note": "y"}
    there: dict[str, list[Row]] = {"sheet": [sheet], "cell": [cell]}
    assert compared(group, there) == []
    assert len(compared(group, there | {"sheet": [{**sheet, "id": 1}, sheet]})) == 1
    assert len(compared(group, there | {"cell": [{**cell, "sheet": 1}]})) == 1
    assert len(compared(group, there | {"sheet": [{**sheet, "note": "mine"}]})) == 1
    assert len(compared(group, there | {"cell": [{**cell, "note": "mine"}]})) == 1


def test_a_link_to_a_document_that_is_renamed_in_the_same_group_may_name_it_either_way() -> None:
    rename = planned(Operation.UPDATE, rename_writes(SHEET, (1,), (2,)), (1,))[0]
    other = Planned(SHEET, Operation.CREATE, (5,), None, insert_writes(SHEET, {"id": 5, "note": "z", "next": 1}, {}))
    tables: dict[str, list[Row]] = {"cell": [{"id": 7, "sheet": 2, "note": "y"}]}
    for link in (1, 2):
        rows = [{"id": 2, "note": "x", "next": None}, {"id": 5, "note": "z", "next": link}]
        assert compared([other, rename], tables | {"sheet": rows}) == []
    rows = [{"id": 2, "note": "x", "next": None}, {"id": 5, "note": "z", "next": 3}]
    assert len(compared([other, rename], tables | {"sheet": rows})) == 1
