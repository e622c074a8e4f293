"""Documents are found by their values only where an approval says so, and two at most."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from streamd.serve import documents
from streamd.wire import DocumentsAnswer
from tests.support.serving import CONSUMER, Client, ProducerSite

WANTED = {"doctype": "Invoice", "lookups": ["Employee", "Secret", "Nonsense"]}


@pytest.fixture
async def store(hq: ProducerSite) -> Client:
    """A consumer that is approved for invoices, and may look for employees (and for what nobody offers)."""
    client = await hq.consumer("store", CONSUMER, WANTED)
    await hq.approve("Invoice")
    return client


async def found(client: Client, doctype: str, **filters: Any) -> list[Any]:
    """The names of the documents that are found."""
    answer = await client.post("find", {"doctype": doctype, "filters": filters})
    assert answer.status == 200, answer.text
    DocumentsAnswer.model_validate(answer.json)
    assert answer.json["as_of"]
    assert {each["doctype"] for each in answer.json["documents"]} <= {doctype}
    return [each["name"] for each in answer.json["documents"]]


async def test_a_document_is_found_by_its_values_whole(store: Client) -> None:
    answer = (await store.post("find", {"doctype": "Invoice", "filters": {"total": "1.98", "customer": 1}})).json
    (document,) = answer["documents"]
    assert document["data"] == {
        "id": 1,
        "customer": 1,
        "total": "1.98",
        "lines": [{"id": 1, "invoice": 1, "track": 1}],
    }
    assert await found(store, "Invoice", total="1.98", customer=2) == []


async def test_of_several_no_more_than_two_are_given(hq: ProducerSite, store: Client) -> None:
    with hq.write() as connection:
        connection.executemany("INSERT INTO Invoice VALUES (?, 1, '5')", [(number,) for number in range(10, 20)])
    assert len(await found(store, "Invoice", total="5")) == 2


async def test_types_that_an_approval_names_may_be_looked_into_and_no_others(hq: ProducerSite, store: Client) -> None:
    assert await found(store, "Employee", name="Jane") == [[3]]
    # To be found is all: their names, and their documents by name, are not for this consumer.
    assert (await store.post("names", {"doctype": "Employee"})).json["names"] == []
    assert (await store.documents({"doctype": "Employee", "name": [3]})).json["documents"] == []
    assert await found(store, "Customer", name="Luis") == []  # opened by a link, so given by a link only
    assert await found(store, "Note", text="of somebody") == []
    assert await found(store, "Nonsense", name="x") == []
    # It is not offered, and yet there: the operator saw it, and let it be looked into.
    assert await found(store, "Secret", text="never to be seen") == [[1]]
    await hq.peers.reject("store", ["Invoice"])
    assert await found(store, "Employee", name="Jane") == []
    assert await found(store, "Invoice", total="1.98") == []


async def test_guarded_types_are_looked_into_only_where_they_are_offered(hq: ProducerSite, store: Client) -> None:
    services = hq.server._services
    for guarded, offers, expected in (
        ({"Employee"}, {"Invoice"}, []),
        ({"Employee"}, {"Invoice", "Employee"}, [[3]]),
    ):
        catalogue = replace(services.catalogue, guarded=frozenset(guarded), offers=frozenset(offers))
        object.__setattr__(services, "catalogue", catalogue)
        assert await found(store, "Employee", name="Jane") == expected
        described = (await store.shake_hands(WANTED)).json["doctypes"]
        assert ("Employee" in {each["doctype"] for each in described}) == bool(expected)


async def test_other_lookups_have_to_be_approved(hq: ProducerSite, store: Client) -> None:
    await store.shake_hands({"doctype": "Invoice", "lookups": ["Employee", "Customer"]})
    assert await found(store, "Customer", name="Luis") == await found(store, "Employee", name="Jane") == []
    await hq.approve("Invoice")
    assert await found(store, "Customer", name="Luis") == [[1]]
    assert await found(store, "Secret", text="never to be seen") == []


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
async def test_what_no_document_can_have_finds_nothing(store: Client, filters: dict[str, Any]) -> None:
    assert await found(store, "Invoice", **filters) == []


@pytest.mark.parametrize(
    "filters", [{}, {"total": None}, {"total": []}, {"total": {}}, {"": 1}, {f"c{number}": 1 for number in range(17)}]
)
async def test_what_is_no_value_is_refused(store: Client, filters: dict[str, Any]) -> None:
    assert (await store.post("find", {"doctype": "Invoice", "filters": filters})).status == 400


async def test_the_condition_of_a_type_holds_for_what_is_found_as_well(
    hq: ProducerSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await hq.consumer("store", CONSUMER, {"doctype": "Invoice", "condition": "doc.customer == 1"})
    await hq.approve("Invoice")
    with hq.write() as connection:
        connection.executemany(
            "INSERT INTO Invoice VALUES (?, ?, '5')", [(number, 1 if number == 15 else 2) for number in range(10, 20)]
        )
    assert await found(store, "Invoice", total="3.96") == []
    assert await found(store, "Invoice", total="5") == [[15]]
    # Where not all can be looked at, one that is found may not be the only one.
    monkeypatch.setattr(documents, "MAX_CANDIDATES", 8)
    assert await found(store, "Invoice", total="5") == []


async def test_a_consumer_has_to_introduce_itself_first(hq: ProducerSite) -> None:
    client = hq.client(":".join(await hq.peers.create_key("store")))
    answer = await client.post("find", {"doctype": "Invoice", "filters": {"id": 1}})
    assert (answer.status, answer.code) == (409, "handshake_required")
