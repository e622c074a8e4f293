"""Pages of the log: complete, in order, from the right position, and without delay."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from streamd.errors import StreamdError
from streamd.model import Cursor
from streamd.retention import trim_update_log
from streamd.settings import RetentionSettings
from streamd.store.peers import Consumer
from streamd.wire import Page, read_cursor, write_cursor
from tests.support.sites.serving import CONSUMER, OTHER, Client, ProducerSite, entry, until


async def approved(hq: ProducerSite, *doctypes: str) -> Client:
    client = await hq.consumer("store", CONSUMER, *(doctypes or ("Invoice",)))
    await hq.approve(*(doctypes or ("Invoice",)))
    await client.events()
    return client


async def trim(hq: ProducerSite) -> None:
    """Trim everything that all consumers have acknowledged."""
    later = RetentionSettings(keep_acknowledged_seconds=0, max_age_seconds=60)
    await trim_update_log(hq.state, later)


def cursor_of(answer: Any) -> Cursor:
    return read_cursor(answer.json["next"])


async def test_pages_have_no_gaps_and_no_overlap(hq: ProducerSite) -> None:
    client = await approved(hq, "Invoice")
    await hq.append(*(entry("Invoice" if number % 3 else "Track", number, tx=number) for number in range(1, 61)))
    names, cursor = [], None
    while True:
        page = (await client.events(limit=7, **({"cursor": cursor} if cursor else {}))).json
        msgspec.json.decode(msgspec.json.encode(page), type=Page)
        assert len(page["events"]) <= 7
        if not page["events"]:
            break
        names += [event["name"][0] for event in page["events"]]
        cursor = page["next"]
    assert names == [number for number in range(1, 61) if number % 3]


async def test_the_sites_settings_limit_a_page_too(start: Any) -> None:
    hq = await start(max_page_events=5, max_page_bytes=4096)
    client = await approved(hq)
    await hq.append(*(entry("Invoice", number, tx=number) for number in range(1, 9)))
    assert len((await client.events(limit=20_000)).json["events"]) == 5
    long = '{"text":"' + "x" * 1500 + '"}'
    await hq.append(*(entry("Invoice", number, tx=number, data=long) for number in range(9, 17)))
    page = (await client.events()).json
    page = (await client.events(cursor=page["next"])).json
    assert 1 <= len(page["events"]) <= 5
    assert len(str(page)) < 8192


async def test_an_event_arrives_as_it_was_logged(hq: ProducerSite) -> None:
    client = await approved(hq)
    with hq.write() as connection:
        connection.execute("INSERT INTO Invoice VALUES (7, 1, '1.10')")
        connection.execute("INSERT INTO Line VALUES (7, 7, 2)")
    await hq.capture.drain()
    (event,) = (await client.events()).json["events"]
    assert (event["doctype"], event["name"], event["operation"]) == ("Invoice", [7], "create")
    assert event["data"] == {
        "id": 7,
        "customer": 1,
        "total": "1.10",
        "lines": [{"id": 7, "invoice": 7, "track": 2}],
    }
    assert "origin" not in event


async def test_a_relayed_event_keeps_its_origin_and_is_not_served_to_sites_on_its_path(hq: ProducerSite) -> None:
    client = await approved(hq)
    other = await hq.consumer("other", OTHER, "Invoice")
    await hq.approve("Invoice", name="other")
    relayed = entry("Invoice", 1, path=f"{CONSUMER} {hq.site}")
    relayed.origin = f'{{"site":"{CONSUMER}","log":"{OTHER}","sequence":4,"path":["{CONSUMER}"]}}'
    await hq.append(relayed, entry("Invoice", 2, path=hq.site))
    assert [event["name"] for event in (await client.events()).json["events"]] == [[2]]
    first, second = (await other.events()).json["events"]
    assert first["origin"] == {"site": CONSUMER, "log": OTHER, "sequence": 4, "path": [CONSUMER]}
    assert "origin" not in second


async def test_an_append_ends_a_waiting_poll(hq: ProducerSite) -> None:
    client = await approved(hq)
    cursor = (await client.events()).json["next"]
    for number in range(5):
        poll = asyncio.create_task(client.events(cursor=cursor, wait_seconds=25))
        await until(lambda: hq.log.waiting == 1, "the poll waits")
        await hq.append(entry("Invoice", number))
        async with asyncio.timeout(24):
            page = (await poll).json
        assert [event["name"] for event in page["events"]] == [[number]]
        cursor = page["next"]


async def test_an_append_between_two_polls_is_not_missed(hq: ProducerSite) -> None:
    client = await approved(hq)
    cursor = (await client.events()).json["next"]
    names: list[int] = []

    async def consume() -> None:
        nonlocal cursor
        while len(names) < 200:
            page = (await client.events(cursor=cursor, wait_seconds=20)).json
            names.extend(event["name"][0] for event in page["events"])
            cursor = page["next"]

    async with asyncio.timeout(15):
        consumer = asyncio.create_task(consume())
        for number in range(200):
            await hq.append(entry("Invoice", number))
        await consumer
    assert names == list(range(200))


async def test_a_poll_without_events_ends_empty_after_its_time(start: Any) -> None:
    hq = await start(max_wait_seconds=0.3)
    client = await approved(hq)
    async with asyncio.timeout(99):
        page = (await client.events(wait_seconds=100)).json
    assert page["events"] == []


async def test_an_idle_poll_sends_few_queries(hq: ProducerSite) -> None:
    client = await approved(hq)
    queries = 0

    def count(*_: Any) -> None:
        nonlocal queries
        queries += 1

    from sqlalchemy import event

    poll = asyncio.create_task(client.events(wait_seconds=2.5))
    await until(lambda: hq.log.waiting == 1, "the poll waits")
    event.listen(hq.state.engine.sync_engine, "before_cursor_execute", count)
    await poll
    assert queries <= 20


async def test_stopping_ends_open_polls_at_once(hq: ProducerSite) -> None:
    client = await approved(hq)
    polls = [asyncio.create_task(client.events(wait_seconds=25)) for _ in range(3)]
    await until(lambda: hq.log.waiting == 3, "the polls wait")
    async with asyncio.timeout(24):
        await hq.server.stop()
    assert [(await poll).json["events"] for poll in polls] == [[], [], []]
    assert hq.log.waiting == 0


async def test_a_consumer_with_an_outdated_status_is_answered_at_once(hq: ProducerSite) -> None:
    """The answer with the decision may have been lost, and the producer cannot tell."""
    client = await hq.consumer("store", CONSUMER, "Invoice")
    await client.events()
    abandoned = asyncio.create_task(client.events(wait_seconds=25))
    await until(lambda: hq.log.waiting == 1, "the poll waits")
    abandoned.cancel()
    await hq.approve("Invoice")
    await hq.log.wake()
    await until(lambda: hq.log.waiting == 0, "the abandoned poll ends")
    asked = asyncio.create_task(client.events(wait_seconds=25, subscriptions={"Invoice": "Pending"}))
    await until(asked.done, "it is answered")
    assert (await asked).json["subscriptions"] == {"Invoice": "Approved"}
    informed = asyncio.create_task(client.events(wait_seconds=25, subscriptions={"Invoice": "Approved"}))
    await until(lambda: hq.log.waiting == 1, "a consumer with current statuses waits")
    informed.cancel()


async def test_polls_end_when_their_client_disconnects(hq: ProducerSite) -> None:
    client = await approved(hq)
    polls = [asyncio.create_task(client.events(wait_seconds=25)) for _ in range(3)]
    await until(lambda: hq.log.waiting == 3, "the polls wait")
    for poll in polls:
        poll.cancel()
    await until(lambda: hq.log.waiting == 0, "the server notices")


async def test_a_client_that_disconnects_during_its_request_is_not_an_error(
    hq: ProducerSite, caplog: pytest.LogCaptureFixture
) -> None:
    client = await approved(hq)
    url = urlsplit(hq.server.url)
    head = f"POST /v1/handshake HTTP/1.1\r\nHost: hq\r\nAuthorization: Bearer {client.credential}\r\n"
    for _ in range(3):
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(
            f"{head}Content-Type: application/json\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert b"100" in await reader.readline()
        writer.transport.abort()
    assert (await client.events()).status == 200
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_the_open_polls_of_one_consumer_are_limited(hq: ProducerSite) -> None:
    client = await approved(hq)
    polls = [asyncio.create_task(client.events(wait_seconds=25)) for _ in range(20)]
    done, waiting = await asyncio.wait(polls, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    await until(lambda: sum(poll.done() for poll in polls) == 12, "the others are answered at once")
    assert all(poll.result().status == 200 for poll in polls if poll.done())
    assert done
    await hq.append(entry("Invoice", 1))
    await asyncio.gather(*waiting)


async def test_the_log_is_read_from_the_start_of_each_approval(hq: ProducerSite) -> None:
    client = await hq.consumer("store", CONSUMER, "Invoice", "Track")
    await hq.append(entry("Invoice", 1))
    await hq.approve("Invoice")
    await hq.append(entry("Invoice", 2), entry("Track", 2))
    await hq.approve("Track")
    await hq.append(entry("Track", 3))
    events = (await client.events()).json["events"]
    assert [(event["doctype"], event["name"]) for event in events] == [("Invoice", [2]), ("Track", [3])]


@pytest.mark.parametrize(
    "forge",
    [
        lambda cursor: Cursor(OTHER, cursor.sequence, cursor.nonce),
        lambda cursor: Cursor(cursor.log, cursor.sequence + 1, cursor.nonce),
        lambda cursor: Cursor(cursor.log, 10**17, cursor.nonce),
        lambda cursor: Cursor(cursor.log, cursor.sequence, "0" * 12),
        lambda cursor: Cursor(cursor.log, cursor.sequence - 1, cursor.nonce),
        lambda cursor: Cursor(cursor.log, cursor.sequence, ""),
    ],
    ids=["of another log", "ahead", "far ahead", "wrong nonce", "of another entry", "no nonce"],
)
async def test_an_invalid_cursor_requires_a_resync(hq: ProducerSite, forge: Any) -> None:
    client = await approved(hq)
    await hq.append(entry("Invoice", 1), entry("Invoice", 2))
    good = (await client.events()).json["next"]
    forged = write_cursor(forge(read_cursor(good)))
    for asked in ({"cursor": forged}, {"cursor": good, "acknowledged": forged}):
        if "acknowledged" in asked and read_cursor(forged).sequence < read_cursor(good).sequence:
            continue
        answer = await client.events(**asked)
        assert (answer.status, answer.code) == (410, "resync_required")
        assert "resync" in answer.json["error"]["hint"]
    assert (await client.events(cursor=good)).status == 200


async def test_a_cursor_before_the_trim_point_requires_a_resync(hq: ProducerSite) -> None:
    client = await approved(hq)
    start = (await client.events()).json["next"]
    await hq.append(*(entry("Invoice", number) for number in range(1, 4)))
    page = await client.events()
    await client.events(cursor=page.json["next"], acknowledged=page.json["next"])
    await trim(hq)
    assert (await client.events(cursor=page.json["next"])).status == 200
    for late in ({"cursor": start}, {}):
        answer = await client.events(**late)
        assert (answer.status, answer.code) == (410, "resync_required")


async def test_a_new_log_invalidates_the_cursors_of_the_old_one(hq: ProducerSite) -> None:
    client = await approved(hq)
    await hq.append(entry("Invoice", 1))
    cursor = (await client.events()).json["next"]
    poll = asyncio.create_task(client.events(cursor=cursor, wait_seconds=20))
    await until(lambda: hq.log.waiting == 1, "the poll waits")
    await hq.log.begin()
    answer = await poll
    assert (answer.status, answer.code) == (410, "resync_required")


async def test_an_acknowledgement_is_stored_for_its_consumer(hq: ProducerSite) -> None:
    client = await approved(hq)
    await hq.append(entry("Invoice", 1), entry("Invoice", 2))
    page = await client.events(limit=1)
    assert await acknowledged(hq) == 0
    await client.events(cursor=page.json["next"], acknowledged=page.json["next"])
    assert await acknowledged(hq) == cursor_of(page).sequence == 1


async def acknowledged(hq: ProducerSite) -> int:
    consumers: list[Consumer] = await hq.peers.consumers()
    return consumers[0].acknowledged


async def test_a_missing_log_does_not_require_a_resync(hq: ProducerSite) -> None:
    client = await approved(hq)
    async with hq.state.write() as connection:
        await connection.exec_driver_sql("DELETE FROM log_head")
    answer = await client.events()
    assert (answer.status, answer.code) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0


async def test_a_port_in_use_is_reported_in_plain_words(hq: ProducerSite, start: Any, tmp_path: Any) -> None:
    from streamd.serve import Server
    from streamd.settings import ServerSettings

    second = Server(replace(hq.server._services, settings=ServerSettings(port=hq.server.port)))
    with pytest.raises(StreamdError, match=f"cannot listen on 127.0.0.1:{hq.server.port}"):
        await second.start()
