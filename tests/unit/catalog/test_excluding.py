"""What may be excluded of document types, and what follows from it."""

from __future__ import annotations

from typing import Any

import pytest

from streamd.catalog import build
from streamd.errors import ConfigurationError, Problem
from streamd.wire import describe
from tests.unit.catalog.test_catalogue import LINES, TABLES, settings


def problems_of(doctypes: dict[str, Any]) -> list[Problem]:
    with pytest.raises(ConfigurationError) as caught:
        build(settings(doctypes), TABLES)
    return list(caught.value.problems)


def tags(owner: str, **more: Any) -> dict[str, Any]:
    return {"children": {"tags": {"table": "Tag", "parent_key": "parent", "where": {"parent_type": owner}, **more}}}


def test_an_excluded_column_is_no_column_of_the_type() -> None:
    made = build(
        settings(
            {"Invoice": {"exclude": ["Note"], "children": {"lines": {**LINES, "exclude": ["idx"]}}}, "Customer": {}}
        ),
        TABLES,
    )
    invoice = made["Invoice"]
    assert "Note" not in invoice.written_names
    assert invoice.excluded == ("Note",)
    assert "CustomerId" in invoice.written_names
    (lines,) = invoice.children
    assert "idx" not in lines.written_names
    assert lines.excluded == ("idx",)
    assert made["Customer"].excluded == ()


def test_an_excluded_column_is_not_told_to_anybody() -> None:
    made = build(settings({"Invoice": {"exclude": ["Note"]}}), TABLES)
    assert "Note" not in repr(describe(made["Invoice"]))
    assert "party" in repr(describe(made["Invoice"]))


def test_what_one_type_excludes_of_a_shared_child_table_none_gets() -> None:
    made = build(settings({"Customer": tags("Customer", exclude=["text"]), "Item": tags("Item")}), TABLES)
    for name in ("Customer", "Item"):
        (child,) = made[name].children
        assert child.excluded == ("text",)
        assert "text" not in child.written_names


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "unknown": ({"Invoice": {"exclude": ["Nots"]}}, "doctypes.Invoice.exclude", "has no column Nots"),
    "key": ({"Item": {"exclude": ["id"]}}, "doctypes.Item.exclude", "Item needs it as its key"),
    "link": (
        {"Invoice": {"exclude": ["CustomerId"]}, "Customer": {}},
        "doctypes.Invoice.exclude",
        "Invoice needs it as a link",
    ),
    "type of a dynamic link": (
        {"Invoice": {"dynamic_links": {"party": "party_type"}, "exclude": ["party_type"]}},
        "doctypes.Invoice.exclude",
        "Invoice needs it as a link",
    ),
    "parent key": (
        {"Invoice": {"children": {"lines": {**LINES, "exclude": ["InvoiceId"]}}}},
        "doctypes.Invoice.children.lines.exclude",
        "Invoice.lines needs it as its parent_key",
    ),
    "order": (
        {"Invoice": {"children": {"lines": {**LINES, "order_by": "idx", "exclude": ["idx"]}}}},
        "doctypes.Invoice.children.lines.exclude",
        "Invoice.lines needs it as its order_by",
    ),
    "condition": (
        {"Item": tags("Item", exclude=["parent_type"])},
        "doctypes.Item.children.tags.exclude",
        "Item.tags needs it as its where",
    ),
    "order of another type": (
        {"Customer": tags("Customer", exclude=["text"]), "Item": tags("Item", order_by="text")},
        "doctypes.Customer.children.tags.exclude",
        "Item.tags needs it as its order_by",
    ),
}


@pytest.mark.parametrize(("doctypes", "where", "what"), FAULTS.values(), ids=FAULTS.keys())
def test_what_a_document_needs_cannot_be_excluded(doctypes: dict[str, Any], where: str, what: str) -> None:
    (problem,) = problems_of(doctypes)
    assert problem.where == where
    assert what in problem.what
    assert problem.hint


def test_a_column_that_is_written_wrong_is_said_with_what_was_meant() -> None:
    (problem,) = problems_of({"Invoice": {"exclude": ["Nots"]}})
    assert problem.hint == "did you mean Note?"
