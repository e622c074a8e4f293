"""Compiles expressions, and keeps what was compiled last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from streamd.errors import ExpressionError
from streamd.expressions.parser import Parser
from streamd.expressions.parts import Part, reached
from streamd.expressions.values import TRUE, Fault, truth

MOST_KEPT = 256
"""Expressions that are kept compiled. The longest take 170 KB each."""


@dataclass(frozen=True)
class Expression:
    """A compiled expression. Two are equal when their texts are.

    `text` is as the user wrote it. `fields` are the document's fields that it looks at, `hops` what it looks at in the
    documents that some of these link to: doc.address.country is the field `address` and the hop `address` → `country`.
    `may_hold` is False for what can be no condition, such as a number that is calculated.
    """

    text: str
    fields: frozenset[str] = field(compare=False)
    hops: Mapping[str, frozenset[str]] = field(compare=False)
    may_hold: bool = field(compare=False)
    _part: Part = field(compare=False, repr=False)

    def evaluate(self, doc: Mapping[str, Any]) -> Any:
        """What the expression is for a row: str, int, bool, Decimal, or None.

        A row is as it travels, with the linked document's fields in the place of a link that is followed. A field that
        is not there is null. A field by itself comes out as it is in the row; a number that was calculated has 28
        digits, and is an int where it has no fraction. Raises `ExpressionError` where there is no result.
        """
        try:
            value = self._part.run(doc)
        except Fault as fault:
            raise _error(self.text, fault, "has no result for a document") from fault
        return value if value is None or not self._part.path else reached(doc, self._part.path)

    def holds(self, doc: Mapping[str, Any]) -> bool:
        """Whether the condition is true, or 1, for a row. Never raises: what is no condition or fails does not hold."""
        try:
            return self.may_hold and truth(self._part.run(doc), 0, "if")
        except Fault:
            return False  # whoever wants to know why calls `evaluate`


@lru_cache(MOST_KEPT)
def compile_expression(text: str) -> Expression:
    """The expression that a text is. Raises `ExpressionError`: what is wrong, where, and what to write instead."""
    try:
        part, paths = Parser(text).whole()
    except Fault as fault:
        raise _error(text, fault, "cannot be used") from fault
    hops: dict[str, frozenset[str]] = {}
    for link, *further in paths:
        if further:
            hops[link] = hops.get(link, frozenset()) | {*further}
    return Expression(text, frozenset(path[0] for path in paths), MappingProxyType(hops), TRUE in part.kinds, part)


def _error(text: str, fault: Fault, what: str) -> ExpressionError:
    at, why, hint = fault.explained()
    shown = text if len(text) <= 120 else f"{text[:120]}…"
    near = text[at : at + 20].strip()
    place = f"at character {at + 1} (“{near}”)" if near else "at the end"
    return ExpressionError(f"the expression “{shown}” {what}: {place}, {why}", hint=hint)
