"""No way out of an expression: what is hostile is refused, or stays within the bounds; and a condition never raises."""

from __future__ import annotations

import random
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.errors import ExpressionError
from streamd.expressions import LONGEST_TEXT, compile_expression
from streamd.expressions.patterns import LONGEST_MATCHED, MOST_WORK, compile_pattern
from streamd.expressions.values import LONGEST_VALUE, Fault
from tests.support.polling import patience
from tests.support.processes.bounded import Hungry, Outcome, evaluate_bounded

EVALUATION_SECONDS = 0.05
COMPILING_SECONDS = 0.25

_random = random.Random(1)
LETTERS = "".join(_random.choice("xa") for _ in range(LONGEST_MATCHED))
"""A text in which [ax]* begins everywhere and ends nowhere."""

REFUSED = {
    # the way over attributes
    "a class": "doc.__class__.__mro__",
    "a class of a text": "''.__class__.__base__.__subclasses__()",
    "a class by its key": "doc['__class__']",
    "a class of a field": "doc.country.__class__",
    "globals of a function": "doc.get.__globals__",
    "an attribute by name": "getattr(doc, 'x')",
    "the builtins": "__builtins__",
    "an import": "__import__('os').system('true')",
    "an import as a statement": "import os",
    "a function": "(lambda: 1)()",
    "code": "eval('1')",
    "a file": "open('/etc/passwd').read()",
    # the application
    "a command": "cmd:frappe.delete_doc",
    "a command after a space": "  cmd: app.module.function",
    "the database": "frappe.db.sql('select 1')",
    "the session": "frappe.session.user == 'Administrator'",
    "the utilities": "frappe.utils.now() > doc.creation",
    # texts
    "a text with fields": "f'{doc.__class__}'",
    "a text with fields in capitals": 'F"{doc}"',
    "formatting": "'{0.__class__}'.format(doc.country)",
    "formatting by percent": "'%s' % doc.country",
    "formatting to a great width": "'%1000000000d' % 1",
    "a text repeated": "'a' * 1000000000",
    "a field repeated": "doc.country * 1000000000 == 'x'",
    "a text grown by a function": "doc.country.replace('', doc.country)",
    "a text joined": "''.join([doc.country, doc.country])",
    "a part of a text": "doc.country[0:1000000]",
    # numbers
    "a power": "9 ** 9 ** 9 ** 9",
    "a power by a function": "pow(9, 999999999)",
    "a number of a thousand digits": "1" + "0" * 1000,
    "a number of a thousand digits in base 16": "0x" + "f" * 1000,
    "a division by zero": "doc.a % 0 == 1",
    "an infinite number": "1e999",
    "a shift": "1 << 1000000000",
    # loops
    "one loop": "[1, 2, 3].map(x, x * 2)",
    "loops in loops": "[1,2].all(a, [1,2].all(b, [1,2].all(c, [1,2].all(d, [1,2].all(e, a == b)))))",
    "a loop over a field": "doc.items.exists(x, x.qty > 1)",
    "a filter": "[1, 2].filter(x, true).size() > 0",
    "a loop behind in": "1 in [1, 2].map(x, [1, 2].map(y, y))",
    "a comprehension": "[x for x in doc.items]",
    "a comprehension behind in": "1 in [x for x in [1, 2]]",
    "a generator": "any(x for x in doc.items)",
    "a name": "cel.bind(x, 'aa', x + x)",
    "an assignment": "(x := 'aa') + x",
    # shapes
    "ten thousand brackets": "(" * 10_000 + "1" + ")" * 10_000,
    "nine hundred brackets": "(" * 900 + "1" + ")" * 900,
    "open brackets only": "(" * LONGEST_TEXT,
    "lists in lists": "1 in " + "[" * 900 + "]" * 900,
    "a thousand nots": "!" * 1000 + "true",
    "a hundred nots in words": "not " * 400 + "true",
    "a thousand minus signs": "-" * 1000 + "1",
    "functions in functions": "string(" * 200 + "1" + ")" * 200,
    "choices in choices": "true ? " * 200 + "1" + " : 2" * 200,
    "a choice after a choice": "doc.a ? 1 : " * 150 + "2",
    "choices in words": "1 if doc.a else " * 100 + "2",
    "dots": "doc" + ".a" * 900,
    "a thousand terms": "+".join(["1"] * 1000),
    "a text too long by one": "'" + "a" * (LONGEST_TEXT - 1) + "'",
    "a text of ten million characters": "true || " + "a" * 10_000_000,
    "a list of a million": "1 in [" + "1," * 1_000_000 + "1]",
    # patterns
    "a repetition of repetitions": "doc.country.matches('((((x{1,9}){1,9}){1,9}){1,9})')",
    "a repetition of a thousand": "doc.country.matches('(x{1000}){1000}')",
    "a group that is repeated": "doc.country.matches('(a+)+$')",
    "a choice that is repeated": "doc.country.matches('(a|x)*x.{40}')",
    "a back-reference": r"doc.country.matches(r'(a*)\\1')",
    "three repetitions that try each other": "doc.country.matches('a*a*a*b')",
    "two repetitions that try each other from everywhere": "doc.country.matches('.*.*=x')",
    "many repetitions that may be left out": "doc.country.matches('" + "a?" * 30 + "a" * 30 + "')",
    "a pattern of Unicode's classes": r"doc.country.matches(r'\pL')",
    "a class in a class": "doc.country.matches('[[a-z]--[b]]')",
    "a repetition without a thing": "doc.country.matches('*a')",
    "a lazy repetition": "doc.country.matches('a*?b')",
    "a range that ends before it begins": "doc.country.matches('[z-a]')",
    "many patterns": " or ".join(["doc.a.matches('[ab]*c')"] * 30),
    "a pattern from the document": "doc.country.matches(doc.pattern)",
    "a pattern put together": "doc.country.matches('(a' + '+)+')",
    "no pattern": "doc.country.matches('(')",
    "a look ahead": "doc.country.matches('(?=a)b')",
    # characters
    "a null byte": "doc.country == 1\0 or true",
    "words in wide letters": "ｄｏｃ.country == 'IN'",
    "a Greek letter that looks like o": "dοc.country == 'IN'",
    "typographic quotes": "doc.country == ‘IN’",
    "text that runs backwards": "doc.country == 'IN' \u202e or true",
    "a space that is none": "doc.country\u00a0== 'IN'",
    "a space without width": "doc.\u200bcountry == 'IN'",
    "half a character": "doc.country == '\ud800'",
    "half a character by its number": r"doc.country == '\ud800'",
    "a character that there is not": r"doc.country == '\Uffffffff'",
    "a quote that a backslash hides": r"doc.country == 'x\'",
    "a text over two lines": "doc.country == 'x\ny'",
    # of CEL
    "a message": "google.protobuf.Struct{}",
    "a type": "type(doc.country) == string",
    "a map": "{'a': {'b': 1}}",
    "bytes": "b'abc'",
    "a time": "timestamp('2026-01-01T00:00:00Z')",
    "the clock": "now() > doc.creation",
    "a comment": "true // doc.country == 'IN'",
    "another comment": "true # doc.country == 'IN'",
    "the whole document": "doc",
    "the whole document compared": "doc == doc",
    "another variable": "v0 == 1",
    "nothing": "",
    "spaces": " \n\t ",
}

