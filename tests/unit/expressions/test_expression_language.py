"""What can be written in an expression, with CEL's operators and with Python's words, and what it means for a row."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from streamd.errors import ExpressionError
from streamd.expressions import compile_expression
from streamd.expressions.evaluation import MOST_KEPT

INVOICE: dict[str, Any] = {
    "name": "SINV-0007",
    "country": "IN",
    "total": Decimal("1500.50"),
    "qty": Decimal("3.0"),
    "code": 12,
    "docstatus": 1,
    "is_return": 0,
    "paid": True,
    "remarks": None,
    "posting_date": "2026-01-31",
    "hash": {"$hex": "00ff"},
    "a b": "with a space",
    "address": {"country": "NP", "pincode": None},
    "items": [{"qty": 1}],
}


@pytest.mark.parametrize(
    "condition",
    [
        "doc.country == 'IN' && doc.total > 1000",
        "doc.country == 'IN' and doc.total > 1000",
        'doc.country == "IN" and not doc.total <= 1000',
        "doc.country in ['IN', 'NP']",
        "doc.country in ('IN', 'NP')",
        "doc.country not in ['US']",
        "doc.remarks is None and doc.country is not None",
        "doc.remarks == null && doc.country != null",
        "has(doc.country) && !has(doc.remarks)",
        "doc.is_return == 0 and doc.docstatus == 1",
        "not doc.is_return and doc.docstatus",
        "doc.get('country') == 'IN' and doc.get('nothing') is None",
        "doc['country'] == 'IN' and doc[\"a b\"] == 'with a space'",
        "doc.name.startsWith('SINV-') and doc.name.endswith('7') and doc.name.contains('00')",
        "doc.name.matches('^SINV-[0-9]{4}$') and matches(doc.name, '7')",
        "len(doc.country) == 2 and size(doc.country) < 2.5 and doc.country.size() == 2",
        "doc.posting_date >= '2026-01-01' and doc.posting_date < '2026-02-01'",
        "doc.hash == '00ff'",
        "(doc.total if doc.qty > 1 else 0) > 1000",
        "(doc.qty > 1 ? doc.total : 0) > 1000",
        "'and' == 'and' and 'not in' != 'in' and 'None' != doc.country",
        "doc.address.country == 'NP' and doc.address.pincode is None",
        "doc['address']['country'] == 'NP' and doc.address.get('country') == 'NP'",
        "doc.address != null and doc.address.country == 'NP'",
        " \n doc.country\n == 'IN' ",
    ],
)
def test_conditions_of_both_languages_hold(condition: str) -> None:
    expression = compile_expression(condition)
    assert expression.holds(INVOICE) is True
    assert expression.evaluate(INVOICE) is True
    assert compile_expression(f"not ({condition})").holds(INVOICE) is False


@pytest.mark.parametrize(
    ("loose", "bracketed"),
    [
        ("not doc.a == 1", "not (doc.a == 1)"),
        ("!doc.a == true", "(!doc.a) == true"),
        ("doc.a or doc.b and doc.c", "doc.a or (doc.b and doc.c)"),
        ("not doc.a and doc.b", "(not doc.a) and doc.b"),
        ("doc.a or doc.b if doc.c else doc.a", "(doc.a or doc.b) if doc.c else doc.a"),
        ("doc.a ? doc.b : doc.c ? doc.a : doc.b", "doc.a ? doc.b : (doc.c ? doc.a : doc.b)"),
        ("doc.a if doc.b else doc.c if doc.a else doc.b", "doc.a if doc.b else (doc.c if doc.a else doc.b)"),
        ("doc.a - doc.b - doc.c == -1", "((doc.a - doc.b) - doc.c) == -1"),
        ("doc.a - doc.b * 2 == 0 - 1", "(doc.a - (doc.b * 2)) == (0 - 1)"),
        ("not doc.a in [1]", "not (doc.a in [1])"),
    ],
)
def test_operators_bind_as_in_their_language(loose: str, bracketed: str) -> None:
    for number in range(8):
        doc = {"a": number & 1, "b": number >> 1 & 1, "c": number >> 2 & 1}
        assert compile_expression(loose).holds(doc) == compile_expression(bracketed).holds(doc)


@pytest.mark.parametrize("true", [1, True, Decimal("1.0"), 1.0])
@pytest.mark.parametrize(
    "condition", ["doc.x == 1", "doc.x == true", "doc.x is True", "doc.x", "not not doc.x", "doc.x != 0", "0 != doc.x"]
)
def test_a_check_field_is_the_same_as_a_number_and_as_a_boolean(condition: str, true: Any) -> None:
    assert compile_expression(condition).holds({"x": true})
    assert not compile_expression(condition).holds({"x": type(true)(0)})


@pytest.mark.parametrize(
    "condition", ["doc.x > 1000", "doc.x < 1000", "not (doc.x > 1000)", "doc.x + 1 > 0", "doc.x == 1"]
)
@pytest.mark.parametrize("doc", [{}, {"x": None}, {"x": Decimal("NaN")}])
def test_nothing_is_neither_more_nor_less_than_a_number(condition: str, doc: Mapping[str, Any]) -> None:
    assert compile_expression(condition).holds(doc) is False


@pytest.mark.parametrize("condition", ["doc.x is None", "doc.x != 5", "doc.x not in [1, 2]", "doc.x > 5 or doc.y == 1"])
def test_what_can_be_said_of_nothing_holds(condition: str) -> None:
    assert compile_expression(condition).holds({"y": 1}) is True


@pytest.mark.parametrize("three", [3, 3.0, Decimal(3), Decimal("3.000"), Decimal("3E+0")])
@pytest.mark.parametrize(
    "condition",
    ["doc.x == 3", "doc.x == 3.0", "doc.x in [1, 3.0]", "doc.x / 2 == 1.5", "doc.x % 2 == 1", "doc.x * 0.5 < 1.6",
     "7 / 2 + doc.x == 6.5", "string(doc.x) == '3'", "-doc.x == -3", "1 == 1.0 and 1 < 1.5"],
)  # fmt: skip
def test_a_number_means_the_same_however_a_database_writes_it(condition: str, three: Any) -> None:
    assert compile_expression(condition).holds({"x": three}) is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("doc.country + '-' + string(doc.code)", "IN-12"),
        ("doc.country + '-' + string(doc.total) + '-' + string(doc.qty)", "IN-1500.5-3"),
        ("doc.country + string(doc.paid)", "INtrue"),
        ("'A' if doc.total > 1000 else 'B'", "A"),
        ("doc.total > 1000 ? null : 'B'", None),
        ("doc.total + doc.code", Decimal("1512.5")),
        ("doc.total / 7", Decimal("214.3571428571428571428571429")),
        ("doc.code + doc.qty", 15),
        ("string(doc.total * 2 + 0.05)", "3001.05"),
        ("doc.total % 7", Decimal("2.5")),
        ("-doc.code % 5", -2),
        ("doc.paid + 1", 2),
        ("doc.code % 5", 2),
        ("int(doc.total)", 1500),
        ("int('12') + 1", 13),
        ("string(int(doc.total * 1000))", "1500500"),
        ("doc.code / 4 * 4", 12),
        ("double('1.5')", Decimal("1.5")),
        ("0.1 + 0.2", Decimal("0.3")),
        (r"'it\'s\ta \u0041 \\ \x41 \101'", "it's\ta A \\ A A"),
        (r"r'\d+'", r"\d+"),
        ("'''it's'''", "it's"),
        ("-5", -5),
        ("9223372036854775807", (1 << 63) - 1),
    ],
)
def test_what_comes_out_is_a_plain_value(text: str, expected: Any) -> None:
    found = compile_expression(text).evaluate(INVOICE)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize("field", ["name", "total", "code", "paid", "remarks", "hash"])
def test_a_field_by_itself_comes_out_as_it_is_in_the_row(field: str) -> None:
    assert compile_expression(f"doc.{field}").evaluate(INVOICE) is INVOICE[field]


def test_a_text_of_a_number_has_all_of_its_digits() -> None:
    doc = {"x": Decimal("12345678901234567890.123456789000"), "y": 10**25, "z": Decimal("1E+5")}
    assert compile_expression("string(doc.x)").evaluate(doc) == "12345678901234567890.123456789"
    assert compile_expression("string(doc.y) + string(doc.z)").evaluate(doc) == "1" + "0" * 25 + "100000"


def test_it_says_which_fields_it_looks_at() -> None:
    expression = compile_expression(
        "doc.country == 'doc.nothing' or doc.address.country in [doc['a b'], doc.get('code')]"
        " or doc.address.city == 'x'"
    )
    assert expression.fields == {"country", "address", "a b", "code"}
    assert dict(expression.hops) == {"address": frozenset({"country", "city"})}


@pytest.mark.parametrize("address", [None, "ADDR-1", {}, {"country": None}])
def test_a_link_that_leads_nowhere_has_fields_that_are_null(address: Any) -> None:
    assert compile_expression("doc.address.country is None").holds({"address": address})
    assert not compile_expression("doc.address.country == 'NP'").holds({"address": address})


def test_the_same_text_is_compiled_once_and_is_the_same_expression() -> None:
    one, other = compile_expression("doc.a == 1"), compile_expression("doc.a == 1")
    assert one is other
    assert len({one, other, compile_expression("doc.a  == 1")}) == 2


def test_expressions_that_were_not_used_for_long_are_compiled_again_so_that_what_is_kept_is_bounded() -> None:
    first = compile_expression("doc.a == 1")
    for number in range(MOST_KEPT):
        compile_expression(f"doc.a == {number} + 2")
    assert compile_expression("doc.a == 1") is not first


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("doc.country = 'IN'", ["at character 13", "compare with =="]),
        ("doc.country == IN", ["at character 16", "put texts in quotes: 'IN'"]),
        ("frappe.db.get_value('Customer', doc.customer, 'x') == 1", ["doc.territory", "a filter"]),
        ("doc.owner == frappe.session.user", ["at character 14", "nobody is logged in"]),
        ("frappe.utils.nowdate() > doc.posting_date", ["'2026-01-31'"]),
        ("cmd:app.condition", ["code", "write the condition itself"]),
        ("eval:doc.phone", ["leave it out"]),
        ("doc.country and 'IN'", ["at character 1", "compared with"]),
        ("doc.country or 'IN'", ["a if a != null else b"]),
        ("doc.country + '-' + 1", ["`+` cannot be used with", "string(doc.code)"]),
        ("doc.total * 'x'", ["at character 11", "`*`"]),
        ("doc.total * 2 == 'IN'", ["at character 15", "`==`", "a number and a text"]),
        ("doc.customer.matches('^(A|B)')", ["“(A|B)” cannot stand in a pattern", "join two by or"]),
        ("doc.customer.matches('a+b+c+')", ["too much work", "begin them with ^"]),
        ("doc.a / 0", ["divided by"]),
        ("doc.a < doc.b < doc.c", ["at character 15", "doc.a < doc.b and doc.b < doc.c"]),
        ("doc.address.country.name", ["only one link", "doc.address.country is as far"]),
        ("doc.address == 'A' and doc.address.country == 'IN'", ["is a link that this expression follows"]),
        ("doc.country.upper() == 'IN'", ["ask for both"]),
        ("doc.remarks in 'abc'", ["doc.remarks.contains('urgent')"]),
        ("doc.country in ('IN')", ["['IN', 'NP']"]),
        ("doc.get('country', 'IN')", ["is not None else"]),
        ("(doc.a == 1", ["at the end", "`)` is missing"]),
        ("doc.a == 1)", ["at character 11"]),
        ("doc.a ==", ["at the end", "something is missing"]),
        ("doc.a == 007", ["'007'"]),
        ("doc.a > 1,000", ["at character 11", "without commas: 1000"]),
        ("doc.a > 1,234", ["at character 10", "without commas: 1000"]),
        ("doc.a == 1 AND doc.b == 2", ["at character 12", "in small letters"]),
        ("NOT doc.b == 2", ["in small letters"]),
        ("doc.state == OR", ["put texts in quotes: 'OR'"]),
        ("doc.größe == 1", ["doc['größe']"]),
        ("doc.country.startsWith()", ["at character 13", "`startsWith` has too few values", ".startsWith('A-')"]),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_with_its_place_and_a_hint(text: str, said: list[str]) -> None:
    with pytest.raises(ExpressionError) as refused:
        compile_expression(text)
    assert text in str(refused.value)
    for part in said:
        assert part in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("doc.remarks > 1", ["at character 13", "`>` cannot be used with null and a number", "doc.qty != null"]),
        ("doc.country + doc.code", ["a text and a number", "string(doc.code)"]),
        ("doc.country and doc.paid", ["compared with"]),
        ("doc.items == 1", ["the kind list"]),
        ("doc.items", ["the kind list"]),
        ("doc.total / doc.is_return", ["a divisor is not 0"]),
        ("int(doc.country)", ["the text is no number"]),
        ("doc.total * 1e399", ["too many digits"]),
    ],
)
def test_what_has_no_result_says_why(text: str, said: list[str]) -> None:
    with pytest.raises(ExpressionError) as failed:
        compile_expression(text).evaluate(INVOICE)
    assert text in str(failed.value)
    for part in said:
        assert part in str(failed.value)
