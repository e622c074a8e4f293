"""The parts of an expression: each can say its value for a document, and of which kinds that can be.

Each function here makes a part of smaller ones, and raises `Fault` where no document could give these a fitting value.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from streamd.expressions import hints, patterns, values
from streamd.expressions.values import FLAG, NULL, NUMBERS, NUMERIC, ORDERS, TEXTS, Fault, Mismatch, Value, kinds_of

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """A part at a place of the text. `run` says its value for a document, or raises `Fault`.

    `path` is that of a field. `constant` holds the value where it is the same for every document. `work` is how many
    characters its pattern may look at.
    """

    at: int
    kinds: frozenset[str]
    run: Callable[[Row], Value]
    path: tuple[str, ...] = ()
    constant: tuple[Value, ...] = ()
    work: int = 0


FUNCTIONS: Mapping[str, tuple[tuple[frozenset[str], ...], frozenset[str], Callable[..., Value]]] = {
    "size": ((TEXTS,), NUMBERS, len),
    "string": ((NUMERIC | TEXTS,), TEXTS, values.text_of),
    "int": ((NUMERIC | TEXTS,), NUMBERS, lambda value: int(values.number_of(value))),
    "double": ((NUMERIC | TEXTS,), NUMBERS, values.number_of),
    "startsWith": ((TEXTS, TEXTS), FLAG, str.startswith),
    "endsWith": ((TEXTS, TEXTS), FLAG, str.endswith),
    "contains": ((TEXTS, TEXTS), FLAG, operator.contains),
    "matches": ((TEXTS, TEXTS), FLAG, patterns.found),
}
"""By name: of which kinds a function's values have to be, of which its result is, and what it does with them."""
OTHER_NAMES = {"len": "size", "str": "string", "float": "double", "startswith": "startsWith", "endswith": "endsWith"}


def literal(at: int, value: Value) -> Part:
    kinds = frozenset((str(value).lower(),)) if isinstance(value, bool) else kinds_of(value)
    return Part(at, kinds, lambda doc: value, constant=(value,))


def field(at: int, path: tuple[str, ...]) -> Part:
    return Part(at, values.ANY, lambda doc: values.value_of(reached(doc, path), at), path)


def reached(doc: Row, path: tuple[str, ...]) -> Any:
    """The row's value at the end of a path; None where it ends earlier."""
    value = doc.get(path[0])
    return value if len(path) == 1 else value.get(path[1]) if isinstance(value, Mapping) else None


def negation(at: int, part: Part) -> Part:
    run = _wanted(FLAG, part, "not")
    return Part(at, FLAG, lambda doc: not values.truth(run(doc), at, "not"))


def junction(sign: str, parts: Sequence[Part]) -> Part:
    """Conditions joined by `and` or `or`. One that decides is enough, whatever the others are."""
    decides, runs = sign == "or", tuple((part.at, _wanted(FLAG, part, sign)) for part in parts)

    def run(doc: Row) -> Value:
        unknown: list[Callable[[], Fault]] = []
        for at, each in runs:
            try:
                if values.truth(each(doc), at, sign) is decides:
                    return decides
            except Fault as fault:
                unknown.append(partial(type(fault), *fault.args))  # not itself, which would keep this frame alive
        if unknown:
            raise unknown[0]()
        return not decides

    return Part(parts[0].at, FLAG, run)


def presence(at: int, sign: str, part: Part) -> Part:
    """Whether a field is null (`==`), or is not (`!=`), whatever it holds."""
    equal, path = sign == "==", part.path
    return Part(at, FLAG, lambda doc: values.is_null(reached(doc, path)) is equal)


def comparison(at: int, sign: str, left: Part, right: Part) -> Part:
    """`== != < <= > >=`. Values of different kinds are not equal; two that always differ in kind are not compared."""
    common = NUMERIC if left.kinds & NUMERIC and right.kinds & NUMERIC else left.kinds & right.kinds
    if not common - {NULL} and (sign in ORDERS or not common):
        raise Mismatch(at, sign, left.kinds, right.kinds)
    one, other, equal = left.run, right.run, sign == "=="
    if sign in ORDERS:
        return Part(at, FLAG, lambda doc: values.compared(sign, at, one(doc), other(doc)))
    return Part(at, FLAG, lambda doc: (one(doc) == other(doc)) is equal)


def membership(at: int, item: Part, options: Sequence[Part]) -> Part:
    run, runs = item.run, tuple(option.run for option in options)
    if all(option.constant for option in options):
        constants = tuple(option.constant[0] for option in options)
        return Part(at, FLAG, lambda doc: run(doc) in constants)
    return Part(at, FLAG, lambda doc: run(doc) in [each(doc) for each in runs])


def calculation(at: int, sign: str, left: Part, right: Part) -> Part:
    kinds = NUMBERS if left.kinds & NUMERIC and right.kinds & NUMERIC else frozenset()
    if sign == "+" and left.kinds & TEXTS and right.kinds & TEXTS:
        kinds |= TEXTS
    if not kinds:
        raise Mismatch(at, sign, left.kinds, right.kinds)
    if sign in "/%" and right.constant == (0,):
        raise Fault(at, *hints.DIVIDED)
    if left.constant and right.constant:
        return literal(at, values.calculated(sign, at, left.constant[0], right.constant[0]))
    one, other = left.run, right.run
    return Part(at, kinds, lambda doc: values.calculated(sign, at, one(doc), other(doc)))


def choice(condition: Part, yes: Part, no: Part) -> Part:
    at, asked, one, other = condition.at, _wanted(FLAG, condition, "if"), yes.run, no.run
    kinds = yes.kinds | no.kinds
    return Part(at, kinds, lambda doc: one(doc) if values.truth(asked(doc), at, "if") else other(doc))


def call(at: int, name: str, arguments: Sequence[Part]) -> Part:
    """One of `FUNCTIONS`. For those that are written behind a dot, the text before the dot is the first argument."""
    takes, gives, apply = FUNCTIONS[name]
    if len(arguments) != len(takes):
        raise Fault(at, f"`{name}` has too few values, or too many", hints.CALLS)
    asked = tuple((_wanted(kinds, part, name), kinds) for part, kinds in zip(arguments, takes, strict=True))
    work = 0
    if name == "matches":
        pattern, work = patterns.compile_pattern(arguments[1].at, *arguments[1].constant)
        asked, apply = asked[:1], partial(apply, pattern)

    def run(doc: Row) -> Value:
        given = []
        for each, kinds in asked:
            given.append(each(doc))
            if not kinds_of(given[-1]) <= kinds:
                raise Mismatch(at, name, kinds_of(given[-1]))
        try:
            return apply(*given)
        except ValueError as error:
            raise Fault(at, str(error), "ask first whether the field holds what fits") from error

    return Part(at, gives, run, work=work)


def _wanted(kinds: frozenset[str], part: Part, sign: str) -> Callable[[Row], Value]:
    """How a part says its value. Raises `Fault` where that can be of none of these kinds."""
    if not part.kinds & kinds:
        raise Mismatch(part.at, sign, part.kinds)
    return part.run