BOUNDED: dict[str, tuple[str, dict[str, Any]]] = {
    "a long text": ("doc.a == 'x'", {"a": "x" * 20_000_000}),
    "a long text in a filter": ("doc.a.contains('x')", {"a": "é" * 5_000_000}),
    "a long text that is only there": ("doc.a != null", {"a": "x" * 20_000_000}),
    "a long text in a longer one": ("doc.a.contains(doc.b)", {"a": "a" * 3_000_000, "b": "a" * 1_500_000 + "b"}),
    "a text as long as may be": ("doc.a.contains(doc.b)", {"a": "a" * 43_000, "b": "a" * 21_000 + "b"}),
    "the same half as long": ("doc.a.contains(doc.b)", {"a": "a" * 33_000, "b": "a" * 16_000 + "b" + "a" * 16_000}),
    "a text doubled": ("size(" + "+".join(["doc.a"] * 24) + ") > 1", {"a": "a" * 2_700}),
    "a text doubled and searched": (
        "(" + "+".join(["doc.a"] * 12) + ").contains(" + "+".join(["doc.a"] * 12) + " + 'b')",
        {"a": "a" * 2_700},
    ),
    "a text in brackets of sums": ("size(" + "(" * 20 + "doc.a" + " + doc.a)" * 20 + ") > 1", {"a": "a" * 3_000}),
    "a pattern of all the work": ("doc.a.matches('[ax]*[ax]{15}b')", {"a": LETTERS}),
    "a pattern of all the work whose case is of no matter": ("doc.a.matches('(?i)[AX]*.{15}B')", {"a": LETTERS}),
    "two repetitions": ("doc.a.matches('^.*x.*ab.b')", {"a": LETTERS}),
    "many small repetitions": ("doc.a.matches('" + "a?" * 9 + "a" * 20 + "b')", {"a": "a" * LONGEST_MATCHED}),
    "a long pattern": ("doc.a.matches('" + "[ax]{99}" * 9 + "b')", {"a": LETTERS}),
    "a pattern on a text in quotes": (f"'{LETTERS}'.matches('[ax]*[ax]{{15}}b')", {}),
    "a pattern on pictures": ("'" + "😀😁" * 450 + "'.matches('[😀😁]*.{15}y')", {}),
    "a pattern on a long text": ("doc.a.matches('a*b')", {"a": "a" * 1_000_000}),
    "many small patterns": (" or ".join(["doc.a.matches('x')"] * 79), {"a": "a" * LONGEST_MATCHED}),
    "a long list": ("1 in [" + ",".join(["2"] * 980) + "]", {}),
    "many lists": (" or ".join(["doc.x in [" + ",".join(["2"] * 60) + "]"] * 11), {"x": 7}),
    "many conditions": (" or ".join(["doc.a"] * 200), {"a": False}),
    "many fields": (
        " or ".join(f"doc.f{number} == 'x'" for number in range(64)),
        {f"f{number}": "x" * 1_000 + "y" for number in range(64)},
    ),
    "deep sums": ("(" * 15 + "doc.a" + " + 1)" * 15, {"a": 1}),
    "an overflow": ("doc.a + 1 > 0 or doc.a * doc.a > 0", {"a": (1 << 63) - 1}),
    "an overflow of fractions": ("doc.a * doc.a * doc.a", {"a": Decimal("1e200")}),
    "the smallest number divided": ("doc.a / -1 > 0 or doc.a % -1 == 0", {"a": -(1 << 63)}),
    "a whole number of many digits": ("doc.a > 1 or string(doc.a) == '1'", {"a": 10**100_000}),
    "a decimal of many digits": ("doc.a > 1 or string(doc.a) == '1'", {"a": Decimal("1" * 100_000)}),
    "a decimal with a great exponent": ("doc.a > 1 or string(doc.a) == '1'", {"a": Decimal("1e999999")}),
    "a decimal with a small exponent": ("doc.a > 1 or string(doc.a) == '1'", {"a": Decimal("1e-999999")}),
    "digits in a text": ("int(doc.a) > 1 or double(doc.a) > 1", {"a": "9" * 30_000}),
    "a fraction in a text": ("double(doc.a) > 1", {"a": "0." + "0" * 60_000 + "1"}),
    "division by zero": ("doc.a / doc.b > 1 or doc.a % doc.b == 1", {"a": 1, "b": 0}),
    "rows of a child table": ("doc.items == 'x' or doc.items > 1", {"items": [{"qty": 1}] * 100_000}),
    "rows in rows": ("doc.a.b == 'x'", {"a": {"b": {"c": [1]}}}),
    "an object": ("doc.a == 'x'", {"a": object()}),
    "a null byte in a field": ("doc.a == 'IN'", {"a": "IN\0x"}),
    "half a character in a field": ("doc.a == 'IN'", {"a": "\ud800"}),
}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome | None]:
    """What becomes of all of these, in processes that may take 64 MB."""
    cases = {**{name: (text, {}) for name, text in REFUSED.items()}, **BOUNDED}
    assert len(cases) == len(REFUSED) + len(BOUNDED), "two have the same name"
    return dict(zip(cases, evaluate_bounded(list(cases.values())), strict=True))


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_hostile_is_refused_with_what_to_write_instead(name: str, outcomes: dict[str, Outcome | None]) -> None:
    outcome = outcomes[name]
    assert outcome is not None, "it took more than 64 MB, or crashed"
    assert outcome.refused, "it was taken"
    assert "→ " in outcome.refused
    assert outcome.compile_seconds < COMPILING_SECONDS * patience()


