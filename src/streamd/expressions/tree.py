"""What an expression can consist of. Whatever is not here cannot be written.

`at` is the place in the text, for messages.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Literal:
    """null, true, false, a number, or a text in quotes."""

    at: int
    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the document, or (a path of two) of the document that it links to."""

    at: int
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The contrary of a condition."""

    at: int
    operand: Node


@dataclass(frozen=True, slots=True)
class Junction:
    """Two or more conditions, joined by `&&` or by `||`."""

    at: int
    operator: str
    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One of == != < <= > >= between two values."""

    at: int
    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Membership:
    """Whether a value is one of several."""

    at: int
    item: Node
    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Negative:
    """A number with its sign changed."""

    at: int
    operand: Node


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """One of + - * / % between two values; + joins texts, too."""

    at: int
    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Choice:
    """One of two values, by a condition."""

    at: int
    condition: Node
    yes: Node
    no: Node


@dataclass(frozen=True, slots=True)
class Call:
    """A function. For those that are written behind a dot, the text before the dot is the first argument."""

    at: int
    function: str
    arguments: tuple[Node, ...]


Node = Literal | Field | Not | Junction | Comparison | Membership | Negative | Arithmetic | Choice | Call


def paths(node: Node) -> set[tuple[str, ...]]:
    """The fields that a tree looks at."""
    if isinstance(node, Field):
        return {node.path}
    return set().union(*(paths(child) for child in children(node)))


def children(node: Node) -> tuple[Node, ...]:
    """The parts of a part."""
    match node:
        case Not() | Negative():
            return (node.operand,)
        case Junction():
            return node.operands
        case Comparison() | Arithmetic():
            return (node.left, node.right)
        case Membership():
            return (node.item, *node.options)
        case Choice():
            return (node.condition, node.yes, node.no)
        case Call():
            return node.arguments
        case Literal() | Field():
            return ()


def is_number(node: Node) -> bool:
    """Whether it can be seen without the document that this is a number."""
    match node:
        case Literal():
            return isinstance(node.value, int | float) and not isinstance(node.value, bool)
        case Negative():
            return True
        case Arithmetic():
            return node.operator != "+" or is_number(node.left) or is_number(node.right)
        case Call():
            return node.function in ("size", "int", "double")
    return False


def is_whole(node: Node) -> bool:
    """Whether it can be seen without the document that this is a whole number in CEL."""
    match node:
        case Literal():
            return isinstance(node.value, int)
        case Arithmetic():
            return node.operator == "%"
        case Call():
            return node.function in ("size", "int")
    return False


def may_be_true(node: Node) -> bool:
    """Whether it could be true of some document, as far as that is seen without one: a number or a text never is."""
    match node:
        case Literal():
            return node.value is True
        case Negative() | Arithmetic():
            return False
        case Choice():
            return may_be_true(node.yes) or may_be_true(node.no)
        case Call():
            return node.function != "string" and not is_number(node)
    return True
