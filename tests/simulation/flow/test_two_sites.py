"""What happens between two sites, step by step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from streamd.apply.batch import Unit
from streamd.apply.parked.healer import REST_SECONDS, Route
from streamd.errors import SchemaChanged
from streamd.model import Cursor, Event
from streamd.status import read_status
from streamd.store.producers import Producers, SubscribedType
from tests.simulation.sites import DOCTYPES, Site, event
from tests.support.matrix import ALIKE, EACH_PAIR, Engines


@pytest.fixture
async def hq(tmp_path: Path, engines: Engines) -> AsyncIterator[Site]:
    site = Site(tmp_path, "hq", engine=engines[0])
    await site.open()
    yield site
    await site.close()


@pytest.fixture
async def store(tmp_path: Path, engines: Engines) -> AsyncIterator[Site]:
    site = Site(tmp_path, "store", engine=engines[1])
    await site.open()
    yield site
    await site.close()


CUSTOMER = "INSERT INTO Customer VALUES (1, 'Ada', 'Turin', NULL)"
ITEM = "INSERT INTO Item VALUES ('tea', 'Tea', 2.5, 10)"
INVOICE = "INSERT INTO Invoice VALUES (1, 1, 'first')"
LINE = "INSERT INTO Line VALUES (1, 1, 'tea', 2)"


@EACH_PAIR
async def test_a_document_arrives_whole_and_the_sites_are_equal(hq: Site, store: Site) -> None:
    store.write(CUSTOMER, ITEM, INVOICE, LINE)
    await hq.pull_all(store)
    assert hq.everything() == store.everything()
    assert await hq.queue() == []


@EACH_PAIR
async def test_an_applied_change_is_never_sent_back(hq: Site, store: Site) -> None:
    store.write(CUSTOMER, ITEM, INVOICE, LINE)
    assert await hq.pull_all(store) == 3
    assert await store.pull_all(hq) == 0
    hq.write("UPDATE Item SET Price = 3 WHERE Code = 'tea'")
    assert await store.pull_all(hq) == 1
    assert await hq.pull_all(store) == 0
    assert hq.everything() == store.everything()


async def test_what_a_document_links_to_is_fetched_and_put_first(hq: Site, store: Site) -> None:
    store.write(
        "INSERT INTO Customer VALUES (9, 'Boss', NULL, NULL)", "INSERT INTO Customer VALUES (1, 'Ada', NULL, 9)", ITEM
    )
    await hq.pass_over(store)
    store.write(INVOICE, LINE)
    await hq.pull_all(store)
    assert hq.everything() == store.everything()
    notes = [(entry.doctype, entry.note) for entry in await hq.sync_log.list()]
    assert ("Customer", "needed by Invoice 1") in notes


@EACH_PAIR
async def test_lines_are_changed_added_removed_and_moved(hq: Site, store: Site) -> None:
    store.write(
        CUSTOMER,
        ITEM,
        INVOICE,
        LINE,
        "INSERT INTO Line VALUES (2, 1, 'tea', 5)",
        "INSERT INTO Invoice VALUES (2, 1, NULL)",
    )
    await hq.pull_all(store)
    store.write("UPDATE Line SET Quantity = 7 WHERE Id = 1", "INSERT INTO Line VALUES (3, 1, 'tea', 1)")
    await hq.pull_all(store)
    assert hq.everything() == store.everything()
    store.write("UPDATE Line SET Invoice = 2 WHERE Id = 2", "DELETE FROM Line WHERE Id = 3")
    await hq.pull_all(store)
    assert hq.everything() == store.everything()


async def test_a_deleted_document_goes_with_its_lines(hq: Site, store: Site) -> None:
    store.write(CUSTOMER, ITEM, INVOICE, LINE)
    await hq.pull_all(store)
    store.write("DELETE FROM Line", "DELETE FROM Invoice")
    await hq.pull_all(store)
    assert hq.everything() == store.everything()


async def test_an_update_and_a_deletion_between_two_pulls_leave_no_ghost(hq: Site, store: Site) -> None:
    store.write(CUSTOMER, ITEM, INVOICE, LINE)
    await hq.pull_all(store)
    store.write("UPDATE Invoice SET Note = 'about to go' WHERE Id = 1", "UPDATE Line SET Quantity = 9")
    store.write("DELETE FROM Line", "DELETE FROM Invoice")
    store.write("UPDATE Customer SET City = 'Milan' WHERE Id = 1")
    await hq.pull_all(store)
    assert hq.rows("SELECT Id FROM Invoice") == hq.rows("SELECT Id FROM Line") == []
    assert hq.everything() == store.everything()
    assert {entry.status for entry in await hq.sync_log.list()} == {"Synced"}


async def test_two_pulls_at_once_are_one_and_nothing_is_called_failed(hq: Site, store: Site) -> None:
    store.write(CUSTOMER, ITEM)
    for number in range(60):
        store.write(f"INSERT INTO Invoice VALUES ({number}, 1, NULL)")
    await asyncio.gather(hq.pull_all(store), hq.pull_all(store))
    assert hq.everything() == store.everything()
    entries = await hq.sync_log.list(limit=1000)
    assert {entry.status for entry in entries} == {"Synced"}
    assert len(entries) == 62


@EACH_PAIR
async def test_a_rename_is_followed_with_its_lines_and_links(hq: Site, store: Site) -> None:
    store.write(CUSTOMER, ITEM, INVOICE, LINE)
    await hq.pull_all(store)
    hq.write("INSERT INTO Invoice VALUES (77, 1, 'of hq alone')")
    store.write(
        "UPDATE Invoice SET Id = 1000 WHERE Id = 1",
        "UPDATE Line SET Invoice = 1000 WHERE Invoice = 1",
        "UPDATE Customer SET Id = 50 WHERE Id = 1",
        "UPDATE Invoice SET Customer = 50",
    )
    await hq.pull_all(store)
    assert await hq.queue() == []
    await store.pull_all(hq)
    assert hq.everything() == store.everything()
    assert store.rows("SELECT Customer FROM Invoice ORDER BY Id") == [(50,), (50,)]


def later() -> None:
    """Return in a later millisecond: of edits in the same one, either may be the newer."""
    began = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 <= began:
        pass


@EACH_PAIR
async def test_edits_of_one_field_at_two_sites_end_equal_and_others_merge(hq: Site, store: Site) -> None:
    store.write(ITEM)
    await hq.pull_all(store)
    store.write("UPDATE Item SET Price = 3, Stock = 1 WHERE Code = 'tea'")
    later()
    hq.write("UPDATE Item SET Price = 4, Label = 'Green tea' WHERE Code = 'tea'")
    await store.capture.drain()
    await hq.capture.drain()
    await hq.pull_all(store)
    await store.pull_all(hq)
    await hq.pull_all(store)
    assert hq.everything() == store.everything()
    assert store.rows("SELECT * FROM Item") == [("tea", "Green tea", 4, 1)]
    notes = [entry.note for site in (hq, store) for entry in await site.sync_log.list()]
    assert any("3" in note and "4" in note for note in notes)


@EACH_PAIR
async def test_two_documents_with_one_name_are_parked_and_nothing_is_overwritten(hq: Site, store: Site) -> None:
    store.write(CUSTOMER, ITEM, INVOICE)
    hq.write("INSERT INTO Customer VALUES (5, 'Eve', NULL, NULL)", "INSERT INTO Invoice VALUES (1, 5, 'of hq')")
    await hq.capture.drain()
    await hq.pull_all(store)
    assert hq.rows("SELECT Note FROM Invoice") == [("of hq",)]
    ((state, error),) = await hq.queue()
    assert state == "parked"
    assert "of hq" in error
    assert "first" in error
    store.write("UPDATE Invoice SET Note = 'still the store''s'")
    await hq.pull_all(store)
    assert [state for state, _ in await hq.queue()] == ["parked", "held"]
    hq.write("DELETE FROM Invoice WHERE Id = 1")
    await hq.capture.drain()
    await hq.heal(store)
    assert await hq.queue() == []
    assert hq.rows("SELECT Note FROM Invoice") == [("still the store's",)]


@EACH_PAIR
async def test_a_poison_document_is_parked_the_rest_goes_on_and_its_source_mends_it(hq: Site, store: Site) -> None:
    hq.write("INSERT INTO Item VALUES ('x', 'Tea', 1, 1)")
    await hq.capture.drain()
    store.write(ITEM)
    store.write(CUSTOMER)
    store.write("UPDATE Item SET Stock = 11")
    await hq.pull_all(store)
    states = [state for state, _ in await hq.queue()]
    assert states[0] == "parked"
    assert hq.rows("SELECT count(*) FROM Customer") == [(1,)]
    store.write("UPDATE Item SET Label = 'Black tea'")
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.rows("SELECT * FROM Item WHERE Code = 'tea'") == store.rows("SELECT * FROM Item WHERE Code = 'tea'")


async def test_an_update_of_a_document_that_was_never_here_fetches_it_whole(hq: Site, store: Site) -> None:
    store.write(CUSTOMER)
    await hq.pass_over(store)
    store.write("UPDATE Customer SET City = 'Rome'")
    await hq.pull_all(store)
    assert hq.everything() == store.everything()


async def test_a_deletion_wins_over_an_edit(hq: Site, store: Site) -> None:
    store.write(ITEM)
    await hq.pull_all(store)
    store.write("DELETE FROM Item")
    hq.write("UPDATE Item SET Price = 9")
    await hq.capture.drain()
    await hq.pull_all(store)
    await store.pull_all(hq)
    await hq.pull_all(store)
    assert hq.everything() == store.everything()
    assert store.rows("SELECT * FROM Item") == []


async def test_hub_and_spoke_relay_without_an_echo(hq: Site, store: Site, tmp_path: Path) -> None:
    other = Site(tmp_path, "other")
    await other.open()
    store.write(CUSTOMER, ITEM, INVOICE, LINE)
    await hq.pull_all(store)
    assert await other.pull_all(hq) == 3
    assert other.everything() == store.everything()
    other.write("UPDATE Item SET Price = 8")
    assert await hq.pull_all(other) == 1
    assert await store.pull_all(hq) == 1
    assert await other.pull_all(hq) == 0
    assert other.everything() == store.everything() == hq.everything()
    await other.close()


async def test_what_a_producer_sends_in_a_wrong_shape_is_parked_and_the_rest_goes_on(hq: Site, store: Site) -> None:
    store.write(ITEM)
    await store.capture.drain()
    head = await store.update_log.head()
    assert head is not None
    good = event((await store.update_log.entries())[0])
    clock, at = good.clock, good.at

    def sent(sequence: int, doctype: str, name: tuple[object, ...], operation: str, data: bytes) -> Event:
        return Event(sequence, f"n{sequence}", 0, doctype, name, operation, clock, at, msgspec.Raw(data))  # type: ignore[arg-type]

    hostile = [
        sent(101, "Invoice", (1,), "create", b'{"Id": 1, "Customer": 1, "lines": [1, 2]}'),
        sent(102, "Invoice", (2,), "create", b'{"Id": 2, "Customer": 1, "lines": "none"}'),
        sent(103, "Invoice", (3,), "create", b"[]"),
        sent(104, "Invoice", (4, 5), "create", b'{"Id": 4, "Customer": 1, "lines": []}'),
        sent(105, "Invoice", (6,), "update", b'{"changed": 7}'),
        sent(106, "Customer", ("x" * 5000,), "update", b'{"changed": {"City": "Rome"}}'),
        sent(107, "Customer", (8,), "create", b'{"Id": 8, "Name": {"$hex": "no hexadecimal"}}'),
        sent(108, "Customer", (9,), "create", b'{"Id": 9, "Name": "x", "Manager": 123456789012345678901234567890}'),
        sent(109, "Nothing", (1,), "create", b"{}"),
    ]
    last = sent(110, "Item", good.name, "create", bytes(good.data))
    end = Cursor(head.log, 110, "n110")
    await hq.applier.apply(hq.source(store), [*hostile, last], end, frozenset(DOCTYPES), store.fetcher())
    assert [state for state, _ in await hq.queue()] == ["parked"] * 8
    assert hq.rows("SELECT Code FROM Item") == [("tea",)]


async def test_tombstones_are_forgotten_after_their_time(hq: Site, store: Site) -> None:
    store.write(CUSTOMER, ITEM)
    await hq.pull_all(store)
    store.write("DELETE FROM Item")
    await hq.pull_all(store)
    assert hq.rows("SELECT doctype FROM streamd_document WHERE deleted_at IS NOT NULL") == [("Item",)]
    assert await hq.database.forget_deleted(0) == 0
    assert await hq.database.forget_deleted(1 << 50) == 1
    assert hq.rows("SELECT doctype FROM streamd_document") == [("Customer",)]


@EACH_PAIR
async def test_a_document_whose_link_was_made_later_in_the_transaction_arrives(hq: Site, store: Site) -> None:
    # An event stands where its document's last change stood: here the customer behind its invoice.
    store.write(CUSTOMER, ITEM, INVOICE, LINE, "UPDATE Customer SET City = 'Rome'", "UPDATE Item SET Stock = 1")
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.everything() == store.everything()
    assert [entry.status for entry in await hq.sync_log.list()] == ["Synced"] * 3


@EACH_PAIR
async def test_new_documents_that_link_to_each_other_arrive_and_go(hq: Site, store: Site) -> None:
    store.write(
        "INSERT INTO Customer VALUES (1, 'Ada', NULL, NULL)",
        "INSERT INTO Customer VALUES (2, 'Eve', NULL, 1)",
        "INSERT INTO Customer VALUES (3, 'Own', NULL, 3)",
        "UPDATE Customer SET Manager = 2 WHERE Id = 1",
    )
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.everything() == store.everything()
    assert await store.pull_all(hq) == 0
    store.write("UPDATE Customer SET Manager = NULL", "DELETE FROM Customer")
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.everything() == store.everything()


@EACH_PAIR
async def test_a_document_is_deleted_with_what_linked_to_it(hq: Site, store: Site) -> None:
    store.write(CUSTOMER, "INSERT INTO Customer VALUES (2, 'Eve', NULL, 1)", ITEM, INVOICE, LINE)
    await hq.pull_all(store)
    store.write(
        "UPDATE Customer SET Manager = NULL, City = 'Rome' WHERE Id = 2",
        "DELETE FROM Line",
        "DELETE FROM Invoice",
        "DELETE FROM Customer WHERE Id = 1",
        "UPDATE Customer SET City = 'Oslo' WHERE Id = 2",
        "DELETE FROM Item",
    )
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.everything() == store.everything()


@EACH_PAIR
async def test_a_unique_value_that_one_document_gives_up_is_taken_by_another(hq: Site, store: Site) -> None:
    store.write(ITEM, CUSTOMER)
    await hq.pull_all(store)
    # The first new item is brought together with the second, which takes the label of the deleted one.
    store.write(
        "INSERT INTO Item VALUES ('rum', 'Rum', 1, 1)",
        "DELETE FROM Item WHERE Code = 'tea'",
        "INSERT INTO Item VALUES ('cha', 'Tea', 1, 1)",
        "INSERT INTO Invoice VALUES (1, 1, 'first')",
        "INSERT INTO Line VALUES (1, 1, 'cha', 2)",
    )
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.everything() == store.everything()
    assert {entry.status for entry in await hq.sync_log.list()} == {"Synced"}


@EACH_PAIR
async def test_a_line_moves_from_a_deleted_invoice_to_another_one(hq: Site, store: Site) -> None:
    store.write(CUSTOMER, ITEM, "INSERT INTO Invoice VALUES (2, 1, 'second')", INVOICE, LINE)
    await hq.pull_all(store)
    store.write(
        "UPDATE Invoice SET Note = 'x' WHERE Id = 2",
        "UPDATE Line SET Invoice = 2",
        "DELETE FROM Invoice WHERE Id = 1",
    )
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.everything() == store.everything()


ON_SQLITE = pytest.mark.parametrize("engines", [ALIKE], ids="-".join)


@ON_SQLITE
@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE Item RENAME COLUMN Price TO Cost",
        "ALTER TABLE Item RENAME TO Thing",
        "ALTER TABLE Item RENAME COLUMN Code TO Number",
    ],
)
@pytest.mark.parametrize("known", [True, False], ids=["known", "new"])
async def test_nothing_is_parked_where_our_own_tables_were_changed(
    hq: Site, store: Site, change: str, known: bool
) -> None:
    if known:
        store.write(ITEM)
        await hq.pull_all(store)
    await uninstalled(hq)
    hq.write(change)
    store.write("UPDATE Item SET Price = 3" if known else ITEM)
    with pytest.raises(SchemaChanged):
        await hq.pull_all(store)
    assert await hq.queue() == []
    await hq.close()
    hq.write(
        "ALTER TABLE Thing RENAME TO Item" if "Thing" in change else f"ALTER TABLE Item RENAME COLUMN {_undone(change)}"
    )
    await hq.open()
    await hq.pull_all(store)
    assert hq.everything() == store.everything()
    assert [entry.status for entry in await hq.sync_log.list()] == ["Synced"] * (1 + known)


def _undone(change: str) -> str:
    words = change.split()
    return f"{words[-1]} TO {words[-3]}"


async def uninstalled(site: Site) -> None:
    """What a person does before the tables are changed: the triggers go, everything else stays."""
    triggers = await site.database.our_triggers()
    await site.database.run_script(site.database.uninstall_script(triggers, keep_tables=True))


@ON_SQLITE
async def test_what_comes_while_a_parked_document_is_tried_is_tried_at_once(
    hq: Site, store: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    hq.write("CREATE UNIQUE INDEX one_name ON Customer (Name)", "INSERT INTO Customer VALUES (9, 'Ada', 'Rome', NULL)")
    store.write(CUSTOMER)
    await hq.pull_all(store)
    prepare = hq.applier.prepare

    async def interrupted(*arguments: Any) -> list[Unit]:
        monkeypatch.setattr(hq.applier, "prepare", prepare)
        store.write("DELETE FROM Customer")
        while await hq.pull_from(store):
            pass
        return await prepare(*arguments)

    monkeypatch.setattr(hq.applier, "prepare", interrupted)
    assert await hq.heal(store) == 0
    assert [state for state, _ in await hq.queue()] == ["parked", "held"]
    assert await hq.heal(store, everything=False) == 2
    assert await hq.queue() == []


@ON_SQLITE
async def test_a_trigger_of_the_users_that_misses_a_table_is_no_change_of_ours(hq: Site, store: Site) -> None:
    hq.write("CREATE TRIGGER broken AFTER INSERT ON Item BEGIN INSERT INTO audit VALUES (NEW.Code); END")
    store.write(ITEM, CUSTOMER)
    await hq.pull_all(store)
    ((state, error),) = await hq.queue()
    assert state == "parked"
    assert "audit" in error
    assert hq.rows("SELECT count(*) FROM Customer") == [(1,)]


def pause(site: Site, types: Mapping[str, str]) -> None:
    """As a handshake finds it: these types do not fit, for these reasons."""
    source = type(site).source
    site.source = lambda producer: replace(source(site, producer), paused=types)  # type: ignore[method-assign]


@EACH_PAIR
async def test_a_type_that_does_not_fit_waits_as_a_whole_and_goes_on_by_itself(hq: Site, store: Site) -> None:
    store.write(CUSTOMER)
    await hq.pull_all(store)
    pause(hq, {"Item": "Item.Price holds too little"})
    for statements in (
        (ITEM, INVOICE, LINE),
        ("UPDATE Item SET Stock = 3",),
        ("UPDATE Customer SET City = 'Rome'", "INSERT INTO Invoice VALUES (2, 1, 'without an item')"),
    ):
        store.write(*statements)
        await store.capture.drain()
    await hq.pull_all(store)
    assert hq.rows("SELECT Id FROM Invoice") == [(2,)]
    assert hq.rows("SELECT City FROM Customer") == [("Rome",)]
    queue = await hq.queue()
    assert [state for state, _ in queue] == ["held"] * 3
    assert sum(error == "Item is paused: Item.Price holds too little" for _, error in queue) == 2
    assert sum("waits for Item tea, whose type is paused" in error for _, error in queue) == 1
    assert await hq.heal(store, everything=True) == 0
    async with hq.database.snapshot() as reader:
        assert [each.attempts for each in await reader.queue()] == [1] * 3
    assert await hq.healer.next_due() == REST_SECONDS
    pause(hq, {})
    async with hq.database.transaction() as transaction:
        waiting = await transaction.queue()
        for each in waiting:
            each.retry_at = 0
        await transaction.update_queue(waiting)
    assert await hq.heal(store, everything=False) == 3
    assert await hq.queue() == []
    assert hq.everything() == store.everything()


@ON_SQLITE
async def test_the_status_says_which_type_is_paused_and_why(hq: Site, store: Site) -> None:
    known = Producers(hq.state)
    await known.upsert("store", "http://127.0.0.1:1")
    await known.set_identity("store", store.site, "store", "1")
    await known.set_subscriptions("store", [SubscribedType("Item", "Approved"), SubscribedType("Customer", "Approved")])
    pause(hq, {"Item": "Item.Price holds too little"})
    store.write(CUSTOMER, ITEM)
    await hq.pull_all(store)
    await known.set_paused_types("store", {"Item": "Item.Price holds too little"}, 5)
    (row,) = (await read_status(hq.database, hq.state)).producers
    assert [each.paused_since_at for each in row.types] == [None, 5]
    assert row.doctypes == {"Item": "Paused", "Customer": "Approved"}
    assert row.paused_types == {"Item": "Item.Price holds too little"}
    pause(hq, {})
    await hq.heal(store)
    await known.set_paused_types("store", {}, 9)
    (row,) = (await read_status(hq.database, hq.state)).producers
    assert row.doctypes == {"Item": "Approved", "Customer": "Approved"}
    assert row.paused_types == {}


@ON_SQLITE
async def test_a_person_can_have_one_document_of_a_paused_type_tried(hq: Site, store: Site) -> None:
    pause(hq, {"Item": "it does not fit"})
    store.write(ITEM, "INSERT INTO Item VALUES ('rum', 'Rum', 1, 1)")
    await hq.pull_all(store)
    async with hq.database.transaction() as transaction:
        (first, *_) = await transaction.queue("Item", ("tea",))
        first.request = "retry"
        await transaction.update_queue([first])
    assert await hq.heal(store, everything=False) == 1
    assert hq.rows("SELECT Code FROM Item") == [("tea",)]
    assert [state for state, _ in await hq.queue()] == ["held"]


@EACH_PAIR
async def test_a_column_that_does_not_exist_here_is_left_out_and_said_once(hq: Site, store: Site) -> None:
    store.write("ALTER TABLE Item ADD COLUMN Colour VARCHAR(20)", "ALTER TABLE Line ADD COLUMN Gift VARCHAR(20)")
    await store.close()
    await store.open()
    with capture_logs() as logged:
        store.write(CUSTOMER, "INSERT INTO Item VALUES ('tea', 'Tea', 2.5, 10, 'green')")
        store.write("INSERT INTO Item VALUES ('rum', 'Rum', 1, 1, 'brown')", INVOICE)
        await hq.pull_all(store)
        store.write("UPDATE Item SET Colour = 'black', Stock = 7", "INSERT INTO Line VALUES (1, 1, 'tea', 2, 'bow')")
        await hq.pull_all(store)
        store.write("UPDATE Line SET Gift = 'none'", "UPDATE Item SET Colour = 'red'")
        await hq.pull_all(store)
    said = [(line["doctype"], line["column"]) for line in logged if line["event"] == "unknown_column"]
    assert said == [("Item", "Colour"), ("Invoice", "lines/Gift")]
    assert await hq.queue() == []
    assert hq.rows("SELECT Code, Stock FROM Item ORDER BY Code") == [("rum", 7), ("tea", 7)]
    assert hq.rows("SELECT Id, Quantity FROM Line") == [(1, 2)]
    assert {entry.note for entry in await hq.sync_log.list()} == {""}
    async with hq.database.snapshot() as reader:
        (record,) = (await reader.records("Item", [("tea",)])).values()
    # What was left out was not written: no clock may say that this site has it.
    assert record.field_clocks.keys() == {"Stock"}


TAKEN = "INSERT INTO Item VALUES ('rum', 'Taken', 1, 1)"
"""An item of hq alone, whose label no other one can have there."""


async def test_a_refused_edit_heals_once_it_is_mended_although_the_document_was_renamed_between(
    hq: Site, store: Site
) -> None:
    store.write(CUSTOMER, ITEM, INVOICE, LINE)
    await hq.pull_all(store)
    hq.write(TAKEN)
    store.write("UPDATE Item SET Label = 'Taken' WHERE Code = 'tea'")
    await hq.pull_all(store)
    store.write("UPDATE Item SET Code = 'chai' WHERE Code = 'tea'", "UPDATE Line SET Item = 'chai'")
    await hq.pull_all(store)
    assert [state for state, _ in await hq.queue()][:2] == ["parked", "held"]
    store.write("UPDATE Item SET Label = 'Free' WHERE Code = 'chai'")
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.rows("SELECT Code, Label FROM Item ORDER BY Code") == [("chai", "Free"), ("rum", "Taken")]
    assert hq.rows("SELECT Item FROM Line") == [("chai",)]
    store.write("UPDATE Item SET Stock = 3 WHERE Code = 'chai'")
    await hq.pull_all(store)
    assert hq.rows("SELECT Stock FROM Item WHERE Code = 'chai'") == [(3,)]


async def test_a_refused_edit_of_a_document_that_was_renamed_and_deleted_leaves_no_ghost(hq: Site, store: Site) -> None:
    store.write(ITEM)
    await hq.pull_all(store)
    hq.write(TAKEN)
    store.write("UPDATE Item SET Label = 'Taken' WHERE Code = 'tea'")
    store.write("UPDATE Item SET Code = 'chai' WHERE Code = 'tea'")
    await hq.pull_all(store)
    store.write("DELETE FROM Item WHERE Code = 'chai'")
    await hq.pull_all(store)
    assert await hq.queue() == []
    assert hq.rows("SELECT Code FROM Item") == [("rum",)]


async def pull_under_a_condition(hq: Site, store: Site, on_leave: str) -> None:
    """All events from the beginning; what makes an item cost nothing makes it leave hq's view."""
    await store.capture.drain()
    head = await store.update_log.head()
    assert head is not None
    entries, end, _ = await store.update_log.read(
        Cursor(head.log, 0, ""), {"Item": 0}, not_through=hq.site, limit=50, max_bytes=1 << 20
    )
    events = [
        msgspec.structs.replace(each, operation="leave", data=msgspec.Raw(b"null")) if '"Price":0' in text else each
        for each in map(event, entries)
        if (text := bytes(each.data).decode().replace(" ", ""))
    ]
    source = replace(hq.source(store), on_leave={"Item": on_leave})
    async with hq.database.snapshot() as reader:
        place = await reader.checkpoint(store.site)
    begun = 0 if place is None else place[1]
    new = [each for each in events if each.sequence > begun]
    await hq.applier.apply(source, new, end, frozenset({"Item"}), store.fetcher())
    await hq.healer.run_once({store.site: Route(source, store.fetcher())}, everything=True)