@pytest.mark.parametrize("name", BOUNDED)
def test_what_is_hostile_and_allowed_stays_within_the_bounds(name: str, outcomes: dict[str, Outcome | None]) -> None:
    outcome = outcomes[name]
    assert outcome is not None, "it took more than 64 MB, or crashed"
    assert not outcome.refused
    assert outcome.compile_seconds < COMPILING_SECONDS * patience()
    assert outcome.seconds < EVALUATION_SECONDS * patience()


def test_a_process_that_takes_too_much_memory_is_noticed() -> None:
    hungry = ("doc.a == 'x'", {"a": Hungry({"$hex": ""})})
    assert evaluate_bounded([("doc.a == 'x'", {"a": 1}), hungry])[1] is None


@pytest.mark.parametrize(
    ("text", "doc"),
    [
        ("doc.a == 'IN'", {"a": "IN\0x"}),
        ("doc.a != 'IN'", {"a": [1]}),
        ("doc.a != 'IN'", {"a": "x" * (LONGEST_VALUE + 1)}),
        ("not doc.a.matches('x')", {"a": "a" * (LONGEST_MATCHED + 1)}),
        ("not (doc.a / doc.b > 1)", {"a": 1, "b": 0}),
        ("not (doc.a > 1)", {}),
        ("doc.a", {"a": "true"}),
        ("doc.a and true", {"a": "true"}),
        ("doc.a", {"a": 2}),
    ],
)
def test_a_condition_that_has_no_answer_does_not_hold(text: str, doc: dict[str, Any]) -> None:
    assert compile_expression(text).holds(doc) is False


