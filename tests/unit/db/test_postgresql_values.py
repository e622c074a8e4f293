"""Rows of PostgreSQL are read the same in one piece and taken apart."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.db.postgresql.values import reader
from streamd.model import Column, Kind

MOMENT = Column("At", "timestamp without time zone", Kind.DATETIME)
ZONED = Column("Sent", "timestamp with time zone", Kind.DATETIME_ZONED)
TEXT = Column("Text", "text", Kind.TEXT)
SHORT = Column("Short T", "character varying(20)", Kind.TEXT)
PRICE = Column("Price", "numeric(10,2)", Kind.DECIMAL)
RATE = Column("Rate", "double precision", Kind.FLOAT)
SIMPLE = (MOMENT, ZONED, TEXT, SHORT, PRICE, RATE)

TAKES_APART = Column("extra", "jsonb", Kind.JSON)
"""A column for whose sake rows are taken apart."""


def row(**values: Any) -> bytes:
    """A row as `row_to_json` writes it."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()


text = st.one_of(
    st.none(),
    st.text(st.characters(codec="utf-8")),
    st.sampled_from(['"At":"2026-01-01T', '\\"At":"T', 'x"At', "T\\", '","Sent":"2026T', "Infinity", '"Infinity"']),
)
moment = st.one_of(
    st.none(),
    st.sampled_from(["infinity", "-infinity", "0044-03-15T12:00:00 BC"]),
    st.datetimes().map(lambda each: each.isoformat()),
)
number = st.one_of(st.none(), st.integers(-(1 << 60), 1 << 60), st.sampled_from(["NaN", "Infinity", "-Infinity"]))


@given(at=moment, sent=moment, content=text, short=text, price=number, rate=number)
def test_a_row_in_one_piece_is_read_as_one_that_is_taken_apart(
    at: Any, sent: Any, content: Any, short: Any, price: Any, rate: Any
) -> None:
    written = row(**{"At": at, "Sent": sent, "Text": content, "Short T": short, "Price": price, "Rate": rate})
    assert reader(SIMPLE)(written) == reader((*SIMPLE, TAKES_APART))(written)


def test_moments_travel_with_a_space_and_infinity_as_a_number() -> None:
    written = row(At="2026-11-01T10:00:00", Text="10T", Price="-Infinity", Rate=1.5)
    assert reader(SIMPLE)(written) == b'{"At":"2026-11-01 10:00:00","Text":"10T","Price":-1e999,"Rate":1.5}'


@pytest.mark.parametrize(
    "other",
    [
        Column("tags", "text[]", Kind.JSON),
        Column('x"At', "text", Kind.TEXT),
        Column("pairs", "hstore", Kind.TEXT),
        Column("pairs", "textual", Kind.TEXT),
    ],
)
def test_what_only_looks_like_a_column_is_left_alone(other: Column) -> None:
    inside = '"pairs":{"At":"1T2"}' if other.declared in ("hstore", "textual") else '"x\\"At":"1T2"'
    written = b'{"At":"2026-11-01T10:00:00",%s}' % inside.encode()
    assert reader((MOMENT, other))(written) == b'{"At":"2026-11-01 10:00:00",%s}' % inside.encode()
