"""Which child row is meant, where databases and users give numbers again."""

from __future__ import annotations

from streamd.doctypes import ChildTable, DocumentType
from streamd.model import Difference, DocumentId, RowId
from streamd.rowids import RowIds, note_added, note_removed, said_rows, together

LINES = ChildTable("lines", "line", ("id",), ("parent",), ())
PARTS = ChildTable("parts", "part", ("parent", "place"), ("parent",), ())
INVOICE = DocumentType("Invoice", "invoice", ("id",), (), children=(LINES, PARTS))
HERE, TILL = "here", "till"
OURS, THEIRS = DocumentId((1,)), DocumentId((1,), site=TILL)


def remembered() -> RowIds:
    return RowIds({"lines": {"[101]": RowId(10)}})


def removed(*keys: int) -> Difference:
    return Difference(removed={"lines": [[key] for key in keys]})


def added(*keys: int) -> Difference:
    return Difference(added={"lines": [{"id": key} for key in keys]})


def test_of_a_document_from_elsewhere_a_row_is_what_is_remembered_or_was_added_here() -> None:
    said = said_rows(INVOICE, added(101, 900), THEIRS, remembered(), HERE)
    assert said == {"lines": [(101, RowId(10)), (900, RowId(900, HERE))]}


def test_of_a_document_of_this_site_only_rows_from_elsewhere_are_said() -> None:
    ids = RowIds({"lines": {"[12]": RowId(900, TILL)}})
    assert said_rows(INVOICE, added(10, 12), OURS, ids, HERE) == {"lines": [(12, RowId(900, TILL))]}
    assert said_rows(INVOICE, added(10, 12), OURS, None, HERE) == {}


def test_a_key_that_holds_the_documents_name_says_enough() -> None:
    data = {"id": 1, "parts": [{"parent": 1, "place": 2}], "lines": None}
    assert said_rows(INVOICE, data, THEIRS, remembered(), HERE) == {}


def test_a_removed_row_is_known_until_its_number_is_used_again() -> None:
    ids = remembered()
    note_removed(INVOICE, removed(101), ids)
    assert (ids.key_of("lines", RowId(10)), ids.last_key_of("lines", RowId(10))) == (None, (101,))
    assert ids.id_of("lines", (101,)) == RowId(10)
    note_added(INVOICE, added(101), ids)
    assert (ids.key_of("lines", RowId(10)), ids.last_key_of("lines", RowId(10))) == (None, None)
    assert said_rows(INVOICE, added(101), THEIRS, ids, HERE) == {"lines": [(101, RowId(101, HERE))]}


def test_a_row_that_was_replaced_is_the_row_that_it_was() -> None:
    ids = remembered()
    note_added(INVOICE, added(101), ids)
    assert ids.key_of("lines", RowId(10)) == (101,)


def test_a_row_that_is_removed_and_added_in_one_event_is_one_row() -> None:
    ids, both = remembered(), Difference(removed={"lines": [[101]]}, added={"lines": [{"id": 101}]})
    note_added(INVOICE, both, ids)
    note_removed(INVOICE, both, ids)
    assert ids == remembered()


def test_a_row_that_comes_again_has_its_new_key() -> None:
    ids = remembered()
    ids.remove("lines", (101,))
    ids.put("lines", (102,), RowId(10))
    assert ids.key_of("lines", RowId(10)) == (102,)


def test_a_copy_is_not_changed_with_the_original() -> None:
    ids = remembered()
    copy = ids.copy()
    copy.remove("lines", (101,))
    copy.put("lines", (1,), RowId(2))
    assert ids == remembered()


def test_of_several_events_the_later_ones_say_which_row_has_a_key() -> None:
    first, second = {"lines": [(1, RowId(1)), (2, RowId(2))]}, {"lines": [(2, RowId(3))], "more": [(1, RowId(1))]}
    assert together((first, second)) == {"lines": [(1, RowId(1)), (2, RowId(3))], "more": [(1, RowId(1))]}
