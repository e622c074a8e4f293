"""Which documents an event links to, also where its own document comes in the same batch."""

from __future__ import annotations

from typing import Any

import msgspec

from streamd.apply.event.incoming import Incoming
from streamd.apply.fetch.dependency import afterwards, needed
from streamd.model import Difference, Event, Link, Operation
from tests.support.sites.mapping import catalogue, columns, doctype, item, number, text

PARTY = Link(("party",), type_column="party_type")
NOTE = doctype(
    "Note",
    [text("party_type"), number("party")],
    links=(PARTY,),
    children=(
        item(
            "Row", "Note", columns=columns("about_type", "about"), links=(Link(("about",), type_column="about_type"),)
        ),
    ),
)
TYPES = catalogue(NOTE, doctype("Customer", []), doctype("Artist", []))


def event(operation: Operation, data: Any) -> Incoming:
    return Incoming(Event(1, "", 1, "Note", ("N1",), operation, "", 0, msgspec.Raw(b"{}")), data, "there", "log")


def test_an_edit_of_a_dynamic_link_is_of_the_type_that_the_documents_creation_in_the_same_batch_has() -> None:
    rows = [{"name": "R1", "about_type": "Artist", "about": 1}]
    created = event(Operation.CREATE, {"name": "N1", "party_type": "Customer", "party": 1, "items": rows})
    edited = event(
        Operation.UPDATE, Difference(changed={"party": 2}, row_changed={"items": [{"name": "R1", "about": 3}]})
    )
    after = afterwards(created, NOTE, None)
    assert needed(edited, TYPES, after) == [("Customer", (2,)), ("Artist", (3,))]


def test_a_later_edit_of_the_batch_is_read_with_what_the_earlier_one_set() -> None:
    here = afterwards(event(Operation.CREATE, {"name": "N1", "party_type": "Customer", "party": 1}), NOTE, None)
    other = event(Operation.UPDATE, Difference(changed={"party_type": "Artist", "party": 7}))
    edited = event(Operation.UPDATE, Difference(changed={"party": 8}))
    assert needed(edited, TYPES, afterwards(other, NOTE, here)) == [("Artist", (8,))]
    assert afterwards(event(Operation.DELETE, {"old": {}}), NOTE, here) is None
