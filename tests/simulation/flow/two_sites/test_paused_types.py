"""A type whose tables do not fit waits as a whole, and nothing of it is parked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamd.apply.batch import Unit
from streamd.apply.parked.healer import REST_SECONDS
from streamd.errors import SchemaChanged
from streamd.status import read_status
from streamd.store.producers import Producers, SubscribedType
from tests.simulation.flow.two_sites.statements import CUSTOMER, INVOICE, ITEM, LINE, ON_SQLITE
from tests.simulation.sites import Site
from tests.support.matrix import EACH_PAIR


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
