"""A consumer is told what it calls the documents of an event itself, where it has other names for them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from streamd.identity import Identity, natural
from streamd.model import Counterpart, Name
from streamd.wire import DocumentsAnswer, EventsPage
from tests.support.serving import CONSUMER, OTHER, Client, ProducerSite

LINES = {"[7001]": (1,), "[7003]": (3,)}
"""Keys of lines: the consumer's, and ours."""


@pytest.fixture
async def store(hq: ProducerSite) -> Client:
    """A consumer that calls invoice 1 “S-1”, customer 1 “C-1” and track 2 “T-2”; for invoice 2 it has no other name."""
    await remember(
        hq,
        Counterpart(CONSUMER, "Invoice", (1,), ("S-1",), {"lines": dict(LINES)}),
        Counterpart(CONSUMER, "Customer", (1,), ("C-1",)),
        Counterpart(CONSUMER, "Track", (2,), ("T-2",)),
        Counterpart(CONSUMER, "Employee", (3,), ("E-3",)),
        Counterpart(OTHER, "Invoice", (2,), ("another site's",)),
    )
    client = await hq.consumer("store", CONSUMER, "Invoice", "Customer", "Note")
    await hq.approve("Invoice", "Customer", "Note")
    await client.events()
    return client


async def remember(hq: ProducerSite, *counterparts: Counterpart) -> None:
    async with hq.server._services.database.transaction() as transaction:
        await transaction.put_counterparts(counterparts)


async def happen(hq: ProducerSite, client: Client, *statements: str) -> list[dict[str, Any]]:
    """What the consumer is told of each statement's document."""
    for statement in statements:
        with hq.write() as connection:
            connection.executescript(f"BEGIN; {statement}; COMMIT")
        await hq.capture.drain()
    page = await client.events()
    EventsPage.model_validate_json(page.text)
    return page.json["events"]  # type: ignore[no-any-return]


def own(spoken: dict[str, Any]) -> list[tuple[str, list[Any], list[Any]]]:
    return [(each["doctype"], each["name"], each["own"]) for each in spoken.get("own", ())]


INVOICE, CUSTOMER, TRACK = ("Invoice", [1], ["S-1"]), ("Customer", [1], ["C-1"]), ("Track", [2], ["T-2"])


async def test_an_edit_says_what_the_consumer_calls_the_document(hq: ProducerSite, store: Client) -> None:
    first, second = await happen(hq, store, "UPDATE Invoice SET total = '9' WHERE id IN (1, 2)")
    assert own(first) == [INVOICE]
    assert "rows" not in first["own"][0]
    assert "own" not in second


async def test_links_are_said_before_and_after_and_in_child_rows(hq: ProducerSite, store: Client) -> None:
    moved, line = await happen(
        hq,
        store,
        "UPDATE Invoice SET customer = 2 WHERE id = 1",
        "UPDATE Line SET track = 2 WHERE id = 1; INSERT INTO Line VALUES (3, 1, 1), (4, 1, 2)",
    )
    assert own(moved) == [INVOICE, CUSTOMER]
    assert own(line) == [INVOICE, TRACK]
    # A line that the consumer has no key for is not spoken of.
    assert line["own"][0]["rows"] == {"lines": [[[1], [7001]], [[3], [7003]]]}


async def test_removed_lines_are_said_by_the_keys_that_the_consumer_has_for_them(
    hq: ProducerSite, store: Client
) -> None:
    _, removed = await happen(hq, store, "INSERT INTO Line VALUES (3, 1, 2)", "DELETE FROM Line WHERE invoice = 1")
    assert own(removed) == [INVOICE, TRACK]
    assert removed["own"][0]["rows"] == {"lines": [[[1], [7001]], [[3], [7003]]]}


async def test_a_new_document_says_what_it_links_to(hq: ProducerSite, store: Client) -> None:
    (made,) = await happen(hq, store, "INSERT INTO Invoice VALUES (9, 1, '1'); INSERT INTO Line VALUES (9, 9, 2)")
    assert own(made) == [CUSTOMER, TRACK]


async def test_a_deleted_document_is_deleted_under_the_consumers_name(hq: ProducerSite, store: Client) -> None:
    *_, gone = await happen(hq, store, "DELETE FROM Line WHERE invoice = 1", "DELETE FROM Invoice WHERE id = 1")
    assert gone["operation"] == "delete"
    assert own(gone) == [INVOICE, CUSTOMER]


