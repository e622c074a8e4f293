"""Compiles expressions with CEL, once each, and evaluates them within bounds; whatever fails, fails closed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

from cel_expr_python import cel

from streamd.errors import StreamdError
from streamd.expressions.syntax import DOC, names_of, read_expression
from streamd.expressions.tokens import SyntaxFault

VALUE_LIMIT = 64_000
"""Characters of a value that an expression may look at: so what it joins together stays small."""

LARGEST = (1 << 63) - 1
LARGEST_EXACT = 1 << 53
"""Whole numbers up to here are the same as 64-bit floats."""

_PLACE = re.compile(r"ERROR: <input>:1:\d+: (?P<what>[^\n]+)")
_COMPLAINTS = {
    "Syntax error": "something is missing, or stands where it cannot",
    "recursion": "it has too many parts",
    "invalid int literal": "a number is too large",
}
_HEX = "$hex"


class ExpressionError(StreamdError):
    """An expression that cannot be read, or has no value for a document."""


@dataclass(frozen=True)
class Expression:
    """A compiled expression. `text` is as it was written; `fields` are those of the document that it looks at.

    `hops` has those of them that link to other documents, with the fields of these.
    """

    text: str
    fields: frozenset[str]
    hops: Mapping[str, frozenset[str]] = field(hash=False)
    _calculates: bool = field(repr=False, compare=False)
    _compiled: Any = field(repr=False, compare=False)

    def evaluate(self, doc: Mapping[str, Any]) -> str | int | float | bool | None:
        """The value for a row as it travels; a field that it has not got is null. Raises `ExpressionError`.

        A linked document stands as a mapping under its field. Numbers with a point are 64-bit floats here, so about 15
        digits of them count, and so are all numbers that are calculated with; dates and times are texts, which compare
        in their order.
        """
        given = {name: self._given(name, doc.get(name)) for name in self.fields}
        try:
            found = self._compiled.eval(data={DOC: given})
            value = found.value()
        except (RuntimeError, TypeError, ValueError) as error:
            raise self._failed(str(error)) from error
        kind = found.type()
        if kind == cel.Type.ERROR:
            raise self._failed(str(value))
        if isinstance(value, float) and not math.isfinite(value):
            raise self._failed("it gives no finite number")
        if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_EXACT:
            return int(value)
        if value is None or isinstance(value, str | int | float):
            return value
        raise self._failed(f"it gives a {kind.name()}, which is no plain value")

    def holds(self, doc: Mapping[str, Any]) -> bool:
        """Whether it is exactly true for the document. What fails does not hold."""
        try:
            return self.evaluate(doc) is True
        except ExpressionError:
            return False

    def _given(self, name: str, value: Any) -> Any:
        if name not in self.hops:
            return self._plain(name, value)
        if not isinstance(value, Mapping):
            return None
        return {each: self._plain(f"{name}.{each}", value.get(each)) for each in self.hops[name]}

    def _plain(self, name: str, value: Any) -> Any:
        """A value as CEL takes it."""
        if isinstance(value, Decimal):
            whole = value.is_finite() and abs(value) <= LARGEST and value == value.to_integral_value()
            value = int(value) if whole else float(value)
        if isinstance(value, bool) or value is None or isinstance(value, float):
            return value
        if isinstance(value, int):
            if self._calculates and abs(value) > LARGEST_EXACT:
                raise self._failed(f"{name} is too large a number to calculate with")
            return float(value) if self._calculates or abs(value) > LARGEST else value
        if isinstance(value, str) and len(value) <= VALUE_LIMIT:
            return value.encode("utf-8", "replace").decode()
        if isinstance(value, str):
            raise self._failed(f"{name} is longer than {VALUE_LIMIT} characters")
        raise self._failed(f"{name} holds bytes" if _is_bytes(value) else f"{name} is no plain value")

    def _failed(self, why: str) -> ExpressionError:
        return ExpressionError(f"{self.text} has no value for this document: {why}")


@lru_cache(maxsize=1024)
def compile_expression(text: str) -> Expression:
    """The expression, compiled once for each text. Raises `ExpressionError`: what is wrong, where, and the mend."""
    try:
        read = read_expression(text)
    except SyntaxFault as fault:
        raise ExpressionError(f"{_shown(text)} {fault.what} (character {fault.at})", hint=fault.mend) from None
    try:
        compiled = _environment().compile(read.cel)
    except RuntimeError as error:
        found = _PLACE.search(str(error))
        what = next((plain for sign, plain in _COMPLAINTS.items() if sign in str(error)), None)
        what = what or (found["what"] if found else str(error).partition(" [")[0])
        raise ExpressionError(f"{_shown(text)} cannot be understood: {what}", hint="see docs/expressions.md") from None
    return Expression(text, *names_of(read), read.calculates, compiled)


@lru_cache(maxsize=1)
def _environment() -> Any:
    return cel.NewEnv(variables={DOC: cel.Type.MAP})


def _is_bytes(value: Any) -> bool:
    return isinstance(value, bytes) or (isinstance(value, dict) and value.keys() == {_HEX})


def _shown(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "…"
