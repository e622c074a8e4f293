"""Several events of one document as one event, where that is known without asking the producer: what that one is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from streamd.apply.decide.plan import decide
from streamd.apply.event.decoding import decode
from streamd.apply.event.incoming import Incoming
from streamd.apply.event.joining import ended, joined_updates
from streamd.apply.event.mapping import mapped_types
from streamd.apply.fetch.finding import Finder
from streamd.apply.localnames.leading import led
from streamd.apply.source import Source
from streamd.common import clock
from streamd.identity import Identities, Identity, natural
from streamd.model import Catalogue, Cursor, Document, DocumentId, Event, Origin, Record
from streamd.settings import SubscribedDoctype
from streamd.wire import Documents, FetchedDocument, WantedDocument, write_cursor
from tests.support.sites import mapping as example

THERE = "11000000-0000-4000-8000-000000000000"
PLAIN = example.catalogue(
    example.doctype(
        "Doc",
        ("title", "x"),
        children=(example.item("Row", "Doc", field="rows", columns=(example.number("qty"),)),),
    ),
)
DOC = PLAIN["Doc"]
SOURCE = Source("there", THERE, 1000, 50, frozenset({"Doc"}))
ENTRY = SubscribedDoctype(doctype="Opportunity", mapping="Opportunity from OneHash")
MAPPED = Source(
    "there",
    THERE,
    1000,
    50,
    frozenset({"Opportunity"}),
    mapped=mapped_types(example.EXAMPLE, [ENTRY], example.HERE, example.THERE),
)

Said = tuple[str, str, Any] | tuple[str, str, Any, Mapping[str, Any]]
"""Operation, name, data, and what else the event says."""


def events(*said: Said, source: Source = SOURCE, catalogue: Catalogue = PLAIN, doctype: str = "Doc") -> list[Incoming]:
    """These events one after the other, as they are taken from the queue."""
    found = []
    for sequence, (operation, name, data, *more) in enumerate(said, 1):
        event = Event(
            sequence,
            f"n{sequence}",
            sequence,
            doctype,
            (name,),
            operation,
            at(sequence),
            0,
            msgspec.Raw(json.dumps(data).encode()),
            **(more[0] if more else {}),
        )
        found.append(decode(event, source, "log", catalogue))
    return found


def at(sequence: int) -> str:
    return clock.reading(sequence, 0, THERE)


def change(fields: dict[str, Any], **old: Any) -> dict[str, Any]:
    return {"changed": fields, "old": {"changed": old}}


def renamed(old: str, new: str) -> Said:
    return "update", new, change({"name": new}, name=old), {"renamed_from": (old,)}


def end(*said: Said) -> Incoming:
    found = ended(events(*said))
    assert found is not None
    return found


def join(*said: Said) -> Incoming:
    found = joined_updates(events(*said), PLAIN, SOURCE)
    assert found is not None
    return found


def here(name: str, title: str = "t") -> tuple[Document, Record]:
    """A document that came from there."""
    document = Document("Doc", (name,), {"name": name, "title": title, "x": "1"}, {"rows": []})
    return document, Record("Doc", (name,), THERE, (name,), at(0), {}, {"log": 0})


MADE: Said = ("create", "a", {"name": "a", "title": "t", "x": "1"})
EDITED: Said = ("update", "a", change({"title": "no"}, title="t"))
LEFT: Said = ("leave", "a", None)
ENTERED: Said = ("update", "a", {}, {"enters": True})


# Documents that leave


def test_what_enters_and_leaves_before_it_could_be_put_here_was_never_here() -> None:
    one = end(MADE, EDITED, LEFT)
    assert decide(one, DOC, None, None).writes == []
    stranger = Document("Doc", ("a",), {"name": "a", "title": "of our own", "x": "2"}, {"rows": []})
    one.delete_on_leave = True
    assert decide(one, DOC, stranger, None).writes == []


def test_what_came_for_a_link_meanwhile_leaves_all_the_same() -> None:
    document, record = here("a")
    one = end(MADE, LEFT)
    one.delete_on_leave = True
    assert [write.kind for write in decide(one, DOC, document, record).writes] == ["delete"]


@pytest.mark.parametrize("before", [(EDITED,), (EDITED, EDITED), (ENTERED,), (LEFT, ENTERED, EDITED)])
def test_an_edit_that_was_refused_is_of_no_matter_once_the_document_leaves(before: Sequence[Said]) -> None:
    document, record = here("a")
    one = end(*before, LEFT)
    one.delete_on_leave = True
    assert (one.event.operation, one.event.sequence) == ("leave", len(before) + 1)
    assert [write.kind for write in decide(one, DOC, document, record).writes] == ["delete"]


@pytest.mark.parametrize("last", ["leave", "delete"])
def test_a_document_that_was_renamed_goes_under_the_name_that_it_has_here(last: str) -> None:
    one = end(EDITED, renamed("a", "b"), (last, "b", None))
    assert (one.event.operation, one.event.name, one.remote.name) == (last, ("a",), ("a",))


def test_it_leaves_whoever_made_the_edits_before() -> None:
    origin = {"origin": Origin("o", "log", 1, ("o", THERE))}
    assert end((*EDITED[:3], origin), LEFT).event.operation == "leave"  # type: ignore[misc]  # one of the two forms


def test_a_document_that_goes_on_there_has_not_ended() -> None:
    assert ended(events(EDITED, LEFT, ENTERED)) is None
    assert ended(events(EDITED, LEFT, MADE)) is None


def test_where_another_document_got_the_name_neither_end_speaks_for_both() -> None:
    another = {"id": DocumentId(("a",), at(2))}
    made: Said = ("create", "a", {"name": "a"}, another)
    assert ended(events(renamed("a", "b"), made, ("delete", "a", None, another))) is None


@pytest.mark.parametrize(
    "said",
    [
        (MADE, EDITED),
        (EDITED, LEFT, EDITED),
        (ENTERED, renamed("a", "b")),
        (EDITED, ("update", "a", {"changed": 7})),
        (EDITED, (*EDITED[:3], {"origin": Origin("o", "log", 1, ("o", THERE))})),
    ],
)
def test_only_plain_updates_of_one_origin_are_joined(said: Sequence[Said]) -> None:
    assert joined_updates(events(*said), PLAIN, SOURCE) is None


# Documents that are renamed


def test_edits_before_and_after_a_rename_are_one_edit_with_a_rename() -> None:
    one = join(
        ("update", "a", change({"x": "50"}, x="1")), renamed("a", "b"), ("update", "b", change({"x": "7"}, x="50"))
    )
    assert (one.event.operation, one.event.name, one.event.renamed_from) == ("update", ("b",), ("a",))
    assert one.data.changed == {"x": "7", "name": "b"}
    assert one.data.old.changed == {"x": "1", "name": "a"}
    document, record = here("a")
    decision = decide(one, DOC, document, record)
    assert ([each.name for each in decision.records], decision.freed) == ([("b",)], [("a",)])


def test_two_renames_are_one_and_a_rename_back_is_none() -> None:
    assert join(EDITED, renamed("a", "b"), renamed("b", "c")).event.renamed_from == ("a",)
    back = join(EDITED, renamed("a", "b"), renamed("b", "a"))
    assert (back.event.name, back.event.renamed_from) == (("a",), None)


def test_a_joined_rename_is_as_old_as_the_rename_and_not_as_the_last_edit() -> None:
    one = join(EDITED, renamed("a", "b"), ("update", "b", change({"x": "7"}, x="1")))
    ours = Identity("Doc", natural(("a",)), ("ours",), clock.reading(2, 5, THERE))
    assert led(one, DOC, Identities([ours]), ({}, {})).event.name == ("ours",)
    ours = replace(ours, clock=at(1))
    assert led(one, DOC, Identities([ours]), ({}, {})).event.name == ("b",)


def test_rows_that_are_named_by_their_document_are_not_joined_across_a_rename() -> None:
    rows = replace(DOC.children[0], key=("parent", "name"))
    named = example.catalogue(replace(DOC, children=(rows,)))
    row_edited: Said = ("update", "a", {"row_changed": {"rows": [{"parent": "a", "name": "r", "x": "2"}]}})
    assert joined_updates(events(row_edited, renamed("a", "b"), catalogue=named), named, SOURCE) is None
    assert joined_updates(events(row_edited, row_edited, catalogue=named), named, SOURCE) is not None
    # Where no row was changed, none has a name that could be another one.
    assert joined_updates(events(EDITED, renamed("a", "b"), catalogue=named), named, SOURCE) is not None


# Links that are found by values


LINE = {"name": "L1", "parent": "O", "code": "COG", "amount": 1, "uom": "Box"}
OPPORTUNITY = {"name": "O", "full_name": "Ada", "phone": "1", "address": "A", "subject": "s", "lines": [LINE]}


class Producer:
    """A producer that has these leads, by phone, and opportunities."""

    def __init__(self, leads: Mapping[str, str], *opportunities: Mapping[str, Any]) -> None:
        self._leads = leads
        self._opportunities = {each["name"]: each for each in opportunities}

    async def fetch(self, wanted: Sequence[WantedDocument]) -> Documents:
        rows = [
            (each.doctype, {"name": "A", "country": "GB"} if each.doctype == "Address" else self._of(each))
            for each in wanted
        ]
        return _answer([(doctype, row) for doctype, row in rows if row is not None])

    def _of(self, wanted: WantedDocument) -> Mapping[str, Any] | None:
        return self._opportunities.get(str(wanted.name[0]))

    async def find(self, doctype: str, filters: Mapping[str, Any]) -> Documents:
        name = self._leads.get(filters["phone"])
        return _answer([] if name is None else [(doctype, {"name": name, "full_name": filters["full_name"]})])


def _answer(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Documents:
    found = [
        FetchedDocument(doctype, (row["name"],), msgspec.Raw(json.dumps(row).encode()), at(9)) for doctype, row in rows
    ]
    return Documents(found, write_cursor(Cursor("log", 9, "n9")))


async def completed(producer: Producer, *said: Said) -> Incoming:
    """These updates of an opportunity as one, with the links that are found for it."""
    queue = events(*said, source=MAPPED, catalogue=example.HERE, doctype="OneHash Opportunity")
    one = joined_updates(queue, example.HERE, MAPPED)
    assert one is not None
    await Finder(MAPPED, example.HERE, producer).complete([one])
    return one


SUBJECT: Said = ("update", "O", change({"subject": "other"}, subject="s"))
PHONE: Said = ("update", "O", change({"phone": "2"}, phone="1"))


async def test_an_edit_that_decides_a_link_is_not_forgotten_for_a_later_one_that_does_not() -> None:
    now = OPPORTUNITY | {"phone": "2", "subject": "other"}
    assert "needs the one OneHash Lead" in (await completed(Producer({}, now), PHONE, SUBJECT)).fault
    one = await completed(Producer({"2": "Lead-2"}, now), PHONE, SUBJECT)
    assert (one.fault, one.data.changed) == ("", {"title": "other", "party_name": "Lead-2"})
    untouched = await completed(Producer({"2": "Lead-2"}, now), SUBJECT, SUBJECT)
    assert untouched.data.changed == {"title": "other"}


async def test_a_document_that_was_renamed_since_is_asked_for_by_its_name_now() -> None:
    now = OPPORTUNITY | {"name": "P", "phone": "2"}
    one = await completed(Producer({"2": "Lead-2"}, now), PHONE, renamed("O", "P"))
    assert (one.fault, one.data.changed) == ("", {"party_name": "Lead-2"})
    assert (one.event.name, one.event.renamed_from) == (("P",), ("O",))


async def test_a_price_in_the_producers_words_stays_exact() -> None:
    queue = events(SUBJECT, PHONE, source=MAPPED, catalogue=example.HERE, doctype="OneHash Opportunity")
    priced = msgspec.Raw(b'{"changed": {"price": 0.10}}')
    queue[0].arrived = msgspec.structs.replace(queue[0].remote, data=priced)
    one = joined_updates(queue, example.HERE, MAPPED)
    assert one is not None
    assert b'"price":0.10' in bytes(one.remote.data)


@pytest.mark.parametrize("qty", [1, 2])
def test_a_child_row_that_was_removed_and_added_again_stays(qty: int) -> None:
    removed = {"removed": {"rows": [[7]]}, "old": {"removed": {"rows": [{"name": 7, "parent": "a", "qty": 1}]}}}
    one = join(("update", "a", removed), ("update", "a", {"added": {"rows": [{"name": 7, "parent": "a", "qty": qty}]}}))
    assert (one.data.added, one.data.removed, one.data.old.removed) == ({}, {}, {})
    assert one.data.row_changed == {"rows": [{"name": 7} | ({"qty": 2} if qty == 2 else {})]}