@pytest.mark.parametrize(
    "change", ["about_id = 3, about = 'Employee'", "about_id = 3", "text = 'x'"], ids=["both", "name", "none"]
)
async def test_of_a_dynamic_link_one_half_may_have_changed(hq: ProducerSite, store: Client, change: str) -> None:
    (note,) = await happen(hq, store, f"UPDATE Note SET {change} WHERE id = 1")
    assert own(note) == ([("Employee", [3], ["E-3"])] if "3" in change else [])


async def test_a_renamed_document_is_known_under_both_names(hq: ProducerSite, store: Client) -> None:
    await renamed(hq, (1,), (5,))
    *_, event = await happen(hq, store, "DELETE FROM Line", "UPDATE Invoice SET id = 5 WHERE id = 1")
    assert (event["name"], event["renamed_from"]) == ([5], [1])
    assert own(event)[:2] == [("Invoice", [5], ["S-1"]), ("Invoice", [1], ["S-1"])]


async def test_what_was_said_before_a_rename_is_known_by_the_name_of_now(hq: ProducerSite, store: Client) -> None:
    await renamed(hq, (1,), (5,), (6,), (7,))
    (event,) = await happen(hq, store, "UPDATE Invoice SET total = '9' WHERE id = 1")
    assert own(event) == [INVOICE]


async def renamed(hq: ProducerSite, *names: Name) -> None:
    """What is remembered where a document was renamed on and on."""
    async with hq.server._services.database.transaction() as transaction:
        for old, new in pairwise(names):
            await transaction.put_identities([Identity("Invoice", natural(names[0]), new)])
            await transaction.rename_counterparts("Invoice", old, new)


async def test_a_document_that_leaves_or_enters_does_so_under_the_consumers_name(hq: ProducerSite) -> None:
    await remember(hq, Counterpart(CONSUMER, "Invoice", (1,), ("S-1",), {"lines": dict(LINES)}))
    client = await hq.consumer("store", CONSUMER, {"doctype": "Invoice", "condition": "doc.customer == 1"})
    await hq.approve("Invoice")
    await client.events()
    left, entered = await happen(
        hq, client, "UPDATE Invoice SET customer = 2 WHERE id = 1", "UPDATE Invoice SET customer = 1 WHERE id = 1"
    )
    assert (left["operation"], own(left)) == ("leave", [INVOICE])
    assert (entered["enters"], own(entered)) == (True, [INVOICE])


async def given(client: Client, path: str, body: dict[str, Any]) -> Sequence[dict[str, Any]]:
    answer = await client.post(path, body)
    DocumentsAnswer.model_validate_json(answer.text)
    return answer.json["documents"]  # type: ignore[no-any-return]


async def test_documents_say_their_own_names_and_the_keys_of_all_their_rows(hq: ProducerSite, store: Client) -> None:
    with hq.write() as connection:
        connection.execute("INSERT INTO Line VALUES (3, 1, 2), (4, 1, 2)")
    wanted = {"documents": [{"doctype": "Invoice", "name": [number]} for number in (1, 2)]}
    first, second = await given(store, "documents", wanted)
    assert own(first) == [INVOICE, CUSTOMER, TRACK]
    assert first["own"][0]["rows"] == {"lines": [[[1], [7001]], [[3], [7003]]]}
    assert own(second) == [TRACK]
    (by_value,) = await given(store, "find", {"doctype": "Invoice", "filters": {"total": "1.98"}})
    assert by_value["own"] == first["own"]


async def test_where_the_names_are_the_same_nothing_is_asked_but_whether_they_are(
    hq: ProducerSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await hq.consumer("store", CONSUMER, "Invoice")
    await hq.approve("Invoice")
    await client.events()

    async def nobody_asks(*_: Any) -> None:
        raise AssertionError("something was looked up")

    monkeypatch.setattr("streamd.serve.events.name_events", nobody_asks)
    monkeypatch.setattr("streamd.serve.documents.name_documents", nobody_asks)
    (event,) = await happen(hq, client, "UPDATE Invoice SET total = '9' WHERE id = 1")
    assert "own" not in event
    (document,) = await given(client, "documents", {"documents": [{"doctype": "Invoice", "name": [1]}]})
    assert "own" not in document