@pytest.mark.parametrize("on_leave", ["delete", "keep"])
async def test_a_refused_document_that_leaves_is_waited_for_no_more(hq: Site, store: Site, on_leave: str) -> None:
    hq.write(TAKEN)
    store.write("INSERT INTO Item VALUES ('tea', 'Taken', 2.5, 10)")
    await pull_under_a_condition(hq, store, on_leave)
    assert [state for state, _ in await hq.queue()] == ["parked"]
    store.write("UPDATE Item SET Price = 0 WHERE Code = 'tea'")
    await pull_under_a_condition(hq, store, on_leave)
    assert await hq.queue() == []
    assert hq.rows("SELECT Code FROM Item") == [("rum",)]


@pytest.mark.parametrize("on_leave", ["delete", "keep"])
async def test_a_refused_edit_of_a_document_that_leaves_is_waited_for_no_more(
    hq: Site, store: Site, on_leave: str
) -> None:
    store.write(ITEM)
    await pull_under_a_condition(hq, store, on_leave)
    hq.write(TAKEN)
    store.write("UPDATE Item SET Label = 'Taken' WHERE Code = 'tea'")
    await pull_under_a_condition(hq, store, on_leave)
    assert [state for state, _ in await hq.queue()] == ["parked"]
    store.write("UPDATE Item SET Price = 0 WHERE Code = 'tea'")
    await pull_under_a_condition(hq, store, on_leave)
    assert await hq.queue() == []
    stays = [] if on_leave == "delete" else [("tea", "Tea")]
    assert hq.rows("SELECT Code, Label FROM Item ORDER BY Code") == [("rum", "Taken"), *stays]