@pytest.mark.parametrize(
    ("pattern", "matched", "others"),
    [
        (
            "^[0-9]{2}[A-Z]{5}[0-9]{4}[A-Z][1-9A-Z]Z[0-9A-Z]$",
            ["27ABCDE1234F1Z5"],
            ["27ABCDE1234F1Z5 ", "7ABCDE1234F1Z5"],
        ),
        ("^[^@ ]+@[^@ ]+[.]com$", ["a.b@c.com"], ["a@b@c.com", "a@c.com\n", "@c.com"]),
        ("(?i)^in$", ["IN", "in"], ["INx", "xIN"]),
        (r"^https?://\d+\.\$", ["http://1.$", "https://22.$x"], ["httpss://1.$", "http://١.$"]),
        ("[A-Z]{2,3}-[0-9]{2,}$", ["AB-12", "xABCD-123"], ["A-12", "AB-1"]),
    ],
)
def test_patterns_find_what_they_say(pattern: str, matched: list[str], others: list[str]) -> None:
    expression = compile_expression(f"doc.a.matches(r'{pattern}')")
    assert [expression.holds({"a": text}) for text in matched] == [True] * len(matched)
    assert [expression.evaluate({"a": text}) for text in others] == [False] * len(others)


pieces = st.tuples(
    st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\w", r"\."]),
    st.sampled_from(["", "*", "+", "?", "{3}", "{1,3}", "{2,}"]),
).map("".join)


@given(pieces=st.lists(pieces, max_size=5), anchored=st.booleans(), text=st.text("ab.", max_size=12))
def test_a_pattern_that_is_taken_means_what_it_means_in_python(pieces: list[str], anchored: bool, text: str) -> None:
    pattern = "^" * anchored + "".join(pieces)
    try:
        taken, work = compile_pattern(0, pattern)
    except Fault:
        return
    assert bool(taken.search(text)) is bool(re.search(pattern, text))
    assert work > 0
    assert work <= MOST_WORK or not anchored or sum(piece[-1] in "*+}" for piece in pieces) > 1


