"""Whose a producer's documents are here: the Event Subscriber's, where one is set."""

from __future__ import annotations

from typing import Any

from streamd.apply.decide.subscriber import as_subscriber
from streamd.model import ChildTable, Column, Difference, Document, DocumentType, Kind, Link, OldValues

WHO = "sync@example.com"


def columns(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, "varchar(140)", Kind.TEXT) for name in names)


STANDARD = columns("name", "owner", "creation", "modified", "modified_by")
ROWS = ChildTable("items", "tabRow", ("name",), ("parent",), STANDARD, where=(("parenttype", "Note"),))
NOTE = DocumentType("Note", "tabNote", ("name",), STANDARD, children=(ROWS,))
TODO = DocumentType("ToDo", "tabToDo", ("name",), STANDARD, links=(Link(("owner",), "User"),))
VALUES = ChildTable(
    "tabSingles", "tabSingles", ("doctype", "field"), ("doctype",), columns("doctype", "field", "value")
)
SETTINGS = DocumentType("Shop", "", ("name",), columns("name"), children=(VALUES,), single=True)


def row(name: str, by: str, owner: str | None = None) -> dict[str, Any]:
    return {"name": name, "owner": owner or by, "creation": "c", "modified": "m", "modified_by": by}


def note(by: str, *items: str) -> Document:
    return Document("Note", ("N",), row("N", by), {"items": [row(item, by) for item in items]})


def test_a_new_document_is_the_subscribers_and_keeps_its_times() -> None:
    data = row("N", "ann") | {"items": [row("1", "ann")]}
    found = as_subscriber(data, NOTE, None, WHO)
    assert found == row("N", WHO) | {"items": [row("1", WHO)]}
    assert data == row("N", "ann") | {"items": [row("1", "ann")]}, "the event itself stays as it came"


def test_an_edit_says_the_subscriber_and_leaves_the_owner_alone() -> None:
    data = Difference(
        changed={"modified_by": "bob", "owner": "bob", "title": "t"},
        added={"items": [row("2", "bob")]},
        row_changed={"items": [{"name": "1", "modified_by": "bob"}]},
        old=OldValues(changed={"modified_by": "ann"}),
    )
    found = as_subscriber(data, NOTE, note("zoe", "1"), WHO)
    assert found.changed == {"modified_by": WHO, "owner": "zoe", "title": "t"}
    assert found.added == {"items": [row("2", WHO)]}
    assert found.row_changed == {"items": [{"name": "1", "modified_by": WHO}]}
    assert found.old.changed == {"modified_by": "ann"}, "what was there is compared with what is here"


def test_a_document_that_is_here_with_the_same_content_stays_as_it_is() -> None:
    data = row("N", "ann") | {"items": [row("1", "ann")]}
    assert as_subscriber(data, NOTE, note("ann", "1"), WHO) == data


def test_a_whole_document_over_one_that_came_from_there_changes_nothing_but_who_wrote_it() -> None:
    data = row("N", "ann") | {"items": [row("1", "ann"), row("2", "ann")]}
    found = as_subscriber(data, NOTE, note(WHO, "1"), WHO)
    assert found == row("N", WHO) | {"items": [row("1", WHO), row("2", WHO)]}


def test_an_owner_that_is_a_field_of_the_doctype_travels() -> None:
    found = as_subscriber(row("T", "ann", owner="clerk"), TODO, None, WHO)
    assert (found["owner"], found["modified_by"]) == ("clerk", WHO)
    assert as_subscriber(Difference(changed={"owner": "bob"}), TODO, None, WHO).changed == {"owner": "bob"}


def test_a_singles_values_are_rows() -> None:
    def value(field: str, text: str) -> dict[str, Any]:
        return {"doctype": "Shop", "field": field, "value": text}

    here = Document("Shop", ("Shop",), {"name": "Shop"}, {"tabSingles": [value("owner", "zoe")]})
    data = {"name": "Shop", "tabSingles": [value("owner", "ann"), value("modified_by", "ann"), value("rate", "3")]}
    found = as_subscriber(data, SETTINGS, here, WHO)
    assert found["tabSingles"] == [value("owner", "zoe"), value("modified_by", WHO), value("rate", "3")]


def test_a_deletion_has_nobody_to_rename() -> None:
    assert as_subscriber({"old": row("N", "ann")}, NOTE, note("ann"), WHO) == {"old": row("N", "ann")}
    assert as_subscriber(None, NOTE, None, WHO) is None