async def take_whole(site: Site, producer: Site) -> int:
    """As a person asks for it, for the first of all that is queued. Returns how many events left the queue."""
    async with site.database.transaction() as transaction:
        first = (await transaction.queue())[0]
        first.request = "whole"
        await transaction.update_queue([first])
    return await site.heal(producer, everything=False)


async def refused_and_renamed(hq: Site, store: Site) -> None:
    """Item tea stands at hq, has a label at the store that is taken at hq, and is called chai at the store since."""
    store.write(ITEM)
    await hq.pull_all(store)
    hq.write("INSERT INTO Item VALUES ('x', 'Taken', 1, 1)")
    for statement in (
        "UPDATE Item SET Label = 'Taken', Stock = 4",
        "UPDATE Item SET Code = 'chai'",
        "UPDATE Item SET Stock = 5",
    ):
        store.write(statement)
        await hq.pull_all(store)
    assert [state for state, _ in await hq.queue()] == ["parked", "held", "held"]


ITEMS = "SELECT Code, Label, Stock FROM Item WHERE Code <> 'x' ORDER BY Code"


async def test_a_document_that_was_renamed_in_the_queue_stays_one_document_when_it_is_taken_whole(
    hq: Site, store: Site
) -> None:
    await refused_and_renamed(hq, store)
    hq.write("DELETE FROM Item WHERE Code = 'x'")
    assert await take_whole(hq, store) == 3
    assert hq.rows(ITEMS) == [("chai", "Taken", 5)]
    assert {entry.status for entry in await hq.sync_log.list()} == {"Synced"}
    store.write("DELETE FROM Item")
    await hq.pull_all(store)
    assert hq.rows(ITEMS) == []


