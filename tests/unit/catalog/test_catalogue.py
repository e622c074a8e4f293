"""The catalogue: document types follow from the configuration and the tables, and each fault is said plainly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streamd.catalog import build, warnings
from streamd.errors import ConfigurationError, Problem
from streamd.model import Column, ForeignKey, Kind, Link, Table
from streamd.settings import Settings


def table(
    name: str,
    *columns: str,
    key: tuple[str, ...] = ("id",),
    uniques: tuple[tuple[str, ...], ...] = (),
    refers: dict[str, str] | None = None,
    kinds: dict[str, Kind] | None = None,
    required: tuple[str, ...] = (),
) -> Table:
    """A table; `refers` maps columns to `table` or `table.column` (several joined by commas)."""
    names = dict.fromkeys((*key, *columns))
    foreign = []
    for mine, theirs in (refers or {}).items():
        target, _, referred = theirs.partition(".")
        foreign.append(ForeignKey(tuple(mine.split(",")), target, tuple((referred or "id").split(","))))
    made = [
        Column(each, "INTEGER", (kinds or {}).get(each, Kind.INTEGER), nullable=each not in (*key, *required))
        for each in names
    ]
    return Table(name, tuple(made), key, uniques, tuple(foreign))


TABLES = {
    each.name: each
    for each in (
        table("Customer", "Name", "Email", "Boss", refers={"Boss": "Customer"}, uniques=(("Email",),)),
        table("Invoice", "CustomerId", "party", "party_type", "Note", refers={"CustomerId": "Customer"}),
        table("Line", "InvoiceId", "ItemId", "idx", refers={"InvoiceId": "Invoice", "ItemId": "Item"}),
        table("Item", "Title", "Group", refers={"Group": "ItemGroup"}),
        table("Playlist", "Title"),
        table("PlaylistItem", key=("PlaylistId", "ItemId"), refers={"PlaylistId": "Playlist", "ItemId": "Item"}),
        table("Lot", "Note", key=("Branch", "Number")),
        table("Stock", "Nr", "Br", refers={"Nr,Br": "Lot.Number,Branch"}),
        table("Tag", "parent_type", "parent", "text"),
        table("Log", "text", key=()),
        table("Blob", "data", key=("hash",), kinds={"hash": Kind.BYTES}),
    )
}

LINES: dict[str, Any] = {"table": "Line", "parent_key": "InvoiceId"}


def settings(doctypes: dict[str, Any], **site: Any) -> Settings:
    return Settings(site={"name": "here", "database": "sqlite:////x.db", **site}, doctypes=doctypes)  # type: ignore[arg-type]


def problems_of(doctypes: dict[str, Any], **site: Any) -> list[Problem]:
    with pytest.raises(ConfigurationError) as caught:
        build(settings(doctypes, **site), TABLES)
    return list(caught.value.problems)


def test_table_key_and_links_follow_from_the_database() -> None:
    made = build(settings({"Invoice": {"children": {"lines": LINES}}, "Customer": {}, "Item": {}}), TABLES)
    invoice = made["Invoice"]
    assert (invoice.table, invoice.key) == ("Invoice", ("id",))
    assert invoice.links == (Link(("CustomerId",), "Customer"),)
    lines = invoice.children[0]
    assert (lines.field, lines.key, lines.parent_key) == ("lines", ("id",), ("InvoiceId",))
    assert lines.links == (Link(("ItemId",), "Item"),), "the way to the own parent is no link"
    assert made["Customer"].links == (Link(("Boss",), "Customer"),)
    assert made.offers == {"Invoice", "Customer", "Item"}


def test_child_rows_may_have_composite_keys() -> None:
    child = {"table": "PlaylistItem", "parent_key": "PlaylistId"}
    made = build(settings({"Playlist": {"children": {"items": child}}, "Item": {}}), TABLES)
    items = made["Playlist"].children[0]
    assert items.key == ("PlaylistId", "ItemId")
    assert items.links == (Link(("ItemId",), "Item"),)


def test_columns_of_a_composite_link_stand_in_the_order_of_the_targets_key() -> None:
    made = build(settings({"Lot": {}, "Stock": {}}), TABLES)
    assert made["Stock"].links == (Link(("Br", "Nr"), "Lot"),)
    made = build(settings({"Lot": {}, "Stock": {"links": {"Br, Nr": "Lot"}}}), TABLES)
    assert made["Stock"].links == (Link(("Br", "Nr"), "Lot"),)


def test_a_dynamic_link_names_the_column_with_the_type() -> None:
    made = build(settings({"Invoice": {"dynamic_links": {"party": "party_type"}}}), TABLES)
    assert made["Invoice"].links == (Link(("party",), None, "party_type"),)


def test_links_that_are_given_replace_those_of_the_foreign_keys() -> None:
    made = build(settings({"Invoice": {"links": {"Note": "Item"}}, "Customer": {}, "Item": {}}), TABLES)
    assert made["Invoice"].links == (Link(("Note",), "Item"),)
    assert build(settings({"Invoice": {"links": {}}, "Customer": {}}), TABLES)["Invoice"].links == ()


def test_identifiers_in_foreign_keys_are_compared_as_databases_do() -> None:
    tables = TABLES | {"Order": table("Order", "c", refers={"c": "CUSTOMER.ID"})}
    assert build(settings({"Order": {}, "Customer": {}}), tables)["Order"].links == (Link(("c",), "Customer"),)


def test_a_child_table_may_be_shared_where_each_says_which_rows_are_its() -> None:
    def tags(owner: str) -> dict[str, Any]:
        return {"children": {"tags": {"table": "Tag", "parent_key": "parent", "where": {"parent_type": owner}}}}

    made = build(settings({"Customer": tags("Customer"), "Item": tags("Item")}), TABLES)
    assert made["Item"].children[0].where == (("parent_type", "Item"),)
    shared = problems_of({"Customer": tags("Customer"), "Item": tags("Customer")})
    assert [each.where for each in shared] == ["doctypes.Item.children.tags.where"]


FAULTS = {
    "missing table": ({"Invoise": {}}, "doctypes.Invoise", "Invoice"),
    "missing table, named": ({"Bill": {"table": "Invoic"}}, "doctypes.Bill.table", "Invoice"),
    "missing key column": ({"Invoice": {"key": "idd"}}, "doctypes.Invoice.key", "id"),
    "no primary key": ({"Log": {}}, "doctypes.Log.key", "unique"),
    "key not unique": ({"Invoice": {"key": "CustomerId"}}, "doctypes.Invoice.key", "UNIQUE"),
    "key may be null": ({"Customer": {"key": "Email"}}, "doctypes.Customer.key", "NOT NULL"),
    "key of bytes": ({"Blob": {}}, "doctypes.Blob.key", "another key"),
    "key twice": ({"Lot": {"key": ["Branch", "Branch"]}}, "doctypes.Lot.key", "once"),
    "link column": (
        {"Invoice": {"links": {"Custmer": "Customer"}}, "Customer": {}},
        "doctypes.Invoice.links.Custmer",
        "CustomerId",
    ),
    "link target": (
        {"Invoice": {"links": {"CustomerId": "Custmer"}}, "Customer": {}},
        "doctypes.Invoice.links.CustomerId",
        "Customer",
    ),
    "link width": (
        {"Stock": {"links": {"Nr": "Lot"}}, "Lot": {}},
        "doctypes.Stock.links.Nr",
        "Branch, Number",
    ),
    "foreign key to another column": (
        {"Invoice": {}, "Customer": {"key": "Code"}},
        "doctypes.Invoice.links",
        "[doctypes.Customer]",
    ),
    "dynamic link column": (
        {"Invoice": {"dynamic_links": {"party": "party_typ"}}},
        "doctypes.Invoice.dynamic_links.party",
        "party_type",
    ),
    "child table": (
        {"Invoice": {"children": {"lines": {"table": "Lines", "parent_key": "InvoiceId"}}}},
        "doctypes.Invoice.children.lines.table",
        "Line",
    ),
    "child key": (
        {"Invoice": {"children": {"lines": {**LINES, "key": "ItemId"}}}},
        "doctypes.Invoice.children.lines.key",
        "UNIQUE",
    ),
    "parent key column": (
        {"Invoice": {"children": {"lines": {"table": "Line", "parent_key": "Invoice"}}}},
        "doctypes.Invoice.children.lines.parent_key",
        "InvoiceId",
    ),
    "parent key width": (
        {"Lot": {"children": {"lines": LINES}}},
        "doctypes.Lot.children.lines.parent_key",
        "Branch, Number",
    ),
    "where column": (
        {"Invoice": {"children": {"lines": {**LINES, "where": {"kind": 1}}}}},
        "doctypes.Invoice.children.lines.where.kind",
        "columns",
    ),
    "order by": (
        {"Invoice": {"children": {"lines": {**LINES, "order_by": "index"}}}},
        "doctypes.Invoice.children.lines.order_by",
        "idx",
    ),
    "field is a column": (
        {"Invoice": {"children": {"Note": LINES}}},
        "doctypes.Invoice.children.Note",
        "another field",
    ),
    "field with a quote": (
        {"Invoice": {"children": {'a"b': LINES}}},
        'doctypes.Invoice.children."a\\"b"',
        "without quotes",
    ),
    "one table, two types": (
        {"Invoice": {}, "Bill": {"table": "Invoice"}, "Customer": {}},
        "doctypes.Bill.table",
        "keep one",
    ),
    "both type and child": (
        {"Invoice": {"children": {"lines": LINES}}, "Line": {}},
        "doctypes.Invoice.children.lines.table",
        "not both",
    ),
    "link to the own parent": (
        {"Invoice": {"children": {"lines": {**LINES, "links": {"InvoiceId": "Invoice"}}}}},
        "doctypes.Invoice.children.lines.links.InvoiceId",
        "remove it",
    ),
}


@pytest.mark.parametrize(("doctypes", "where", "hint"), FAULTS.values(), ids=FAULTS.keys())
def test_each_fault_is_one_message_with_its_key_and_the_mend(doctypes: dict[str, Any], where: str, hint: str) -> None:
    tables = TABLES | {
        "Customer": table("Customer", "Email", "Code", uniques=(("Email",), ("Code",)), required=("Code",))
    }
    with pytest.raises(ConfigurationError) as caught:
        build(settings(doctypes), tables)
    assert [problem.where for problem in caught.value.problems] == [where]
    problem = caught.value.problems[0]
    assert hint in problem.hint
    assert problem.fatal


def test_a_shared_child_table_without_a_condition_is_a_fault_at_each_of_its_owners() -> None:
    tags = {"children": {"tags": {"table": "Tag", "parent_key": "parent"}}}
    wheres = [each.where for each in problems_of({"Customer": tags, "Item": tags})]
    assert wheres == ["doctypes.Customer.children.tags.where", "doctypes.Item.children.tags.where"]


def test_all_faults_are_said_at_once() -> None:
    found = problems_of({"Invoise": {}, "Log": {}, "Item": {"key": "nothing"}}, offers=("Itm",))
    assert {each.where for each in found} == {
        "site.offers",
        "doctypes.Invoise",
        "doctypes.Log.key",
        "doctypes.Item.key",
    }
    assert "Item" in next(each.hint for each in found if each.where == "site.offers")


def test_a_link_to_a_type_that_is_itself_wrong_is_not_called_unknown() -> None:
    found = problems_of({"Invoice": {"links": {"CustomerId": "Customer"}}, "Customer": {"key": "nope"}})
    assert [each.where for each in found] == ["doctypes.Customer.key"]


def test_foreign_keys_that_are_no_links_are_warned_about() -> None:
    given = settings({"Invoice": {"links": {}, "children": {"lines": LINES}}, "Customer": {}})
    found = warnings(given, TABLES)
    assert [each.where for each in found] == ["doctypes.Invoice", "doctypes.Invoice.children.lines"]
    assert not any(each.fatal for each in found)
    assert "CustomerId" in found[0].hint
    assert "Item" in found[1].hint


def test_how_documents_and_child_rows_are_named_is_carried_along() -> None:
    given = {"Invoice": {"naming": "INV-.####", "children": {"lines": {**LINES, "naming": "database"}}}, "Item": {}}
    made = build(settings(given), TABLES)
    assert (made["Invoice"].naming, made["Invoice"].children[0].naming) == ("INV-.####", "database")
    assert made["Item"].naming == ""


def test_only_offered_types_are_offered() -> None:
    assert build(settings({"Item": {}, "Customer": {}}, offers=("Item",)), TABLES).offers == {"Item"}


@pytest.mark.parametrize(
    ("other", "left"),
    [
        (table("invoice_tax", "InvoiceId", refers={"InvoiceId": "Invoice"}), True),
        (table("Attachment", key=("InvoiceId", "nr"), refers={"InvoiceId": "Invoice"}), True),
        (replace(table("Remark", "I"), foreign_keys=(ForeignKey(("I",), "Invoice", ("id",), "CASCADE"),)), True),
        (table("Payment", "InvoiceId", refers={"InvoiceId": "Invoice"}), False),
        (table("InvoiceTemplate", "Title"), False),
    ],
    ids=["called-after-it", "keyed-by-it", "deleted-with-it", "names-it", "no-foreign-key"],
)
def test_rows_that_seem_to_be_a_part_of_a_document_and_are_in_no_type_are_warned_about(
    other: Table, left: bool
) -> None:
    tables = {**TABLES, other.name: other}
    given = settings({"Customer": {}, "Invoice": {"children": {"lines": LINES}}})
    said = [str(each) for each in warnings(given, tables) if "to no document type" in each.what]
    assert bool(said) == left
    if left:
        assert f"rows of {other.name} refer to Invoice" in said[0]
    parts = {**tables, "Invoice": replace(tables["Invoice"], partitions=(f'public."{other.name}"',))}
    assert not [each for each in warnings(given, parts) if "to no document type" in each.what], (
        "a partition is no table"
    )
