"""The values of a row on their way into CEL, and what comes out of it.

CEL knows whole numbers of 64 bits and doubles. A number without a fraction goes in as a whole number, any other as a
double, which keeps its first 15 digits; so two numbers that differ in the sixteenth may be equal to an expression.
Dates are texts. Bytes (`{"$hex": …}`) are the text of their hexadecimal digits. NaN is null.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum
from typing import Any

from streamd.errors import ExpressionError

Passed = str | int | float | bool | None
"""What CEL is given."""

_LARGEST = (1 << 63) - 1
_EXACT = 1 << 53
"""Up to here, doubles are exact whole numbers."""

_LONGEST_NUMBER = 100
"""Digits of the longest number that is written as a text."""


class Form(Enum):
    """In which form a field goes in, by the place at which it stands."""

    VALUE = "as it is"
    NUMBER = "every number as a double, so that whole ones and others can be calculated with each other"
    DIVISOR = "as NUMBER, and 0 as null, by which CEL does not divide"
    FLAG = "1 as true and 0 as false, as databases without booleans store them"
    TEXT = "numbers as texts with all of their digits, without zeros at the end of a fraction"
    PRESENCE = "null or true: whether there is anything"


def passed(value: Any, form: Form) -> Passed:
    """A row's value in one form. Raises `ExpressionError` for lists, and texts with the character NUL."""
    return _FORMS[form](value)


def _value(value: Any) -> Passed:
    if isinstance(value, str):
        if "\0" in value:  # the package would end the text there, and 'IN\0x' would be equal to 'IN'
            raise ExpressionError("a text has the character NUL in it", hint="remove the character from the document")
        return value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -_LARGEST <= value <= _LARGEST else _double(value)
    if isinstance(value, Decimal):
        if value.is_nan():
            return None
        if value.is_finite() and value.adjusted() < 18 and value == value.to_integral_value():
            return int(value)
        return float(value)
    if isinstance(value, float):
        return None if math.isnan(value) else int(value) if value.is_integer() and abs(value) < _EXACT else value
    if isinstance(value, Mapping) and isinstance(value.get("$hex"), str) and len(value) == 1:
        return _value(value["$hex"])
    raise ExpressionError(
        f"a field holds a value of the kind {type(value).__name__}, which expressions do not know",
        hint="expressions look at texts, numbers, true and false, and at one field of a linked document",
    )


def _double(value: int) -> float:
    if value.bit_length() <= 1023:
        return float(value)
    return math.inf if value > 0 else -math.inf


def _number(value: Any) -> Passed:
    found = _value(value)
    return float(found) if isinstance(found, int) and not isinstance(found, bool) else found


def _divisor(value: Any) -> Passed:
    found = _number(value)
    return None if found == 0 and not isinstance(found, bool) else found


def _flag(value: Any) -> Passed:
    found = _value(value)
    return bool(found) if isinstance(found, int | float) and found in (0, 1) else found


def _text(value: Any) -> Passed:
    found = _value(value)
    if isinstance(found, bool):
        return "true" if found else "false"
    if not isinstance(found, int | float):
        return found
    if isinstance(value, int) and value.bit_length() > _LONGEST_NUMBER * 3:  # to turn it into digits takes long
        raise _too_long()
    exact = value if isinstance(value, Decimal) else Decimal(value if isinstance(value, int) else repr(value))
    if not exact.is_finite() or abs(exact.adjusted()) > _LONGEST_NUMBER or len(str(exact)) > 2 * _LONGEST_NUMBER:
        raise _too_long()
    if exact == 0:
        return "0"
    written = format(exact, "f")
    return written.rstrip("0").rstrip(".") if "." in written else written


def _too_long() -> ExpressionError:
    return ExpressionError("a number has too many digits for a text", hint="use another field")


def _presence(value: Any) -> Passed:
    not_a_number = value.is_nan() if isinstance(value, Decimal) else isinstance(value, float) and math.isnan(value)
    return None if value is None or not_a_number else True


_FORMS: Mapping[Form, Callable[[Any], Passed]] = {
    Form.VALUE: _value,
    Form.NUMBER: _number,
    Form.DIVISOR: _divisor,
    Form.FLAG: _flag,
    Form.TEXT: _text,
    Form.PRESENCE: _presence,
}


def bytes_in(text: str) -> int:
    """How many bytes CEL has to look at for a text. Raises `ExpressionError` for one that is no Unicode."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise ExpressionError("a text is not valid Unicode", hint="correct the document") from error


def returned(value: Any) -> Any:
    """What CEL worked out, as rows hold it: a double without a fraction as int, any other as Decimal of 15 digits.

    Raises `ExpressionError` for what is no number any more (infinity).
    """
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        raise ExpressionError("the number that comes out is too large", hint="numbers go up to about 1.8e308")
    if value == int(value) and abs(value) < _EXACT:
        return int(value)
    return Decimal(f"{value:.15g}")