@ON_SQLITE
async def test_what_links_to_a_document_that_is_taken_whole_follows_its_new_name(hq: Site, store: Site) -> None:
    hq.write(CUSTOMER, INVOICE)
    await refused_and_renamed(hq, store)
    hq.write(LINE, "DELETE FROM Item WHERE Code = 'x'")
    assert await take_whole(hq, store) == 3
    assert hq.rows("SELECT Item FROM Line") == [("chai",)]


@ON_SQLITE
async def test_both_are_taken_whole_where_the_name_that_one_gave_up_is_another_ones_by_now(
    hq: Site, store: Site
) -> None:
    await refused_and_renamed(hq, store)
    store.write("INSERT INTO Item VALUES ('tea', 'New', 1, 6)")
    await hq.pull_all(store)
    hq.write("DELETE FROM Item WHERE Code = 'x'")
    assert await take_whole(hq, store) == 4
    assert hq.rows(ITEMS) == [("chai", "Taken", 5), ("tea", "New", 6)]
    assert await hq.queue() == []


@ON_SQLITE
async def test_another_document_under_the_older_name_is_left_alone_when_one_is_taken_whole(
    hq: Site, store: Site
) -> None:
    store.write(ITEM)
    hq.write("INSERT INTO Item VALUES ('tea', 'Of hq', 1, 1)")
    await hq.pull_all(store)
    store.write("UPDATE Item SET Code = 'chai'")
    await hq.pull_from(store)
    assert await take_whole(hq, store) > 0
    assert hq.rows(ITEMS) == [("chai", "Tea", 10), ("tea", "Of hq", 1)]


@ON_SQLITE
async def test_nothing_is_taken_whole_over_another_document_that_has_the_new_name(hq: Site, store: Site) -> None:
    await refused_and_renamed(hq, store)
    hq.write("UPDATE Item SET Code = 'chai', Label = 'Of hq' WHERE Code = 'x'")
    assert await take_whole(hq, store) == 0
    assert hq.rows(ITEMS) == [("chai", "Of hq", 1), ("tea", "Tea", 10)]
    assert "another document has that name here" in (await hq.queue())[0][1]
