"""A document of one type at the producer becomes a document of another type here: whole, changed, and deleted."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from streamd.apply.event.decoding import decode
from streamd.apply.event.mapping import MappedType, mapped_type, mapped_types
from streamd.apply.source import Source, columns_there
from streamd.model import (
    ChildTable,
    Column,
    Difference,
    DocumentType,
    Event,
    Kind,
    OldValues,
    Operation,
    Row,
    RowId,
    SaidRows,
)
from streamd.settings import MappingSettings, SubscribedDoctype
from streamd.wire import describe
from tests.support.sites import mapping as example
from tests.support.sites.mapping import columns, doctype

ITEM = {"parenttype": "Opportunity", "parentfield": "items"}

ENTRY = SubscribedDoctype(doctype="Opportunity", mapping="Opportunity from OneHash")


def opportunities() -> MappedType:
    return mapped_types(example.EXAMPLE, [ENTRY], example.HERE, example.THERE)["OneHash Opportunity"]


def mapped(local: DocumentType, remote: DocumentType, *fields: dict[str, Any], **more: Any) -> MappedType:
    given = {"local_doctype": local.name, "remote_doctype": remote.name, "fields": fields, **more}
    return mapped_type("M", {"M": MappingSettings.model_validate(given)}, local, describe(remote))


def line(name: str, **columns_of_it: Any) -> Row:
    return {
        "name": name,
        "parent": "OP-1",
        "parenttype": "OneHash Opportunity",
        "parentfield": "lines",
        **columns_of_it,
    }


def test_an_opportunity_of_the_ancestors_example_arrives_in_local_words() -> None:
    document = {
        "name": "OP-1",
        "full_name": "Ada",
        "phone": "12",
        "address": "A-1",
        "subject": "A mill",
        "source": "fair",
        "stage": "new",
        "lines": [line("L1", code="COG", amount=3, uom="Box"), line("L2", code="ROD", amount=None, uom=None)],
    }
    assert opportunities().document(document) == {
        "opportunity_from": "Lead",
        "title": "A mill",
        "source": "fair",
        "items": [
            {"name": "L1", "item_code": "COG", "qty": 3, "uom": "Nos", **ITEM},
            {"name": "L2", "item_code": "ROD", "qty": 1, "uom": "Nos", **ITEM},
        ],
    }


def test_what_is_dropped_can_be_named() -> None:
    assert opportunities().unmapped == ("phone", "address", "stage", "lines/uom")


def test_an_update_arrives_with_all_its_parts_in_local_words() -> None:
    difference = Difference(
        changed={"subject": "Two mills", "source": "call"},
        added={"lines": [line("L3", code="PIN", amount=9)]},
        removed={"lines": [["L1"]]},
        row_changed={"lines": [{"name": "L2", "amount": 4, "uom": "Box"}]},
        old=OldValues(
            changed={"subject": None, "source": "fair"},
            row_changed={"lines": [{"name": "L2", "amount": None, "uom": "Nos"}]},
            removed={"lines": [line("L1", code="COG", amount=3)]},
        ),
    )
    row = {"uom": "Nos", **ITEM}
    assert opportunities().difference(difference) == Difference(
        changed={"title": "Two mills", "source": "call"},
        added={"items": [{"name": "L3", "item_code": "PIN", "qty": 9, **row}]},
        removed={"items": [["L1"]]},
        row_changed={"items": [{"name": "L2", "qty": 4}]},
        old=OldValues(
            changed={"title": "no subject", "source": "fair"},
            row_changed={"items": [{"name": "L2", "qty": 1}]},
            removed={"items": [{"name": "L1", "item_code": "COG", "qty": 3, **row}]},
        ),
    )


def test_an_update_of_nothing_but_dropped_fields_is_empty() -> None:
    difference = Difference(
        changed={"stage": "won", "phone": "13", "full_name": "Ada L."},
        row_changed={"lines": [{"name": "L2", "uom": "Box"}]},
        old=OldValues(changed={"stage": "new"}, row_changed={"lines": [{"name": "L2", "uom": "Nos"}]}),
    )
    assert opportunities().difference(difference) == Difference()


def test_a_constant_is_set_in_whole_documents_and_by_no_update() -> None:
    local, remote = doctype("Here", ("kind", "title")), doctype("There", ("title",))
    one = mapped(local, remote, {"local_fieldname": "kind", "default_value": "imported"})
    assert one.document({"name": "a", "title": "x"}) == {"title": "x", "kind": "imported"}
    assert one.difference(Difference(changed={"title": "y"})).changed == {"title": "y"}
    assert one.deletion({"old": {"name": "a", "title": "x"}}) == {"old": {"title": "x", "kind": "imported"}}


def test_a_default_takes_the_place_of_what_is_null_or_absent() -> None:
    local, remote = doctype("Here", ("title", "total")), doctype("There", ("subject", "sum"))
    one = mapped(
        local,
        remote,
        {"local_fieldname": "title", "remote_fieldname": "subject", "default_value": ""},
        {"local_fieldname": "total", "remote_fieldname": "sum", "default_value": 0.1},
    )
    assert one.document({"subject": None}) == {"title": "", "total": Decimal("0.1")}
    assert one.document({"subject": "x", "sum": 0}) == {"title": "x", "total": 0}
    assert one.difference(Difference(changed={"subject": None})).changed == {"title": ""}


def test_a_field_without_default_is_null_where_the_producers_is_and_absent_where_that_is() -> None:
    local, remote = doctype("Here", ("title",)), doctype("There", ("subject",))
    one = mapped(local, remote, {"local_fieldname": "title", "remote_fieldname": "subject"})
    assert one.document({"subject": None}) == {"title": None}
    assert one.document({}) == {}


def test_one_field_there_may_fill_several_here_and_keeps_its_own_name_nowhere() -> None:
    local, remote = doctype("Here", ("title", "label", "subject")), doctype("There", ("subject",))
    one = mapped(
        local,
        remote,
        {"local_fieldname": "title", "remote_fieldname": "subject"},
        {"local_fieldname": "label", "remote_fieldname": "subject"},
    )
    assert one.document({"subject": "x"}) == {"title": "x", "label": "x"}


def test_what_is_not_mapped_is_carried_over_only_where_that_is_wanted() -> None:
    local = doctype("Here", ("a", "b", "made"), children=(example.item("Line", "Here", columns=columns("x", "y")),))
    remote = doctype("There", ("a", "b", "c"), children=(example.item("Row", "There", columns=columns("x", "z")),))
    whole = {"a": 1, "b": 2, "c": 3, "items": [{"name": "1", "parent": "N", "x": 4, "z": 5}]}
    field = {"local_fieldname": "a", "remote_fieldname": "c"}
    carries, drops = mapped(local, remote, field), mapped(local, remote, field, unmapped="drop")
    assert carries.document(whole) == {
        "a": 3,
        "b": 2,
        "items": [{"name": "1", "x": 4, "parenttype": "Here", "parentfield": "items"}],
    }
    assert carries.unmapped == ("a", "items/z")
    assert drops.document(whole) == {"a": 3}
    assert drops.unmapped == ("a", "b", "items")


def test_a_child_table_that_is_missing_here_is_dropped_and_nothing_of_it_crashes() -> None:
    local, remote = doctype("Here", ("a",)), example.REMOTE_OPPORTUNITY
    one = mapped(local, remote)
    rows = {"lines": [line("L1")]}
    difference = Difference(
        added=rows, removed={"lines": [["L1"]]}, row_changed=rows, old=OldValues(row_changed=rows, removed=rows)
    )
    assert one.document({"name": "x", **rows}) == {}
    assert one.difference(difference) == Difference()
    assert "lines" in one.unmapped


def test_an_emptied_child_table_is_an_emptied_one_here() -> None:
    assert opportunities().document({"lines": []})["items"] == []
    assert opportunities().document({"lines": None})["items"] == []
    difference = Difference(removed={"lines": [["L1"], ["L2"]]})
    assert opportunities().difference(difference).removed == {"items": [["L1"], ["L2"]]}


def test_what_has_not_the_shape_of_a_document_is_known_before_it_is_mapped() -> None:
    one = opportunities()
    assert all(one.is_document(data) for data in ({}, {"lines": None}, {"lines": [{}]}, {"stage": [1]}))
    assert not any(one.is_document(data) for data in (None, [], "x", {"lines": {}}, {"lines": [1]}, {"lines": "x"}))


def test_child_rows_keep_their_keys_whatever_the_columns_are_called() -> None:
    here = ChildTable("lines", "line", ("doc", "position"), ("doc",), columns("doc", "position", "what", "number"))
    there = ChildTable("rows", "row", ("order", "number"), ("order",), columns("order", "number", "item"))
    local, remote = doctype("Here", (), children=(here,)), doctype("There", (), children=(there,))
    inner = {"local_doctype": "lines", "remote_doctype": "rows"}
    fields = [{"local_fieldname": "what", "remote_fieldname": "item"}]
    outer = {"local_doctype": "Here", "remote_doctype": "There"}
    table = {"local_fieldname": "lines", "remote_fieldname": "rows", "mapping_type": "Child Table", "mapping": "R"}
    given = {
        "M": MappingSettings.model_validate(outer | {"fields": [table]}),
        "R": MappingSettings.model_validate(inner | {"fields": fields}),
    }
    one = mapped_type("M", given, local, describe(remote))
    assert one.document({"rows": [{"order": "O", "number": 2, "item": "x"}]}) == {
        "lines": [{"doc": "O", "position": 2, "what": "x"}]
    }
    changed = one.difference(Difference(row_changed={"rows": [{"order": "O", "number": 2, "item": "y"}]}))
    assert changed.row_changed == {"lines": [{"doc": "O", "position": 2, "what": "y"}]}


def test_what_the_producer_says_of_rows_is_said_of_the_table_that_is_mapped_to_its_own() -> None:
    here = ChildTable("lines", "line", ("id",), ("doc",), columns("id", "doc", "what"))
    there = ChildTable("rows", "row", ("id",), ("order",), columns("id", "order", "what"))
    local, remote = doctype("Here", (), children=(here,)), doctype("There", (), children=(there,))
    table = {"local_fieldname": "lines", "remote_fieldname": "rows", "mapping_type": "Child Table", "mapping": "R"}
    given = {
        "M": MappingSettings(local_doctype="Here", remote_doctype="There", fields=[table]),
        "R": MappingSettings(local_doctype="lines", remote_doctype="rows", fields=[]),
    }
    source = Source("there", "site", 1, 1, mapped={"There": mapped_type("M", given, local, describe(remote))})
    said: SaidRows = {"rows": [("R1", RowId("L1"))], "unknown": []}
    event = Event(1, "", 1, "There", ("T",), Operation.UPDATE, "", 0, msgspec.Raw(b"{}"), rows=said)
    assert decode(event, source, "log", example.catalogue(local)).event.rows == {"lines": [("R1", RowId("L1"))]}


def test_the_producer_has_a_say_in_columns_that_get_a_value_of_its_own_and_in_no_others() -> None:
    here = ChildTable("lines", "line", ("id",), ("doc",), columns("id", "doc", "what", "ours"))
    there = ChildTable("rows", "row", ("id",), ("order",), columns("id", "order", "item"))
    local = doctype("Here", ("title", "carried", "constant", "stamp"), children=(here,))
    remote = doctype("There", ("subject", "carried"), children=(there,))
    outer = {"local_doctype": "Here", "remote_doctype": "There"}
    fields = [
        {"local_fieldname": "title", "remote_fieldname": "subject"},
        {"local_fieldname": "constant", "default_value": "x"},
        {"local_fieldname": "lines", "remote_fieldname": "rows", "mapping_type": "Child Table", "mapping": "R"},
    ]
    rows = {
        "local_doctype": "lines",
        "remote_doctype": "rows",
        "fields": [{"local_fieldname": "what", "remote_fieldname": "item"}],
    }
    given = {
        "M": MappingSettings.model_validate(outer | {"fields": fields}),
        "R": MappingSettings.model_validate(rows),
    }
    one = mapped_type("M", given, local, describe(remote))
    found = columns_there([describe(remote)], {"There": one})
    assert found == {("Here", ""): {"title", "carried"}, ("Here", "lines"): {"what"}}


def test_what_the_producer_computes_itself_does_not_travel_and_is_no_column_of_it() -> None:
    computed = Column("twice", "INTEGER", Kind.INTEGER, generated=True)
    remote = DocumentType("Item", "item", ("id",), (*columns("id", "size"), computed))
    assert columns_there([describe(remote)], {}) == {("Item", ""): {"id", "size"}}


def test_a_child_table_without_a_mapping_of_its_rows_is_taken_by_its_columns_names() -> None:
    remote = doctype(
        "There", (), children=(example.item("Row", "There", field="lines", columns=columns("item_code", "rate")),)
    )
    one = mapped(example.OPPORTUNITY, remote, {"local_fieldname": "items", "remote_fieldname": "lines"})
    assert one.document({"lines": [{"name": "1", "parent": "x", "item_code": "COG", "rate": 3}]}) == {
        "items": [{"name": "1", "item_code": "COG", **ITEM}]
    }


def test_names_are_left_to_the_writer_and_copied_only_where_a_field_asks_for_them() -> None:
    local = doctype("Here", ("number", "title"), key=("id",))
    remote = doctype("There", ("id",), key=("number",))
    copied = mapped(local, remote, {"local_fieldname": "title", "remote_fieldname": "number"})
    assert copied.document({"number": 7, "id": "x"}) == {"title": 7}
    assert mapped(local, remote).document({"number": 7, "id": "x"}) == {}


def test_the_clocks_of_edited_fields_are_those_of_the_fields_here() -> None:
    clocks = {
        "": "1",
        "subject": "2",
        "stage": "3",
        'lines/["a/b"]': "4",
        'lines/["a/b"]/amount': "5",
        'lines/["a/b"]/uom': "6",
        "lines/broken": "7",
        "lines/amount": "",
    }
    assert opportunities().clocks(clocks) == {
        "": "1",
        "title": "2",
        'items/["a/b"]': "4",
        'items/["a/b"]/qty': "5",
        "items/qty": "",
    }


def test_the_documents_that_are_looked_for_are_mapped_too() -> None:
    found = mapped_types(example.EXAMPLE, [ENTRY], example.HERE, example.THERE)
    assert {there: each.local.name for there, each in found.items()} == {
        "OneHash Opportunity": "Opportunity",
        "OneHash Lead": "Lead",
    }
    lead = {"name": "L-1", "full_name": "Ada", "phone": "12", "country": "GB", "score": 9}
    assert found["OneHash Lead"].document(lead) == {"lead_name": "Ada", "phone": "12", "country": "GB"}


def test_a_type_that_the_producer_has_not_described_is_not_mapped_yet() -> None:
    only_leads = [each for each in example.THERE if each.doctype == "OneHash Lead"]
    assert list(mapped_types(example.EXAMPLE, [ENTRY], example.HERE, only_leads)) == ["OneHash Lead"]
    ended = ENTRY.model_copy(update={"unsubscribe": True})
    assert not mapped_types(example.EXAMPLE, [ended], example.HERE, example.THERE)
