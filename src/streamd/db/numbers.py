"""Decimal numbers that are, or were, floats. Pure.

SQLite keeps a DECIMAL column's 52.12345678 as the float next to it, which takes 18 digits to write. A float surely
keeps 15 digits, and is told from all others by 17: what stands behind them is how a number was kept, and nothing that
anybody meant.
"""

from __future__ import annotations

import re
import struct
from decimal import ROUND_HALF_EVEN, Context, Decimal

from streamd.model import Column

SURE_DIGITS = 15
"""Significant digits of any decimal number that a 64-bit float gives back."""

FLOAT_DIGITS = 17
"""Significant digits that tell a 64-bit float from all others."""

_SURE = Context(prec=SURE_DIGITS, rounding=ROUND_HALF_EVEN)
_WIDE = Context(prec=400, rounding=ROUND_HALF_EVEN)
_SCALE = re.compile(r"(?:decimal|dec|numeric|fixed)[^(]*\(\s*\d+\s*(?:,\s*(\d+)\s*)?\)", re.IGNORECASE)


def scale_of(column: Column) -> int | None:
    """Digits behind the point that a DECIMAL column keeps; None where it keeps as many as come."""
    found = _SCALE.match(column.declared)
    return int(found[1] or 0) if found else None


def digits_of(value: Decimal) -> int:
    """Significant digits, without zeros at the end."""
    return len("".join(map(str, value.as_tuple().digits)).rstrip("0")) if value.is_finite() else 0


def fitting(value: Decimal, scale: int | None) -> Decimal | None:
    """The number as a column keeps it that has `scale` digits behind the point; None where it would lose some.

    Only the noise of a 64-bit float may go: what is beyond the digits that such a float surely keeps.
    """
    if scale is None or not value.is_finite():
        return value
    step = Decimal(1).scaleb(-scale)
    kept = value.quantize(step, context=_WIDE)
    return kept if kept == value or is_noise(value, kept) else None


def is_noise(value: Decimal, kept: Decimal) -> bool:
    """Whether all that a number lost, of which `kept` was kept, is what a 64-bit float added to it."""
    return SURE_DIGITS < digits_of(value) <= FLOAT_DIGITS + 1 and _SURE.plus(value) == kept


def is_same_float32(one: int | float | Decimal, other: int | float | Decimal) -> bool:
    """Whether one number is a 32-bit float, and the other one the shortest number that is written for it.

    PostgreSQL writes the REAL 0.1 so; MariaDB and SQLite know it as the 64-bit float 0.10000000149011612.
    """
    return _shortest_float32(one) == _decimal(other) or _shortest_float32(other) == _decimal(one)


def float32(number: float) -> float:
    """The nearest 32-bit float; the number itself where it is beyond them."""
    try:
        found: float = struct.unpack("f", struct.pack("f", number))[0]
    except OverflowError:
        return number
    return found


def _shortest_float32(value: int | float | Decimal) -> Decimal | None:
    """The shortest number that a 32-bit float is written as; None for what is no such float."""
    try:
        number = float(value)
    except OverflowError:
        return None
    if not number or float32(number) != number or (isinstance(value, int) and value != number):
        return None
    written = (format(number, f".{digits}g") for digits in range(6, 10))
    return Decimal(next((text for text in written if float32(float(text)) == number), repr(number)))


def _decimal(value: int | float | Decimal) -> Decimal:
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
