"""Values compare by what they mean in their column, and are written as they came."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.apply.decide.conflict import Merge, merge_fields
from streamd.apply.decide.plan import decide
from streamd.apply.decide.values import differing, identical, same, same_row, shown
from streamd.apply.event.incoming import Incoming
from streamd.errors import RowRefused
from streamd.model import Column, Difference, Document, DocumentType, Event, Kind, OldValues, Record

COLUMNS = tuple(Column(kind.name.lower(), kind.value, kind) for kind in Kind)
TYPE = DocumentType("T", "t", ("integer",), COLUMNS)

ID = "0a1b2c3d-0000-4000-8000-00000000000f"


@pytest.mark.parametrize(
    ("column", "one", "other"),
    [
        ("json", '{"a": 1, "b": [true, null]}', '{"b":[true,null],"a":1.0}'),
        ("json", "1e2", "100"),
        ("json", r'"\u00fc"', '"ü"'),
        ("json", '{"a": 1, "a": 2}', '{"a": 2}'),
        ("uuid", ID, ID.upper()),
        ("uuid", ID, "{" + ID.replace("-", "") + "}"),
        ("datetime", "2024-05-01 10:00:00.500000", "2024-05-01T10:00:00.5"),
        ("datetime", "2024-05-01 10:00:00", "2024-05-01T10:00"),
        ("datetime", "2024-05-01", "2024-05-01 00:00:00.000"),
        ("datetime_zoned", "2024-05-01T10:00:00Z", "2024-05-01 10:00:00+00"),
        ("datetime_zoned", "2024-05-01 10:00:00+00:00", "2024-05-01 10:00:00+00"),
        ("datetime_zoned", "2024-05-01 12:00:00.25+02", "2024-05-01T10:00:00.250Z"),
        ("datetime_zoned", "2024-05-01 00:30:00+05:30", "2024-04-30 19:00:00+0000"),
        ("time", "10:00:00.500", "10:00:00.5"),
        ("date", "2024-05-01", "2024-05-01 00:00:00"),
        ("boolean", True, 1),
        ("decimal", Decimal("1.50"), Decimal("1.5")),
        ("decimal", Decimal("2"), 2),
        ("integer", Decimal("2.0"), 2),
    ],
)
def test_what_means_the_same_is_the_same(column: str, one: Any, other: Any) -> None:
    assert same(TYPE, column, one, other)
    assert same(TYPE, column, other, one)
    assert same_row(TYPE, {column: one}, {column: other})
    assert differing(TYPE, {column: one}, {column: other}) == {}


@pytest.mark.parametrize(
    ("column", "here", "there"),
    [
        ("text", "1", 1),
        ("integer", 5, "5"),
        ("decimal", Decimal("2.50"), "2.5"),
        ("float", Decimal("0.1"), Decimal("0.10000000149011612")),
        ("datetime_zoned", "2024-05-01 10:00:00Z", "2024-05-01 10:00:00"),
    ],
)
def test_what_the_column_would_keep_as_what_it_holds_is_the_same(column: str, here: Any, there: Any) -> None:
    assert same(TYPE, column, here, there)


@pytest.mark.parametrize(
    ("column", "one", "other"),
    [
        ("json", '{"a": true}', '{"a": 1}'),
        ("json", "[null]", "[false]"),
        ("json", "null", None),
        ("json", '"1"', "1"),
        ("json", "9007199254740993", "9007199254740992"),
        ("json", "{", "{ "),
        ("text", '{"a":1}', '{"a": 1}'),
        ("text", ID, ID.upper()),
        ("text", "10:00:00.50", "10:00:00.5"),
        ("any", "2024-05-01T10:00", "2024-05-01 10:00"),
        ("datetime", "2024-05-01 10:00:00.500001", "2024-05-01 10:00:00.5"),
        ("datetime_zoned", "2024-05-01 10:00:00+02", "2024-05-01 10:00:00Z"),
        ("datetime", "infinity", "-infinity"),
        ("datetime", "", "2024-05-01"),
        ("date", "0044-03-15 BC", "0044-03-15"),
        ("decimal", Decimal("0.1"), Decimal("0.10000000000000000001")),
        ("boolean", False, None),
    ],
)
def test_what_means_something_else_is_not_the_same(column: str, one: Any, other: Any) -> None:
    assert not same(TYPE, column, one, other)
    assert not same(TYPE, column, other, one)
    assert differing(TYPE, {column: one}, {column: other}) == {column: one}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=8,
)


@given(JSON)
def test_json_is_the_same_however_it_is_written(value: Any) -> None:
    plain = json.dumps(value)
    assert same(TYPE, "json", plain, json.dumps(value, indent=3, sort_keys=True, ensure_ascii=False))
    assert not same(TYPE, "json", plain, json.dumps([value]))


@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 30)), st.integers(-840, 840))  # noqa: DTZ001  # zones come below
def test_one_moment_is_the_same_in_every_zone(moment: datetime, minutes: int) -> None:
    here = moment.replace(tzinfo=UTC)
    there = here.astimezone(timezone(timedelta(minutes=minutes)))
    assert same(TYPE, "datetime_zoned", here.isoformat(" "), there.isoformat())
    assert not same(TYPE, "datetime_zoned", here.isoformat(), (there + timedelta(microseconds=1)).isoformat())


def test_a_deeply_nested_text_is_no_reason_to_fail() -> None:
    assert not same(TYPE, "json", "[" * 100_000, "[" * 99_999)


def merged(column: str, current: Any, value: Any, *, old: Any, ours: str = "1") -> Merge:
    record = Record("T", (1,), "s", (1,), ours)
    return merge_fields(TYPE, {column: value}, {column: old}, {column: current}, record, lambda _field: "2")


@pytest.mark.parametrize(
    ("column", "current", "value"),
    [
        ("json", '{"a": 1}', '{"a":1}'),
        ("boolean", True, 1),
        ("decimal", Decimal("2.00"), 2),
        ("datetime", "2024-05-01 10:00:00", "2024-05-01T10:00:00.0"),
    ],
)
def test_the_later_of_two_looks_is_written_without_a_word(column: str, current: Any, value: Any) -> None:
    merge = merged(column, current, value, old=None)
    assert identical(merge.values[column], value)
    assert merge.newer == [column]
    assert not merge.notes
    older = merged(column, current, value, old=None, ours="3")
    assert not older.values
    assert not older.newer
    assert not older.notes


def test_the_producers_look_of_a_value_is_no_edit_of_ours() -> None:
    assert not merged("json", '{"a": 1}', '{"a": 2}', old='{"a":1}').notes
    assert merged("json", '{"a": 1}', '{"a": 2}', old='{"a": 3}').notes


def test_an_update_of_a_document_that_looks_otherwise_here_is_applied() -> None:
    difference = Difference(changed={"json": '{"b": 1}'}, old=OldValues(changed={"json": '{"a":1}'}))
    event = Event(1, "n", 1, "T", (1,), "update", "c", 0)
    here = Document("T", (1,), {"integer": 1, "json": '{"a": 1}'})
    decision = decide(Incoming(event, difference, "s", "log"), TYPE, here, None)
    assert [write.values for write in decision.writes] == [('{"b": 1}', 1)]
    here = Document("T", (1,), {"integer": 1, "json": '{"c": 1}'})
    with pytest.raises(RowRefused, match="same name"):
        decide(Incoming(event, difference, "s", "log"), TYPE, here, None)


def test_numbers_are_shown_as_people_write_them() -> None:
    document = {"price": Decimal("12.90"), "lines": [{"id": 1, "total": Decimal("0.00000000000000000001")}]}
    assert shown(document) == '{"price":12.90,"lines":[{"id":1,"total":1E-20}]}'
    assert shown(Decimal("12.90")) == "12.90"
    notes = merged("decimal", Decimal("1.10"), Decimal("2.20"), old=Decimal("3.30")).notes
    assert notes == ["decimal: 2.20 (newer) replaces 1.10, which was edited here"]
