"""The Event Update Log and its retention, on every engine that can keep the state."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from streamd import retention as retention_module
from streamd.errors import ResyncRequired, StateError
from streamd.model import Cursor, LogEntry
from streamd.retention import trim_update_log
from streamd.settings import RetentionSettings
from streamd.store.engine import State, now_ms
from streamd.store.log_rows import rows_as_of
from streamd.store.peers import Peers
from streamd.update_log import Head, UpdateLog
from tests.contract.state.test_peers import OFFERS, hello
from tests.support.sites.serving import CONSUMER, entry

EVERYTHING = {"limit": 1000, "max_bytes": 1 << 30, "not_through": CONSUMER}


async def begun(log: UpdateLog, *entries: LogEntry) -> Head:
    """A log with these entries, as its first batch."""
    head = await log.begin()
    return await log.append(1, "digest", entries, log=head.log)


def numbers(entries: list[LogEntry]) -> list[str]:
    return [each.name for each in entries]


async def test_entries_are_numbered_on_and_read_as_they_were_written(state: State) -> None:
    log = UpdateLog(state)
    assert await log.head() is None
    whole = LogEntry(0, "", 7, False, "Item", '["ß🎸"]', "update", "c", 5, '{"n":1e400}', "{}", "{}", "[0]", "{}", "p")
    head = await begun(log, entry("Item", 1), whole)
    read, end, there = await log.read(Cursor(head.log, 0, ""), {"Item": 0}, **EVERYTHING)
    assert [each.sequence for each in read] == [1, 2]
    assert replace(read[1], sequence=0, nonce="", last_in_tx=False) == whole
    assert end == there.cursor == head.cursor
    assert await log.head() == head


async def test_only_what_is_approved_and_has_not_been_there_is_read(state: State) -> None:
    log = UpdateLog(state)
    head = await begun(
        log, entry("Item", 1), entry("Note", 2), entry("Item", 3, path=f"x {CONSUMER} y"), entry("Item", 4, tx=2)
    )
    start = Cursor(head.log, 0, "")
    assert numbers((await log.read(start, {"Item": 0}, **EVERYTHING))[0]) == ["[1]", "[4]"]
    assert numbers((await log.read(start, {"Item": 1, "Note": 0}, **EVERYTHING))[0]) == ["[2]", "[4]"]
    assert (await log.read(start, {}, **EVERYTHING))[0] == []


async def test_pages_end_with_whole_transactions_where_the_limit_allows(state: State) -> None:
    log = UpdateLog(state)
    head = await begun(log, *(entry("Item", number, tx=number // 3) for number in range(9)))
    place, pages = Cursor(head.log, 0, ""), []
    while True:
        page, place, _ = await log.read(place, {"Item": 0}, **{**EVERYTHING, "limit": 4})
        if not page:
            break
        pages.append(numbers(page))
    assert pages == [[f"[{first + each}]" for each in range(3)] for first in (0, 3, 6)]


async def test_a_batch_that_is_not_the_next_one_is_refused(state: State) -> None:
    log = UpdateLog(state)
    head = await begun(log, entry("Item", 1))
    for batch, of in ((1, head.log), (3, head.log), (2, "another")):
        with pytest.raises(StateError, match="written by another daemon"):
            await log.append(batch, "", [entry("Item", 2)], log=of)
    assert await log.head() == head
    assert len(await log.entries()) == 1


async def test_of_two_daemons_that_append_the_same_batch_one_is_refused(state: State, other: State) -> None:
    head = await begun(UpdateLog(state))
    for batch in range(2, 8):
        answers = await asyncio.gather(
            *(UpdateLog(each).append(batch, "", [entry("Item", batch)], log=head.log) for each in (state, other)),
            return_exceptions=True,
        )
        assert sorted(type(answer).__name__ for answer in answers) == ["Head", "StateError"]
    entries = await UpdateLog(state).entries()
    assert [(each.sequence, each.name) for each in entries] == [(7 - n, f"[{8 - n}]") for n in range(1, 7)]


async def test_a_gap_and_a_batch_at_the_same_moment_get_numbers_of_their_own(state: State, other: State) -> None:
    head = await begun(UpdateLog(state))

    async def batches() -> None:
        for batch in range(2, 12):
            await UpdateLog(state).append(batch, "", [entry("Item", batch)] * 3, log=head.log)

    async def gaps() -> None:
        for _ in range(10):
            await UpdateLog(other).add_gap(["Item", "Note"], "triggers were missing", clock="")

    await asyncio.gather(batches(), gaps())
    entries = await UpdateLog(state).entries(limit=1000)
    assert [each.sequence for each in entries] == list(range(50, 0, -1))
    assert len(await UpdateLog(state).entries(operation="gap", doctype="Note")) == 10
    last = await UpdateLog(state).head()
    assert last is not None
    assert (last.sequence, last.nonce, last.batch) == (50, entries[0].nonce, 11)


async def test_a_new_log_stops_old_cursors_and_begins_approvals_anew(state: State, neighbour: State) -> None:
    log, peers = UpdateLog(state), Peers(state)
    theirs = await begun(UpdateLog(neighbour), entry("Item", 1))
    old = await begun(log, entry("Invoice", 1), entry("Invoice", 2))
    await peers.register("store", hello("Invoice"), {})
    await peers.approve("store", None, offers=OFFERS)
    new = await log.begin()
    (approved,) = await peers.approvals("store")
    assert (approved.log, approved.from_sequence) == (new.log, 0)
    assert await log.entries() == []
    with pytest.raises(ResyncRequired, match="began a new log"):
        await log.read(old.cursor, {"Invoice": 0}, **EVERYTHING)
    assert (await log.read(new.cursor, {"Invoice": 0}, **EVERYTHING))[0] == []
    assert await UpdateLog(neighbour).head() == theirs
    assert len(await UpdateLog(neighbour).entries()) == 1


async def test_a_cursor_of_another_history_is_refused(state: State) -> None:
    log = UpdateLog(state)
    head = await begun(log, entry("Item", 1), entry("Item", 2))
    await log.check(await log.start(1))
    for sequence, nonce, words in ((1, "other", "another history"), (3, head.nonce, "ahead of the log")):
        with pytest.raises(ResyncRequired, match=words):
            await log.check(Cursor(head.log, sequence, nonce))


async def test_long_names_are_told_apart_and_found(state: State) -> None:
    log = UpdateLog(state)
    long = [replace(entry("Item", 0), name=f'["{"ß🎸" * 8000}{end}"]') for end in "ab"]
    await begun(log, *long, entry("Item", 3))
    assert [each.sequence for each in await log.entries(doctype="Item", name=long[1].name)] == [2]
    assert [each.sequence for each in await log.entries(name="[3]")] == [3]
    assert [each.sequence for each in await log.entries(sequence=1)] == [1]


def row(number: int, at: str) -> str:
    return f'{{"id":{number},"at":"{at}"}}'


def touched(number: int, before: str | None, after: str | None, operation: str = "update") -> LogEntry:
    made = replace(entry("Item", number), operation=operation)
    return replace(made, before=before and row(number, before), after=after and row(number, after))


async def test_the_log_tells_what_a_row_was_from_what_it_was_before_its_next_change(
    state: State, neighbour: State
) -> None:
    log = UpdateLog(state)
    await begun(UpdateLog(neighbour), touched(1, "elsewhere", "elsewhere"))
    only_children = replace(entry("Item", 1), operation="update")
    renamed = replace(touched(3, "before", "after"), renamed_from="[2]", before=row(2, "before"))
    await begun(
        log,
        only_children,
        only_children,
        touched(1, "a", "b"),
        touched(1, "b", None, "delete"),
        touched(1, None, "c", "create"),
        renamed,
        replace(touched(5, "other", "type"), doctype="Note"),
        touched(2, None, "another", "create"),
    )
    items = [("Item", f"[{number}]") for number in range(1, 6)]
    assert await rows_as_of(log.state, 0, items) == {
        ("Item", "[1]"): row(1, "a"),
        ("Item", "[2]"): row(2, "before"),
        ("Item", "[3]"): None,
    }
    assert await rows_as_of(log.state, 3, items[:2]) == {
        ("Item", "[1]"): row(1, "b"),
        ("Item", "[2]"): row(2, "before"),
    }
    assert await rows_as_of(log.state, 4, items[:1]) == {("Item", "[1]"): None}
    assert await rows_as_of(log.state, 6, items[:2]) == {("Item", "[2]"): None}
    assert await rows_as_of(log.state, 8, items) == {}
    many = [("Item", f"[{number}]") for number in range(1000)]
    assert (await rows_as_of(log.state, 0, many)).keys() == {("Item", f"[{number}]") for number in (1, 2, 3)}


async def test_of_types_that_are_judged_everything_is_read_wherever_it_has_been(state: State) -> None:
    log = UpdateLog(state)
    there = f"x {CONSUMER} y"
    head = await begun(log, entry("Item", 1, path=there), entry("Note", 2, path=there), entry("Item", 3))
    start = Cursor(head.log, 0, "")
    both = {"Item": 0, "Note": 0}
    assert numbers((await log.read(start, both, **EVERYTHING, judged={"Item"}))[0]) == ["[1]", "[3]"]
    assert numbers((await log.read(start, both, **EVERYTHING))[0]) == ["[3]"]


async def test_a_waiting_reader_wakes_when_something_is_appended(state: State) -> None:
    log = UpdateLog(state)
    head = await begun(log, entry("Item", 1))
    waiting = asyncio.create_task(log.wait(head.sequence, 30))
    await asyncio.sleep(0)
    await log.append(2, "", [entry("Item", 2)], log=head.log)
    await asyncio.wait_for(waiting, 5)


async def test_trimming_keeps_what_a_consumer_has_not_got(
    state: State, neighbour: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "TRIM_AT_ONCE", 2)
    log, peers = UpdateLog(state), Peers(state)
    await begun(UpdateLog(neighbour), entry("Item", 1))
    empty = await begun(log)
    await peers.register("store", hello("Invoice"), {})
    await peers.approve("store", None, offers=OFFERS)
    made = [replace(entry("Invoice", number), at=now_ms() - 1000) for number in range(1, 6)]
    head = await log.append(2, "", made, log=empty.log)
    at_once = RetentionSettings(keep_acknowledged_seconds=0)
    assert await trim_update_log(state, at_once) == 0
    await peers.acknowledge("store", 3, head.log)
    assert [await trim_update_log(state, at_once) for _ in range(3)] == [2, 1, 0]
    third = await log.start(3)
    assert numbers((await log.read(third, {"Invoice": 0}, **EVERYTHING))[0]) == ["[4]", "[5]"]
    with pytest.raises(ResyncRequired, match="were trimmed"):
        await log.check(Cursor(head.log, 2, ""))
    with pytest.raises(ResyncRequired, match="another history"):
        await log.check(Cursor(head.log, 3, "other"))
    assert len(await UpdateLog(neighbour).entries()) == 1
