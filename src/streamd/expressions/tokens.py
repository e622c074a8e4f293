"""The words, numbers, texts and signs of an expression, each with its place."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from streamd.expressions import hints
from streamd.expressions.values import MOST_DIGITS, Fault

LONGEST_TEXT = 2000
"""Characters that an expression may have; as many as travel."""


class Token(NamedTuple):
    """One token. `at` is the place of its first character, from 0.

    `kind` is "field", "word", "number", "text", "sign" or "end". The words that are operators are signs; && is the sign
    `and`, || is `or`. `value` of a text in quotes is the text, of a field its path.
    """

    kind: str
    value: str | int | Decimal | tuple[str, ...]
    at: int


def tokens(text: str) -> Iterator[Token]:
    """The tokens of an expression, the last of kind "end". Raises `Fault` for what is no token here."""
    if len(text) > LONGEST_TEXT:
        raise Fault(0, *hints.LONG)
    at = 0
    while at < len(text):
        found = _PIECES.match(text, at)
        if found is None:
            raise Fault(at, f"the character {text[at]!r} means nothing here", hints.STRANGE)
        piece, kind = found.group(), str(found.lastgroup)
        refused = {"refused": hints.SIGNS.get(piece), "prefix": hints.PREFIX, "open": hints.OPEN}.get(kind)
        if refused:
            raise Fault(at, *refused)
        if kind != "space":
            yield Token(kind, _READ[kind](piece, at) if kind in _READ else _AS_WORDS.get(piece, piece), at)
        if kind == "number" and re.match(r"[\w.]", text[found.end() :][:1]):
            raise Fault(at, *hints.NO_NUMBER)
        at = found.end()
    yield Token("end", "", len(text))


def _path(piece: str, at: int) -> tuple[str, ...]:
    path: list[str] = []
    for found in _STEP.finditer(piece):
        here = at + found.start() + 1
        name = found[2] or _unquoted(found[1], here)
        if name.startswith("__") and name.endswith("__"):
            raise Fault(here, f"`{name}` is no field of a document", hints.FIELD)
        if len(path) == 2:
            raise Fault(here, "only one link can be followed", f"doc.{'.'.join(path)} is as far as it goes")
        path.append(name)
    return tuple(path)


def _number(piece: str, at: int) -> int | Decimal:
    if len(piece) > MOST_DIGITS or abs(Decimal(piece).adjusted()) > MOST_DIGITS:
        raise Fault(at, *hints.DIGITS)
    if piece.isdigit() and piece.startswith("0") and piece != "0":
        raise Fault(at, *hints.ZERO)
    return int(piece) if piece.isdigit() else Decimal(piece)


def _unquoted(piece: str, at: int) -> str:
    """What a text in quotes stands for. The backslash sequences are Python's, without names of characters."""
    try:
        if piece[0] in "rR" or _ESCAPED.fullmatch(piece):
            value = str(ast.literal_eval(piece))
            value.encode()
            return value
    except (SyntaxError, ValueError):  # a NUL, or half a character
        pass
    raise Fault(at, *hints.BACKSLASH)


_READ: Mapping[str, Callable[[str, int], Any]] = {"field": _path, "text": _unquoted, "number": _number}
_AS_WORDS = {"&&": "and", "||": "or"}
_ESCAPED = re.compile(
    r"""(?:[^\\]|\\(?:[\\'"nrtabfv]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}))*"""
)
_TEXT = r"""[rR]?(?:\'{3}(?:[^\\]|\\.)*?\'{3}|"{3}(?:[^\\]|\\.)*?"{3}
    |\'(?!\'\')(?:[^\'\\\r\n]|\\.)*\'|"(?!"")(?:[^"\\\r\n]|\\.)*")"""
_STEP = re.compile(rf"(?:\.\s*get\s*\(|\[)\s*({_TEXT})|\.\s*([A-Za-z_][A-Za-z0-9_]*)", re.VERBOSE | re.DOTALL)
_PIECES = re.compile(
    rf"""
      (?P<space>[ \t\r\n]+)
    | (?P<text>{_TEXT})
    | (?P<open>[rR]?(?:\'{{3}}|"{{3}}|\'|"))
    | (?P<prefix>[A-Za-z]{{1,2}}(?=['"]))
    | (?P<field>doc(?:\s*(?:\.\s*get\s*\(\s*{_TEXT}\s*\)|\[\s*{_TEXT}\s*\]|\.\s*[A-Za-z_][A-Za-z0-9_]*+(?!\s*\()))+)
    | (?P<refused>\*\*|//|\#|===|!==|<>|:=|->|=(?!=)|&(?!&)|\|(?!\|))
    | (?P<sign>==|!=|<=|>=|&&|\|\||[-+*/%<>!?:.,()\[\]{{}}]|(?:and|or|not|in|is|if|else)\b)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    """,
    re.VERBOSE | re.DOTALL,
)
