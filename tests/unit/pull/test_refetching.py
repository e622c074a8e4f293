"""When types are read whole: what waits, what is refused, and when a gap is closed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamd.apply import Source
from streamd.lifecycle import refetching
from streamd.lifecycle.refetching import Refetches
from streamd.model import (
    ApprovalStatus,
    Catalogue,
    Column,
    Cursor,
    DocumentType,
    Kind,
    Operation,
    SyncEntry,
    SyncStatus,
)
from streamd.store.engine import State
from streamd.store.heartbeat import REPAIR, WHOLE, Requests
from streamd.store.migrate import migrate
from streamd.store.sync_log import SyncLog
from streamd.store.unread_columns import UnreadColumns

HQ = "11111111-1111-4111-8111-111111111111"
APPROVED, PENDING, REJECTED = ApprovalStatus.APPROVED, ApprovalStatus.PENDING, ApprovalStatus.REJECTED


COLUMNS = (Column("Id", "INTEGER", Kind.INTEGER), Column("New", "TEXT", Kind.TEXT))
CATALOGUE = Catalogue({"Item": DocumentType("Item", "Item", ("Id",), COLUMNS)}, frozenset())


class Queue:
    """A site's database of which only the queue is looked at: the document types of what is parked."""

    def __init__(self) -> None:
        self.parked: list[str] = []

    def snapshot(self) -> Any:
        return self

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def queue(self) -> list[Any]:
        class Parked:
            def __init__(self, doctype: str) -> None:
                self.doctype, self.producer = doctype, HQ

        return [Parked(doctype) for doctype in self.parked]


class Reading:
    """A reading that reads all but what it cannot."""

    def __init__(self, unread: dict[str, str]) -> None:
        self.as_of: dict[str, Cursor] = {}
        self.unread: dict[str, str] = {}
        self._unread = unread

    async def run(self, _source: Source, _lister: object, doctypes: Sequence[str], *, restart: bool) -> str:
        self.unread = {doctype: why for doctype, why in self._unread.items() if doctype in doctypes}
        self.as_of = {doctype: Cursor("log", 9, "n") for doctype in doctypes if doctype not in self.unread}
        return f"read {', '.join(self.as_of)}"


class Desk:
    def __init__(self, state: State) -> None:
        self.state = state
        self.requests, self.sync_log, self.queue = Requests(state), SyncLog(state), Queue()
        self.columns = UnreadColumns(state)
        self.refetches = self.made(repair_gaps=True)
        self.unread: dict[str, str] = {}
        self.source = Source("hq", HQ, 10, 10)

    def made(self, *, repair_gaps: bool) -> Refetches:
        return Refetches("hq", self.queue, CATALOGUE, self.state, repair_gaps=repair_gaps)  # type: ignore[arg-type]

    async def turn(self, **statuses: str) -> bool:
        """One turn of the subscriber. Returns whether anything was read."""
        await self.refetches.handle_gaps(self.source, statuses, Cursor("log", 5, "n"))
        asked = await self.refetches.due(self.source, statuses)
        if not asked:
            return False
        made = lambda *, repair: Reading(self.unread)  # noqa: E731
        return await self.refetches.run(asked, self.source, None, statuses, made)  # type: ignore[arg-type]

    async def waiting(self) -> list[tuple[str, str]]:
        return [(each.doctype, each.result) for each in await self.requests.pending()]

    async def add_gap(self, doctype: str) -> None:
        await self.sync_log.add(
            [SyncEntry(Operation.GAP, SyncStatus.FAILED, doctype, "hq", '[""]', '[""]', True, "null", 5, error="lost")]
        )
        self.refetches.may_have_gaps = True


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    migrate(f"sqlite:///{tmp_path}/state.db")
    state = State(f"sqlite:///{tmp_path}/state.db", "22222222-2222-4222-8222-222222222222")
    yield Desk(state)
    await state.close()


@pytest.mark.parametrize("status", [PENDING, ""])
async def test_a_type_that_is_not_approved_yet_waits_with_the_reason_and_is_read_then(desk: Desk, status: str) -> None:
    await desk.requests.add(WHOLE, "hq", "Item")
    assert not await desk.turn(Item=status)
    assert await desk.waiting() == [("Item", "hq has not approved Item yet")]
    assert await desk.turn(Item=APPROVED)
    assert await desk.waiting() == []


