"""How values that travelled are given to MariaDB.

Everything travels to the server as a number or a text that its column reads exactly. MariaDB rounds and cuts some
values without a word, even in its strict mode; those are refused here, so that what arrives is what was sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from streamd.db.numbers import fitting, float32, scale_of
from streamd.db.parts import cannot_hold
from streamd.errors import RowRefused
from streamd.model import Column, Kind
from streamd.wire import HEX, write_json

Binder = Callable[[Any], Any]

INT64 = range(-(1 << 63), 1 << 63)
EXACT_DIGITS = 17
"""Significant digits that a 64-bit float keeps."""

_INFINITY = float("inf")

_MEMBERS = re.compile(r"'((?:[^']|'')*)'")
_TIME = re.compile(r"(-?\d+:\d\d:\d\d)(?:\.(\d+))?$")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d(?::\d\d)?)(?:\.(\d+))?(Z|[+-]\d\d(?::?\d\d(?::\d\d)?)?)?$")


@lru_cache(maxsize=4096)
def binder(column: Column) -> Binder:
    """What turns a value into what the driver takes for this column. It raises `RowRefused`."""
    declared = column.declared
    if declared.startswith(("enum(", "set(")):
        return _members(column)
    if column.kind == Kind.BYTES:
        return _bytes(column)
    if column.kind in (Kind.INTEGER, Kind.BOOLEAN):
        return _year(column) if declared.startswith("year") else _integer(column)
    if column.kind == Kind.DECIMAL:
        return _decimal(column)
    if column.kind == Kind.FLOAT:
        return _float(column)
    if column.kind == Kind.DATE:
        return _date(column)
    if column.kind == Kind.TIME:
        return _time(column)
    if column.kind in (Kind.DATETIME, Kind.DATETIME_ZONED):
        return _moment(column)
    if column.kind == Kind.JSON:
        return _json(column)
    return _text(column)


def _text(column: Column) -> Binder:
    def bind(value: Any) -> Any:
        kind = type(value)
        if kind is str or value is None:
            return value
        if kind is bool:
            return str(int(value))
        if kind is int or kind is Decimal or kind is float:
            return str(value)
        if isinstance(value, str):
            return str(value)
        if _is_bytes(value):
            raise cannot_hold(column, value, "these are bytes, and it holds text")
        return write_json(value).decode()

    return bind


def _json(column: Column) -> Binder:
    def bind(value: Any) -> Any:
        if value is None or type(value) is str:
            return value
        if _is_bytes(value):
            raise cannot_hold(column, value, "these are bytes, and it holds JSON")
        return write_json(value).decode()

    return bind


def _members(column: Column) -> Binder:
    text = _text(column)
    members = {found.replace("''", "'") for found in _MEMBERS.findall(column.declared)}
    many = column.declared.startswith("set(")

    def bind(value: Any) -> Any:
        found = text(value)
        # The server would take a number for the place of a member, and a member in other letters for the same.
        if found is not None and found not in members:
            if many and (not found or set(found.split(",")) <= members):
                return found
            raise cannot_hold(column, value, "it is none of the members")
        return found

    return bind


def _bytes(column: Column) -> Binder:
    fixed = re.match(r"binary\((\d+)\)", column.declared)

    def bind(value: Any) -> Any:
        if value is None:
            return None
        if not _is_bytes(value):
            raise cannot_hold(column, value, "it holds bytes, and this is none")
        try:
            found = bytes.fromhex(value[HEX])
        except (TypeError, ValueError):
            raise RowRefused("a value claims to be bytes, but is no hexadecimal text") from None
        if fixed and len(found) < int(fixed[1]):
            raise cannot_hold(column, value, "the server would fill it up with zero bytes (declare VARBINARY)")
        return found

    return bind


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {HEX}


def _integer(column: Column) -> Binder:
    bits = column.declared.startswith("bit")

    def bind(value: Any) -> Any:
        kind = type(value)
        if kind is int and (value in INT64 or not bits):
            return value if value in INT64 else str(value)
        if kind is int and value > 0:
            return value.to_bytes((value.bit_length() + 7) // 8)  # of a text, the server would take the characters
        if value is None:
            return None
        if isinstance(value, bool):
            return int(value)
        if isinstance(value, Decimal | float) and value == value and abs(value) != _INFINITY:
            whole = int(value)
            if whole == value:
                return whole if whole in INT64 else str(whole)
            raise cannot_hold(column, value, "it would be rounded")
        if isinstance(value, str) and not bits:
            return str(value)
        raise cannot_hold(column, value, "it holds whole numbers")

    return bind


def _year(column: Column) -> Binder:
    integer = _integer(column)

    def bind(value: Any) -> Any:
        found = integer(value)
        # The server takes 24 for 2024.
        if isinstance(found, int) and 0 < found < 1901:
            raise cannot_hold(column, value, "years go from 1901 to 2155")
        return found

    return bind


def _decimal(column: Column) -> Binder:
    scale = scale_of(column) or 0

    def bind(value: Any) -> Any:
        kind = type(value)
        if kind is str or value is None:
            return value
        if kind is int:
            return str(value)
        if kind is bool:
            return str(int(value))
        if kind is float:
            value = Decimal(repr(value))
        if not isinstance(value, Decimal) or not value.is_finite() or value.adjusted() > 65:
            raise cannot_hold(column, value, "it holds decimal numbers of up to 65 digits")
        if -value.as_tuple().exponent > scale:  # type: ignore[operator]  # a finite number has a number there
            kept = fitting(value, scale)
            if kept is None:
                raise cannot_hold(column, value, "it would be rounded")
            value = kept
        return f"{value:f}"

    return bind


def _float(column: Column) -> Binder:
    def bind(value: Any) -> Any:
        if value is None or type(value) is str:
            return value
        if not isinstance(value, int | float | Decimal):
            raise cannot_hold(column, value, "it holds numbers")
        try:
            found = float(value)
        except OverflowError:
            found = _INFINITY
        if found != found or abs(found) == _INFINITY:
            raise cannot_hold(column, value, "MariaDB knows no infinite numbers, and no NaN")
        exact = Decimal(value) if not isinstance(value, float) else None
        # Eighteen digits may be how another database wrote a float.
        if exact is not None and len(exact.as_tuple().digits) > EXACT_DIGITS + 1 and Decimal(repr(found)) != exact:
            raise cannot_hold(column, value, f"it keeps {EXACT_DIGITS} digits (declare DECIMAL)")
        # The server refuses 3.4028235e38, which is how the largest float is written: it is a bit less.
        return float32(found) if column.declared.startswith("float") else found

    return bind


def _date(column: Column) -> Binder:
    text = _text(column)

    def bind(value: Any) -> Any:
        found = text(value)
        if found is None or len(found) == 10 or not _MOMENT.match(found):
            return found  # the server says what is wrong with it
        if found[10:].strip("T 0:.Z+-"):
            raise cannot_hold(column, value, "it would lose its time of day")
        return found[:10]

    return bind


def _digits(column: Column) -> int:
    found = re.search(r"\((\d)\)", column.declared)
    return int(found[1]) if found else 0


def _fraction(column: Column, value: Any, fraction: str | None, digits: int) -> str:
    kept = (fraction or "").rstrip("0")
    if len(kept) > digits:
        raise cannot_hold(column, value, f"it keeps {digits} digits of a second")
    return f".{kept}" if kept else ""


def _time(column: Column) -> Binder:
    text, digits = _text(column), _digits(column)

    def bind(value: Any) -> Any:
        found = text(value)
        parts = _TIME.match(found) if found is not None else None
        if parts is None:
            return found
        return parts[1] + _fraction(column, value, parts[2], digits)

    return bind


def _moment(column: Column) -> Binder:
    text, digits, zoned = _text(column), _digits(column), column.kind == Kind.DATETIME_ZONED

    def bind(value: Any) -> Any:
        found = text(value)
        parts = _MOMENT.match(found) if found is not None else None
        if parts is None:
            return found  # the server says what is wrong with it
        date, time, fraction, zone = parts.groups()
        end = _fraction(column, value, fraction, digits)
        if zone and not zoned:
            raise cannot_hold(column, value, "it has a time zone, and the column keeps none (declare TIMESTAMP)")
        if zone and zone not in ("Z", "+00:00", "+00", "+0000"):
            date, time = _in_utc(column, value, f"{date} {time}{zone}")
        return f"{date} {time}{end}"

    return bind


def _in_utc(column: Column, value: Any, text: str) -> tuple[str, str]:
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise cannot_hold(column, value, "it is no moment that can be told") from None
    return moment.strftime("%Y-%m-%d").zfill(10), moment.strftime("%H:%M:%S")
