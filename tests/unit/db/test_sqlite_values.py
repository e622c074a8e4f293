"""Numbers with a point are the same numbers in SQLite, or are refused with what to do about it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from streamd.db.sqlite.values import binder
from streamd.errors import RowRefused
from streamd.model import Column, Kind

AMOUNT = Column("Amount", "NUMERIC(19,4)", Kind.DECIMAL)
ANYTHING = Column("Amount", "", Kind.ANY)


@pytest.mark.parametrize(
    "number",
    [
        "0.1",
        "99999999999999.9",
        "123456789012.3456",
        "-12345678901.2345",
        "52.1234567800000003",  # how SQLite itself writes 52.12345678
        "0.30000000000000004",
        "0.3000000000000000444",
        "1E-7",
        "1E+20",
        "0.0000",
    ],
)
def test_a_number_that_a_float_is_comes_as_it_is(number: str) -> None:
    found = binder(AMOUNT)(Decimal(number))
    assert found == float(number)
    assert binder(ANYTHING)(Decimal(number)) == found


@pytest.mark.parametrize(
    "number",
    ["123456789012345.6789", "12345678901234.5678", "1234567890123.4567", "9007199254740993.0", "1E+400", "1E-400"],
)
@pytest.mark.parametrize("column", [AMOUNT, ANYTHING])
def test_a_number_that_no_float_is_is_refused_with_what_to_do(number: str, column: Column) -> None:
    with pytest.raises(RowRefused) as refused:
        binder(column)(Decimal(number))
    message = refused.value.message
    assert message.startswith(f"Amount ({column.declared or 'without a type'}) cannot hold {Decimal(number)}: ")
    assert "Declare the column TEXT at this site" in message


def test_infinity_travels_and_columns_of_floats_and_texts_take_what_they_are_declared_for() -> None:
    assert binder(AMOUNT)(Decimal("-1e999")) == float("-inf")
    long = Decimal("123456789012345.6789")
    assert binder(Column("Rate", "REAL", Kind.FLOAT))(long) == float(long)
    assert binder(Column("Rate", "TEXT", Kind.TEXT))(long) == str(long)
