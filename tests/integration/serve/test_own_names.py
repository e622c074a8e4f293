"""Events and documents say which documents and rows they mean, where names and keys here are this site's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from streamd.identity import Identity
from streamd.model import DocumentId, Record, RowId
from streamd.rowids import RowIds
from streamd.wire import Documents, Page
from tests.support.sites.serving import CONSUMER, OTHER, Client, ProducerSite

INVOICE, CUSTOMER, TRACK, EMPLOYEE = (DocumentId((name,), site=CONSUMER) for name in ("S-1", "C-1", "T-2", "E-3"))
OTHERS = DocumentId((5,), site=OTHER)
LINES = RowIds({"lines": {"[1]": RowId(7001), "[3]": RowId(7003)}})
"""Lines 1 and 3 came from the store, where these are their keys; all others were added here."""


@pytest.fixture
async def store(hq: ProducerSite) -> Client:
    """A consumer from which some documents came: invoice 1 is “S-1”, customer 1 “C-1”, and track 2 “T-2” there."""
    named = [("Invoice", INVOICE, 1), ("Customer", CUSTOMER, 1), ("Track", TRACK, 2), ("Employee", EMPLOYEE, 3)]
    async with hq.server._services.database.transaction() as transaction:
        await transaction.put_identities([Identity(doctype, id, (name,)) for doctype, id, name in named])
        await transaction.put_identities([Identity("Invoice", OTHERS, (2,))])
        await transaction.put_row_ids([("Invoice", INVOICE, LINES)])
    client = await hq.consumer("store", CONSUMER, "Invoice", "Customer", "Note")
    await hq.approve("Invoice", "Customer", "Note")
    await client.events()
    return client


async def run(hq: ProducerSite, client: Client, *statements: str, **asked: Any) -> list[dict[str, Any]]:
    """Run each statement in its own transaction. Returns the events that the consumer receives."""
    for statement in statements:
        with hq.write() as connection:
            connection.executescript(f"BEGIN; {statement}; COMMIT")
        await hq.capture.drain()
    page = await client.events(**asked)
    msgspec.json.decode(page.text, type=Page)
    return page.json["events"]  # type: ignore[no-any-return]


def said(id: DocumentId) -> dict[str, Any]:
    return {"name": list(id.name), "site": id.site}


def links(item: dict[str, Any]) -> list[tuple[str, list[Any], Any]]:
    return [(each["doctype"], each["name"], each["id"]) for each in item.get("links", ())]


async def test_an_edit_says_its_document_to_every_consumer_alike(hq: ProducerSite, store: Client) -> None:
    first, second = await run(hq, store, "UPDATE Invoice SET total = '9' WHERE id IN (1, 2)")
    assert (first["id"], second["id"]) == (said(INVOICE), said(OTHERS))
    assert "rows" not in first


async def test_an_edit_says_old_and_new_links_and_those_of_child_rows_and_the_rows(
    hq: ProducerSite, store: Client
) -> None:
    moved, line = await run(
        hq,
        store,
        "UPDATE Invoice SET customer = 2 WHERE id = 1",
        "UPDATE Line SET track = 2 WHERE id = 1; INSERT INTO Line VALUES (3, 1, 1), (4, 1, 2)",
    )
    assert links(moved) == [("Customer", [1], said(CUSTOMER))]
    assert links(line) == [("Track", [2], said(TRACK))]
    rows = sorted(line["rows"]["lines"])
    assert rows == [[1, [7001, ""]], [3, [7003, ""]], [4, [4, hq.site]]], "line 4 was added here"


async def test_removed_rows_are_said_and_another_one_under_their_number_is_another_one(
    hq: ProducerSite, store: Client
) -> None:
    removed, added = await run(hq, store, "DELETE FROM Line WHERE id = 1", "INSERT INTO Line VALUES (1, 1, 1)")
    assert removed["rows"] == {"lines": [[1, [7001, ""]]]}
    assert added["rows"] == {"lines": [[1, [1, hq.site]]]}


async def test_a_new_document_says_what_it_links_to_and_a_deletion_what_it_was(hq: ProducerSite, store: Client) -> None:
    created, *_, gone = await run(
        hq,
        store,
        "INSERT INTO Invoice VALUES (9, 1, '1'); INSERT INTO Line VALUES (9, 9, 2)",
        "DELETE FROM Line WHERE invoice = 1",
        "DELETE FROM Invoice WHERE id = 1",
    )
    assert "id" not in created
    assert links(created) == [("Customer", [1], said(CUSTOMER)), ("Track", [2], said(TRACK))]
    assert (gone["operation"], gone["id"]) == ("delete", said(INVOICE))


@pytest.mark.parametrize(
    "change", ["about_id = 3, about = 'Employee'", "about_id = 3", "text = 'x'"], ids=["both", "name", "none"]
)
async def test_a_dynamic_link_is_said_if_only_one_column_changed(hq: ProducerSite, store: Client, change: str) -> None:
    (note,) = await run(hq, store, f"UPDATE Note SET {change} WHERE id = 1")
    assert links(note) == ([("Employee", [3], said(EMPLOYEE))] if "3" in change else [])


async def test_what_was_renamed_here_is_the_document_that_it_was(hq: ProducerSite, store: Client) -> None:
    before, *_, renamed, after = await run(
        hq,
        store,
        "UPDATE Invoice SET total = '8' WHERE id = 1",
        "DELETE FROM Line",
        "UPDATE Invoice SET id = 5 WHERE id = 1",
        "UPDATE Invoice SET total = '9' WHERE id = 5",
    )
    assert (renamed["name"], renamed["renamed_from"]) == ([5], [1])
    assert [each["id"] for each in (before, renamed, after)] == [said(INVOICE)] * 3


async def test_leave_and_enter_say_their_document(hq: ProducerSite, store: Client) -> None:
    client = await hq.consumer("another", OTHER, {"doctype": "Invoice", "condition": "doc.customer == 1"})
    await hq.approve("Invoice", name="another")
    await client.events()
    left, entered = await run(
        hq, client, "UPDATE Invoice SET customer = 2 WHERE id = 1", "UPDATE Invoice SET customer = 1 WHERE id = 1"
    )
    assert (left["operation"], left["id"]) == ("leave", said(INVOICE))
    assert (entered["enters"], entered["id"]) == (True, said(INVOICE))


async def fetch(client: Client, path: str, body: dict[str, Any]) -> Sequence[dict[str, Any]]:
    answer = await client.post(path, body)
    msgspec.json.decode(answer.text, type=Documents)
    return answer.json["documents"]  # type: ignore[no-any-return]


async def test_documents_say_what_they_are_and_all_of_their_rows(hq: ProducerSite, store: Client) -> None:
    with hq.write() as connection:
        connection.execute("INSERT INTO Line VALUES (3, 1, 2), (4, 1, 2)")
    wanted = {"documents": [{"doctype": "Invoice", "name": [number]} for number in (1, 2)]}
    first, second = await fetch(store, "documents", wanted)
    assert (first["id"], second["id"]) == (said(INVOICE), said(OTHERS))
    assert links(first) == [("Customer", [1], said(CUSTOMER)), ("Track", [2], said(TRACK))]
    assert first["rows"] == {"lines": [[1, [7001, ""]], [3, [7003, ""]], [4, [4, hq.site]]]}
    (by_value,) = await fetch(store, "find", {"doctype": "Invoice", "filters": {"total": "1.98"}})
    assert (by_value["id"], by_value["rows"]) == (first["id"], first["rows"])


async def came_from(hq: ProducerSite, doctype: str, name: int, site: str) -> None:
    async with hq.server._services.database.transaction() as transaction:
        await transaction.put_records([Record(doctype, (name,), site, (name,), "c")])


async def test_a_consumer_that_names_documents_itself_is_told_where_they_came_from(hq: ProducerSite) -> None:
    await came_from(hq, "Invoice", 1, CONSUMER)
    await came_from(hq, "Customer", 1, OTHER)
    client = await hq.consumer("store", CONSUMER, "Invoice")
    await hq.approve("Invoice")
    await client.events()
    body = {"documents": [{"doctype": "Invoice", "name": [1]}]}
    (plain,) = await run(hq, client, "UPDATE Invoice SET total = '9' WHERE id = 1")
    (unasked,) = await fetch(client, "documents", body)
    assert all("birth" not in each and "links" not in each for each in (plain, unasked))
    *_, told = await run(hq, client, "UPDATE Invoice SET customer = 2 WHERE id = 1", own_names=True)
    (given,) = await fetch(client, "documents", body | {"own_names": True})
    assert told["birth"] == given["birth"] == CONSUMER
    link = {"doctype": "Customer", "name": [1], "id": {"name": [1]}, "birth": OTHER}
    assert link in told["links"]


async def test_a_consumer_whose_documents_are_named_here_is_told_which_were_made_here(hq: ProducerSite) -> None:
    async def named_here(site: str) -> frozenset[str]:
        return frozenset({"Invoice"} if site == CONSUMER else ())

    services = hq.server._services
    object.__setattr__(services, "named_here", named_here)
    await came_from(hq, "Invoice", 2, OTHER)
    client = await hq.consumer("store", CONSUMER, "Invoice")
    await hq.approve("Invoice")
    await client.events()
    first, second = await run(hq, client, "UPDATE Invoice SET total = '9'")
    assert (first["birth"], second.get("birth")) == (hq.site, None)
