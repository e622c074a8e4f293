"""Decimal numbers that are, or were, 64-bit floats. Pure.

SQLite keeps a DECIMAL column's 52.12345678 as the float next to it, which takes 18 digits to write. A float surely
keeps 15 digits, and is told from all others by 17: what stands behind them is how a number was kept, and nothing that
anybody meant.
"""

from __future__ import annotations

import re
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