# -- whatever anybody writes, about whatever document ------------------------------------------------------------------

names = st.sampled_from(["a", "b", "country", "total"])
fields = names.map("doc.{}".format) | st.tuples(names, names).map(lambda path: f"doc.{path[0]}.{path[1]}")
literals = (
    st.sampled_from(["null", "None", "true", "False", "0", "1", "1000", "1.5", "9223372036854775807"])
    | st.text(max_size=8).map(repr)
    | st.sampled_from(["''", "'IN'", "'and'", "'1'", "'2026-01-01'"])
)


def _larger(smaller: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    signs = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "&&", "||", "and", "or"])
    methods = st.sampled_from(["startsWith", "endswith", "contains", "matches"])
    functions = st.sampled_from(["size", "string", "int", "double", "has", "not ", "!", "-"])
    return (
        st.tuples(smaller, signs, smaller).map(lambda parts: f"({parts[0]} {parts[1]} {parts[2]})")
        | st.tuples(functions, smaller).map(lambda parts: f"{parts[0]}({parts[1]})")
        | st.tuples(smaller, methods, smaller).map(lambda parts: f"({parts[0]}).{parts[1]}({parts[2]})")
        | st.tuples(smaller, smaller, smaller).map(lambda parts: "({} ? {} : {})".format(*parts))
        | st.tuples(smaller, smaller, smaller).map(lambda parts: "({} if {} else {})".format(*parts))
        | st.tuples(smaller, st.lists(smaller, max_size=3)).map(
            lambda parts: f"({parts[0]} in [{', '.join(parts[1])}])"
        )
    )


texts = st.recursive(fields | literals, _larger, max_leaves=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.decimals()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.sampled_from([{"$hex": "00ff"}, {"$hex": None}, [], [{"qty": 1}], b"x", object()])
)
documents = st.dictionaries(names, scalars | st.dictionaries(names, scalars), max_size=4)


@given(text=texts, doc=documents)
def test_a_condition_never_raises_and_is_true_only_where_the_result_is(text: str, doc: dict[str, Any]) -> None:
    try:
        expression = compile_expression(text)
    except ExpressionError:
        return
    held = expression.holds(doc)
    assert type(held) is bool
    assert expression.may_hold or not held
    try:
        result = expression.evaluate(doc)
    except ExpressionError:
        assert not held
        return
    assert held == (result is True or (held and result == 1))
    assert result is None or isinstance(result, str | int | float | Decimal | dict)


@given(text=st.text(max_size=60))
def test_any_text_at_all_is_compiled_or_refused_in_plain_words(text: str) -> None:
    try:
        hint = str(compile_expression(text).holds({}))
    except ExpressionError as error:
        hint = error.hint
    assert hint


@given(
    content=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40),
    quote=st.sampled_from(["'", '"', "'''", '"""']),
)
def test_texts_in_quotes_come_out_as_they_went_in(content: str, quote: str) -> None:
    written = content.replace("\\", "\\\\").replace(quote[0], "\\" + quote[0]).replace("\n", "\\n").replace("\r", "\\r")
    assert compile_expression(f"{quote}{written}{quote}").evaluate({}) == content


@given(content=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
def test_a_text_in_quotes_is_equal_to_the_same_text_in_a_document_only(content: str) -> None:
    escaped = "".join(f"\\U{ord(each):08x}" for each in content)
    expression = compile_expression(f"doc.a == '{escaped}'")
    assert expression.holds({"a": content})
    assert not expression.holds({"a": content + "x"})


@given(left=st.integers(-(10**14), 10**14), right=st.decimals(-(10**6), 10**6, places=3))
def test_whole_numbers_and_decimals_compare_as_numbers(left: int, right: Decimal) -> None:
    doc = {"left": left, "right": right}
    assert compile_expression("doc.left < doc.right").holds(doc) == (left < right)
    assert compile_expression("doc.left == doc.right").holds(doc) == (left == right)
    assert compile_expression(f"doc.right >= {right:f}").holds(doc)
