"""Takes an expression's text apart: tokens, and what brackets hold together. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

DEPTH_LIMIT = 12
"""How deep brackets may stand in each other: the evaluator has a bound of its own, beyond this one."""

CLOSING = {"(": ")", "[": "]"}

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<number>(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?)
    |(?P<text>'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")
    |(?P<name>[^\W\d]\w*)
    |(?P<operator>&&|\|\||==|!=|<=|>=|[-+*/<>!?:()\[\],.])""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"'}


class SyntaxFault(ValueError):
    """What is wrong, at which character (from 1), and how to mend it."""

    def __init__(self, what: str, at: int, mend: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.at = at
        self.mend = mend


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text: its kind (name, number, text, operator), itself (a text decoded), and where it stands."""

    kind: str
    text: str
    at: int


@dataclass(frozen=True)
class Group:
    """Brackets with what stands in them, parted at commas."""

    opening: str
    parts: Sequence[Sequence[Node]]
    at: int


Node = Token | Group


def tokens_of(text: str) -> list[Token]:
    found: list[Token] = []
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            raise SyntaxFault(f"has {text[place]!r}, which means nothing here", place + 1, _mend(text, place))
        kind, piece = match.lastgroup, match[0]
        if kind != "space":
            if (
                kind == "text"
                and found
                and found[-1].kind == "name"
                and found[-1].at + len(found[-1].text) == place + 1
            ):
                raise SyntaxFault(f"has a text with {found[-1].text} before it", place, "write plain quotes")
            if kind == "name" and found and found[-1].kind == "number" and text[place - 1].isalnum():
                raise SyntaxFault("has a number with letters behind it", place + 1, "write a plain number")
            found.append(Token(kind, _decoded(piece, place) if kind == "text" else piece, place + 1))
        place = match.end()
    return found


def _mend(text: str, place: int) -> str:
    if text[place] in "'\"":
        return "close the text with the same quote, in the same line"
    if text[place] == "=":
        return "compare with =="
    if text[place] in "&|":
        return "write and, or"
    return "remove it"


def _decoded(literal: str, place: int) -> str:
    """What stands in quotes. Only the plain escapes are known."""
    parts, position = [], 1
    while position < len(literal) - 1:
        character = literal[position]
        if character == "\\":
            position += 1
            if literal[position] not in _ESCAPES:
                raise SyntaxFault(
                    f"has the escape \\{literal[position]}", place + position, "write the character itself"
                )
            character = _ESCAPES[literal[position]]
        elif "\ud800" <= character <= "\udfff":
            raise SyntaxFault("has half a character in a text", place + position, "write the character itself")
        parts.append(character)
        position += 1
    return "".join(parts)


def grouped(tokens: Sequence[Token], place: int, opening: str, depth: int) -> tuple[list[list[Node]], int]:
    """The parts up to the closing bracket of `opening` (or the end), and where that stands."""
    if depth > DEPTH_LIMIT:
        raise SyntaxFault("has too many brackets in each other", tokens[place - 1].at, "write it flatter")
    parts: list[list[Node]] = [[]]
    while place < len(tokens):
        token = tokens[place]
        sign = token.text if token.kind == "operator" else ""
        if sign in CLOSING:
            inner, place = grouped(tokens, place + 1, sign, depth + 1)
            parts[-1].append(Group(sign, inner, token.at))
        elif sign in (")", "]"):
            if sign != CLOSING.get(opening):
                raise SyntaxFault(f"has a {sign} that closes nothing", token.at, "remove it")
            return parts, place + 1
        else:
            if sign == ",":
                parts.append([])
            else:
                parts[-1].append(token)
            place += 1
    if opening:
        raise SyntaxFault(f"has a {opening} that is never closed", tokens[-1].at, f"add {CLOSING[opening]}")
    return parts, place
