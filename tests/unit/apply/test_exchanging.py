"""What is tried where values go round: rows in common, values for the time being, names, groups that heal together."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.apply.event.decoding import decode
from streamd.apply.event.incoming import Incoming
from streamd.apply.event.joining import joined
from streamd.apply.parked.queues import groupings
from streamd.apply.source import Source
from streamd.apply.write.standins import stand_ins
from streamd.apply.write.writer import in_common
from streamd.db.moves import movements, update_sql
from streamd.db.parts import TableWrite, WriteKind
from streamd.model import Catalogue, Column, Difference, DocumentType, Event, ForeignKey, Kind, Name

ID = Column("id", "int", Kind.INTEGER, nullable=False)
CODE = Column("code", "varchar(3)", Kind.TEXT, nullable=False)
MORE = Column("more", "int", Kind.INTEGER)
NODE = DocumentType("node", "node", ("id",), (ID, CODE, MORE))
CATALOGUE = Catalogue({"node": NODE}, frozenset({"node"}))
SOURCE = Source("there", "site", 1000, 50)


def _update(columns: tuple[Column, ...], *row: Any) -> TableWrite:
    return TableWrite(WriteKind.UPDATE, "node", columns, (ID,), [list(row)], exactly=True)


def test_rows_that_change_different_columns_are_put_again_by_those_that_all_of_them_change() -> None:
    common, rest = in_common([_update((MORE, CODE), 7, "B", 1), _update((CODE,), "A", 2)])
    assert common is not None
    assert (common.columns, common.rows) == ((CODE,), [["B", 1], ["A", 2]])
    assert [(write.columns, write.rows) for write in rest] == [((MORE,), [[7, 1]])]


def test_rows_that_change_nothing_in_common_are_not_put_again() -> None:
    assert in_common([_update((MORE,), 7, 1), _update((CODE,), "A", 2)])[0] is None


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_a_text_for_the_time_being_is_as_long_and_of_the_same_characters_first(text: str) -> None:
    first = next(stand_ins(CODE, text))
    assert len(first) == len(text)
    assert [each.isdigit() for each in first if each.isascii()] == [each.isdigit() for each in text if each.isascii()]


@given(st.integers(-(1 << 31), (1 << 31) - 1))
def test_a_number_for_the_time_being_has_the_same_sign_first_and_fits_where_the_number_does(number: int) -> None:
    first = next(stand_ins(ID, number))
    assert (first > 0) == (number >= 0)
    assert abs(first) <= max(1 << abs(number).bit_length(), 16)


@pytest.mark.parametrize(
    ("column", "meant", "fits"),
    [
        (MORE, 5, lambda value: value is None),
        (Column("d", "date", Kind.DATE, nullable=False), "2024-02-29", lambda value: bool(date.fromisoformat(value))),
        (Column("u", "uuid", Kind.UUID, nullable=False), "x", lambda value: len(value) == 36),
        (Column("r", "int4range", Kind.TEXT, nullable=False), "[1,5)", lambda value: value == "empty"),
        (Column("b", "boolean", Kind.BOOLEAN, nullable=False), True, lambda value: value is False),
        (
            Column("t", "time", Kind.TIME, nullable=False),
            "12:00:00",
            lambda value: bool(re.fullmatch(r"\d\d:\d\d:\d\d", value)),
        ),
        (
            Column("p", "numeric(5,2)", Kind.DECIMAL, nullable=False),
            Decimal("12.50"),
            lambda value: value.as_tuple().exponent == -2 and abs(value) < 100,
        ),
    ],
)
def test_a_value_for_the_time_being_is_of_its_column(column: Column, meant: Any, fits: Any) -> None:
    assert fits(next(stand_ins(column, meant)))


def test_values_for_the_time_being_come_to_an_end() -> None:
    assert 0 < len(list(islice(stand_ins(CODE, "A"), 1000))) < 100


def _event(sequence: int, name: Name, old: Name | None = None, tx: int = 1, **changed: Any) -> Incoming:
    data = msgspec.Raw(msgspec.json.encode({"changed": changed, "old": {"changed": {}}}))
    event = Event(sequence, "n", tx, "node", name, "update", f"clock {sequence}", 0, data, renamed_from=old)
    return decode(event, SOURCE, "log", CATALOGUE)


def _told(events: list[Incoming]) -> list[tuple[Name | None, Name, bool]]:
    return [(each.event.renamed_from, each.event.name, each.at_once) for each in events]


def test_two_documents_that_exchange_their_names_are_renamed_once_each() -> None:
    events = [_event(1, (9,), (1,)), _event(2, (2,), code="x"), _event(3, (1,), (2,)), _event(4, (2,), (9,))]
    found = joined(events, CATALOGUE, SOURCE)
    assert _told(found) == [((2,), (1,), True), ((1,), (2,), True)]
    assert [each.event.sequence for each in found] == [3, 4]
    assert isinstance(found[0].data, Difference)
    assert found[0].data.changed == {"code": "x"}


def test_renames_in_different_transactions_stay_what_they_are() -> None:
    events = [_event(1, (9,), (1,)), _event(2, (1,), (2,), tx=2), _event(3, (2,), (9,), tx=3)]
    assert joined(events, CATALOGUE, SOURCE) == events


def test_single_renames_stay_what_they_are() -> None:
    events = [_event(1, (9,), (1,)), _event(2, (8,), (2,)), _event(3, (7,), code="x")]
    assert joined(events, CATALOGUE, SOURCE) == events


def test_what_refers_to_a_renamed_row_gets_the_new_key_before_it_however_far() -> None:
    write = TableWrite(WriteKind.UPDATE, "node", (ID,), (ID,), [[2, 1]])
    keys = {
        "tag": [ForeignKey(("node",), "node", ("id",)), ForeignKey(("other",), "node", ("id",))],
        "part": [ForeignKey(("node",), "node", ("id",))],
        "seal": [ForeignKey(("node", "no"), "part", ("node", "no"))],
        "stranger": [ForeignKey(("node",), "elsewhere.node", ("id",))],
    }
    moved = [update_sql(each) for each in movements(write, keys)]
    assert moved == [
        ('UPDATE "tag" AS t SET "node" = ? WHERE t."node" = ?', [0, 1]),
        ('UPDATE "tag" AS t SET "other" = ? WHERE t."other" = ?', [0, 1]),
        ('UPDATE "seal" AS t SET "node" = ? WHERE t."node" = ?', [0, 1]),
        ('UPDATE "part" AS t SET "node" = ? WHERE t."node" = ?', [0, 1]),
        ('UPDATE "node" AS t SET "id" = ? WHERE t."id" = ?', [0, 1]),
    ]


def test_tables_that_refer_to_each_other_in_a_circle_end() -> None:
    write = TableWrite(WriteKind.UPDATE, "node", (ID,), (ID,), [[2, 1]])
    keys = {"node": [ForeignKey(("id",), "mate", ("id",))], "mate": [ForeignKey(("id",), "node", ("id",))]}
    assert [each.table for each in movements(write, keys)] == ["node", "mate", "node"]


@pytest.mark.parametrize("count", range(15))
def test_parked_documents_are_tried_all_together_first_and_never_alone(count: int) -> None:
    groups = list(groupings(range(count)))
    assert all(len(group) > 1 for group in groups)
    assert not groups or groups[0] == list(range(count))
    assert len(groups) < 70
    pairs = [group for group in groups if len(group) == 2]
    assert count <= 2 or count > 10 or len(pairs) == count * (count - 1) // 2