async def test_a_type_that_is_rejected_is_refused(desk: Desk) -> None:
    await desk.requests.add(WHOLE, "hq", "Item")
    assert not await desk.turn(Item=REJECTED)
    assert await desk.waiting() == []


async def test_a_type_that_the_producer_cannot_list_waits_while_others_are_read(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.requests.add_all(WHOLE, [("hq", "Item"), ("hq", "Note")])
    desk.unread = {"Item": "not every document can be seen"}
    assert await desk.turn(Item=APPROVED, Note=APPROVED)
    assert await desk.waiting() == [("Item", "not every document can be seen")]
    assert not await desk.turn(Item=APPROVED, Note=APPROVED), "it is not asked again at once"
    monkeypatch.setattr(refetching.time, "monotonic", lambda: 1e12)
    desk.unread = {}
    assert await desk.turn(Item=APPROVED, Note=APPROVED)
    assert await desk.waiting() == []


async def test_a_gap_is_open_until_every_document_that_was_read_for_it_is_there(desk: Desk) -> None:
    await desk.add_gap("Item")
    desk.queue.parked = ["Item"]
    assert await desk.turn(Item=APPROVED)
    assert await desk.sync_log.gaps() == {"Item": 1}
    assert not await desk.turn(Item=APPROVED), "it is not read again for that"
    desk.queue.parked = []
    await desk.turn(Item=APPROVED)
    assert await desk.sync_log.gaps() == {}


async def test_a_gap_of_a_paused_type_waits_with_the_reason(desk: Desk) -> None:
    await desk.add_gap("Item")
    desk.source = Source("hq", HQ, 10, 10, paused={"Item": "a column differs"})
    assert not await desk.turn(Item=APPROVED)
    assert await desk.waiting() == [("Item", "Item is paused: a column differs")]
    assert [each.kind for each in await desk.requests.pending()] == [REPAIR]


async def test_a_column_that_appeared_here_is_read_once_and_stays_noted_until_all_of_the_type_is_there(
    desk: Desk,
) -> None:
    await desk.columns.add("hq", {"Item": ["New", "Not here"], "Other": ["New"]})
    await desk.refetches.request_new_columns(["Item"])
    await desk.refetches.request_new_columns(["Item"])
    assert [(each.kind, each.doctype) for each in await desk.requests.pending()] == [(REPAIR, "Item")]
    desk.queue.parked = ["Item"]
    assert await desk.turn(Item=APPROVED)
    assert await desk.columns.of_producer("hq") == {"Item": {"New", "Not here"}, "Other": {"New"}}
    await desk.refetches.request_new_columns(["Item"])
    assert await desk.requests.pending() == [], "it is not read again for what is parked"
    desk.queue.parked = []
    await desk.turn(Item=APPROVED)
    assert await desk.columns.of_producer("hq") == {"Item": {"Not here"}, "Other": {"New"}}


async def test_a_column_that_appeared_here_is_left_to_a_person_where_the_configuration_says_so(desk: Desk) -> None:
    await desk.columns.add("hq", {"Item": ["New"]})
    desk.refetches = desk.made(repair_gaps=False)
    with capture_logs() as logged:
        await desk.refetches.request_new_columns(["Item"])
        await desk.refetches.request_new_columns(["Item"])
    assert [(line["event"], line["columns"]) for line in logged] == [("columns_not_read", ["New"])]
    assert await desk.requests.pending() == []
    await desk.requests.add(WHOLE, "hq", "Item")
    assert await desk.turn(Item=APPROVED)
    assert await desk.columns.of_producer("hq") == {}


async def test_columns_of_types_that_are_no_longer_subscribed_to_are_nobodys_concern(desk: Desk) -> None:
    await desk.columns.add("hq", {"Item": ["New"], "Other": ["New"]})
    await desk.columns.add("gone", {"Item": ["Old"]})
    assert await desk.columns.of_producers({"hq": ["Item"]}) == {"Item": {"New"}}
