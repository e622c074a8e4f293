"""Goes through the tokens of an expression one by one, and says what is wrong with the one that was reached."""

from __future__ import annotations

import re

from streamd.errors import ExpressionError
from streamd.expressions import refusals
from streamd.expressions.tokens import COMMA, Kind, Token, fault, tokens

DEEPEST = 24
"""How many brackets, conditions and signs may stand inside one another."""

MOST_CALCULATIONS = 24
"""How many times an expression may calculate or join texts: each adds a level to the tree."""

OPERATOR_WORDS = ("and", "or", "not", "in", "is", "if", "else")

_KNOWN = "an expression knows the fields of the document (doc.country) and size(), string(), int(), double()"


class Reader:
    """The place in one expression, and how deep inside brackets it is."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(tokens(text))
        self._next = 0
        self._depth = 0
        self._calculations = 0

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _takes_sign(self, sign: str) -> bool:
        taken = self._token.is_sign(sign)
        self._next += taken
        return taken

    def _takes_word(self, word: str) -> bool:
        taken = self._token.is_word(word)
        self._next += taken
        return taken

    def _expect(self, sign: str, mend: str) -> None:
        if not self._takes_sign(sign):
            if self._token.is_word(*refusals.WORDS):
                raise self._unknown_word(self._token)
            raise self._fault(f"`{sign}` is missing", mend)

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._fault(f"more than {DEEPEST} brackets or conditions stand inside one another", "make it simpler")

    def _fault(self, what: str, mend: str) -> ExpressionError:
        return fault(self._text, self._token.at, what, mend)

    def _unexpected(self) -> ExpressionError:
        token = self._token
        if token.kind is Kind.END:
            return self._fault("something is missing", "complete it, or remove what stands at the end")
        if token.is_sign("[", "{"):
            return self._fault("a list stands behind `in` only", "write doc.country in ['IN', 'NP']")
        if token.is_sign(",") and re.fullmatch("[0-9],[0-9]", self._text[max(token.at - 1, 0) : token.at + 2]):
            return self._fault(*COMMA)
        if token.kind is Kind.WORD and not token.is_word(*OPERATOR_WORDS, "doc"):
            return self._unknown_word(token)
        return self._fault(
            "this was not expected", "write a condition, such as doc.country == 'IN' and doc.total > 1000"
        )

    def _unknown_word(self, token: Token) -> ExpressionError:
        word = str(token.value)
        if word == "frappe":
            rest = self._tokens[self._tokens.index(token) + 1 :]
            behind = str(rest[1].value) if len(rest) > 1 and rest[0].is_sign(".") else ""
            what, mend = refusals.FRAPPE.get(behind, refusals.FRAPPE_OTHERWISE)
            return fault(self._text, token.at, what, mend)
        if word.startswith("__"):
            return fault(self._text, token.at, f"`{word}` is not known", _KNOWN)
        what, mend = refusals.WORDS.get(word, (f"`{word}` is not known", f"{_KNOWN}; put texts in quotes: '{word}'"))
        return fault(self._text, token.at, what, mend)

    def _count_calculation(self) -> None:
        self._calculations += 1
        if self._calculations > MOST_CALCULATIONS:
            raise self._fault(f"it calculates more than {MOST_CALCULATIONS} times", "use fewer fields")
