"""What a database does by itself to documents that an applied group does not name, told from rows and changes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from streamd.apply.write.effects import Accounted, caused, effect_of, reaches, refused, unmeant
from streamd.apply.write.ordering import Planned
from streamd.apply.write.rowwrite import RowWrite, delete_writes, rename_writes, update_writes
from streamd.catalog.referring import references_of
from streamd.doctypes import Reference
from streamd.model import (
    Catalogue,
    Change,
    ChildTable,
    Column,
    Document,
    DocumentType,
    ForeignKey,
    Kind,
    Operation,
    Row,
    Table,
)
from streamd.rows import bindings


def columns(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, "INTEGER", Kind.INTEGER) for name in names)


def table(name: str, names: str, *keys: ForeignKey) -> Table:
    return Table(name, columns(*names.split()), (names.split()[0],), foreign_keys=keys)


TABLES = {
    "shop": Table("shop", columns("land", "no", "owner"), ("land", "no")),
    "till": table("till", "id land no x", ForeignKey(("land", "no"), "SHOP", ("land", "no"), "CASCADE", "CASCADE")),
    "drawer": table(
        "drawer",
        "id till shop_land shop_no",
        ForeignKey(("till",), "till", ("id",), "CASCADE"),
        ForeignKey(("shop_land", "shop_no"), "shop", ("land", "no"), "SET NULL"),
    ),
    "note": table("note", "id till", ForeignKey(("till",), "till", ("id",), "SET NULL", "NO ACTION")),
    "log": table("log", "id till", ForeignKey(("till",), "till", ("id",), "CASCADE")),
}
SHOP = DocumentType("Shop", "shop", ("land", "no"), TABLES["shop"].columns)
TILL = DocumentType(
    "Till",
    "till",
    ("id",),
    TABLES["till"].columns,
    children=(ChildTable("drawers", "drawer", ("id",), ("till",), TABLES["drawer"].columns),),
)
NOTE = DocumentType("Note", "note", ("id",), TABLES["note"].columns)
CATALOGUE = Catalogue({each.name: each for each in (SHOP, TILL, NOTE)}, frozenset({"Shop", "Till", "Note"}))
REFERENCES = references_of(CATALOGUE.doctypes.values(), TABLES)
BOUND = bindings(CATALOGUE)


def deleted(doctype: DocumentType, fields: Row, **children: list[Row]) -> Planned:
    name = tuple(fields[column] for column in doctype.key)
    here = Document(doctype.name, name, fields, children)
    return Planned(doctype, Operation.DELETE, name, None, delete_writes(doctype, here), here)


def changed(doctype: DocumentType, fields: Row, **values: Any) -> Planned:
    name = tuple(fields[column] for column in doctype.key)
    here = Document(doctype.name, name, fields, {child.field: [] for child in doctype.children})
    return Planned(doctype, Operation.UPDATE, name, None, update_writes(doctype, name, values), here)


def change(table: str, before: Row | None, after: Row | None, origin: str = "") -> Change:
    op = "I" if before is None else "D" if after is None else "U"
    old, new = (None if row is None else json.dumps(row).encode() for row in (before, after))
    return Change(1, table, op, old, new, origin, "", 0)


def reached(*planned: Planned) -> dict[str, str]:
    return {each.reference.rows.table: each.rule for each in reaches(planned, REFERENCES)}


def test_only_keys_with_an_action_between_tables_of_documents_are_looked_at() -> None:
    found = {(each.rows.table, each.key.table) for each in REFERENCES}
    assert found == {("till", "shop"), ("drawer", "till"), ("drawer", "shop"), ("note", "till")}


def test_a_deleted_document_reaches_what_refers_to_it_by_all_columns_of_its_key() -> None:
    (till, drawer) = reaches([deleted(SHOP, {"land": 1, "no": 2, "owner": 3})], REFERENCES)
    assert (till.rule, drawer.rule) == (
        "ON DELETE CASCADE of till.land, no",
        "ON DELETE SET NULL of drawer.shop_land, shop_no",
    )
    assert list(till.causes) == [(1, 2)]


def test_the_child_rows_of_a_deleted_document_go_with_it_and_reach_nothing_by_that() -> None:
    assert reached(deleted(TILL, {"id": 5, "land": 1, "no": 2, "x": 0}, drawers=[{"id": 7, "till": 5}])) == {
        "note": "ON DELETE SET NULL of note.till"
    }


def test_a_value_that_is_null_refers_to_nothing() -> None:
    assert reached(deleted(SHOP, {"land": 1, "no": None, "owner": 3})) == {}


@pytest.mark.parametrize(("values", "expected"), [({"owner": 4}, set()), ({"land": 4}, {"till"})])
def test_an_update_reaches_only_what_refers_to_the_columns_that_it_changes(values: Row, expected: set[str]) -> None:
    planned = changed(SHOP, {"land": 1, "no": 2, "owner": 3})
    planned.writes.append(RowWrite.update("shop", values, SHOP.key, planned.name))  # type: ignore[attr-defined]
    assert set(reached(planned)) == expected


@pytest.mark.parametrize(
    ("also", "accounted"),
    [
        ([], False),
        ([deleted(TILL, {"id": 5, "land": 1, "no": 2, "x": 0})], True),
        ([deleted(TILL, {"id": 6, "land": 1, "no": 2, "x": 0})], False),
        ([changed(TILL, {"id": 5, "land": 1, "no": 2, "x": 0}, no=3)], True),
        ([changed(TILL, {"id": 5, "land": 1, "no": 2, "x": 0}, x=3)], False),
    ],
)
def test_the_group_says_itself_what_becomes_of_a_row_only_where_it_removes_it_or_points_it_elsewhere(
    also: list[Planned], accounted: bool
) -> None:
    planned = [deleted(SHOP, {"land": 1, "no": 2, "owner": 3}), *also]
    reach = next(each for each in reaches(planned, REFERENCES) if each.reference.rows.table == "till")
    row = {"id": 5, "land": 1, "no": 2}
    assert Accounted(planned).has(reach.reference, row) is accounted
    cause = caused(reach, row)
    assert cause is planned[0]
    assert refused(reach, row, cause).startswith("deleting Shop 1, 2 would also delete Till 5 here")


def test_a_row_of_another_type_in_the_same_table_is_not_reached() -> None:
    shared = ChildTable("tags", "till", ("id",), ("x",), TABLES["till"].columns, where=(("x", 1),))
    reference = Reference("Shop", shared, replace(TABLES["till"].foreign_keys[0], table="shop"))
    (reach,) = reaches([deleted(SHOP, {"land": 1, "no": 2, "owner": 3})], [reference])
    assert caused(reach, {"id": 5, "land": 1, "no": 2, "x": 2}) is None
    assert "a row of till of Shop 1" in effect_of(reach, {"id": 5, "land": 1, "no": 2, "x": 1})


def test_what_cancels_out_was_nothing() -> None:
    changes = [
        change("note", {"id": 1, "till": 5}, {"id": 1, "till": 6}),
        change("note", {"id": 1, "till": 6}, {"id": 1, "till": 5}),
        change("note", None, {"id": 2, "till": 5}),
        change("note", {"id": 2, "till": 5}, None),
    ]
    assert unmeant(changes, BOUND, []) == []
    assert [each.text for each in unmeant(changes[:3], BOUND, [])] == ["made Note 2"]


def test_a_row_of_the_group_that_the_group_does_not_write_is_an_effect() -> None:
    till = {"id": 5, "land": 1, "no": 2, "x": 0}
    here = Document("Till", (5,), till, {"drawers": [{"id": 7, "till": 5}, {"id": 8, "till": 5}]})
    writes = [RowWrite.delete(TILL.children[0], (5,), (7,)), RowWrite.insert("drawer", {"id": 9, "till": 5})]
    planned = Planned(TILL, Operation.UPDATE, (5,), None, writes, here)
    changes = [
        change("drawer", {"id": 7, "till": 5}, None, "mark"),
        change("drawer", None, {"id": 9, "till": 5}, "mark"),
        change("drawer", {"id": 8, "till": 5}, None, "mark"),
        change("drawer", None, {"id": 10, "till": 5}, "mark"),
        change("till", till, till | {"x": 1}, "mark"),
    ]
    found = unmeant(changes, BOUND, [planned])
    assert [each.text for each in found] == [
        "deleted a row of drawer of Till 5",
        "made a row of drawer of Till 5",
        "changed Till 5 (x: 0, now 1)",
    ]
    assert all(each.marked for each in found)


def test_what_names_a_renamed_document_follows_it_and_nothing_else_does() -> None:
    here = Document("Till", (5,), {"id": 5}, {"drawers": []})
    planned = Planned(TILL, Operation.UPDATE, (6,), (5,), rename_writes(TILL, (5,), (6,)), here)
    follows = change("note", {"id": 1, "till": 5}, {"id": 1, "till": 6})
    more = change("note", {"id": 2, "till": 5}, {"id": 2, "till": None})
    assert [each.ref for each in unmeant([follows, more], BOUND, [planned])] == [("Note", (2,))]
