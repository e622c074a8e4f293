"""Compiles expressions, and evaluates them on rows.

An evaluation gives CEL the fields that the expression looks at and nothing else, and is bounded by what can be given:
the text has `LONGEST_TEXT` characters at most, there are no loops, and texts come to `LONGEST_FIELDS` bytes at most.
CEL never calls back into Python: with functions of our own, cel-expr-python 0.1.3 would lose memory at each call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from cel_expr_python import cel

from streamd.errors import ExpressionError
from streamd.expressions.complaints import compile_complaint, evaluation_complaint
from streamd.expressions.patterns import LONGEST_MATCHED
from streamd.expressions.syntax import parse
from streamd.expressions.tokens import fault
from streamd.expressions.translation import MOST_VARIABLES, Place, Translation, Variable, translate
from streamd.expressions.tree import Field, Node, may_be_true, paths
from streamd.expressions.values import Form, Passed, bytes_in, passed, returned

LONGEST_FIELDS = 65_536
"""Bytes that the texts of the fields may have together, each as often as the expression looks at it."""

KEPT_CHARACTERS = 400_000
"""Characters that the texts of kept expressions may have together. What is compiled takes about 80 bytes for each."""

_ENVIRONMENT = cel.NewEnv(variables={f"v{index}": cel.Type.DYN for index in range(MOST_VARIABLES)})


class _Program:
    """A translation that CEL has compiled."""

    def __init__(self, text: str, translation: Translation) -> None:
        try:
            self._compiled = _ENVIRONMENT.compile(translation.cel)
            for at, pattern in translation.patterns:
                _try_pattern(text, at, pattern)
        except RuntimeError as error:
            at, what, mend = compile_complaint(str(error))
            raise fault(text, translation.origin(at), what, mend) from error
        self._matched = translation.matched_bytes
        self._inputs = tuple((f"v{index}", variable) for index, variable in enumerate(translation.variables))

    def result(self, doc: Mapping[str, Any]) -> Any:
        """What CEL says, as its own value. Raises `ExpressionError` where a field cannot be passed."""
        data: dict[str, Passed] = {}
        looked_at, matched = 0, self._matched
        for name, variable in self._inputs:
            given = passed(_reached(doc, variable.path), variable.form)
            if isinstance(given, str):
                length = bytes_in(given)
                looked_at += length * variable.times
                matched += length * variable.matched
            data[name] = given
        if looked_at > LONGEST_FIELDS or matched > LONGEST_MATCHED:
            most, doing = (LONGEST_MATCHED, "matches") if matched > LONGEST_MATCHED else (LONGEST_FIELDS, "looks at")
            raise ExpressionError(
                f"the texts that the expression {doing} are longer than {most} bytes together",
                hint="use fewer or shorter fields",
            )
        try:
            return self._compiled.eval(data=data)
        except RuntimeError as error:
            raise ExpressionError(f"CEL could not be given the fields: {error}", hint="correct the document") from error


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
    _alone: Variable | None = field(compare=False, repr=False)
    _value: _Program = field(compare=False, repr=False)
    _condition: _Program = field(compare=False, repr=False)

    def evaluate(self, doc: Mapping[str, Any]) -> Any:
        """What the expression is for a row: str, int, bool, Decimal, or None.

        A row is as it travels, with the linked document's fields in the place of a link that is followed. A field that
        is not there is null. A field by itself comes out as it is in the row; a number that was calculated has 15
        digits, and is an int where it has no fraction. Raises `ExpressionError` where there is no result.
        """
        try:
            if self._alone is not None:
                value = _reached(doc, self._alone.path)
                return None if passed(value, self._alone.form) is None else value
            result = self._value.result(doc)
            if result.type() == cel.Type.ERROR:
                what, mend = evaluation_complaint(result.value())
                raise ExpressionError(what, hint=mend)
            return returned(result.plain_value())
        except ExpressionError as error:
            raise ExpressionError(
                f"the expression “{self.text}” has no result for a document: {error.message}", hint=error.hint
            ) from error

    def holds(self, doc: Mapping[str, Any]) -> bool:
        """Whether the condition is exactly true for a row. Never raises: whatever is no condition, or fails, is False.

        As everywhere in conditions, a field by itself is true also where it holds 1.
        """
        try:
            return self._condition.result(doc).value() is True
        except ExpressionError:
            return False  # whoever wants to know why calls `evaluate`


class Kept:
    """What was compiled last, in so many characters of text; what was not used for longest goes first."""

    def __init__(self, make: Callable[[str], Expression], characters: int = KEPT_CHARACTERS) -> None:
        self._make = make
        self._most = characters
        self._kept: OrderedDict[str, Expression] = OrderedDict()
        self.characters = 0

    def __call__(self, text: str) -> Expression:
        """The expression of this text; it is made where it is not kept. Raises what `make` raises."""
        found = self._kept.get(text)
        if found is not None:
            self._kept.move_to_end(text)
            return found
        made = self._kept[text] = self._make(text)
        self.characters += len(text)
        while self.characters > self._most and len(self._kept) > 1:
            self.characters -= len(self._kept.popitem(last=False)[0])
        return made


def compile_expression(text: str) -> Expression:
    """The expression that a text is. Raises `ExpressionError`: what is wrong, where, and what to write instead."""
    return _kept(text)


def _compiled(text: str) -> Expression:
    tree = parse(text)
    found = paths(tree)
    hops: dict[str, frozenset[str]] = {}
    for path in found:
        if len(path) > 1:
            hops[path[0]] = hops.get(path[0], frozenset()) | {path[1]}
    value, condition = translate(text, tree, Place.VALUE), translate(text, tree, Place.CONDITION)
    program = _Program(text, value)
    return Expression(
        text,
        frozenset(path[0] for path in found),
        MappingProxyType(hops),
        may_be_true(tree),
        _alone(tree),
        program,
        program if condition.cel == value.cel and condition.variables == value.variables else _Program(text, condition),
    )


_kept = Kept(_compiled)


def _alone(tree: Node) -> Variable | None:
    """The field, if an expression is one field by itself."""
    return Variable(tree.path, Form.VALUE, 1, 0) if isinstance(tree, Field) else None


def _reached(doc: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """The value at the end of a path; None where it ends earlier."""
    value = doc.get(path[0])
    if len(path) == 1:
        return value
    return value.get(path[1]) if isinstance(value, Mapping) else None


def _try_pattern(text: str, at: int, pattern: str) -> None:
    """Raises `ExpressionError` for a pattern that RE2 does not take, which CEL says only when it is used."""
    result = _ENVIRONMENT.compile("v0.matches(v1)").eval(data={"v0": "", "v1": pattern})
    if result.type() == cel.Type.ERROR:
        why = str(result.value()).partition("regular expression: ")[2] or "it is too large"
        raise fault(
            text,
            at,
            f"the pattern cannot be used ({why})",
            "patterns are those of RE2, without look-ahead and back-references",
        )
