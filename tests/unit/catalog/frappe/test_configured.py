"""What the configuration of a Frappe site adds to its metadata, and the faults in it."""

from __future__ import annotations

from typing import Any

import pytest

from streamd.catalog import build, metadata_tables, warnings
from streamd.model import Column, Kind, Table
from tests.unit.catalog.frappe.metadata import Metadata, problems_of, settings, to


def producer(*doctypes: str, **more: Any) -> dict[str, Any]:
    return {"hq": {"url": "https://hq.example", "use_same_name": True, "doctypes": doctypes, **more}}


def test_what_is_declared_besides_replaces_what_the_doctype_says(tables: dict[str, Table], dumped: Metadata) -> None:
    declared = {
        "Retail Item": {"links": {"item_group": "Retail Category"}},
        "Retail Invoice": {
            "children": {"items": {"table": "tabRetail Invoice Item", "parent_key": "parent", "links": {}}}
        },
        "Series": {"table": "tabSeries"},
    }
    found = build(settings(declared, offers=["Series"]), tables, dumped)
    assert found["Retail Item"].links == (to("item_group", "Retail Category"),)
    invoice = found["Retail Invoice"]
    assert invoice.links == (to("customer", "Retail Customer"),), "what is not given stays"
    assert invoice.children[0].links == ()
    assert invoice.children[0].where == (("parenttype", "Retail Invoice"), ("parentfield", "items"))
    assert (found["Series"].table, found["Series"].key) == ("tabSeries", ("name",))
    assert found.offers == {"Series"}


def test_a_table_belongs_to_one_doctype(tables: dict[str, Table], dumped: Metadata) -> None:
    declared = {"Goods": {"table": "tabRetail Item"}, "Retail Settings": {"table": "tabSingles"}}
    found = problems_of(settings(declared), tables, dumped)
    assert [problem.what for problem in found] == [
        "tabRetail Item is the table of the DocType Retail Item",
        "is a single, which has no table",
    ]


def test_a_name_that_is_no_doctype_is_said_with_what_was_meant(tables: dict[str, Table], dumped: Metadata) -> None:
    wanted = settings(offers=["Retail Invoices"], producers=producer("retail item"))
    one, other = problems_of(wanted, tables, dumped)
    assert (one.where, one.what) == ("site.offers", "the site has no DocType Retail Invoices")
    assert one.hint.startswith("did you mean Retail Invoice")
    assert other.where == "producers.hq.doctypes"
    assert other.hint.startswith("did you mean Retail Item")


def test_a_child_table_is_no_document_type(tables: dict[str, Table], dumped: Metadata) -> None:
    (found,) = problems_of(settings(offers=["Retail Invoice Item"]), tables, dumped)
    assert found.what.endswith("its rows travel with their documents (Retail Invoice)")


def test_doctypes_themselves_cannot_be_offered(tables: dict[str, Table], dumped: Metadata) -> None:
    names = ["DocType", "Custom Field", "test"]
    found = [problem.what for problem in problems_of(settings(offers=names), tables, dumped)]
    assert found == [
        "DocType describes tables, and syncing its rows would not create them",
        "Custom Field describes tables, and syncing its rows would not create them",
        "the DocType test has no table in this database",
    ]


def test_a_type_that_is_unsubscribed_need_not_be_there(tables: dict[str, Table], dumped: Metadata) -> None:
    wanted = {"hq": {"url": "https://hq.example", "doctypes": [{"doctype": "Gone", "unsubscribe": True}]}}
    build(settings(producers=wanted), tables, dumped)


def test_the_subscriber_has_to_be_a_user_of_the_site(tables: dict[str, Table], dumped: Metadata) -> None:
    known = settings(producers=producer("Note", subscriber="sync@example.com"))
    assert "tabUser" in metadata_tables(known)
    assert "tabUser" not in metadata_tables(settings(producers=producer("Note")))
    build(known, tables, dumped)
    (found,) = problems_of(settings(producers=producer("Note", subscriber="synk@example.com")), tables, dumped)
    assert found.where == "producers.hq.subscriber"
    assert found.hint.startswith("did you mean sync@example.com")


@pytest.mark.parametrize("there", [None, {}, {"tabDocType": []}], ids=["not read", "no table", "no rows"])
def test_a_database_that_is_no_frappe_sites_is_called_so(there: Metadata | None, tables: dict[str, Table]) -> None:
    (found,) = problems_of(settings(), tables, there)
    assert found.where == "site.catalog"


def test_links_to_guarded_types_are_warned_of(tables: dict[str, Table], dumped: Metadata) -> None:
    (found,) = warnings(settings(producers=producer("Note")), tables, dumped)
    assert not found.fatal
    assert found.what.startswith("links to User fetch nothing")
    assert warnings(settings(producers=producer("Retail Invoice")), tables, dumped) == []


def test_a_subscriber_without_a_frappe_site_is_warned_of() -> None:
    plain = settings({"Note": {}}, producer("Note", subscriber="a@example.com"), catalog="tables")
    note = Table("Note", (Column("id", "int", Kind.INTEGER, nullable=False),), ("id",))
    assert [found.where for found in warnings(plain, {"Note": note})] == ["producers.hq.subscriber"]
