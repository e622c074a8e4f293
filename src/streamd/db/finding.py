"""What a column has to hold for a document to be found by it: the value that is sought, as the column would hold it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from streamd.db.keys import is_text_of
from streamd.model import Column, DocumentType, Kind
from streamd.wire import HEX

_INFINITY = float("inf")
_NUMBERS = (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT)
_INT64 = range(-(1 << 63), 1 << 63)
_UINT64 = range(1 << 64)
_DIGITS = 400
"""Places before or behind the point, at most: numbers beyond are in no column."""


def sought(doctype: DocumentType, values: Mapping[str, Any]) -> list[tuple[Column, Any]] | None:
    """The columns with the values to compare them with; None where no document can have them.

    That is so where one is NULL, which is equal to nothing, where a column is unknown or can hold no such value,
    and where nothing is sought at all. Numbers are given by value: whole ones as int, others as Decimal, and those of
    floating-point columns as float.
    """
    known = {column.name: column for column in doctype.columns}
    found = []
    for name, value in values.items():
        column = known.get(name)
        meant = None if column is None else _meant(column, value)
        if column is None or meant is None:
            return None
        found.append((column, meant))
    return found or None


def _meant(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.kind in _NUMBERS:
        number = _number(value)
        if column.kind == Kind.FLOAT and number is not None:
            return _finite(float(Decimal(number)))
        if column.kind == Kind.DECIMAL:
            return number
        return number if isinstance(number, int) and number in _whole(column) else None
    if column.kind == Kind.BOOLEAN:
        return int(value) if isinstance(value, bool | int) and value in (0, 1) else None
    if column.kind == Kind.BYTES:
        return value if _is_bytes(value) else None
    if column.kind == Kind.ANY:
        if not isinstance(value, bool | int | float | Decimal):
            return _text(value)
        number = _number(value)
        return None if isinstance(number, int) and number not in _INT64 else number
    if column.kind == Kind.TEXT and isinstance(value, bool | int | float | Decimal):
        value = str(int(value) if isinstance(value, bool) else value)
    text = _text(value)
    return text if text is None or is_text_of(column, text) else None


def _number(value: Any) -> int | Decimal | None:
    try:
        number = Decimal(repr(value) if isinstance(value, float) else value)
    except (InvalidOperation, TypeError, ValueError):
        return None
    if not number.is_finite() or abs(number.adjusted()) > _DIGITS:
        return None
    return int(number) if number == number.to_integral_value() else number


def _whole(column: Column) -> range:
    return _UINT64 if "unsigned" in column.declared.lower() else _INT64


def _finite(number: float) -> float | None:
    return None if abs(number) == _INFINITY else number


def _text(value: Any) -> str | None:
    if not isinstance(value, str) or any("\ud800" <= character <= "\udfff" for character in value):
        return None
    return str(value)


def _is_bytes(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != {HEX} or not isinstance(value[HEX], str):
        return False
    try:
        bytes.fromhex(value[HEX])
    except ValueError:
        return False
    return True
