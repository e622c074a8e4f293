"""Lookups by value return at most two documents, and only in types that an approval allows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from streamd.serve import documents
from streamd.wire import Documents
from tests.support.sites.serving import CONSUMER, Client, ProducerSite

WANTED = {"doctype": "Invoice", "lookups": ["Employee", "Secret", "Nonsense"]}


@pytest.fixture
async def store(hq: ProducerSite) -> Client:
    """A consumer that is approved for invoices, with lookups in employees and in types that are not offered."""
    client = await hq.consumer("store", CONSUMER, WANTED)
    await hq.approve("Invoice")
    return client


async def find(client: Client, doctype: str, **filters: Any) -> list[Any]:
    """The names of the documents that the lookup returns."""
    answer = await client.post("find", {"doctype": doctype, "filters": filters})
    assert answer.status == 200, answer.text
    msgspec.json.decode(msgspec.json.encode(answer.json), type=Documents)
    assert answer.json["as_of"]
    assert {each["doctype"] for each in answer.json["documents"]} <= {doctype}
    return [each["name"] for each in answer.json["documents"]]


async def test_a_lookup_returns_the_whole_document(store: Client) -> None:
    answer = (await store.post("find", {"doctype": "Invoice", "filters": {"total": "1.98", "customer": 1}})).json
    (document,) = answer["documents"]
    assert document["data"] == {
        "id": 1,
        "customer": 1,
        "total": "1.98",
        "lines": [{"id": 1, "invoice": 1, "track": 1}],
    }
    assert await find(store, "Invoice", total="1.98", customer=2) == []


async def test_a_lookup_returns_at_most_two_documents(hq: ProducerSite, store: Client) -> None:
    with hq.write() as connection:
        connection.executemany("INSERT INTO Invoice VALUES (?, 1, '5')", [(number,) for number in range(10, 20)])
    assert len(await find(store, "Invoice", total="5")) == 2


async def test_lookups_are_allowed_only_in_the_types_of_an_approval(hq: ProducerSite, store: Client) -> None:
    assert await find(store, "Employee", name="Jane") == [[3]]
    # A lookup does not give access to the list of names, or to documents by name.
    assert (await store.post("names", {"doctype": "Employee"})).json["names"] == []
    assert (await store.documents({"doctype": "Employee", "name": [3]})).json["documents"] == []
    assert await find(store, "Customer", name="Luis") == []  # opened by a link, so served along a link only
    assert await find(store, "Note", text="of somebody") == []
    assert await find(store, "Nonsense", name="x") == []
    # The type is not offered, but the operator saw the lookup and approved it.
    assert await find(store, "Secret", text="never to be seen") == [[1]]
    await hq.peers.reject("store", ["Invoice"])
    assert await find(store, "Employee", name="Jane") == []
    assert await find(store, "Invoice", total="1.98") == []


async def test_lookups_in_guarded_types_require_an_offer(hq: ProducerSite, store: Client) -> None:
    services = hq.server._services
    for guarded, offers, expected in (
        ({"Employee"}, {"Invoice"}, []),
        ({"Employee"}, {"Invoice", "Employee"}, [[3]]),
    ):
        catalogue = replace(services.catalogue, guarded=frozenset(guarded), offers=frozenset(offers))
        object.__setattr__(services, "catalogue", catalogue)
        assert await find(store, "Employee", name="Jane") == expected
        described = (await store.shake_hands(WANTED)).json["doctypes"]
        assert ("Employee" in {each["doctype"] for each in described}) == bool(expected)


async def test_new_lookups_need_a_new_approval(hq: ProducerSite, store: Client) -> None:
    await store.shake_hands({"doctype": "Invoice", "lookups": ["Employee", "Customer"]})
    assert await find(store, "Customer", name="Luis") == await find(store, "Employee", name="Jane") == []
    await hq.approve("Invoice")
    assert await find(store, "Customer", name="Luis") == [[1]]
    assert await find(store, "Secret", text="never to be seen") == []


@pytest.mark.parametrize(
    "filters",
    [
        {"nothing": "x"},
        {"total": "1.98", "nothing": "x"},
        {"lines": "x"},
        {"customer": "nobody"},
        {"customer": 10**30},
        {"total": "\x00"},
        {"total": "' OR 1=1 --"},
        {"id": True, "customer": False},
        {"id": 1.5},
    ],
    ids=str,
)
async def test_impossible_values_return_nothing(store: Client, filters: dict[str, Any]) -> None:
    assert await find(store, "Invoice", **filters) == []


@pytest.mark.parametrize(
    "filters", [{}, {"total": None}, {"total": []}, {"total": {}}, {"": 1}, {f"c{number}": 1 for number in range(17)}]
)
async def test_invalid_filters_are_refused(store: Client, filters: dict[str, Any]) -> None:
    assert (await store.post("find", {"doctype": "Invoice", "filters": filters})).status == 400


async def test_the_condition_of_a_type_also_filters_lookups(hq: ProducerSite, monkeypatch: pytest.MonkeyPatch) -> None:
    store = await hq.consumer("store", CONSUMER, {"doctype": "Invoice", "condition": "doc.customer == 1"})
    await hq.approve("Invoice")
    with hq.write() as connection:
        connection.executemany(
            "INSERT INTO Invoice VALUES (?, ?, '5')", [(number, 1 if number == 15 else 2) for number in range(10, 20)]
        )
    assert await find(store, "Invoice", total="3.96") == []
    assert await find(store, "Invoice", total="5") == [[15]]
    # If not all candidates can be checked, a match may not be the only one.
    monkeypatch.setattr(documents, "MAX_CANDIDATES", 8)
    assert await find(store, "Invoice", total="5") == []


async def test_a_lookup_requires_a_handshake(hq: ProducerSite) -> None:
    client = hq.client(":".join(await hq.peers.create_key("store")))
    answer = await client.post("find", {"doctype": "Invoice", "filters": {"id": 1}})
    assert (answer.status, answer.code) == (409, "handshake_required")
