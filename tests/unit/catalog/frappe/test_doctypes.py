"""The catalogue of a Frappe site: the user names DocTypes, the site's own metadata says the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from streamd.catalog import build, read_metadata
from streamd.model import Catalogue, Change, Column, Kind, Link, Row, Table
from streamd.rows import bindings, document_links, documents_of
from tests.support.sites.frappe import OFFERED
from tests.unit.catalog.frappe.metadata import Metadata, field, problems_of, settings, to


@pytest.fixture(scope="module")
def catalogue(tables: dict[str, Table], dumped: Metadata) -> Catalogue:
    return build(settings(offers=OFFERED), tables, dumped)


def with_column(tables: Mapping[str, Table], table: str, *names: str) -> dict[str, Table]:
    there = tables[table]
    columns = tuple(Column(name, "varchar(140)", Kind.TEXT) for name in names)
    return {**tables, table: replace(there, columns=(*there.columns, *columns))}


def test_a_doctype_is_a_table_with_its_child_tables_and_links(catalogue: Catalogue) -> None:
    invoice = catalogue["Retail Invoice"]
    assert (invoice.table, invoice.key, invoice.single) == ("tabRetail Invoice", ("name",), False)
    assert invoice.links == (to("customer", "Retail Customer"),)
    (items,) = invoice.children
    assert (items.field, items.table, items.key) == ("items", "tabRetail Invoice Item", ("name",))
    assert (items.parent_key, items.order_by) == (("parent",), "idx")
    assert items.where == (("parenttype", "Retail Invoice"), ("parentfield", "items"))
    assert items.links == (to("item", "Retail Item"),)


def test_bookkeeping_columns_are_part_of_the_document(catalogue: Catalogue) -> None:
    names = catalogue["Retail Payment"].written_names
    assert {"owner", "creation", "modified", "modified_by", "docstatus", "idx"} <= names
    assert {"_user_tags", "_comments", "_assign", "_liked_by"} <= names


def test_amended_from_a_parent_in_the_own_type_and_dynamic_links_are_links(catalogue: Catalogue) -> None:
    payment = catalogue["Retail Payment"].links
    assert payment == (Link(("party",), None, "party_type", blank_is_null=True), to("amended_from", "Retail Payment"))
    assert catalogue["Retail Category"].links == (to("parent_category", "Retail Category"),)
    todo = catalogue["ToDo"].links
    assert Link(("reference_name",), None, "reference_type", blank_is_null=True) in todo
    assert to("owner", "User") in todo


def test_a_child_table_of_several_doctypes_is_told_apart_by_its_parent(catalogue: Catalogue) -> None:
    roles = {
        name: child.where
        for name, doctype in catalogue.doctypes.items()
        for child in doctype.children
        if child.table == "tabHas Role" and not doctype.single
    }
    assert {"User", "Report", "Page"} <= roles.keys()
    assert roles["User"] == (("parenttype", "User"), ("parentfield", "roles"))
    assert len(set(roles.values())) == len(roles)


def test_table_multiselect_is_a_child_table(catalogue: Catalogue) -> None:
    child = catalogue["Notification Settings"].child("subscribed_documents")
    assert child is not None
    assert child.table == "tabNotification Subscribed Document"


def test_a_single_has_its_values_in_rows_and_none_of_its_own(catalogue: Catalogue) -> None:
    shop = catalogue["Retail Settings"]
    assert (shop.single, shop.table) == (True, "")
    assert shop.only_name == ("Retail Settings",)
    assert [column.name for column in shop.columns] == ["name"]
    (values,) = shop.children
    assert (values.field, values.table, values.key) == ("tabSingles", "tabSingles", ("doctype", "field"))
    assert (values.parent_key, values.where) == (("doctype",), (("doctype", "Retail Settings"),))
    assert not values.keeps_unique
    assert [binding.child for binding in bindings(catalogue)["tabSingles"] if binding.doctype is shop] == [values]


def test_a_changed_value_of_a_single_is_a_change_of_its_document_alone(catalogue: Catalogue) -> None:
    row = b'{"doctype":"Retail Settings","field":"company","value":"x"}'
    change = Change(1, "tabSingles", "U", row, row, "", "", 0)
    assert documents_of(change, bindings(catalogue)) == {("Retail Settings", ("Retail Settings",))}


def test_a_singles_link_is_there_in_the_row_of_its_field_only(tables: dict[str, Table], metadata: Metadata) -> None:
    metadata["tabDocField"].append(field("Retail Settings", "walk_in", "Link", "Retail Customer"))
    shop = build(settings(), tables, metadata)["Retail Settings"]

    def linked(field: str, value: str) -> list[Any]:
        row = {"doctype": "Retail Settings", "field": field, "value": value}
        return list(document_links(shop, {}, {"tabSingles": [row]}))

    assert linked("walk_in", "CUST-1") == [("Retail Customer", ("CUST-1",))]
    assert linked("walk_in", "") == []
    assert linked("company", "CUST-1") == []


def test_an_empty_link_names_nothing(catalogue: Catalogue) -> None:
    payment = catalogue["Retail Payment"]
    assert list(document_links(payment, {"party_type": "Note", "party": "", "amended_from": ""}, {})) == []
    assert list(document_links(payment, {"party_type": "Note", "party": "N", "amended_from": None}, {})) == [
        ("Note", ("N",))
    ]


def test_every_doctype_with_a_table_is_declared_and_only_the_named_ones_are_offered(
    catalogue: Catalogue, tables: dict[str, Table], dumped: Metadata
) -> None:
    assert catalogue.offers == set(OFFERED)
    assert {"Country", "Contact", "Language", "File"} <= catalogue.doctypes.keys()
    assert not {"Retail Invoice Item", "Has Role", "DocType", "Custom Field", "test"} & catalogue.doctypes.keys()
    assert build(settings(), tables, dumped).offers == frozenset()


def test_an_approval_opens_what_its_links_lead_to_and_no_more(catalogue: Catalogue) -> None:
    assert catalogue.opened_by("Retail Invoice") == ("Retail Customer", "Retail Item")
    assert catalogue.opened_by("Retail Category") == ()


def test_a_dynamic_link_opens_what_is_offered_but_no_users(catalogue: Catalogue) -> None:
    opened = catalogue.opened_by("Retail Payment")
    assert set(opened) == set(OFFERED) - {"Retail Payment", "Retail Settings", "User"}


def test_no_link_opens_users_or_what_says_who_may_do_what(catalogue: Catalogue) -> None:
    assert catalogue.opened_by("Note") == (), "although a note names users who have seen it"
    assert not {"Role", "User Type", "Role Profile"} & set(catalogue.opened_by("User"))
    assert {"User", "Role", "Server Script", "OAuth Bearer Token", "System Settings"} <= catalogue.guarded
    assert not {"Country", "Address", "Contact", "Currency", "Retail Item"} & catalogue.guarded


def test_a_custom_field_is_a_field(tables: dict[str, Table], metadata: Metadata) -> None:
    metadata["tabCustom Field"] += [
        {"dt": "Retail Item", "fieldname": "category", "fieldtype": "Link", "options": "Retail Category"},
        {"dt": "Retail Item", "fieldname": "sold_in", "fieldtype": "Table MultiSelect", "options": "Has Role"},
        {"dt": "Retail Invoice Item", "fieldname": "made_in", "fieldtype": "Link", "options": "Country"},
    ]
    more = with_column(with_column(tables, "tabRetail Item", "category"), "tabRetail Invoice Item", "made_in")
    found = build(settings(), more, metadata)
    assert found["Retail Item"].links == (to("category", "Retail Category"),)
    assert found["Retail Item"].children[0].where == (("parenttype", "Retail Item"), ("parentfield", "sold_in"))
    assert to("made_in", "Country") in found["Retail Invoice"].children[0].links


def test_a_property_setter_changes_what_a_field_links_to(tables: dict[str, Table], metadata: Metadata) -> None:
    def setter(field: str, name: str, value: str) -> Row:
        return {
            "doc_type": "Retail Invoice", "doctype_or_field": "DocField", "field_name": field, "property": name,
            "value": value,
        }  # fmt: skip

    metadata["tabProperty Setter"] += [
        setter("customer", "options", "Contact"),
        setter("external_ref", "fieldtype", "Link"),
        setter("external_ref", "options", "Retail Payment"),
        setter("remarks", "label", "Remarks"),
    ]
    links = build(settings(), tables, metadata)["Retail Invoice"].links
    assert set(links) == {to("customer", "Contact"), to("external_ref", "Retail Payment")}


def test_documents_are_named_as_the_doctype_says(catalogue: Catalogue) -> None:
    assert catalogue["Retail Item"].naming == "field:item_code"
    assert catalogue["Retail Payment"].naming == "naming_series:PAY-.YYYY.-.#####"
    assert catalogue["Webhook"].naming == "naming_series:HOOK-.####", "the first line that says something"
    assert catalogue["ToDo"].naming == "hash"
    assert catalogue["Country"].naming == "field:country_name"
    assert catalogue["Note"].naming == "", "only its code knows"
    assert catalogue["Retail Invoice"].children[0].naming == "hash", "as the application does where nothing says how"


def test_a_changed_way_of_naming_counts(tables: dict[str, Table], metadata: Metadata) -> None:
    def setter(doctype: str, field: str | None, name: str, value: str) -> Row:
        kind = "DocType" if field is None else "DocField"
        return {
            "doc_type": doctype, "doctype_or_field": kind, "field_name": field, "property": name, "value": value,
        }  # fmt: skip

    metadata["tabProperty Setter"] += [
        setter("Retail Item", None, "autoname", "naming_series:"),
        setter("Retail Payment", "naming_series", "options", "\n PAY-.MM.-.### \nOLD-.###"),
        setter("Retail Customer", None, "autoname", "format:CUST-{YYYY}-{#####}"),
        setter("Retail Invoice", "naming_series", "autoname", "hash"),
    ]
    metadata["tabCustom Field"].append(
        {"dt": "Retail Item", "fieldname": "naming_series", "fieldtype": "Select", "options": "ITEM-.####"}
    )
    found = build(settings(), tables, metadata)
    assert found["Retail Item"].naming == "naming_series:ITEM-.####"
    assert found["Retail Payment"].naming == "naming_series:PAY-.MM.-.###"
    assert found["Retail Customer"].naming == "format:CUST-{YYYY}-{#####}"
    assert found["Retail Invoice"].naming == "field:invoice_no"


def test_the_configuration_says_how_documents_are_named_instead(tables: dict[str, Table], dumped: Metadata) -> None:
    items = {"table": "tabRetail Invoice Item", "parent_key": "parent"}
    declared = {
        "Retail Item": {"naming": "ITEM-.#####"},
        "Retail Payment": {"links": {}},
        "Retail Invoice": {"children": {"items": {**items, "naming": "uuid"}}},
    }
    found = build(settings(declared), tables, dumped)
    assert found["Retail Item"].naming == "ITEM-.#####"
    assert found["Retail Payment"].naming == "naming_series:PAY-.YYYY.-.#####", "what is not given stays"
    assert found["Retail Invoice"].naming == "field:invoice_no"
    assert found["Retail Invoice"].children[0].naming == "uuid"


def test_columns_of_doctypes_can_be_excluded_but_no_fields_of_a_single(
    tables: dict[str, Table], dumped: Metadata
) -> None:
    items = {"table": "tabRetail Invoice Item", "parent_key": "parent", "exclude": ["rate"]}
    declared = {"Retail Item": {"exclude": ["rate"]}, "Retail Invoice": {"children": {"items": items}}}
    found = build(settings(declared), tables, dumped)
    assert found["Retail Item"].excluded == ("rate",)
    assert "rate" not in found["Retail Item"].written_names
    assert found["Retail Invoice"].children[0].excluded == ("rate",)
    assert found["Retail Invoice"].children[0].order_by == "idx"
    (single,) = problems_of(settings({"Retail Settings": {"exclude": ["company"]}}), tables, dumped)
    assert "no table with columns to exclude" in single.what
    (link,) = problems_of(settings({"Retail Payment": {"exclude": ["party"]}}), tables, dumped)
    assert "needs it as a link" in link.what


def test_fields_without_a_column_and_links_to_nothing_are_passed_over(
    tables: dict[str, Table], metadata: Metadata
) -> None:
    metadata["tabDocField"] += [
        field("Retail Item", "virtual", "Link", "Country"),
        field("Retail Item", "item_group", "Link", "No Such DocType"),
        field("Retail Item", "description", "Dynamic Link", "no_such_field"),
        field("Retail Item", "rows", "Table", "Country"),
        field("Retail Item", "others", "Table", "No Such DocType"),
    ]
    item = build(settings(), tables, metadata)["Retail Item"]
    assert (item.links, item.children) == ((), ())


def test_the_old_column_of_a_field_that_became_a_table_is_left_alone(
    tables: dict[str, Table], dumped: Metadata
) -> None:
    found = build(settings(), with_column(tables, "tabRetail Invoice", "items"), dumped)["Retail Invoice"]
    assert "items" not in found.written_names
    assert found.child("items") is not None


async def test_only_metadata_that_is_there_is_read(tables: dict[str, Table]) -> None:
    asked: list[str] = []

    async def table_rows(table: str, columns: Sequence[str]) -> list[Row]:
        asked.append(table)
        return []

    reading: Callable[..., Any] = read_metadata
    await reading(settings(), {name: table for name, table in tables.items() if name != "tabDocField"}, table_rows)
    assert asked == ["tabDocType", "tabCustom Field", "tabProperty Setter"]
    assert await reading(settings({"Note": {}}, catalog="tables"), tables, table_rows) == {}


def test_hundreds_of_doctypes_are_read(tables: dict[str, Table], dumped: Metadata) -> None:
    assert len(bindings(build(settings(offers=OFFERED), tables, dumped))) > len(OFFERED)
