"""Reads the text of an expression into a tree: CEL, and the words that the ancestor's users know from Python.

From the loosest to the tightest: `c ? a : b` and `a if c else b`; `or` `||`; `and` `&&`; `not`; comparisons, which
cannot be chained; `+ -`; `* / %`; `!` and the minus; dots and brackets. Where both languages have an operator, it binds
the same in both, but for `not`, which is looser than `!`, as in Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from streamd.errors import ExpressionError
from streamd.expressions import refusals
from streamd.expressions.reading import OPERATOR_WORDS, Reader
from streamd.expressions.tokens import LONGEST_TEXT, Kind, fault
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
)

FUNCTIONS: Mapping[str, str] = {
    **{name: name for name in ("size", "string", "int", "double", "matches")},
    "len": "size",
    "str": "string",
    "float": "double",
}
"""What can be written as f(…), and its name in CEL."""

METHODS: Mapping[str, str] = {
    **{name: name for name in ("size", "startsWith", "endsWith", "contains", "matches")},
    "startswith": "startsWith",
    "endswith": "endsWith",
}
"""What can be written behind a dot, and its name in CEL."""

_CONSTANTS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_COMPARING = ("==", "!=", "<", "<=", ">", ">=")


def parse(text: str) -> Node:
    """The tree of an expression. Raises `ExpressionError`, which says where, what, and what to write in its place."""
    if len(text) > LONGEST_TEXT:
        raise ExpressionError(
            f"an expression has {len(text)} characters, and may have {LONGEST_TEXT}",
            hint="shorten it, or add a field that the document carries the answer in",
        )
    if not text.strip():
        raise ExpressionError("the expression is empty", hint="write one, such as doc.country == 'IN', or leave it out")
    for prefix, (what, mend) in refusals.BEGINNINGS.items():
        if text.lstrip().startswith(prefix):
            raise fault(text, text.index(prefix), what, mend)
    return _Parser(text).whole()


class _Parser(Reader):
    """Reads one expression. Each method takes what its name says from the tokens, and gives the tree of it."""

    def whole(self) -> Node:
        found = self._expression()
        if self._token.kind is not Kind.END:
            raise self._unexpected()
        return found

    def _expression(self) -> Node:
        self._enter()
        found = self._either()
        at = self._token.at
        if self._takes_sign("?"):
            yes = self._expression()
            self._expect(":", "a choice is written c ? a : b")
            found = Choice(at, found, yes, self._expression())
        elif self._takes_word("if"):
            condition = self._either()
            if not self._takes_word("else"):
                raise self._fault("a choice has no else", "write a if c else b, or c ? a : b")
            found = Choice(at, condition, found, self._expression())
        self._depth -= 1
        return found

    def _either(self) -> Node:
        at, operands = self._token.at, [self._all()]
        while self._takes_sign("||") or self._takes_word("or"):
            operands.append(self._all())
        return Junction(at, "||", tuple(operands)) if len(operands) > 1 else operands[0]

    def _all(self) -> Node:
        at, operands = self._token.at, [self._negated()]
        while self._takes_sign("&&") or self._takes_word("and"):
            operands.append(self._negated())
        return Junction(at, "&&", tuple(operands)) if len(operands) > 1 else operands[0]

    def _negated(self) -> Node:
        at = self._token.at
        if not self._takes_word("not"):
            return self._comparison()
        self._enter()
        found = Not(at, self._negated())
        self._depth -= 1
        return found

    def _comparison(self) -> Node:
        left = self._sum()
        token = self._token
        if not self._compares():
            return left
        self._next += 1
        found: Node
        if token.is_sign(*_COMPARING):
            found = Comparison(token.at, str(token.value), left, self._sum())
        elif token.is_word("is"):
            operator = "!=" if self._takes_word("not") else "=="
            right = self._sum()
            if not isinstance(right, Literal) or not (right.value is None or isinstance(right.value, bool)):
                raise fault(self._text, token.at, "`is` stands before None, True and False only", "compare with ==")
            found = Comparison(token.at, operator, left, right)
        else:
            if token.is_word("not"):
                self._next += 1
            found = Membership(token.at, left, self._options())
            found = Not(token.at, found) if token.is_word("not") else found
        if self._compares():
            raise self._fault("comparisons cannot be chained", "write doc.a < doc.b and doc.b < doc.c, or use brackets")
        return found

    def _compares(self) -> bool:
        following = self._tokens[self._next + 1] if self._token.is_word("not") else self._token
        return self._token.is_sign(*_COMPARING) or self._token.is_word("is") or following.is_word("in")

    def _options(self) -> tuple[Node, ...]:
        """What stands behind `in`: a list in square brackets, or as Python's tuple with at least one comma."""
        closing = {"[": "]", "(": ")"}.get(str(self._token.value)) if self._token.kind is Kind.SIGN else None
        at = self._token.at
        if closing is None:
            raise self._fault(*refusals.NO_LIST)
        self._next += 1
        found, commas = [], 0
        while not self._token.is_sign(closing):
            found.append(self._expression())
            if not self._takes_sign(","):
                break
            commas += 1
        if self._token.is_word("for"):
            raise self._fault(*refusals.WORDS["for"])
        self._expect(closing, "a list is written ['IN', 'NP']")
        if closing == ")" and not commas:
            raise fault(self._text, at, *refusals.NO_LIST)
        return tuple(found)

    def _sum(self) -> Node:
        found = self._product()
        while self._token.is_sign("+", "-"):
            found = self._calculation(found, self._product)
        return found

    def _product(self) -> Node:
        found = self._signed()
        while self._token.is_sign("*", "/", "%"):
            found = self._calculation(found, self._signed)
        return found

    def _calculation(self, left: Node, right: Callable[[], Node]) -> Node:
        token = self._token
        self._count_calculation()
        self._next += 1
        return Arithmetic(token.at, str(token.value), left, right())

    def _signed(self) -> Node:
        token = self._token
        if not token.is_sign("!", "-"):
            return self._reached()
        self._next += 1
        self._enter()
        operand = self._signed()
        self._depth -= 1
        if token.is_sign("!"):
            return Not(token.at, operand)
        if (
            isinstance(operand, Literal)
            and isinstance(operand.value, int | float)
            and not isinstance(operand.value, bool)
        ):
            return Literal(token.at, -operand.value)
        return Negative(token.at, operand)

    def _reached(self) -> Node:
        """A value, and the dots and brackets behind it."""
        found = self._value()
        while True:
            token = self._token
            if self._takes_sign("."):
                found = self._behind_dot(found)
            elif self._takes_sign("["):
                key = self._token
                if not isinstance(found, Field) or key.kind is not Kind.TEXT:
                    raise fault(self._text, token.at, *refusals.NO_PART)
                self._next += 1
                self._expect("]", "a field is written doc.country or doc['country']")
                found = self._field(found, str(key.value), token.at)
            else:
                break
        if isinstance(found, Field) and not found.path:
            raise fault(self._text, found.at, *refusals.WORDS["doc"])
        return found

    def _behind_dot(self, found: Node) -> Node:
        name = self._token
        if name.kind is not Kind.WORD:
            raise self._fault("a name is missing behind the dot", "a field is written doc.country or doc['country']")
        self._next += 1
        if not self._token.is_sign("("):
            return self._field(found, str(name.value), name.at)
        if isinstance(found, Field) and not found.path:
            if name.is_word("get"):
                return self._got(found)
            raise fault(
                self._text, name.at, f"the document has no function `{name.value}`", "name a field: doc.country"
            )
        if isinstance(found, Field) and name.is_word("get"):
            return self._got(found)
        function = METHODS.get(str(name.value))
        if function is None:
            what, mend = refusals.METHODS.get(
                str(name.value),
                (f"texts have no function `{name.value}`", "they have " + ", ".join(sorted(set(METHODS.values())))),
            )
            raise fault(self._text, name.at, what, mend)
        return Call(name.at, function, (found, *self._arguments()))

    def _got(self, found: Field) -> Node:
        """`doc.get("x")`, which is doc.x: a field that is not there is null anyway."""
        opening = self._token.at
        self._next += 1
        key = self._token
        if key.kind is not Kind.TEXT:
            raise fault(self._text, opening, "`get` takes the name of a field", "write doc.country")
        self._next += 1
        if self._token.is_sign(","):
            raise self._fault("`get` takes no second value", "write doc.x if doc.x is not None else 'IN'")
        self._expect(")", "write doc.country")
        return self._field(found, str(key.value), opening)

    def _field(self, found: Node, name: str, at: int) -> Field:
        if not isinstance(found, Field):
            raise fault(self._text, at, "only documents have fields", "a field is written doc.country")
        if len(name) > 4 and name.startswith("__") and name.endswith("__"):
            raise fault(
                self._text, at, f"`{name}` is no field of a document", "name a column of the document: doc.country"
            )
        if len(found.path) == 2:
            raise fault(
                self._text, at, "only one link can be followed", f"doc.{'.'.join(found.path)} is as far as it goes"
            )
        return Field(found.at, (*found.path, name))

    def _value(self) -> Node:
        token = self._token
        if token.is_sign("("):
            self._next += 1
            found = self._expression()
            if self._token.is_sign(","):
                raise self._fault("a list stands behind `in` only", "write doc.country in ['IN', 'NP']")
            self._expect(")", "every ( needs one")
            return found
        if token.kind in (Kind.NUMBER, Kind.TEXT):
            self._next += 1
            return Literal(token.at, token.value)
        if token.kind is not Kind.WORD or token.is_word(*OPERATOR_WORDS):
            raise self._unexpected()
        self._next += 1
        name = str(token.value)
        if name == "doc":
            return Field(token.at, ())
        if name in _CONSTANTS:
            return Literal(token.at, _CONSTANTS[name])
        if self._token.is_sign("(") and name == "has":
            return self._present(token.at)
        if self._token.is_sign("(") and name in FUNCTIONS:
            return Call(token.at, FUNCTIONS[name], self._arguments())
        raise self._unknown_word(token)

    def _present(self, at: int) -> Node:
        arguments = self._arguments()
        if len(arguments) != 1 or not isinstance(arguments[0], Field):
            raise fault(self._text, at, "`has` takes one field", "write has(doc.country), or doc.country != null")
        return Comparison(at, "!=", arguments[0], Literal(at, None))

    def _arguments(self) -> tuple[Node, ...]:
        self._expect("(", "write size(doc.country)")
        found: list[Node] = []
        while not self._token.is_sign(")"):
            found.append(self._expression())
            if not self._takes_sign(","):
                break
        self._expect(")", "every ( needs one")
        return tuple(found)
