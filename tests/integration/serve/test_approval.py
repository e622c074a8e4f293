"""Only approved data leaves a site. This is enforced per request, by the credential."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.support.sites.serving import CONSUMER, OTHER, ProducerSite, entry, until


async def test_an_approval_of_one_consumer_gives_nothing_to_another(hq: ProducerSite) -> None:
    approved = await hq.consumer("store", CONSUMER, "Invoice")
    await hq.approve("Invoice")
    others = {
        "Pending": await hq.consumer("pending", OTHER, "Invoice"),
        "Rejected": await hq.consumer("rejected", OTHER.replace("2", "3"), "Invoice"),
        "Unsubscribed": await hq.consumer("unsubscribed", OTHER.replace("2", "4"), "Invoice"),
        "never asked": await hq.consumer("silent", OTHER.replace("2", "5")),
    }
    await hq.peers.reject("rejected", ["Invoice"])
    await others["Unsubscribed"].shake_hands(site=OTHER.replace("2", "4"), unsubscribe=["Invoice"])
    await hq.append(entry("Invoice", 1))
    assert len((await approved.events()).json["events"]) == 1
    for status, client in others.items():
        page = (await client.events()).json
        assert page["events"] == [], status
        assert page["subscriptions"].get("Invoice", "never asked") == status
        wanted = {"doctype": "Invoice", "name": [1]}
        assert (await client.documents(wanted)).json["documents"] == [], status
        assert (await client.post("names", {"doctype": "Invoice"})).json["names"] == [], status


async def test_a_claimed_identity_in_the_body_is_ignored(hq: ProducerSite) -> None:
    await hq.consumer("store", CONSUMER, "Invoice")
    await hq.approve("Invoice")
    other = await hq.consumer("other", OTHER, "Invoice")
    await hq.append(entry("Invoice", 1))
    for claim in ({"consumer": "store"}, {"site": CONSUMER}, {"event_consumer": "store", "name": "store"}):
        assert (await other.events(**claim)).json["events"] == []
    assert (await other.shake_hands("Invoice", site=CONSUMER)).code == "duplicate_site"


async def test_nothing_is_served_before_the_handshake(hq: ProducerSite) -> None:
    client = hq.client(":".join(await hq.peers.create_key("store")))
    for answer in (
        await client.events(),
        await client.documents({"doctype": "Invoice", "name": [1]}),
        await client.post("names", {"doctype": "Invoice"}),
    ):
        assert (answer.status, answer.code) == (409, "handshake_required")


async def test_duplicate_site_uuids_are_refused(hq: ProducerSite) -> None:
    await hq.consumer("store", CONSUMER, "Invoice")
    till = hq.client(":".join(await hq.peers.create_key("till")))
    clone = hq.client(":".join(await hq.peers.create_key("store")))
    for answer in (
        await till.shake_hands("Invoice", site=CONSUMER),
        await clone.shake_hands("Invoice", site=OTHER),
        await till.shake_hands("Invoice", site=hq.site),
    ):
        assert (answer.status, answer.code) == (409, "duplicate_site")
        assert answer.json["error"]["hint"]


async def test_a_handshake_reveals_only_the_names_of_unapproved_types(hq: ProducerSite) -> None:
    client = await hq.consumer("store", CONSUMER)
    answer = (await client.shake_hands("Invoice", "Secret", "Nonsense")).json
    assert [state["status"] for state in answer["subscriptions"]] == ["Pending"] * 3
    assert [state["opens"] for state in answer["subscriptions"]] == [[]] * 3
    assert answer["doctypes"] == []
    await hq.approve("Invoice")
    answer = (await client.shake_hands("Invoice", "Secret", "Nonsense")).json
    assert [each["doctype"] for each in answer["doctypes"]] == ["Customer", "Employee", "Invoice", "Track"]
    (invoice,) = [each for each in answer["subscriptions"] if each["doctype"] == "Invoice"]
    assert (invoice["status"], invoice["opens"]) == ("Approved", ["Customer", "Employee", "Track"])
    assert not invoice["resumed"]
    lines = next(each for each in answer["doctypes"] if each["doctype"] == "Invoice")["children"]
    assert [(child["field"], [column["name"] for column in child["columns"]]) for child in lines] == [
        ("lines", ["id", "invoice", "track"])
    ]


async def test_the_highest_common_protocol_is_used_and_none_is_an_error(hq: ProducerSite) -> None:
    client = hq.client(":".join(await hq.peers.create_key("store")))
    hello = {"site": CONSUMER, "name": "store", "doctypes": []}
    assert (await client.post("handshake", {"protocols": [99, 1], **hello})).json["protocol"] == 1
    refused = await client.post("handshake", {"protocols": [99], **hello})
    assert (refused.status, refused.code) == (400, "unsupported_protocol")


@pytest.mark.parametrize("how", ["reject", "unsubscribe", "remove", "revoke"])
async def test_a_type_that_is_revoked_during_a_poll_is_not_served(hq: ProducerSite, how: str) -> None:
    client = await hq.consumer("store", CONSUMER, "Invoice", "Track")
    await hq.approve("Invoice")
    cursor = (await client.events()).json["next"]
    poll = asyncio.create_task(client.events(cursor=cursor, wait_seconds=20))
    await until(lambda: hq.log.waiting == 1, "the poll waits")
    if how == "reject":
        await hq.peers.reject("store", ["Invoice"])
    elif how == "unsubscribe":
        await client.shake_hands("Track")
    elif how == "remove":
        await hq.peers.remove("store")
    else:
        await hq.peers.revoke_key(client.credential.partition(":")[0])
    await hq.append(entry("Invoice", 1))
    async with asyncio.timeout(5):
        answer = await poll
    if how in ("remove", "revoke"):
        assert (answer.status, answer.code) == (401, "unauthorized")
    else:
        assert answer.json["events"] == []
        assert answer.json["subscriptions"]["Invoice"] in ("Rejected", "Unsubscribed")


async def test_an_approval_ends_a_waiting_poll(hq: ProducerSite) -> None:
    client = await hq.consumer("store", CONSUMER, "Invoice")
    poll = asyncio.create_task(client.events(wait_seconds=20))
    await until(lambda: hq.log.waiting == 1, "the poll waits")
    await hq.approve("Invoice")
    async with asyncio.timeout(5):
        assert (await poll).json["subscriptions"] == {"Invoice": "Approved"}


async def test_a_type_that_is_approved_during_a_poll_is_served_from_then_on(hq: ProducerSite) -> None:
    client = await hq.consumer("store", CONSUMER, "Invoice", "Track")
    await hq.approve("Track")
    await client.events()
    poll = asyncio.create_task(client.events(wait_seconds=20))
    await until(lambda: hq.log.waiting == 1, "the poll waits")
    await hq.append(entry("Invoice", 1))
    await hq.approve("Invoice")
    await hq.append(entry("Invoice", 2))
    page = (await poll).json
    if not page["events"]:
        page = (await client.events(cursor=page["next"])).json
    assert [event["name"] for event in page["events"]] == [[2]]


async def test_a_type_that_is_no_longer_offered_is_not_served(hq: ProducerSite) -> None:
    client = await hq.consumer("store", CONSUMER, "Invoice", "Secret")
    # It was approved when the configuration still offered it.
    await hq.peers.approve("store", ["Secret"], offers=["Secret"])
    await hq.append(entry("Secret", 1))
    assert (await client.events()).json["events"] == []
    assert (await client.documents({"doctype": "Secret", "name": [1]})).json["documents"] == []
    assert (await client.post("names", {"doctype": "Secret"})).json["names"] == []


async def test_no_secret_is_logged(
    hq: ProducerSite, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        client = await hq.consumer("store", CONSUMER, "Invoice")
        secret = client.credential.partition(":")[2]
        await client.events()
        await client.post("events", b"{")
        await client.post("events", {"cursor": secret})
        wrong = hq.client(client.credential + "x")
        await wrong.events()
    printed = capsys.readouterr()
    assert secret not in printed.out + printed.err + caplog.text


async def test_a_type_that_is_approved_again_is_marked_as_resumed(hq: ProducerSite) -> None:
    client = await hq.consumer("store", CONSUMER, "Invoice")
    for _ in range(2):
        await hq.approve("Invoice")
        await hq.peers.reject("store", ["Invoice"])
    await hq.approve("Invoice")
    (invoice,) = (await client.shake_hands("Invoice")).json["subscriptions"]
    assert invoice["resumed"]
