"""The words, numbers, texts and signs of an expression, each with its place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from streamd.errors import ExpressionError

LONGEST_TEXT = 2000
"""Characters that an expression may have; as many as travel."""


class Kind(Enum):
    """What a token is."""

    WORD = "a word"
    NUMBER = "a number"
    TEXT = "a text"
    SIGN = "a sign"
    END = "the end"


@dataclass(frozen=True, slots=True)
class Token:
    """One token. `value` is what it stands for (of a text in quotes, the text), `at` where its first character is."""

    kind: Kind
    value: str | int | float
    at: int

    def is_sign(self, *signs: str) -> bool:
        """Whether it is one of these signs; a text in quotes that looks like one is not."""
        return self.kind is Kind.SIGN and self.value in signs

    def is_word(self, *words: str) -> bool:
        """Whether it is one of these words, outside quotes."""
        return self.kind is Kind.WORD and self.value in words


def fault(text: str, at: int, what: str, mend: str = "") -> ExpressionError:
    """The error for what is wrong at a place (counted from 0) of an expression."""
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    near = text[at : at + 20].strip()
    place = f"at character {at + 1} (“{near}”)" if near else "at the end"
    return ExpressionError(f"the expression “{shown}” cannot be used: {place}, {what}", hint=mend)


def tokens(text: str) -> Iterator[Token]:
    """The tokens of an expression, ending with one of the kind END.

    Raises `ExpressionError` for what is no token here, with what to write in its place.
    """
    at = 0
    while at < len(text):
        found = _PIECES.match(text, at)
        if found is None:
            raise _unknown(text, at)
        piece, group = found.group(), found.lastgroup
        if group == "refused":
            what, mend = _REFUSED[piece]
            raise fault(text, at, what, mend)
        if group == "word":
            yield Token(Kind.WORD, piece, at)
        elif group == "number":
            yield Token(Kind.NUMBER, _number(text, at, found.end(), piece), at)
        elif group == "quote":
            value, end = _quoted(text, at, piece)
            yield Token(Kind.TEXT, value, at)
            at = end
            continue
        elif group == "sign":
            yield Token(Kind.SIGN, piece, at)
        at = found.end()
    yield Token(Kind.END, "", len(text))


def _number(text: str, at: int, end: int, piece: str) -> int | float:
    if re.match(r"[\w.]", text[end : end + 1]):
        raise fault(text, at, "this is no number", "write whole numbers as 1000, others as 1000.5, without units")
    if piece[:2] in ("0x", "0X"):
        value = int(piece, 16)
    elif piece.isdigit():
        if piece != "0" and piece.startswith("0"):
            if re.search(r"[0-9],$", text[:at]):
                raise fault(text, at - 1, *COMMA)
            raise fault(text, at, "a number begins with 0", "leave the zero out, or put a code in quotes: '007'")
        value = int(piece)
    else:
        number = float(piece)
        if number == float("inf"):
            raise fault(text, at, "the number is too large", "numbers go up to about 1.8e308")
        return number
    if value > _LARGEST:
        raise fault(text, at, "the whole number is too large", f"whole numbers go up to {_LARGEST}")
    return value


def _quoted(text: str, at: int, opening: str) -> tuple[str, int]:
    """The text in quotes that begins at a place, and the place behind it."""
    prefix = opening.rstrip("'\"")
    quote = opening[len(prefix) :]
    if prefix.lower() not in ("", "r"):
        raise fault(text, at, *_PREFIXES.get(prefix.lower(), _NO_PREFIX))
    parts: list[str] = []
    here = at + len(opening)
    while not text.startswith(quote, here):
        if here >= len(text) or (len(quote) == 1 and text[here] in "\r\n"):
            raise fault(text, at, "a text in quotes has no end", f"close it with {quote}")
        if text[here] == "\\" and not prefix:
            character, here = _escaped(text, here)
            parts.append(character)
        elif text[here] == "\\":  # in a raw text, a backslash keeps the quote behind it from ending the text
            parts.append(text[here : here + 2])
            here += 2
        else:
            parts.append(text[here])
            here += 1
    value = "".join(parts)
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise fault(text, at, "the text holds half a character (a surrogate)", "write the whole character")
    return value, here + len(quote)


def _escaped(text: str, at: int) -> tuple[str, int]:
    """The character of a backslash sequence, of those that CEL and Python share, and the place behind it."""
    found = _ESCAPES.match(text, at + 1)
    if found is None:
        raise fault(
            text, at, "this backslash means nothing", r"write \\ for a backslash, or put an r before the quotes"
        )
    piece = found.group()
    if piece in _NAMED:
        return _NAMED[piece], found.end()
    number = int(piece, 8) if piece[0] in "0123" else int(piece[1:], 16)
    if number > 0x10FFFF:
        raise fault(text, at, "there is no such character", r"\U goes up to \U0010ffff")
    return chr(number), found.end()


def _unknown(text: str, at: int) -> ExpressionError:
    character = text[at]
    if character in "‘’“”„«»`´":
        return fault(text, at, "this is a typographic quote", "put texts in straight quotes: 'IN'")
    if character.isalpha():
        return fault(
            text,
            at,
            "only the letters A to Z can stand outside quotes",
            'write other names of fields in quotes: doc["größe"]',
        )
    if not character.isprintable():
        return fault(text, at, f"the character {ord(character):#x} cannot be seen", "remove it")
    return fault(text, at, f"`{character}` means nothing here", "put texts in quotes")


_SHOWN = 120
_LARGEST = (1 << 63) - 1

_REFUSED = {
    "**": ("powers cannot be calculated", "write the number that is meant"),
    "//": ("`//` is neither a comment nor a division", "divide with /, and take int(…) of it for a whole number"),
    "#": ("there are no comments in expressions", "leave it out"),
    "===": ("`===` is not an operator", "compare with =="),
    "!==": ("`!==` is not an operator", "compare with !="),
    "<>": ("`<>` is not an operator", "compare with !="),
    ":=": ("nothing can be assigned", "write the value where it is used"),
    "->": ("`->` is not an operator", "write a condition, such as doc.country == 'IN'"),
    "=": ("`=` compares nothing", "compare with =="),
    "&": ("`&` is not an operator", "write && or `and`"),
    "|": ("`|` is not an operator", "write || or `or`"),
}
"""Signs of other languages, longest first: what is wrong, and what to write."""

COMMA = ("a comma stands in a number", "write numbers without commas: 1000, and 1000.5")

_NO_PREFIX = (
    "letters before a quote mean nothing",
    "write the quotes alone; only r'…' is known, for a text without backslash sequences",
)
_PREFIXES = {
    "f": ("texts with {fields} in them cannot be written", "join them with +: doc.country + '-' + string(doc.code)"),
    "b": ("bytes cannot be written", "compare a field of bytes with its hexadecimal text: doc.hash == '00ff'"),
}
_PREFIXES["rf"] = _PREFIXES["fr"] = _PREFIXES["f"]
_PREFIXES["rb"] = _PREFIXES["br"] = _PREFIXES["b"]

_NAMED = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_ESCAPES = re.compile(r"""[\\'"nrtabfv]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}""")
_PIECES = re.compile(
    r"""
      (?P<space>[ \t\r\n]+)
    | (?P<quote>[A-Za-z]{0,2}(?:'{3}|"{3}|'|"))
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>0[xX][0-9a-fA-F]+|(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<refused>\*\*|//|\#|===|!==|<>|:=|->|=(?!=)|&(?!&)|\|(?!\|))
    | (?P<sign>==|!=|<=|>=|&&|\|\||[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE,
)
