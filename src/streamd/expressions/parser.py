"""Reads the text of an expression: CEL's operators, and those that the ancestor's users know from Python.

From the loosest to the tightest: `c ? a : b` and `a if c else b`; `or` `||`; `and` `&&`; `not`; comparisons, which
cannot be chained; `+ -`; `* / %`; `!` and the minus; dots and brackets. Where both languages have an operator, it binds
the same in both, but for `not`, which is looser than `!`, as in Python.
"""

from __future__ import annotations

from decimal import Decimal

from streamd.expressions import hints, parts
from streamd.expressions.parts import FUNCTIONS, OTHER_NAMES, Part
from streamd.expressions.patterns import MOST_WORK
from streamd.expressions.tokens import Token, tokens
from streamd.expressions.values import FLAG, NULL, ORDERS, Fault

DEEPEST = 32
"""How many brackets, conditions, signs and calculations may stand inside one another."""

_NOT, _COMPARING = 3, 4
_LEVELS = {"or": 1, "and": 2, "+": 5, "-": 5, "*": 6, "/": 6, "%": 6}
_LEVELS |= dict.fromkeys(("==", "!=", "is", "in", "not", *ORDERS), _COMPARING)
_FUNCTIONS = {*FUNCTIONS, *OTHER_NAMES, "has"}
_CONSTANTS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}


