"""Writes the tree of an expression as CEL, for which the fields of the document are variables.

Nothing of the user's text gets to CEL as it was written: everything is written anew from the tree, every text with its
special characters escaped. CEL is strict about types, where rows are not: the same column holds `3` in one row and
`2.5` in another, and 1 or true depending on the database. So a field goes in in the form (`values.Form`) that fits the
place at which it stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from streamd.expressions.patterns import MOST_PLACES, places
from streamd.expressions.tokens import fault
from streamd.expressions.tree import (
    Arithmetic,
    Call,
    Choice,
    Comparison,
    Field,
    Junction,
    Literal,
    Membership,
    Negative,
    Node,
    Not,
    is_number,
    is_whole,
    paths,
)
from streamd.expressions.values import Form

MOST_VARIABLES = 64
"""How many different fields an expression may look at. (A field that is looked at in two forms counts twice.)"""


class Place(Enum):
    """Where a part of an expression stands, and so in which form it is wanted."""

    VALUE = "anywhere else"
    NUMBER = "in a calculation"
    CONDITION = "where true or false is wanted"


@dataclass(frozen=True, slots=True)
class Variable:
    """A field in one form: how many `times` the expression looks at it, and how many of these it is `matched`."""

    path: tuple[str, ...]
    form: Form
    times: int
    matched: int


@dataclass(frozen=True, slots=True)
class Translation:
    """An expression in CEL, with the variables v0, v1, … in this order.

    `patterns` are those of `matches`, with their places; `matched_bytes` are those of texts in quotes that are matched;
    `marks` are pairs (place here, place in the user's text).
    """

    cel: str
    variables: tuple[Variable, ...]
    marks: tuple[tuple[int, int], ...]
    patterns: tuple[tuple[int, str], ...]
    matched_bytes: int

    def origin(self, at: int) -> int:
        """The place in the user's text of what stands at a place of the translation."""
        return max((mark for mark in self.marks if mark[0] <= at), default=(0, 0))[1]


def translate(text: str, tree: Node, place: Place) -> Translation:
    """The translation of an expression that stands at such a place.

    Raises `ExpressionError` for what CEL would take and we do not.
    """
    writer = _Writer(text, frozenset(path[0] for path in paths(tree) if len(path) > 1))
    writer.write(tree, place)
    if len(writer.variables) > MOST_VARIABLES:
        raise fault(text, 0, f"it looks at more than {MOST_VARIABLES} fields", "use fewer")
    if sum(places(pattern) for _, pattern in writer.patterns) > MOST_PLACES:
        raise fault(
            text,
            writer.patterns[0][0],
            "the patterns are too much work",
            f"counted repetitions count: {MOST_PLACES} in all",
        )
    variables = (Variable(*key, times, writer.matched[key]) for key, times in writer.variables.items())
    cel = "".join(writer.parts)
    return Translation(cel, tuple(variables), tuple(writer.marks), tuple(writer.patterns), writer.matched_bytes)


class _Writer:
    """Writes one expression. `followed` are the links that it follows: their own values are not in the row then."""

    def __init__(self, text: str, followed: frozenset[str]) -> None:
        self._text = text
        self._followed = followed
        self._length = 0
        self.parts: list[str] = []
        self.marks: list[tuple[int, int]] = []
        self._matching = False
        self.matched_bytes = 0
        self.variables: Counter[tuple[tuple[str, ...], Form]] = Counter()
        self.matched: Counter[tuple[tuple[str, ...], Form]] = Counter()
        self.patterns: list[tuple[int, str]] = []

    def write(self, node: Node, place: Place) -> None:
        match node:
            case Literal():
                self._literal(node, place)
            case Field():
                self._field(node, _FORMS[place])
            case Not():
                self._wrapped("!(", node.operand, Place.CONDITION, node.at)
            case Junction():
                self._junction(node)
            case Comparison():
                self._comparison(node)
            case Membership():
                self._wrapped("(", node.item, Place.VALUE, node.at)
                self._listed(" in [", node.options, "]", node.at)
            case Negative():
                self._wrapped("-(", node.operand, Place.NUMBER, node.at)
            case Arithmetic():
                self._arithmetic(node, place)
            case Choice():
                self._choice(node, place)
            case Call():
                self._call(node, place)

    def _literal(self, node: Literal, place: Place) -> None:
        self._put(_literal(node.value, place), node.at)
        if self._matching and isinstance(node.value, str):
            self.matched_bytes += len(node.value.encode())

    def _junction(self, node: Junction) -> None:
        for index, operand in enumerate(node.operands):
            self._put(f" {node.operator} " if index else "", node.at)
            self._wrapped("(", operand, Place.CONDITION, node.at)

    def _choice(self, node: Choice, place: Place) -> None:
        self._wrapped("(", node.condition, Place.CONDITION, node.at)
        self._wrapped(" ? dyn(", node.yes, place, node.at)  # so that the two may be of different kinds
        self._wrapped(" : dyn(", node.no, place, node.at)

    def _comparison(self, node: Comparison) -> None:
        for one, other in ((node.left, node.right), (node.right, node.left)):
            if not isinstance(one, Field) or not isinstance(other, Literal) or node.operator not in ("==", "!="):
                continue
            if other.value is None:
                self._field(one, Form.PRESENCE)
                self._put(f" {node.operator} null", node.at)
                return
            if isinstance(other.value, int) and other.value in (0, 1):  # so are True and False
                self._field(one, Form.FLAG)
                self._put(f" {node.operator} {'true' if other.value else 'false'}", node.at)
                return
        # CEL compares 1 with 1.5 only where it does not know beforehand that one is whole and the other is not.
        opening = "dyn(" if is_number(node.left) and is_number(node.right) else "("
        self._wrapped(opening, node.left, Place.VALUE, node.at)
        self._put(f" {node.operator} ", node.at)
        self._wrapped(opening, node.right, Place.VALUE, node.at)

    def _arithmetic(self, node: Arithmetic, place: Place) -> None:
        if node.operator == "%":  # known for whole numbers only
            self._put("double(" if place is Place.NUMBER else "(", node.at)
            self._wrapped("(", node.left, Place.VALUE, node.at)
            self._put(" % ", node.at)
            self._wrapped("(", node.right, Place.VALUE, node.at)
            self._put(")", node.at)
            return
        self._wrapped("(", node.left, Place.NUMBER, node.at)
        self._put(f" {node.operator} ", node.at)
        divisor = node.right
        if node.operator != "/":
            self._wrapped("(", divisor, Place.NUMBER, node.at)
        elif isinstance(divisor, Field):
            self._field(divisor, Form.DIVISOR)
        elif isinstance(divisor, Literal) and is_number(divisor) and divisor.value:
            self.write(divisor, Place.NUMBER)
        else:  # dividing by zero is infinity to CEL, which is larger than any number
            raise fault(
                self._text, divisor.at, "only a field or a number can be divided by", "write doc.total / doc.qty"
            )

    def _call(self, node: Call, place: Place) -> None:
        self._check_call(node)
        first = node.arguments[0]
        whole = node.function in ("size", "int") and place is Place.NUMBER
        self._put("double(" if whole else "", node.at)
        if node.function == "string" and isinstance(first, Field):
            self._put("string(", node.at)
            self._field(first, Form.TEXT)
            self._put(")", node.at)
        elif node.function in _METHODS:
            outside, self._matching = self._matching, self._matching or node.function == "matches"
            self._wrapped("(", first, Place.VALUE, node.at)
            self._matching = outside
            self._listed(f".{node.function}(", node.arguments[1:], ")", node.at)
        else:
            self._listed(f"{node.function}(", node.arguments, ")", node.at)
        self._put(")" if whole else "", node.at)

    def _check_call(self, node: Call) -> None:
        wanted = 2 if node.function in _METHODS else 1
        if len(node.arguments) != wanted:
            raise fault(
                self._text,
                node.at,
                f"{node.function} takes {wanted} value{'s'[: wanted - 1]}",
                _METHODS.get(node.function, ""),
            )
        if node.function == "string" and is_number(node.arguments[0]) and not is_whole(node.arguments[0]):
            raise fault(self._text, node.at, "string writes fields and whole numbers", "write string(int(…))")
        if node.function != "matches":
            return
        pattern = node.arguments[1]
        if not isinstance(pattern, Literal) or not isinstance(pattern.value, str):
            raise fault(
                self._text, node.at, "the pattern of matches has to be a text in quotes", "write matches('^A-[0-9]+$')"
            )
        try:
            places(pattern.value)
        except ValueError as unknown:
            raise fault(self._text, pattern.at, str(unknown), "write classes such as [A-Z] or [^0-9]") from unknown
        self.patterns.append((pattern.at, pattern.value))

    def _field(self, node: Field, form: Form) -> None:
        if form is not Form.PRESENCE and len(node.path) == 1 and node.path[0] in self._followed:
            raise fault(
                self._text,
                node.at,
                f"doc.{node.path[0]} is a link that this expression follows, and no value beside that",
                "compare a field of the linked document, or only whether there is one: != null",
            )
        key = (node.path, form)
        self.variables[key] += 1
        self.matched[key] += self._matching
        self._put(f"v{list(self.variables).index(key)}", node.at)

    def _wrapped(self, opening: str, node: Node, place: Place, at: int) -> None:
        self._put(opening, at)
        self.write(node, place)
        self._put(")", at)

    def _listed(self, opening: str, nodes: tuple[Node, ...], closing: str, at: int) -> None:
        self._put(opening, at)
        for index, node in enumerate(nodes):
            self._put(", " if index else "", at)
            self.write(node, Place.VALUE)
        self._put(closing, at)

    def _put(self, part: str, at: int) -> None:
        self.marks.append((self._length, at))
        self.parts.append(part)
        self._length += len(part)


def _literal(value: str | int | float | bool | None, place: Place) -> str:
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) or place is Place.NUMBER:
        return repr(float(value))
    return str(value)


def _text(value: str) -> str:
    return '"' + "".join(c if " " <= c <= "~" and c not in '"\\' else f"\\U{ord(c):08x}" for c in value) + '"'


_FORMS: Mapping[Place, Form] = MappingProxyType(
    {Place.VALUE: Form.VALUE, Place.NUMBER: Form.NUMBER, Place.CONDITION: Form.FLAG}
)
_METHODS: Mapping[str, str] = MappingProxyType(
    {
        "startsWith": "write doc.code.startsWith('A-')",
        "endsWith": "write doc.code.endsWith('-1')",
        "contains": "write doc.remarks.contains('urgent')",
        "matches": "write doc.code.matches('^A-[0-9]+$')",
    }
)
"""Functions that CEL wants behind a dot, with an example of each."""
