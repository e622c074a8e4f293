"""A consumer with a condition receives the documents that satisfy it, and no others."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from streamd.serve import events as feed
from streamd.serve import listing
from streamd.wire import Page, read_cursor
from tests.support.sites.serving import CONSUMER, OTHER, Answer, Client, ProducerSite, entry, until

LUIS = "doc.customer == 1"
INVOICES = {"doctype": "Invoice", "condition": LUIS}


def invoice(number: int) -> dict[str, Any]:
    return {"doctype": "Invoice", "name": [number]}


async def store_of(hq: ProducerSite, *wanted: str | dict[str, Any]) -> Client:
    """A consumer that is approved for these types; by default, for the invoices of one customer."""
    wanted = wanted or (INVOICES,)
    client = await hq.consumer("store", CONSUMER, *wanted)
    await hq.approve(*(each if isinstance(each, str) else each["doctype"] for each in wanted))
    await client.events()
    return client


async def write(hq: ProducerSite, *statements: str) -> None:
    """Run each statement in its own transaction."""
    for statement in statements:
        with hq.write() as connection:
            connection.executescript(f"BEGIN; {statement}; COMMIT")
        await hq.capture.drain()


async def events_of(client: Client, **asked: Any) -> list[dict[str, Any]]:
    """All events since the approval, page by page."""
    events: list[dict[str, Any]] = []
    cursor: dict[str, Any] = {}
    while True:
        answer = await client.events(**cursor, **asked)
        assert answer.status == 200, answer.text
        page = answer.json
        msgspec.json.decode(msgspec.json.encode(page), type=Page)
        if not page["events"]:
            return events
        events += page["events"]
        cursor = {"cursor": page["next"]}


def short(events: list[dict[str, Any]]) -> list[tuple[str, int, bool]]:
    return [(each["operation"], each["name"][0], each.get("enters", False)) for each in events]


# Events


async def test_only_matching_documents_are_served_and_others_enter_or_leave_as_they_change(
    hq: ProducerSite,
) -> None:
    store = await store_of(hq)
    await write(
        hq,
        "INSERT INTO Invoice VALUES (10, 1, '1.00'), (11, 2, 'two')",
        "UPDATE Invoice SET total = '3.00' WHERE id IN (10, 11)",
        "UPDATE Invoice SET customer = 1 WHERE id = 11",
        "UPDATE Invoice SET customer = 2 WHERE id = 10",
        "UPDATE Invoice SET total = '4.00' WHERE id IN (10, 11)",
        "DELETE FROM Invoice WHERE id IN (10, 11)",
    )
    events = await events_of(store)
    assert short(events) == [
        ("create", 10, False),
        ("update", 10, False),
        ("update", 11, True),
        ("leave", 10, False),
        ("update", 11, False),
        ("delete", 11, False),
    ]
    entered, left = events[2], events[3]
    assert entered["data"] == {}
    assert left["data"] is None
    # Nothing about a document that does not satisfy the condition, not even its old values.
    assert "two" not in str(events[:3])
    assert all(each.get("last_in_tx", True) for each in events)


async def test_a_renamed_document_leaves_under_its_old_name_and_enters_under_its_new_one(hq: ProducerSite) -> None:
    store = await store_of(hq)
    await write(
        hq,
        "INSERT INTO Invoice VALUES (10, 1, '1'), (11, 2, '2')",
        "UPDATE Invoice SET id = 20 WHERE id = 10",
        "UPDATE Invoice SET id = 30, customer = 2 WHERE id = 20",
        "UPDATE Invoice SET id = 40 WHERE id = 30",
        "UPDATE Invoice SET id = 50, customer = 1 WHERE id = 40",
    )
    events = (await events_of(store))[1:]
    assert short(events) == [("update", 20, False), ("leave", 20, False), ("update", 50, True)]
    assert [each.get("renamed_from") for each in events] == [[10], None, None]


async def test_changed_child_rows_are_filtered_by_the_parent_row_of_that_time(hq: ProducerSite) -> None:
    store = await store_of(hq)
    await write(
        hq,
        "UPDATE Line SET track = 2 WHERE invoice = 1",  # Luis's invoice; Leonie's later
        "UPDATE Line SET track = 1 WHERE invoice = 2",  # Leonie's invoice; Luis's later
        "UPDATE Invoice SET customer = 2 WHERE id = 1",
        "UPDATE Invoice SET id = 22, customer = 1 WHERE id = 2",
        "UPDATE Line SET track = 1 WHERE invoice = 1",  # no later entry tells its parent row
        "INSERT INTO Line VALUES (9, 22, 1)",
    )
    for asked in ({}, {"limit": 1}):
        events = await events_of(store, **asked)
        assert short(events) == [
            ("update", 1, False),
            ("leave", 1, False),
            ("update", 22, True),
            ("update", 22, False),
        ]
        assert events[0]["data"]["row_changed"] == {"lines": [{"id": 1, "track": 2}]}


async def test_a_write_during_a_lookup_does_not_change_the_row_of_an_earlier_event(hq: ProducerSite) -> None:
    store = await store_of(hq)
    await write(hq, "UPDATE Line SET track = 2 WHERE invoice = 1")
    with hq.write() as connection:  # not captured until the server drains capture
        connection.execute("UPDATE Invoice SET customer = 2 WHERE id = 1")
    assert short(await events_of(store)) == [("update", 1, False), ("leave", 1, False)]


async def test_a_consumers_own_edit_returns_only_if_the_document_enters_or_leaves(hq: ProducerSite) -> None:
    store = await store_of(hq)
    by_it = f"{CONSUMER} {hq.site}"
    origin = f'{{"site":"{CONSUMER}","log":"{OTHER}","sequence":4,"path":["{CONSUMER}"]}}'
    own_edits = [entry("Invoice", number, path=by_it, tx=number) for number in range(1, 6)]
    for each in own_edits:
        each.operation, each.origin, each.data = "update", origin, '{"changed":{"customer":1}}'
    rows = {"Luis": '{"id":1,"customer":1}', "Leonie": '{"id":1,"customer":2}', "": None}
    moves = [("Luis", "Luis"), ("Luis", "Leonie"), ("Leonie", "Luis"), ("Leonie", "Leonie"), ("", "")]
    for each, (before, after) in zip(own_edits, moves, strict=True):
        each.before, each.after = rows[before], rows[after]
    await hq.append(*own_edits)
    events = await events_of(store)
    assert short(events) == [("leave", 2, False), ("update", 3, True)]
    # As an event of this site: a consumer does not apply events that passed through its own site.
    assert all("origin" not in each for each in events)


async def test_omitted_entries_are_skipped_until_a_page_has_events_or_the_log_ends(start: Any) -> None:
    hq = await start(max_page_events=3)
    store = await store_of(hq)
    rows = ", ".join(f"({number}, {1 if number == 80 else 2}, '1')" for number in range(10, 100))
    await write(hq, f"INSERT INTO Invoice VALUES {rows}")
    page = (await store.events(limit=2)).json
    assert [each["name"] for each in page["events"]] == [[80]]
    empty = (await store.events(cursor=page["next"], limit=2)).json
    assert empty["events"] == []
    assert read_cursor(empty["next"]).sequence == empty["head"]


async def test_one_request_reads_a_bounded_part_of_the_log_and_the_next_continues(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamd.serve.events.FILTER_SECONDS", 0)
    monkeypatch.setattr(feed, "MAX_CHUNKS", 2)
    hq = await start(max_page_events=2)
    store = await store_of(hq)
    rows = ", ".join(f"({number}, {1 if number == 40 else 2}, '1')" for number in range(10, 41))
    await write(hq, f"INSERT INTO Invoice VALUES {rows}")
    answers, cursor, names = 0, {}, []
    while not names:
        page = (await store.events(**cursor)).json
        cursor = {"cursor": page["next"]}
        names = [each["name"] for each in page["events"]]
        answers += 1
    assert names == [[40]]
    assert answers > 4


async def test_a_filtered_page_is_filled_and_ends_with_a_complete_transaction(
    hq: ProducerSite,
) -> None:
    store = await store_of(hq)
    for tx in range(6):
        first = 10 + 10 * tx
        rows = ", ".join(f"({number}, {1 + number % 2}, '1')" for number in range(first, first + 4))
        await write(hq, f"INSERT INTO Invoice VALUES {rows}")
    page = (await store.events(limit=5)).json
    assert [each["name"][0] for each in page["events"]] == [10, 12, 20, 22]
    assert [each.get("last_in_tx", True) for each in page["events"]] == [False, True, False, True]
    page = (await store.events(cursor=page["next"], limit=4)).json
    assert [each["name"][0] for each in page["events"]] == [30, 32, 40, 42]


async def test_a_poll_waits_on_through_omitted_entries_and_ends_with_a_served_one(hq: ProducerSite) -> None:
    store = await store_of(hq)
    poll = asyncio.create_task(store.events(wait_seconds=20))
    await until(lambda: hq.log.waiting == 1, "the poll waits")
    await write(hq, "INSERT INTO Invoice VALUES (10, 2, '1')")
    await until(lambda: hq.log.waiting == 1, "the poll waits again")
    assert not poll.done()
    await write(hq, "INSERT INTO Invoice VALUES (11, 1, '1')")
    async with asyncio.timeout(5):
        assert short((await poll).json["events"]) == [("create", 11, False)]


async def test_conditions_are_per_consumer_and_type(hq: ProducerSite) -> None:
    store = await store_of(hq, INVOICES, "Track")
    other = await hq.consumer("other", OTHER, {"doctype": "Invoice", "condition": "doc.customer == 2"})
    await hq.approve("Invoice", name="other")
    await write(hq, "INSERT INTO Invoice VALUES (10, 1, '1'), (11, 2, '1')", "INSERT INTO Track VALUES (7, 'x')")
    assert short(await events_of(store)) == [("create", 10, False), ("create", 7, False)]
    assert short(await events_of(other)) == [("create", 11, False)]


async def test_a_gap_is_served_regardless_of_the_condition(hq: ProducerSite) -> None:
    store = await store_of(hq)
    await hq.log.add_gap(["Invoice"], "triggers were missing", clock="")
    assert [each["operation"] for each in await events_of(store)] == ["gap"]


# Approval


async def status_of(hq: ProducerSite, doctype: str = "Invoice") -> str:
    return {row.doctype: row.status for row in await hq.peers.approvals("store")}[doctype]


async def test_a_changed_condition_needs_a_new_approval_and_is_marked_as_resumed(hq: ProducerSite) -> None:
    store = await store_of(hq)
    await write(hq, "INSERT INTO Invoice VALUES (10, 1, '1')")
    assert await status_of(hq) == "Approved"
    for wanted in ({"doctype": "Invoice"}, INVOICES, {"doctype": "Invoice", "condition": "doc.customer == 2"}):
        await store.shake_hands(wanted)
        assert await status_of(hq) == "Pending"
        assert await events_of(store) == []
        assert (await store.documents(invoice(1))).json["documents"] == []
        await hq.approve("Invoice")
        (state,) = (await store.shake_hands(wanted)).json["subscriptions"]
        assert (state["status"], state["resumed"]) == ("Approved", True)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("doc.total ==", "Invoice"),
        ("doc.county == 'IN'", "the condition of Invoice: it has no field county"),
        ("doc.lines == 1", "the condition of Invoice: lines is a child table"),
        ("doc.customer.name == 'Luis'", "the condition of Invoice: doc.customer.name looks into another document"),
    ],
)
async def test_an_invalid_condition_is_refused_and_nothing_is_registered(
    hq: ProducerSite, condition: str, words: str
) -> None:
    client = hq.client(":".join(await hq.peers.create_key("store")))
    refused = await client.shake_hands("Track", {"doctype": "Invoice", "condition": condition})
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert words in refused.json["error"]["message"]
    assert await hq.peers.consumers() == []
    assert await hq.peers.approvals() == []


async def test_a_condition_reveals_nothing_about_types_that_are_not_offered(hq: ProducerSite) -> None:
    client = hq.client(":".join(await hq.peers.create_key("store")))
    for doctype in ("Secret", "Nonsense"):
        answer = await client.shake_hands({"doctype": doctype, "condition": "doc.text == 'x'"})
        assert answer.status == 200
        answer = await client.shake_hands({"doctype": doctype, "condition": "doc.nothing == 'x'"})
        assert answer.status == 200
        answer = await client.shake_hands({"doctype": doctype, "condition": "doc.text =="})
        assert answer.status == 400


@pytest.mark.parametrize("condition", ["doc.total == '\x1b[31m'", "\x00", "x" * 2001])
async def test_a_condition_with_control_characters_is_refused(hq: ProducerSite, condition: str) -> None:
    client = hq.client(":".join(await hq.peers.create_key("store")))
    assert (await client.shake_hands({"doctype": "Invoice", "condition": condition})).status == 400


async def test_a_condition_that_no_longer_compiles_sets_the_type_to_pending_and_is_logged_once(
    hq: ProducerSite,
) -> None:
    store = await store_of(hq, INVOICES, "Track")
    await write(hq, "INSERT INTO Invoice VALUES (10, 1, '1')")
    async with hq.state.write() as connection:  # as if the column existed when it was approved
        await connection.exec_driver_sql("UPDATE approvals SET condition = 'doc.gone == 1' WHERE doctype = 'Invoice'")
    assert (await store.documents(invoice(1))).json["documents"] == []
    assert (await store.post("names", {"doctype": "Invoice"})).json["names"] == []
    await write(hq, "INSERT INTO Track VALUES (7, 'x')")
    with capture_logs() as logged:
        for _ in range(2):
            page = (await store.events()).json
            assert short(page["events"]) == [("create", 7, False)]
            assert page["subscriptions"] == {"Invoice": "Pending", "Track": "Approved"}
    assert [(each["event"], each["problem"]) for each in logged if "problem" in each] == [
        ("condition_broken", "the condition of Invoice: it has no field gone")
    ]
    # After a fix it is approved again, and the consumer learns that events are missing.
    await store.shake_hands(INVOICES, "Track")
    await hq.approve("Invoice")
    states = {each["doctype"]: each for each in (await store.shake_hands(INVOICES, "Track")).json["subscriptions"]}
    assert states["Invoice"]["resumed"]


# Documents and names


async def test_documents_are_served_if_they_satisfy_the_condition_now(hq: ProducerSite) -> None:
    store = await store_of(hq)
    served = (await store.documents(invoice(1), invoice(2), invoice(99))).json["documents"]
    assert [each["name"] for each in served] == [[1]]
    await write(hq, "UPDATE Invoice SET customer = 3 - customer")
    served = (await store.documents(invoice(1), invoice(2), invoice(99))).json["documents"]
    assert [each["name"] for each in served] == [[2]]


async def is_served_by_path(client: Client, doctype: str, number: int, *path: tuple[str, int]) -> bool:
    steps = [{"doctype": each, "name": [at]} for each, at in path]
    answer = await client.documents({"doctype": doctype, "name": [number], "path": steps})
    assert answer.status == 200, answer.text
    return bool(answer.json["documents"])


async def test_a_linked_document_is_served_only_through_one_that_satisfies_its_condition(
    hq: ProducerSite,
) -> None:
    store = await store_of(hq, INVOICES, {"doctype": "Customer", "condition": "doc.name == 'Leonie'"})
    assert await is_served_by_path(store, "Customer", 2)
    assert not await is_served_by_path(store, "Customer", 1)
    assert await is_served_by_path(store, "Customer", 1, ("Invoice", 1))
    assert await is_served_by_path(store, "Employee", 3, ("Invoice", 1), ("Customer", 1))
    assert await is_served_by_path(store, "Track", 1, ("Invoice", 1))
    assert not await is_served_by_path(store, "Track", 2, ("Invoice", 2))
    assert not await is_served_by_path(store, "Employee", 3, ("Customer", 1))
    await write(hq, "UPDATE Invoice SET customer = 2 WHERE id = 1")
    assert not await is_served_by_path(store, "Customer", 1, ("Invoice", 1))
    assert not await is_served_by_path(store, "Track", 1, ("Invoice", 1))


async def test_a_link_within_a_type_opens_a_document_that_does_not_satisfy_the_condition(hq: ProducerSite) -> None:
    store = await store_of(hq, {"doctype": "Employee", "condition": "doc.name == 'Jane'"})
    assert not await is_served_by_path(store, "Employee", 2)
    assert await is_served_by_path(store, "Employee", 2, ("Employee", 3))
    assert await is_served_by_path(store, "Employee", 1, ("Employee", 3), ("Employee", 2))
    assert not await is_served_by_path(store, "Employee", 1, ("Employee", 2))


async def names_of(client: Client, **asked: Any) -> list[list[Any]]:
    names: list[list[Any]] = []
    while True:
        page = (await client.post("names", {"doctype": "Invoice", **asked})).json
        names += page["names"]
        if not page["more"]:
            return names
        asked["after"] = page["names"][-1]


@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_only_names_of_matching_documents_are_listed(
    hq: ProducerSite, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(listing, "BATCH_SIZE", 4)
    store = await store_of(hq)
    rows = ", ".join(f"({number}, {1 if number % 5 == 0 else 2}, '1')" for number in range(10, 60))
    await write(hq, f"INSERT INTO Invoice VALUES {rows}")
    assert await names_of(store, limit=limit) == [[1], *([number] for number in range(10, 60, 5))]


async def test_a_long_search_for_a_match_takes_several_requests_and_reveals_no_other_name(
    hq: ProducerSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "BATCH_SIZE", 10)
    monkeypatch.setattr(listing, "FILTER_SECONDS", 0)
    store = await store_of(hq, {"doctype": "Invoice", "condition": "doc.customer == 7"})
    rows = ", ".join(f"({number}, {7 if number == 55 else 2}, '1')" for number in range(10, 60))
    await write(hq, f"INSERT INTO Customer VALUES (7, 'x', NULL); INSERT INTO Invoice VALUES {rows}")
    answers: list[Answer] = []
    while not answers or answers[-1].status == 503:
        answers.append(await store.post("names", {"doctype": "Invoice"}))
    assert len(answers) == 5
    assert {(each.code, each.headers["Retry-After"]) for each in answers[:-1]} == {("unavailable", "1")}
    assert answers[-1].json["names"] == [[55]]
