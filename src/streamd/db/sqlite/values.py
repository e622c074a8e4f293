"""How values that travelled are given to SQLite.

SQLite holds any value in any column, so little is refused; but it has no exact decimals: a number with a point is a
64-bit float there, unless the column is declared as text. What no float is exactly is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from decimal import Context, Decimal
from functools import lru_cache, partial
from types import NoneType
from typing import Any

from streamd.db.numbers import SURE_DIGITS, is_noise
from streamd.db.parts import cannot_hold
from streamd.errors import RowRefused
from streamd.model import Column, Kind
from streamd.wire import HEX, write_json

_INFINITY = float("inf")

_PLAIN = frozenset({str, int, NoneType})
_PLAIN_TEXT = frozenset({str, NoneType})

SURE_LENGTH = SURE_DIGITS + 1
"""A number of no more characters than this, with its point, has a 64-bit float of its own."""

_INFINITE = Decimal("1e999")
"""How infinity travels."""

INT64 = range(-(1 << 63), 1 << 63)

_AS_TEXT = "Declare the column TEXT at this site, or map the field to one that is TEXT"


@lru_cache(maxsize=4096)
def binder(column: Column) -> Callable[[Any], Any]:
    """What turns a value into what the driver takes for this column. It raises `RowRefused`."""
    if column.kind == Kind.TEXT:
        return _text
    if column.kind == Kind.JSON:
        return _any  # it is not read as a number
    return partial(_float if column.kind == Kind.FLOAT else _exact, column)


def bound(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    """Rows, each with a value for each column, as the driver takes them. Raises `RowRefused`."""
    # By column: most columns hold what the driver takes as it is, and one look at the types tells.
    return (
        list(zip(*map(_bound_column, columns, zip(*rows, strict=True)), strict=True)) if columns else [()] * len(rows)
    )


def _bound_column(column: Column, values: tuple[Any, ...]) -> Iterable[Any]:
    plain = _PLAIN_TEXT if column.kind == Kind.TEXT else _PLAIN
    return values if plain.issuperset(map(type, values)) else map(binder(column), values)


def _any(value: Any) -> Any:
    # A number beyond 64 bits is refused by the driver when it is written.
    kind = type(value)
    if kind is str or kind is int or value is None:
        return value
    if kind is Decimal:
        return float(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str | int | float):
        return value
    if isinstance(value, dict) and value.keys() == {HEX}:
        return hex_bytes(value[HEX])
    return write_json(value).decode()


def _text(value: Any) -> Any:
    # SQLite would make text of a number by itself, but of fewer digits, and of no more than 64 bits.
    return str(value) if type(value) in (int, Decimal) else _any(value)


def _float(column: Column, value: Any) -> Any:
    """A number as the nearest float: a column of floats says itself that it keeps no more. Raises `RowRefused`."""
    found = _any(value)
    if type(value) is Decimal and value and (not found or (abs(found) == _INFINITY and abs(value) != _INFINITE)):
        raise cannot_hold(column, value, f"no 64-bit float is as {'large' if found else 'small'}. {_AS_TEXT}")
    return found


def _exact(column: Column, value: Any) -> Any:
    """A number with a point as the float that is the same number. Raises `RowRefused` where there is none."""
    if type(value) is not Decimal:
        return _any(value)
    found, text = float(value), str(value)
    if (len(text) <= SURE_LENGTH and "E" not in text) or _is_written_as(found, value):
        return found
    kept = f"would make {travelling(found)} of it" if abs(found) != _INFINITY else "has none as large"
    raise cannot_hold(column, value, f"SQLite keeps a number with a point as a 64-bit float, and {kept}. {_AS_TEXT}")


def _is_written_as(found: float, value: Decimal) -> bool:
    """Whether the number is how somebody writes the float: in short, as SQLite does, or with as many of its digits."""
    if abs(found) == _INFINITY:
        return abs(value) == _INFINITE
    short = Decimal(repr(found))
    return (
        value == short
        or is_noise(value, short)
        or value == Context(prec=len(value.as_tuple().digits)).plus(Decimal(found))
    )


def unbindable(columns: Sequence[Column], rows: Sequence[Sequence[Any]], error: Exception) -> RowRefused:
    """Which of these values the driver refused with this error."""
    for row in rows:
        for column, value in zip(columns, row, strict=True):
            if type(value) is int and value not in INT64:
                return cannot_hold(column, value, f"SQLite keeps whole numbers of up to 64 bits. {_AS_TEXT}")
    return RowRefused(f"a value cannot be written: {error}")


def travelling(value: Any) -> Any:
    """A value as the driver gives it, as values travel."""
    kind = type(value)
    if kind is float:
        return Decimal(repr(value)) if abs(value) != _INFINITY else Decimal("1e999").copy_sign(Decimal(value))
    return {HEX: value.hex()} if kind is bytes else value


_LONG = re.compile(rb"[0-9.]{17}")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9]+\.[0-9]*(?:e[+-]?[0-9]+)?')


def short_numbers(row: bytes) -> bytes:
    """A row as JSON, in which each float is written as the shortest number that is this float.

    SQLite writes 52.12345678 as 52.1234567800000003: so it is surely told from all others, but nobody meant that.
    """
    return _TOKEN.sub(_short, row) if _LONG.search(row) else row


def _short(found: re.Match[bytes]) -> bytes:
    text = found[0]
    if len(text) < 17 or text.startswith(b'"'):
        return text
    short = repr(float(text))
    # Infinity is no number of JSON, and travels as 1e999.
    return short.encode() if short[-1].isdigit() else text


def hex_bytes(text: Any) -> bytes:
    """The bytes that `{"$hex": text}` means. Raises `RowRefused`."""
    try:
        return bytes.fromhex(text)
    except (TypeError, ValueError):
        raise RowRefused("a value claims to be bytes, but is no hexadecimal text") from None
