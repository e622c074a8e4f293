"""What is looked for at the producer to fill a link: by which values, what they are made of, and when again."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from streamd.apply.event.lookup import Filter, Lookup, lookup_of, read_filter
from streamd.errors import RowRefused
from streamd.model import Difference
from streamd.settings import FieldMapping
from tests.support.sites import mapping as example

FIELDS = ("name", "full_name", "phone", "address", "price")
INNER = example.EXAMPLE["Lead from OneHash"]
OPPORTUNITY = {"name": "OP-1", "full_name": "Ada", "phone": "12", "address": "A-1", "price": Decimal("2.50")}


def lookup(remote_fieldname: str | None = "full_name", **filters: Any) -> Lookup:
    given = {"local_fieldname": "party_name", "mapping_type": "Document", "mapping": "Lead from OneHash"}
    given |= {"remote_fieldname": remote_fieldname, "remote_value_filters": filters}
    return lookup_of(FieldMapping.model_validate(given), INNER, FIELDS)


EXAMPLE = lookup(full_name="full_name", phone="eval:doc.phone", country="eval:doc.address.country")


def test_the_ancestors_example_looks_for_a_lead_by_name_phone_and_country() -> None:
    assert (EXAMPLE.fieldname, EXAMPLE.doctype, EXAMPLE.remote_doctype) == ("party_name", "Lead", "OneHash Lead")
    assert EXAMPLE.values(OPPORTUNITY, {"address": {"country": "GB"}}) == {
        "full_name": "Ada",
        "phone": "12",
        "country": "GB",
    }


def test_it_is_said_which_fields_and_which_linked_documents_are_needed_for_it() -> None:
    fields, hops = EXAMPLE.needs()
    assert fields == {"full_name", "phone", "address"}
    assert hops == {"address": {"country"}}
    both = lookup(country="eval:doc.address.country", city="eval:doc.address.city")
    assert both.needs()[1] == {"address": {"country", "city"}}


@pytest.mark.parametrize("field", ["full_name", "phone", "address"])
def test_an_update_of_what_decides_it_looks_again(field: str) -> None:
    assert EXAMPLE.touched_by(Difference(changed={"price": 1, field: "other"}))


def test_an_update_of_anything_else_does_not_and_a_whole_document_always_does() -> None:
    assert not EXAMPLE.touched_by(Difference(changed={"price": 1}))
    assert not EXAMPLE.touched_by(Difference(added={"full_name": []}))
    assert EXAMPLE.touched_by({"price": 1})


@pytest.mark.parametrize(
    ("document", "address"),
    [
        ({"full_name": None}, {"country": "GB"}),
        ({"full_name": ""}, {"country": "GB"}),
        ({"phone": None}, {"country": "GB"}),
        ({}, {"country": None}),
        ({"address": None}, None),
    ],
)
def test_nothing_is_looked_for_where_a_value_is_missing(document: dict[str, Any], address: Any) -> None:
    assert EXAMPLE.values(OPPORTUNITY | document, {"address": address}) is None


def test_a_text_is_a_field_where_there_is_one_of_its_name_and_else_a_constant() -> None:
    assert read_filter("phone", FIELDS) == Filter(fieldname="phone")
    assert read_filter("Phone", FIELDS) == Filter(constant="Phone")
    assert read_filter(3, FIELDS) == Filter(constant=3)
    one = lookup(None, phone="phone", kind="person", disabled=False)
    assert one.values({"phone": "12"}, {}) == {"phone": "12", "kind": "person", "disabled": False}
    assert one.needs() == ({"phone"}, {})


def test_a_number_travels_as_one() -> None:
    one = lookup(price="price")
    assert one.values(OPPORTUNITY, {}) == {"price": 2.5}
    found = one.values(OPPORTUNITY | {"price": Decimal("2.00")}, {})
    assert found == {"price": 2}
    assert type((found or {})["price"]) is int


def test_no_digit_of_a_number_is_lost_on_the_way() -> None:
    exact = Decimal("123456789012345678.01234567890123456789")
    assert lookup(price="price").values(OPPORTUNITY | {"price": exact}, {}) == {"price": str(exact)}


@pytest.mark.parametrize("value", [{"$hex": "00ff"}, [1], {"a": 1}])
def test_what_no_request_can_carry_is_refused_in_words(value: Any) -> None:
    with pytest.raises(RowRefused, match="party_name: no document can be looked for by price"):
        lookup(price="price").values(OPPORTUNITY | {"price": value}, {})


def test_an_expression_that_cannot_be_read_is_said_when_it_is_needed() -> None:
    one = read_filter("eval: doc.phone ==", FIELDS)
    assert one.fault
    with pytest.raises(RowRefused):
        lookup(phone="eval: doc.phone ==").values(OPPORTUNITY, {})