class Parser:
    """Reads one expression. Each method takes what its name says from the tokens, or raises `Fault`."""

    def __init__(self, text: str) -> None:
        self._tokens = list(tokens(text))
        self._next = self._depth = self._work = 0
        self._fields: list[Part] = []
        self._only_asked: list[Part] = []

    def whole(self) -> tuple[Part, frozenset[tuple[str, ...]]]:
        """The expression, and the paths of the fields that it looks at."""
        found = self._expression()
        if self._token.kind != "end":
            raise self._unexpected(self._token)
        followed = {part.path[0] for part in self._fields if len(part.path) > 1}
        for part in self._fields:
            if len(part.path) == 1 and part.path[0] in followed and part not in self._only_asked:
                raise Fault(part.at, f"doc.{part.path[0]} is a link that this expression follows", hints.FOLLOWED)
        return found, frozenset(part.path for part in self._fields)

    def _expression(self) -> Part:
        self._enter()
        found = self._operation(1)
        if self._takes("?"):
            yes = self._expression()
            self._expect(":", hints.CHOICE)
            found = parts.choice(found, yes, self._expression())
        elif self._takes("if"):
            condition = self._operation(1)
            self._expect("else", hints.CHOICE)
            found = parts.choice(condition, found, self._expression())
        self._depth -= 1
        return found

    def _operation(self, loosest: int) -> Part:
        """Values, joined by operators that bind at least as tightly as a level."""
        token = self._token
        if loosest <= _NOT and self._takes("not"):
            self._enter()
            found = parts.negation(token.at, self._operation(_NOT))
            self._depth -= 1
        else:
            found = self._signed()
        while self._level() >= loosest:
            found = self._joined(found, self._level(), self._taken())
        return found

    def _level(self) -> int:
        """How tightly the operator binds that was reached; 0 for anything else."""
        return _LEVELS.get(str(self._token.value), 0) if self._token.kind == "sign" else 0

    def _joined(self, left: Part, level: int, operator: Token) -> Part:
        at, sign = operator.at, str(operator.value)
        if level > _COMPARING:
            self._enter()  # and never leaves: each stands inside the next
            return parts.calculation(at, sign, left, self._operation(level + 1))
        if level < _COMPARING:
            operands = [left, self._operation(level + 1)]
            while self._takes(sign):
                operands.append(self._operation(level + 1))
            return parts.junction(sign, operands)
        negated = sign == "not" or (sign == "is" and self._takes("not"))
        if sign == "not":
            self._expect("in", hints.NO_LIST.hint)
        if sign in ("in", "not"):
            found = parts.membership(at, left, self._options())
        else:
            right = self._operation(level + 1)
            if sign == "is" and not right.kinds <= FLAG | {NULL}:
                raise Fault(at, "`is` stands before None, True and False only", "compare with ==")
            found = self._compared(at, "==" if sign == "is" else sign, left, right)
        if self._level() == _COMPARING:
            raise self._fault(hints.CHAINED)
        return parts.negation(at, found) if negated else found

    def _compared(self, at: int, sign: str, left: Part, right: Part) -> Part:
        for part, other in ((left, right), (right, left)):
            if part.path and other.kinds == {NULL} and sign not in ORDERS:
                self._only_asked.append(part)
                return parts.presence(at, sign, part)
        return parts.comparison(at, sign, left, right)

    def _options(self) -> list[Part]:
        """What stands behind `in`: a list in square brackets, or as Python's tuple with at least one comma."""
        at = self._token.at
        if self._takes("["):
            return self._listed("]")
        if not self._takes("("):
            raise self._fault(hints.NO_LIST)
        found = self._listed(")")
        if len(found) < 2 and self._tokens[self._next - 2][:2] != ("sign", ","):
            raise Fault(at, *hints.NO_LIST)
        return found

    def _signed(self) -> Part:
        if not self._is("!", "-"):
            return self._reached()
        token = self._taken()
        self._enter()
        operand = self._signed()
        self._depth -= 1
        if token.value == "!":
            return parts.negation(token.at, operand)
        return parts.calculation(token.at, "-", parts.literal(token.at, 0), operand)

    def _reached(self) -> Part:
        """A value, and the functions behind it."""
        found = self._value()
        while self._is(".", "["):
            if self._is("["):
                raise self._fault(hints.NO_PART)
            self._next += 1
            token = self._taken()
            name = str(token.value)
            if name not in _FUNCTIONS or not self._is("("):
                has = f"`{name}` is none of the functions of texts", f"they have {', '.join(FUNCTIONS)}"
                raise Fault(token.at, *hints.WORDS.get(name, has))
            found = self._call(token, [found])
        return found

    def _value(self) -> Part:
        token = self._taken()
        match token:
            case ("sign", "(", _):
                found = self._expression()
                self._expect(")", "every ( needs one; a list stands behind `in` only: ['IN', 'NP']")
                return found
            case ("number" | "text", str() | int() | Decimal() as value, at):
                return parts.literal(at, value)
            case ("field", tuple(path), at):
                field = parts.field(at, path)
                self._fields.append(field)
                return field
            case ("word", name, at) if name in _CONSTANTS:
                return parts.literal(at, _CONSTANTS[str(name)])
            case ("word", name, _) if name in _FUNCTIONS and self._is("("):
                return self._call(token, [])
        raise self._unexpected(token)

    def _call(self, token: Token, before: list[Part]) -> Part:
        self._next += 1
        name, arguments = str(token.value), before + self._listed(")")
        if name == "has":
            if len(arguments) != 1 or not arguments[0].path:
                raise Fault(token.at, "`has` takes one field", hints.CALLS)
            return self._compared(token.at, "!=", arguments[0], parts.literal(token.at, None))
        found = parts.call(token.at, OTHER_NAMES.get(name, name), arguments)
        self._work += found.work
        if self._work > MOST_WORK:
            raise Fault(token.at, *hints.WORK)
        return found

    def _listed(self, closing: str) -> list[Part]:
        """What stands before a closing bracket, between commas; and the bracket."""
        found: list[Part] = []
        while not self._is(closing):
            found.append(self._expression())
            if not self._takes(","):
                break
        self._expect(closing, "every bracket needs one; a list is written ['IN', 'NP']")
        return found

    @property
    def _token(self) -> Token:
        return self._tokens[self._next]

    def _taken(self) -> Token:
        found = self._token
        self._next += found.kind != "end"
        return found

    def _is(self, *signs: str) -> bool:
        return self._token.kind == "sign" and self._token.value in signs

    def _takes(self, sign: str) -> bool:
        taken = self._is(sign)
        self._next += taken
        return taken

    def _expect(self, sign: str, hint: str) -> None:
        if not self._takes(sign):
            known = self._token.kind == "word" and self._token.value in hints.WORDS
            raise self._unexpected(self._token) if known else Fault(self._token.at, f"`{sign}` is missing", hint)

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._fault(hints.DEEP)

    def _fault(self, hint: hints.Hint) -> Fault:
        return Fault(self._token.at, *hint)

    def _unexpected(self, token: Token) -> Fault:
        word, at = str(token.value), token.at
        if token.kind == "word":
            unknown = f"`{word}` is not known", f"{hints.CALLS}; put texts in quotes: '{word}'"
            return Fault(at, *hints.WORDS.get(word, unknown))
        return Fault(at, *(hints.END if token.kind == "end" else hints.LIST if word in "[{" else hints.ODD))
