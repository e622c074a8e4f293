"""Documents on request: only what approvals open, only along existing links, from one snapshot."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from streamd.db.base import RawDocument
from streamd.db.sqlite.session import SqliteReader
from streamd.errors import PeerRefused
from streamd.model import DocumentType, Name
from streamd.pull import Peer, wanted_doctypes
from streamd.settings import ProducerSettings
from streamd.wire import Documents, WantedDocument, read_cursor
from tests.support.sites.serving import CONSUMER, OTHER, Client, ProducerSite

INVOICE = {"doctype": "Invoice", "name": [1]}
CUSTOMER = {"doctype": "Customer", "name": [1]}
JANE = {"doctype": "Employee", "name": [3]}
NANCY = {"doctype": "Employee", "name": [2]}
ANDREW = {"doctype": "Employee", "name": [1]}
UNRELATED = {"doctype": "Employee", "name": [9]}
TRACK = {"doctype": "Track", "name": [1]}
NOTE = {"doctype": "Note", "name": [1]}


@pytest.fixture
async def store(hq: ProducerSite) -> Client:
    """A consumer that is approved for invoices."""
    client = await hq.consumer("store", CONSUMER, "Invoice", "Note")
    await hq.approve("Invoice")
    return client


def by(wanted: dict[str, Any], *path: dict[str, Any]) -> dict[str, Any]:
    return {**wanted, "path": list(path)}


async def fetch(client: Client, *wanted: dict[str, Any]) -> list[tuple[str, list[Any]]]:
    """The documents (type, name) in the answer, sorted."""
    answer = await client.documents(*wanted)
    assert answer.status == 200, answer.text
    msgspec.json.decode(msgspec.json.encode(answer.json), type=Documents)
    return sorted((each["doctype"], each["name"]) for each in answer.json["documents"])


async def test_linked_documents_are_served_at_any_distance_and_through_child_rows(store: Client) -> None:
    assert await fetch(
        store,
        INVOICE,
        by(CUSTOMER, INVOICE),
        by(JANE, INVOICE, CUSTOMER),
        by(ANDREW, INVOICE, CUSTOMER, JANE, NANCY),
        by(TRACK, INVOICE),
    ) == [("Customer", [1]), ("Employee", [1]), ("Employee", [3]), ("Invoice", [1]), ("Track", [1])]


async def fetch_following(client: Client, follow: int, *wanted: dict[str, Any]) -> list[tuple[str, list[Any]]]:
    answer = await client.post("documents", {"documents": list(wanted), "follow": follow})
    assert answer.status == 200, answer.text
    return [(each["doctype"], each["name"]) for each in answer.json["documents"]]


async def test_follow_returns_linked_documents_level_by_level_as_far_as_approvals_allow(store: Client) -> None:
    linked = await fetch_following(store, 100, INVOICE)
    assert linked[0] == ("Invoice", [1])
    assert all(ref in linked for ref in [("Customer", [1]), ("Employee", [3]), ("Employee", [1]), ("Track", [1])])
    assert not {doctype for doctype, _ in linked} & {"Secret", "Note"}
    limited = await fetch_following(store, 2, INVOICE)
    assert len(limited) == 3
    assert await fetch_following(store, 0, INVOICE) == [("Invoice", [1])]


async def test_follow_returns_nothing_for_documents_that_are_not_served(store: Client) -> None:
    assert await fetch_following(store, 100, CUSTOMER, by(UNRELATED, INVOICE, CUSTOMER), NOTE) == []


@pytest.mark.parametrize(
    "wanted",
    [
        CUSTOMER,
        by(CUSTOMER),
        by({"doctype": "Customer", "name": [2]}, INVOICE),
        by({"doctype": "Track", "name": [2]}, INVOICE),
        by(UNRELATED, INVOICE, CUSTOMER),
        by(ANDREW, INVOICE, CUSTOMER),
        by(ANDREW, INVOICE, CUSTOMER, NANCY),
        by(JANE, CUSTOMER),
        by(JANE, INVOICE, {"doctype": "Customer", "name": [2]}),
        by(UNRELATED, NOTE),
        by(UNRELATED, INVOICE, NOTE),
        by({"doctype": "Secret", "name": [1]}, INVOICE),
        by({"doctype": "Secret", "name": [1]}, {"doctype": "Note", "name": [2]}),
        by(CUSTOMER, {"doctype": "Invoice", "name": [99]}),
        by(CUSTOMER, {"doctype": "Nonsense", "name": [1]}),
        {"doctype": "Secret", "name": [1]},
        {"doctype": "Nonsense", "name": [1]},
        {"doctype": "Invoice", "name": [99]},
        {"doctype": "Invoice", "name": ["1"]},
        {"doctype": "Invoice", "name": [1, 1]},
        {"doctype": "Invoice", "name": [10**30]},
        {"doctype": "Invoice", "name": [-(10**18)]},
        {"doctype": "Invoice", "name": ["\x00"]},
        {"doctype": "Invoice", "name": ["1) OR (1=1"]},
    ],
    ids=str,
)
async def test_absent_and_forbidden_documents_look_the_same(store: Client, wanted: dict[str, Any]) -> None:
    assert await fetch(store, wanted) == []


async def test_an_approval_opens_only_the_types_that_were_shown(hq: ProducerSite, store: Client) -> None:
    # It was approved before invoices had links that lead to employees.
    async with hq.state.write() as connection:
        await connection.exec_driver_sql("""UPDATE approvals SET opens = '["Customer","Track"]'""")
    assert await fetch(store, by(CUSTOMER, INVOICE), by(JANE, INVOICE, CUSTOMER)) == [("Customer", [1])]
    await store.shake_hands("Invoice", "Note")
    assert {row.doctype: row.status for row in await hq.peers.approvals("store")}["Invoice"] == "Pending"
    assert await fetch(store, INVOICE, by(CUSTOMER, INVOICE)) == []


async def test_a_dynamic_link_leads_to_the_type_in_its_row(hq: ProducerSite, store: Client) -> None:
    assert await fetch(store, by(UNRELATED, NOTE)) == []
    await hq.approve("Note")
    assert await fetch(store, by(UNRELATED, NOTE), by(JANE, NOTE)) == [("Employee", [9])]


async def test_a_removed_link_leads_nowhere(hq: ProducerSite, store: Client) -> None:
    with hq.write() as connection:
        connection.execute("UPDATE Invoice SET customer = 2 WHERE id = 1")
    assert await fetch(store, by(CUSTOMER, INVOICE)) == []


async def test_an_approved_type_needs_no_path(hq: ProducerSite, store: Client) -> None:
    await store.shake_hands("Invoice", "Customer")
    await hq.approve("Customer")
    assert await fetch(store, CUSTOMER, by({"doctype": "Customer", "name": [2]}, INVOICE)) == [
        ("Customer", [1]),
        ("Customer", [2]),
    ]


async def test_a_document_contains_all_log_entries_up_to_as_of(hq: ProducerSite, store: Client) -> None:
    cursor = (await store.events()).json["next"]
    with hq.write() as connection:
        connection.execute("UPDATE Invoice SET total = '2.00' WHERE id = 1")
    answer = (await store.documents(INVOICE)).json
    assert answer["documents"][0]["data"]["total"] == "2.00"
    page = (await store.events(cursor=cursor)).json
    assert [event["data"]["changed"] for event in page["events"]] == [{"total": "2.00"}]
    assert page["next"] == answer["as_of"]
    assert answer["documents"][0]["clock"] == page["events"][0]["clock"]


async def test_a_site_under_constant_writes_answers_with_an_earlier_cursor(hq: ProducerSite, store: Client) -> None:
    cursor = (await store.events()).json["next"]
    drain = hq.capture.drain
    total = 0

    async def drain_and_write() -> None:
        nonlocal total
        await drain()
        total += 1
        with hq.write() as connection:
            connection.execute("UPDATE Invoice SET total = ? WHERE id = 1", (str(total),))

    object.__setattr__(hq.server._services, "drain_capture", drain_and_write)
    answer = (await store.documents(INVOICE)).json
    assert int(answer["documents"][0]["data"]["total"]) == total
    await drain()
    promised = read_cursor(answer["as_of"]).sequence
    events = (await store.events(cursor=cursor)).json["events"]
    contained = [event for event in events if event["sequence"] <= promised]
    assert [event["data"]["changed"]["total"] for event in contained] == [str(n) for n in range(1, total)]


async def test_names_are_listed_in_pages_and_only_for_approved_types(hq: ProducerSite, store: Client) -> None:
    with hq.write() as connection:
        connection.executemany("INSERT INTO Invoice VALUES (?, 1, '0')", [(number,) for number in range(3, 11)])
    names: list[Any] = []
    asked: dict[str, Any] = {"doctype": "Invoice", "limit": 4}
    while True:
        page = (await store.post("names", asked)).json
        names += page["names"]
        if not page["more"]:
            break
        asked["after"] = page["names"][-1]
    assert names == [[number] for number in range(1, 11)]
    assert read_cursor(page["as_of"]).log
    for doctype in ("Customer", "Note", "Secret", "Nonsense"):
        answer = (await store.post("names", {"doctype": doctype})).json
        assert (answer["names"], answer["more"]) == ([], False)
    for after in ([1, 2], [10**30]):
        assert (await store.post("names", {"doctype": "Invoice", "after": after})).status == 400


async def test_too_many_documents_are_refused_with_the_limit(start: Any) -> None:
    hq = await start(max_documents=3)
    client = await hq.consumer("store", OTHER, "Invoice")
    await hq.approve("Invoice")
    answer = await client.documents(*[INVOICE] * 4)
    assert (answer.status, answer.code) == (413, "too_large")
    assert "3" in answer.json["error"]["hint"]
    paths = [
        by(CUSTOMER, *({"doctype": "Invoice", "name": [n]} for n in range(start, start + 20))) for start in (0, 20)
    ]
    assert (await client.documents(*paths)).status == 413


async def test_a_consumer_requests_fewer_documents_after_too_many_or_too_large_ones(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hq = await start(max_documents=3)
    with hq.write() as connection:
        connection.executemany("INSERT INTO Invoice (Id, Customer) VALUES (?, 1)", [(n,) for n in range(3, 11)])
    key, secret = await hq.peers.create_key("store")
    settings = ProducerSettings(
        url=hq.server.url, api_key=key, api_secret=secret, use_same_name=True, doctypes=("Invoice",)
    )
    peer = Peer("hq", settings, (key, secret), wanted_doctypes(settings, {}))
    try:
        await peer.handshake(CONSUMER, "store")
        await hq.approve("Invoice")
        names = [WantedDocument("Invoice", (number,)) for number in range(1, 11)]
        fetched = await peer.fetch(names)
        assert [each.name for each in fetched.documents] == [(number,) for number in range(1, 11)]
        one = await peer.fetch(names[:1])
        monkeypatch.setattr("streamd.pull.connection.MAX_ANSWER_BYTES", len(bytes(one.documents[0].data)) + 700)
        assert len((await peer.fetch(names)).documents) == 10
        monkeypatch.setattr("streamd.pull.connection.MAX_ANSWER_BYTES", 100)
        with pytest.raises(PeerRefused, match="answered with more than"):
            await peer.fetch(names)
    finally:
        await peer.close()


async def test_a_document_that_cannot_be_read_does_not_stand_in_the_way_of_others(
    hq: ProducerSite, store: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = SqliteReader.read_documents

    async def fails(self: SqliteReader, doctype: DocumentType, names: Iterable[Name]) -> dict[Name, RawDocument]:
        if doctype.name == "Invoice" and (2,) in set(names):
            raise sqlite3.DataError("string or blob too big")
        return await read(self, doctype, names)

    invoices = [{"doctype": "Invoice", "name": [number]} for number in (1, 2, 99999)]
    with monkeypatch.context() as patch:
        patch.setattr(SqliteReader, "read_documents", fails)
        answer = await store.documents(*invoices)
        assert answer.status == 200, answer.text
        assert [each["name"] for each in answer.json["documents"]] == [[1]]
        assert answer.json["gone"] == {"Invoice": [[99999]]}, "what cannot be read was called gone"
    assert len(await fetch(store, *invoices)) == 2
