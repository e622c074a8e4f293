"""What is written of a document that was read again for a gap."""

from __future__ import annotations

from typing import Any

from streamd.apply.decide.merging import Known, Merged, State, merge_state, newer_here
from streamd.common import clock
from streamd.model import ChildTable, Column, Document, DocumentType, Kind

HERE, THERE, THIRD = (f"{number}{number}000000-0000-4000-8000-000000000000" for number in (1, 2, 3))
LINES = ChildTable(
    field="lines",
    table="Line",
    key=("line",),
    parent_key=("invoice",),
    columns=tuple(Column(name, "INTEGER", Kind.INTEGER) for name in ("line", "invoice", "amount")),
)
INVOICE = DocumentType(
    name="Invoice",
    table="Invoice",
    key=("id",),
    columns=tuple(Column(name, "TEXT", Kind.TEXT) for name in ("id", "city", "state")),
    children=(LINES,),
)


def at(milliseconds: int, site: str) -> str:
    return clock.reading(milliseconds, 0, site)


def mend(clocks: dict[str, str], known: dict[str, str], there: dict[str, Any], here: dict[str, Any]) -> Merged:
    """The document as `here`, mended with what the producer has `there`; `lines` are the amounts of its lines."""

    def lines(of: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"line": line, "invoice": "a", "amount": amount} for line, amount in of.get("lines", {}).items()]

    fields = {name: value for name, value in here.items() if name != "lines"}
    document = Document("Invoice", ("a",), {"id": "a", **fields}, {"lines": lines(here)})
    theirs = {name: value for name, value in there.items() if name != "lines"}
    state = State({"id": "a", **theirs}, {"lines": lines(there)}, Known(HERE, known))
    return merge_state(INVOICE, document, Known(HERE, clocks), state, THERE)


def written(mended: Merged) -> list[tuple[str, str, tuple[str, ...], tuple[Any, ...]]]:
    return [(write.kind, write.table, write.columns, write.values) for write in mended.writes]


def test_an_edit_that_the_producer_made_itself_is_no_reason_to_keep_a_value() -> None:
    assert not newer_here(at(5, THERE), "", THERE)
    assert not newer_here("", "", THERE)
    assert newer_here(at(5, HERE), "", THERE)
    assert newer_here(at(5, THIRD), at(4, HERE), THERE)
    assert not newer_here(at(5, HERE), at(5, HERE), THERE)


def test_what_differs_and_was_never_edited_here_is_the_producers() -> None:
    mended = mend({}, {}, {"city": "Rome", "state": "x"}, {"city": "Oslo", "state": "x"})
    assert written(mended) == [("update", "Invoice", ("city",), ("Rome", "a"))]
    assert mended.stays == []


def test_an_edit_that_has_not_reached_the_producer_stays_and_the_rest_is_the_producers() -> None:
    clocks = {"city": at(5, HERE)}
    mended = mend(clocks, {}, {"city": "Rome", "state": "there"}, {"city": "Oslo", "state": "here"})
    assert written(mended) == [("update", "Invoice", ("state",), ("there", "a"))]
    assert "Oslo" in mended.stays[0]
    assert mended.clocks == clocks


def test_an_edit_that_the_producer_knows_is_replaced_by_what_it_has_now() -> None:
    clocks = {"city": at(5, HERE)}
    mended = mend(clocks, {"city": at(5, HERE)}, {"city": "Rome"}, {"city": "Oslo"})
    assert written(mended) == [("update", "Invoice", ("city",), ("Rome", "a"))]
    later = mend(clocks, {"city": at(6, THIRD)}, {"city": "Rome"}, {"city": "Oslo"})
    assert later.clocks == {"city": at(6, THIRD)}


def test_child_rows_are_compared_one_by_one() -> None:
    mended = mend({}, {}, {"lines": {1: 10, 3: 30}}, {"lines": {1: 11, 2: 20}})
    assert written(mended) == [
        ("delete", "Line", (), (2, "a")),
        ("update", "Line", ("amount",), (10, 1, "a")),
        ("insert", "Line", ("line", "invoice", "amount"), (3, "a", 30)),
    ]


def test_child_rows_that_were_added_edited_or_removed_here_stay_so() -> None:
    clocks = {
        "lines/[2]": at(5, HERE),
        "lines/[1]/amount": at(5, HERE),
        "lines/[3]": at(5, HERE),
    }
    mended = mend(clocks, {}, {"lines": {1: 10, 3: 30}}, {"lines": {1: 11, 2: 20}})
    assert mended.writes == []
    assert len(mended.stays) == 3
