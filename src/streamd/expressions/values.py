"""What the values of a row are to an expression, and what can be done with them.

A text is a str, a number an int or a Decimal, with all of its digits; dates are texts, bytes (`{"$hex": …}`) the text
of their hexadecimal digits; NaN is null. True and false are the numbers 1 and 0, as some databases store them.
"""

from __future__ import annotations

import decimal
import math
import operator
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from streamd.expressions import hints

Value = str | int | Decimal | None
"""A bool is an int, in Python as here."""

LONGEST_VALUE = 65_536
"""Characters of the longest text that an expression looks at, or joins."""

MOST_DIGITS = 400
"""Digits of the longest number, before the point and behind it."""

NUMBER, TEXT, NULL, TRUE, FALSE = KINDS = ("a number", "a text", "null", "true", "false")
ANY, FLAG, TEXTS, NUMBERS = frozenset(KINDS), frozenset((TRUE, FALSE)), frozenset((TEXT,)), frozenset((NUMBER,))
NUMERIC = FLAG | NUMBERS


class Fault(Exception):
    """Arguments: a place of an expression (from 0), what is wrong there or with a document's values, and a hint."""

    def explained(self) -> tuple[int, str, str]:
        """The place, what is wrong, and what to write instead."""
        return self.args[0], self.args[1], self.args[2]


class Mismatch(Fault):
    """A sign or function does not take values of such kinds. Arguments: the place, the sign, the kinds of each."""

    def explained(self) -> tuple[int, str, str]:
        """Only worked out where somebody asks: conditions fail often."""
        at, sign, *kinds = self.args
        given = ["a field" if each == ANY else " or ".join(kind for kind in KINDS if kind in each) for each in kinds]
        null = sign not in ("and", "or", "not", "if") and any(NULL in each and each != ANY for each in kinds)
        hint = hints.KINDS.get("null" if null else sign, hints.KINDS["other"]).hint
        return at, f"`{sign}` cannot be used with {' and '.join(given)}", hint


def value_of(raw: Any, at: int) -> Value:
    """A row's value. Raises `Fault` for lists, and what is longer than the bounds."""
    match raw:
        case str():
            return within(raw, at)
        case None | bool():
            return raw
        case _ if is_null(raw):
            return None
        case float():
            return Decimal(repr(raw))
        case int() if raw.bit_length() <= MOST_DIGITS * 3:
            return raw
        case Decimal() if abs(raw.adjusted()) <= MOST_DIGITS and len(str(raw)) <= 2 * MOST_DIGITS:
            return raw
        case int() | Decimal():
            raise Fault(at, *hints.DIGITS)
        case {"$hex": str(digits)} if len(raw) == 1:
            return within(digits, at)
    what = f"the field holds a value of the kind {type(raw).__name__}, which expressions do not know"
    raise Fault(at, what, "expressions look at texts, numbers, true and false, and at one field of a linked document")


def is_null(raw: Any) -> bool:
    """Whether a row's value is null, or no number where there should be one."""
    return raw is None or (isinstance(raw, Decimal) and raw.is_nan()) or (isinstance(raw, float) and math.isnan(raw))


def within(text: str, at: int) -> str:
    """The text. Raises `Fault` for one that is too long."""
    if len(text) > LONGEST_VALUE:
        raise Fault(at, f"a text has more than {LONGEST_VALUE} characters", "use fewer or shorter fields")
    return text


def kinds_of(value: Value) -> frozenset[str]:
    """The kind of a value; of true and false, both."""
    if isinstance(value, bool):
        return FLAG
    return TEXTS if isinstance(value, str) else NUMBERS if value is not None else frozenset((NULL,))


def truth(value: Value, at: int, sign: str) -> bool:
    """Whether a condition is true. Raises `Fault` for what is no condition; 1 and 0 of a field are."""
    if value is True or value is False:
        return value
    if value is not None and value in (0, 1):
        return value == 1
    raise Mismatch(at, sign, kinds_of(value))


def compared(sign: str, at: int, left: Value, right: Value) -> bool:
    """What `<`, `<=`, `>` or `>=` says of two numbers, or two texts. Raises `Fault` for anything else."""
    if isinstance(left, str) is not isinstance(right, str) or left is None or right is None:
        raise Mismatch(at, sign, kinds_of(left), kinds_of(right))
    return bool(ORDERS[sign](left, right))


def calculated(sign: str, at: int, left: Value, right: Value) -> Value:
    """What `+ - * / %` make of two numbers, and `+` of two texts.

    A number without a fraction is an int. Raises `Fault` for other values, division by zero, and what gets too long.
    """
    if isinstance(left, str) and isinstance(right, str) and sign == "+":
        return within(left + right, at)
    if not isinstance(left, int | Decimal) or not isinstance(right, int | Decimal):
        raise Mismatch(at, sign, kinds_of(left), kinds_of(right))
    try:
        return _plain(_CALCULATIONS[sign](left, right))
    except decimal.DecimalException as error:
        divided = sign in "/%" and right == 0
        raise Fault(at, *(hints.DIVIDED if divided else hints.DIGITS)) from error


def _plain(number: Decimal) -> int | Decimal:
    """An int where the number has no fraction, and few enough digits that none of them is invented."""
    few = number.is_finite() and number.adjusted() < _CONTEXT.prec
    return int(number) if few and number == number.to_integral_value() else number


def text_of(value: str | int | Decimal) -> str:
    """A number with all of its digits, without zeros at the end of a fraction; a text as it is."""
    if isinstance(value, str | bool):
        return str(value).lower() if isinstance(value, bool) else value
    written = format(Decimal(number_of(value)), "f")
    return written.rstrip("0").rstrip(".") if "." in written else written


def number_of(value: str | int | Decimal) -> int | Decimal:
    """A number, or the one that a text is. Raises `ValueError`."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError("the text is no number")
    number = Decimal(value)
    if not number.is_finite() or abs(number.adjusted()) > MOST_DIGITS:
        raise ValueError(hints.DIGITS.what)
    return _plain(number)


_NUMBER = re.compile(r"[+-]?[0-9]{1,400}(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,4})?")
_TRAPS = [decimal.InvalidOperation, decimal.Overflow, decimal.DivisionByZero]
_CONTEXT = decimal.Context(prec=28, Emax=MOST_DIGITS, Emin=-MOST_DIGITS, traps=_TRAPS)
ORDERS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge
}  # fmt: skip
_CALCULATIONS: Mapping[str, Callable[[Any, Any], Decimal]] = {
    "+": _CONTEXT.add, "-": _CONTEXT.subtract, "*": _CONTEXT.multiply, "/": _CONTEXT.divide, "%": _CONTEXT.remainder
}  # fmt: skip
