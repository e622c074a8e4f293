"""Producers, sync log, heartbeat and requests, on every engine that can keep the state."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamd.errors import NotFound
from streamd.model import SyncEntry
from streamd.settings import RetentionSettings
from streamd.store import sync_log as sync_log_module
from streamd.store.engine import State, now_ms
from streamd.store.heartbeat import ALIVE_MS, Heartbeat, Requests
from streamd.store.pending_gaps import PendingGaps
from streamd.store.producers import CONNECTED, CONNECTING, Producers, SubscribedType
from streamd.store.sync_log import SyncLog
from tests.contract.state.conftest import ELSEWHERE


@pytest.fixture(autouse=True)
async def _the_neighbour_was_here_first(neighbour: State) -> None:
    """Another site uses the same database: nothing of this may be seen, or touched, by ours."""
    await Producers(neighbour).upsert("theirs", "http://elsewhere")
    await SyncLog(neighbour).add([entry(900)])
    await Requests(neighbour).add("whole", "theirs", "Item")
    await PendingGaps(neighbour).add([("Item", "theirs")])
    await Heartbeat(neighbour).beat(captured=9)


def entry(sequence: int, status: str = "Synced", *, name: str = "[1]", doctype: str = "Item", at: int = 0) -> SyncEntry:
    return SyncEntry("update", status, doctype, "hq", name, name, True, "{}", sequence, at=at)


# Producers


async def test_a_producer_keeps_what_is_known_when_it_is_named_again(state: State) -> None:
    producers = Producers(state)
    await producers.upsert("hq", "http://old")
    await producers.set_identity("hq", ELSEWHERE, "Headquarters", "1.0")
    await producers.set_status("hq", CONNECTED)
    await producers.progress("hq", sequence=5, head=7, last_contact_at=10, last_event_at=9)
    await producers.progress("hq", sequence=6, head=7, last_contact_at=11)
    await producers.upsert("hq", "http://new")
    found = await producers.get("hq")
    assert (found.url, found.producer_site, found.status) == ("http://new", ELSEWHERE, CONNECTED)
    assert (found.sequence, found.head, found.last_contact_at, found.last_event_at) == (6, 7, 11, 9)


async def test_sites_that_share_a_state_database_do_not_see_each_other(state: State) -> None:
    assert await Producers(state).all() == []
    assert await SyncLog(state).list() == []
    assert await Requests(state).pending() == []
    assert await Heartbeat(state).current() is None
    assert await PendingGaps(state).pending() == {}


async def test_pausing_needs_a_producer_that_is_there(state: State) -> None:
    producers = Producers(state)
    with pytest.raises(NotFound):
        await producers.set_paused("hq", True)
    await producers.upsert("hq", "http://hq")
    assert (await producers.get("hq")).status == CONNECTING
    await producers.set_paused("hq", True)
    assert (await producers.get("hq")).paused


async def test_subscriptions_are_replaced_as_a_whole(state: State) -> None:
    producers = Producers(state)
    await producers.set_subscriptions(
        "hq", [SubscribedType("Item", "Pending", ("Group",)), SubscribedType("Note", "Approved")]
    )
    await producers.set_subscriptions("hq", [SubscribedType("Item", "Approved", ("Unit", "Group"), 5)])
    found = await producers.subscriptions("hq")
    assert [(row.doctype, row.status, row.opens) for row in found] == [("Item", "Approved", ("Group", "Unit"))]


async def test_a_forgotten_producer_is_gone_with_its_subscriptions(state: State) -> None:
    producers = Producers(state)
    for name in ("hq", "old"):
        await producers.upsert(name, f"http://{name}")
        await producers.set_subscriptions(name, [SubscribedType("Item", "Pending")])
    await producers.forget({"old"})
    assert [each.name for each in await producers.all()] == ["hq"]
    assert await producers.subscriptions("old") == []


# Sync log


async def test_a_batch_reads_as_applying_until_the_checkpoint_confirms_it(state: State) -> None:
    log = SyncLog(state)
    await log.begin("b1", ELSEWHERE, "log", 2, [entry(1), entry(2, "Failed")])
    assert [each.status for each in await log.list()] == ["Applying", "Applying"]
    assert await log.list(status="Failed") == []
    assert len(await log.list(status="Applying")) == 2
    assert await log.unconfirmed() == [("b1", ELSEWHERE, "log", 2)]
    await log.confirm("b1")
    assert [each.status for each in await log.list()] == ["Failed", "Synced"]
    assert await log.unconfirmed() == []
    assert await log.counts() == {"Synced": 1, "Failed": 1}


async def test_an_abandoned_batch_leaves_nothing(state: State) -> None:
    log = SyncLog(state)
    await log.add([entry(1)])
    await log.begin("b1", ELSEWHERE, "log", 2, [entry(2)])
    await log.abandon("b1")
    assert [each.sequence for each in await log.list()] == [1]
    assert await log.unconfirmed() == []


async def test_a_batch_without_entries_is_confirmed_like_any_other(state: State) -> None:
    log = SyncLog(state)
    await log.begin("b1", ELSEWHERE, "log", 2, [])
    assert len(await log.unconfirmed()) == 1


async def test_entries_are_found_by_type_name_and_status_newest_first(state: State) -> None:
    log = SyncLog(state)
    await log.add([entry(1), entry(2, name="[2]"), entry(3, doctype="Note"), entry(4, "Failed"), entry(5)])
    assert [each.sequence for each in await log.list(doctype="Item", name="[1]")] == [5, 4, 1]
    assert [each.sequence for each in await log.list(status="Failed")] == [4]
    assert [each.sequence for each in await log.list(limit=2)] == [5, 4]
    newest = (await log.list(limit=1))[0]
    assert await log.get(newest.id) == newest
    with pytest.raises(NotFound):
        await log.get(newest.id + 100)


async def test_discarding_changes_what_stands_as_failed_and_says_it_where_nothing_stands(state: State) -> None:
    log = SyncLog(state)
    await log.add([entry(1), entry(2, "Failed"), entry(3, "Held")])
    discarded = [entry(number, "Discarded") for number in (2, 3, 4)]
    await log.discard(discarded)
    await log.resolve_all_but(set())
    found = {each.sequence: each.status for each in await log.list()}
    assert found == {1: "Synced", 2: "Discarded", 3: "Discarded", 4: "Discarded"}


async def test_an_event_is_known_by_the_name_at_its_producer_whatever_its_document_is_called_here(state: State) -> None:
    log = SyncLog(state)
    failed = [replace(entry(number, "Failed"), docname=f'["here {number}"]') for number in (1, 2, 3)]
    await log.add(failed)
    await log.resolve_all_but({(ELSEWHERE, "Item", "[1]", number) for number in (1, 2, 3)})
    assert {each.status for each in await log.list()} == {"Failed"}
    await log.resolve("hq", "Item", [(1, (1,))], "later", docname='["now so"]')
    await log.discard([entry(2, "Discarded")])
    await log.resolve_all_but({(ELSEWHERE, "Item", "[1]", 3)})
    found = {each.sequence: (each.status, each.docname) for each in await log.list()}
    assert found == {1: ("Synced", '["now so"]'), 2: ("Discarded", '["here 2"]'), 3: ("Failed", '["here 3"]')}


async def test_an_event_is_not_taken_for_that_of_another_producer(state: State) -> None:
    producers, log = Producers(state), SyncLog(state)
    for name in ("hq", "till", "shop"):
        await producers.upsert(name, f"http://{name}")
        await producers.set_identity(name, f"uuid of {name}", name, "1.0")
        await log.add([replace(entry(1, "Failed"), producer=name)])
    await log.resolve("hq", "Item", [(1, (1,))], "later")
    await log.discard([replace(entry(1, "Discarded"), producer="till")])
    assert {each.producer: each.status for each in await log.list()} == {
        "hq": "Synced",
        "till": "Discarded",
        "shop": "Failed",
    }
    await log.resolve_all_but({("uuid of hq", "Item", "[1]", 1)})
    assert {each.producer for each in await log.list(status="Synced")} == {"hq", "shop"}


async def test_an_event_that_waits_stays_failed_when_its_producer_is_called_otherwise_since(state: State) -> None:
    producers, log = Producers(state), SyncLog(state)
    await log.add([replace(entry(number, "Failed"), producer="old name") for number in (1, 2, 3)])
    await producers.upsert("hq", "http://hq")
    await producers.set_identity("hq", ELSEWHERE, "hq", "1.0")
    await log.resolve_all_but({(ELSEWHERE, "Item", "[1]", number) for number in (1, 2, 3)})
    assert {each.status for each in await log.list()} == {"Failed"}
    await log.resolve("hq", "Item", [(1, (1,))], "later")
    await log.discard([entry(2, "Discarded")])
    assert {each.sequence: each.status for each in await log.list()} == {1: "Synced", 2: "Discarded", 3: "Failed"}


async def test_trimming_is_bounded_and_leaves_unconfirmed_batches(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_log_module, "TRIM_AT_ONCE", 2)
    log = SyncLog(state)
    old = now_ms() - 100_000
    await log.add([entry(number, at=old) for number in (1, 2, 3)])
    await log.begin("b1", ELSEWHERE, "log", 4, [entry(4, at=old)])
    await log.add([entry(5)])
    retention = RetentionSettings(sync_log_seconds=60)
    assert [await log.trim(retention) for _ in range(3)] == [2, 1, 0]
    assert [each.sequence for each in await log.list()] == [5, 4]


async def test_a_long_name_is_found_like_any_other(state: State) -> None:
    log = SyncLog(state)
    long = [f'["{"x" * 4000}{end}"]' for end in "ab"]
    await log.add([entry(1, "Failed", name=long[0]), entry(2, "Failed", name=long[1])])
    await log.resolve("hq", "Item", [(1, ("x" * 4000 + "a",)), (2, ("x" * 4000 + "a",))], "later")
    assert [(each.sequence, each.status) for each in await log.list(name=long[0])] == [(1, "Synced")]
    assert [(each.sequence, each.status) for each in await log.list(name=long[1])] == [(2, "Failed")]


async def test_what_others_say_is_kept_whatever_it_is(state: State) -> None:
    said = "NUL \0, 🎸, \x1b[31m, " + "long " * 10_000
    producers, log = Producers(state), SyncLog(state)
    await producers.upsert("hq", "http://hq")
    await producers.set_identity("hq", said, said, said)
    await producers.set_status("hq", CONNECTED, said)
    await log.begin("b1", said, said, 1, [SyncEntry("update", "Failed", "Item", "hq", said, said, True, "", 1, said)])
    kept = (await producers.get("hq")).producer_name
    assert kept is not None
    assert kept.replace("\ufffd", "\0") == said
    assert (await log.list())[0].error == kept


# Heartbeat and requests


async def test_a_daemon_is_alive_while_it_beats_and_until_it_stops(state: State) -> None:
    heartbeat = Heartbeat(state)
    await heartbeat.beat(captured=1)
    await heartbeat.beat(captured=2, problem="busy")
    beat = await heartbeat.current()
    assert beat is not None
    assert (beat.captured, beat.problem) == (2, "busy")
    assert beat.alive(beat.beat_at + 1)
    assert not beat.alive(beat.beat_at + ALIVE_MS)
    await heartbeat.stopped()
    stopped = await heartbeat.current()
    assert stopped is not None
    assert not stopped.alive(beat.beat_at + 1)


async def test_a_request_waits_once_until_it_is_finished(state: State) -> None:
    requests = Requests(state)
    first = await requests.add("whole", "hq", "Item")
    assert await requests.add("whole", "hq", "Item") == first
    assert await requests.add_all("whole", [("hq", "Item")]) == [first]
    second = await requests.add("whole", "hq", "Note")
    assert [each.id for each in await requests.pending()] == [first, second]
    await requests.finish(first, "done")
    assert [each.doctype for each in await requests.pending()] == ["Note"]
    assert await requests.add("whole", "hq", "Item") not in (first, second)


async def test_a_gap_that_is_owed_is_known_once_until_it_is_settled(state: State, neighbour: State) -> None:
    owed = PendingGaps(state)
    await owed.add([("Item", "first"), ("Note", "first")])
    await owed.add([("Item", "second")])
    assert await owed.pending() == {"Item": "first", "Note": "first"}
    await owed.settle({"Item"})
    assert await owed.pending() == {"Note": "first"}
    assert await PendingGaps(neighbour).pending() == {"Item": "theirs"}
