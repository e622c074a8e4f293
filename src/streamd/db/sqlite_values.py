"""How values that travelled are given to SQLite.

SQLite holds any value in any column, so little is refused; but it has no exact decimals: a number with a point is a
64-bit float there, unless the column is declared as text.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any

from streamd.errors import RowRefused
from streamd.model import Column, Kind
from streamd.wire import HEX, write_json

_INFINITY = float("inf")

EXACT_DIGITS = 17
"""Significant digits that a 64-bit float keeps; what has more of them, and needs them, is refused."""


@lru_cache(maxsize=4096)
def binder(column: Column) -> Callable[[Any], Any]:
    """What turns a value into what the driver takes for this column. It raises `RowRefused`."""
    if column.kind == Kind.TEXT:
        return _text
    if column.kind == Kind.DECIMAL:
        return _decimal
    return _any


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


def _decimal(value: Any) -> Any:
    if type(value) is not Decimal:
        return _any(value)
    found = float(value)
    # Eighteen digits may be how SQLite itself wrote a float.
    if len(value.as_tuple().digits) > EXACT_DIGITS + 1 and Decimal(repr(found)) != value and abs(found) != _INFINITY:
        raise RowRefused(
            f"SQLite keeps {EXACT_DIGITS} digits of a number, and {value} has more: declare the column TEXT here"
        )
    return found


def hex_bytes(text: Any) -> bytes:
    """The bytes that `{"$hex": text}` means. Raises `RowRefused`."""
    try:
        return bytes.fromhex(text)
    except (TypeError, ValueError):
        raise RowRefused("a value claims to be bytes, but is no hexadecimal text") from None
