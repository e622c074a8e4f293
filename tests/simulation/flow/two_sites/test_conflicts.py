"""Two sites edit, name or delete the same document; and events that cannot be right."""

from __future__ import annotations

import time

import msgspec

from streamd.model import Cursor, Event
from tests.simulation.flow.two_sites.statements import CUSTOMER, INVOICE, ITEM
from tests.simulation.sites import DOCTYPES, Site, event
from tests.support.matrix import EACH_PAIR, EACH_TURN


def later() -> None:
    """Return in a later millisecond: of edits in the same one, either may be the newer."""
    began = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 <= began:
        pass


@EACH_TURN
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
