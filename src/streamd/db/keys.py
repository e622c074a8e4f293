"""What columns can hold: the names that a key can be asked for, and the values that documents are found by. Pure.

An engine with strict types fails where it is asked for a value that a column cannot hold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any

from streamd.model import Column, DocumentType, Kind, Name, Scalar
from streamd.wire import HEX

_BITS = {"smallint": 15, "tinyint": 7, "mediumint": 23, "integer": 31, "int": 31}
"""Bits of a signed integer type; all others have 63."""

_UUID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)


_INFINITY = float("inf")
_NUMBERS = (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT)
_INT64 = range(-(1 << 63), 1 << 63)
_UINT64 = range(1 << 64)
_DIGITS = 400
"""Places before or behind the point, at most: numbers beyond are in no column."""


def possible_names(columns: Sequence[Column], names: Iterable[Name]) -> Iterator[Name]:
    """Those of the names that these key columns can hold."""
    for name in names:
        if len(name) == len(columns) and all(_holds(column, part) for column, part in zip(columns, name, strict=True)):
            yield name


def storable_names(names: Iterable[Name]) -> Iterator[Name]:
    """Those of the names that an engine without strict types can be asked for: numbers of 64 bits, valid text."""
    for name in names:
        if all(_storable(part) for part in name):
            yield name


def _storable(part: Scalar) -> bool:
    if isinstance(part, str):
        return not _has_surrogates(part)
    return not isinstance(part, int) or part in _INT64


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _holds(column: Column, part: Scalar) -> bool:
    if column.kind == Kind.ANY:
        return True
    if column.kind == Kind.INTEGER:
        word = re.split(r"[ (]", column.declared.lower(), maxsplit=1)[0]
        limit = 1 << (_BITS.get(word, 63) + ("unsigned" in column.declared.lower()))
        return isinstance(part, int) and -limit <= part < limit
    if column.kind in (Kind.DECIMAL, Kind.FLOAT, Kind.BOOLEAN):
        return isinstance(part, int | float)
    return isinstance(part, str) and "\0" not in part and is_text_of(column, part)


def is_text_of(column: Column, part: str) -> bool:
    """Whether a column of text, or of something that travels as text, can hold this one."""
    if (size := re.search(r"\((\d+)\)", column.declared)) and len(part) > int(size[1]):
        return False
    try:
        part.encode()
        if column.kind == Kind.UUID:
            return _UUID.fullmatch(part) is not None
        if column.kind == Kind.DATE:
            date.fromisoformat(part)
        elif column.kind in (Kind.DATETIME, Kind.DATETIME_ZONED):
            datetime.fromisoformat(part)
        elif column.kind == Kind.TIME:
            time.fromisoformat(part)
    except ValueError:
        return False
    return True


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
        wanted = None if column is None else _comparable(column, value)
        if column is None or wanted is None:
            return None
        found.append((column, wanted))
    return found or None


def _comparable(column: Column, value: Any) -> Any:
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
    return str(value) if isinstance(value, str) and not _has_surrogates(value) else None


def _is_bytes(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != {HEX} or not isinstance(value[HEX], str):
        return False
    try:
        bytes.fromhex(value[HEX])
    except ValueError:
        return False
    return True
