"""Events and documents carry the consumer's own names of documents, if these differ from the producer's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest

from streamd.identity import Identity, natural
from streamd.model import Counterpart, Name
from streamd.wire import DocumentsAnswer, EventsPage
from tests.support.sites.serving import CONSUMER, OTHER, Client, ProducerSite

LINES = {"[7001]": (1,), "[7003]": (3,)}
"""Keys of lines: the consumer's key, then the producer's."""


@pytest.fixture
async def store(hq: ProducerSite) -> Client:
    """A consumer with its own names: invoice 1 is “S-1”, customer 1 “C-1” and track 2 “T-2”. Invoice 2 has none."""
    await map_ids(
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


async def map_ids(hq: ProducerSite, *counterparts: Counterpart) -> None:
    async with hq.server._services.database.transaction() as transaction:
        await transaction.put_counterparts(counterparts)


async def run(hq: ProducerSite, client: Client, *statements: str) -> list[dict[str, Any]]:
    """Run each statement in its own transaction. Returns the events that the consumer receives."""
    for statement in statements:
        with hq.write() as connection:
            connection.executescript(f"BEGIN; {statement}; COMMIT")
        await hq.capture.drain()
    page = await client.events()
    EventsPage.model_validate_json(page.text)
    return page.json["events"]  # type: ignore[no-any-return]


def own_names(item: dict[str, Any]) -> list[tuple[str, list[Any], list[Any]]]:
    return [(each["doctype"], each["name"], each["own"]) for each in item.get("own", ())]


INVOICE, CUSTOMER, TRACK = ("Invoice", [1], ["S-1"]), ("Customer", [1], ["C-1"]), ("Track", [2], ["T-2"])


async def test_an_edit_carries_the_consumers_name_of_the_document(hq: ProducerSite, store: Client) -> None:
    first, second = await run(hq, store, "UPDATE Invoice SET total = '9' WHERE id IN (1, 2)")
    assert own_names(first) == [INVOICE]
    assert "rows" not in first["own"][0]
    assert "own" not in second


async def test_an_edit_carries_names_of_old_and_new_links_and_of_links_in_child_rows(
    hq: ProducerSite, store: Client
) -> None:
    moved, line = await run(
        hq,
        store,
        "UPDATE Invoice SET customer = 2 WHERE id = 1",
        "UPDATE Line SET track = 2 WHERE id = 1; INSERT INTO Line VALUES (3, 1, 1), (4, 1, 2)",
    )
    assert own_names(moved) == [INVOICE, CUSTOMER]
    assert own_names(line) == [INVOICE, TRACK]
    # A line without a key at the consumer is left out.
    assert line["own"][0]["rows"] == {"lines": [[[1], [7001]], [[3], [7003]]]}


async def test_removed_lines_carry_the_consumers_keys(hq: ProducerSite, store: Client) -> None:
    _, removed = await run(hq, store, "INSERT INTO Line VALUES (3, 1, 2)", "DELETE FROM Line WHERE invoice = 1")
    assert own_names(removed) == [INVOICE, TRACK]
    assert removed["own"][0]["rows"] == {"lines": [[[1], [7001]], [[3], [7003]]]}


async def test_a_new_document_carries_the_names_of_its_links(hq: ProducerSite, store: Client) -> None:
    (created,) = await run(hq, store, "INSERT INTO Invoice VALUES (9, 1, '1'); INSERT INTO Line VALUES (9, 9, 2)")
    assert own_names(created) == [CUSTOMER, TRACK]


async def test_a_deletion_carries_the_consumers_name(hq: ProducerSite, store: Client) -> None:
    *_, gone = await run(hq, store, "DELETE FROM Line WHERE invoice = 1", "DELETE FROM Invoice WHERE id = 1")
    assert gone["operation"] == "delete"
    assert own_names(gone) == [INVOICE, CUSTOMER]


@pytest.mark.parametrize(
    "change", ["about_id = 3, about = 'Employee'", "about_id = 3", "text = 'x'"], ids=["both", "name", "none"]
)
async def test_a_dynamic_link_is_resolved_if_only_one_column_changed(
    hq: ProducerSite, store: Client, change: str
) -> None:
    (note,) = await run(hq, store, f"UPDATE Note SET {change} WHERE id = 1")
    assert own_names(note) == ([("Employee", [3], ["E-3"])] if "3" in change else [])


async def test_a_rename_carries_the_consumers_name_for_both_names(hq: ProducerSite, store: Client) -> None:
    await record_renames(hq, (1,), (5,))
    *_, event = await run(hq, store, "DELETE FROM Line", "UPDATE Invoice SET id = 5 WHERE id = 1")
    assert (event["name"], event["renamed_from"]) == ([5], [1])
    assert own_names(event)[:2] == [("Invoice", [5], ["S-1"]), ("Invoice", [1], ["S-1"])]


async def test_an_event_from_before_a_rename_is_resolved_through_the_new_name(hq: ProducerSite, store: Client) -> None:
    await record_renames(hq, (1,), (5,), (6,), (7,))
    (event,) = await run(hq, store, "UPDATE Invoice SET total = '9' WHERE id = 1")
    assert own_names(event) == [INVOICE]


async def record_renames(hq: ProducerSite, *names: Name) -> None:
    """Record that the document was renamed several times."""
    async with hq.server._services.database.transaction() as transaction:
        for old, new in pairwise(names):
            await transaction.put_identities([Identity("Invoice", natural(names[0]), new)])
            await transaction.rename_counterparts("Invoice", old, new)


async def test_leave_and_enter_carry_the_consumers_name(hq: ProducerSite) -> None:
    await map_ids(hq, Counterpart(CONSUMER, "Invoice", (1,), ("S-1",), {"lines": dict(LINES)}))
    client = await hq.consumer("store", CONSUMER, {"doctype": "Invoice", "condition": "doc.customer == 1"})
    await hq.approve("Invoice")
    await client.events()
    left, entered = await run(
        hq, client, "UPDATE Invoice SET customer = 2 WHERE id = 1", "UPDATE Invoice SET customer = 1 WHERE id = 1"
    )
    assert (left["operation"], own_names(left)) == ("leave", [INVOICE])
    assert (entered["enters"], own_names(entered)) == (True, [INVOICE])


async def fetch(client: Client, path: str, body: dict[str, Any]) -> Sequence[dict[str, Any]]:
    answer = await client.post(path, body)
    DocumentsAnswer.model_validate_json(answer.text)
    return answer.json["documents"]  # type: ignore[no-any-return]


async def test_documents_carry_own_names_and_the_keys_of_all_rows(hq: ProducerSite, store: Client) -> None:
    with hq.write() as connection:
        connection.execute("INSERT INTO Line VALUES (3, 1, 2), (4, 1, 2)")
    wanted = {"documents": [{"doctype": "Invoice", "name": [number]} for number in (1, 2)]}
    first, second = await fetch(store, "documents", wanted)
    assert own_names(first) == [INVOICE, CUSTOMER, TRACK]
    assert first["own"][0]["rows"] == {"lines": [[[1], [7001]], [[3], [7003]]]}
    assert own_names(second) == [TRACK]
    (by_value,) = await fetch(store, "find", {"doctype": "Invoice", "filters": {"total": "1.98"}})
    assert by_value["own"] == first["own"]


async def test_without_own_names_nothing_else_is_queried(hq: ProducerSite, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await hq.consumer("store", CONSUMER, "Invoice")
    await hq.approve("Invoice")
    await client.events()

    async def fail(*_: Any) -> None:
        raise AssertionError("own names were looked up")

    monkeypatch.setattr("streamd.serve.events.name_events", fail)
    monkeypatch.setattr("streamd.serve.documents.name_documents", fail)
    (event,) = await run(hq, client, "UPDATE Invoice SET total = '9' WHERE id = 1")
    assert "own" not in event
    (document,) = await fetch(client, "documents", {"documents": [{"doctype": "Invoice", "name": [1]}]})
    assert "own" not in document
