"""Databases that went back in time: after a power cut, and restored from older copies."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.conftest import Kit, Pair
from tests.support.compare import contained_rows, same_rows
from tests.support.sites.chinook import NEW, TABLES, add_invoice, delete_invoice
from tests.support.sites.site import Site
from tests.support.sites.world import World, nothing_synced_twice

EVERYTHING = dict.fromkeys(TABLES, "1")


@pytest.fixture
def pair(world: World, kit: Kit) -> Pair:
    """The store has headquarters as its producer, and there is not much to read again. Both are stopped."""
    hq, store = world.copy(kit.one_way("sqlite", "sqlite", "small"))
    return Pair(world, hq, store)


def resync_is_required(consumer: Site) -> bool:
    """Whether the consumer shows, to a person and to a program, that a resync is required."""
    shown = consumer.run("status")
    said = json.dumps(consumer.json("status"))
    return "resync required" in shown.out.lower() and "resync" in said.lower()


def deliver(pair: Pair, *invoices: int) -> None:
    """Both run, and these invoices of headquarters are at the store."""
    pair.start()
    for invoice in invoices:
        add_invoice(pair.hq, invoice)
    pair.world.equal(pair.hq, pair.store, NEW)
    pair.world.caught_up(pair.store, pair.hq)


def assert_that_a_resync_mends_it(pair: Pair, unseen: int | None = None) -> None:
    """The store asks for a resync, before which it takes nothing, and does what its hint says: read all again."""
    pair.world.eventually(lambda: resync_is_required(pair.store), "the store shows that a resync is required")
    if unseen is not None:
        assert pair.store.value("SELECT count(*) FROM Invoice WHERE InvoiceId = ?", unseen) == 0
    pair.store.cli("resync", "--all", "--whole")
    pair.world.equal(pair.hq, pair.store, EVERYTHING, timeout=60)
    add_invoice(pair.hq, 7777)
    pair.world.equal(pair.hq, pair.store, NEW)
    assert "resync required" not in pair.store.run("status").out.lower()


def logged(pair: Pair, operation: str) -> None:
    pair.world.eventually(
        lambda: pair.hq.state_rows("SELECT 1 FROM update_log WHERE operation = ?", operation),
        f"the {operation} is in the log",
    )


def last_change(site: Site) -> int:
    return int(site.value("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'streamd_change'") or 0)


def test_a_power_cut_before_the_claim_loses_nothing_that_is_still_there(pair: Pair) -> None:
    deliver(pair, 1001)
    pair.hq.stop()
    durable = pair.hq.save(pair.hq.database)

    # Committed, and gone with the power, before a daemon looked.
    add_invoice(pair.hq, 1002, tracks=(1, 2))
    lost = last_change(pair.hq)
    pair.hq.restore(pair.hq.database, durable)
    add_invoice(pair.hq, 1003, tracks=(3, 4))
    assert last_change(pair.hq) == lost, "the ids were meant to be used again"
    pair.hq.start()
    pair.world.equal(pair.hq, pair.store, NEW)
    assert pair.store.rows("SELECT InvoiceId FROM Invoice ORDER BY 1") == [(1001,), (1003,)]
    nothing_synced_twice(pair.store)
    assert "resync required" not in pair.store.run("status").out.lower()


def capture_points() -> list[str]:
    """The crash points of capture at which nothing is in the log yet."""
    from tests.acceptance.faults.test_crashes import POINTS

    return [name for name in POINTS if name.startswith("capture")]


@pytest.mark.parametrize("point", capture_points())
def test_a_power_cut_while_changes_are_captured_never_skips_the_changes_that_reuse_their_ids(
    point: str, pair: Pair
) -> None:
    """The site loses its last transactions, and with them even a claim, served or not."""
    deliver(pair, 1001)
    pair.hq.stop()
    durable = pair.hq.save(pair.hq.database)
    pair.hq.start(STREAMD_CRASH_AT=point)
    add_invoice(pair.hq, 1002, tracks=(1, 2))
    lost = last_change(pair.hq)
    pair.world.eventually(
        lambda: pair.hq.died() or pair.store.value("SELECT count(*) FROM Invoice WHERE InvoiceId = 1002") == 1,
        "the capture dies, or the invoice is delivered",
    )
    pair.hq.kill()
    pair.hq.restore(pair.hq.database, durable)
    add_invoice(pair.hq, 1003, tracks=(3, 4))
    assert last_change(pair.hq) == lost, "the ids were meant to be used again"
    pair.hq.start()

    def arrived_or_refused() -> bool:
        arrived = pair.store.value("SELECT count(*) FROM Invoice WHERE InvoiceId = 1003") == 1
        return arrived or "resync" in repr(pair.store.state_rows("SELECT status, error FROM producers")).lower()

    pair.world.eventually(arrived_or_refused, "the new invoice arrives, or the store says that it cannot go on")
    if pair.store.value("SELECT count(*) FROM Invoice WHERE InvoiceId = 1003") == 0:
        assert_that_a_resync_mends_it(pair)
    else:
        pair.world.equal(pair.hq, pair.store, NEW)
        contained_rows(pair.store, pair.hq, EVERYTHING)


@pytest.mark.parametrize("batches", [1, 3])
def test_a_producers_site_restored_from_an_older_copy_requires_a_resync(pair: Pair, batches: int) -> None:
    deliver(pair, 1001)
    older = pair.hq.save(pair.hq.database)
    for batch in range(batches):
        add_invoice(pair.hq, 1100 + batch)
        pair.world.equal(pair.hq, pair.store, NEW)
    pair.hq.stop()
    pair.hq.restore(pair.hq.database, older)
    add_invoice(pair.hq, 1200)
    pair.hq.start()
    assert_that_a_resync_mends_it(pair, unseen=1200)


@pytest.mark.parametrize("batches", [1, 3])
def test_a_producers_state_restored_from_an_older_copy_requires_a_resync(pair: Pair, batches: int) -> None:
    deliver(pair, 1001)
    older = pair.hq.save(pair.hq.state)
    for batch in range(batches):
        add_invoice(pair.hq, 1100 + batch)
        pair.world.equal(pair.hq, pair.store, NEW)
    delete_invoice(pair.hq, 1001)
    pair.world.equal(pair.hq, pair.store, NEW)
    pair.world.caught_up(pair.store, pair.hq)
    pair.hq.stop()
    pair.hq.restore(pair.hq.state, older)
    add_invoice(pair.hq, 1200)
    pair.hq.start()
    assert_that_a_resync_mends_it(pair, unseen=1200)


def test_a_state_whose_last_batch_is_gone_is_not_taken_for_the_log_that_the_consumer_read(pair: Pair) -> None:
    """The same batch is appended again, with nonces of its own: the consumer's cursor must not fit."""
    deliver(pair, 1001)
    pair.hq.stop()
    older = pair.hq.save(pair.hq.state)
    pair.hq.start()
    add_invoice(pair.hq, 1002)
    pair.world.equal(pair.hq, pair.store, NEW)
    pair.world.caught_up(pair.store, pair.hq)
    pair.hq.stop()
    pair.hq.restore(pair.hq.state, older)
    pair.hq.start()
    assert_that_a_resync_mends_it(pair)


def test_a_document_deleted_in_the_lost_part_of_the_log_is_gone_after_the_resync(pair: Pair) -> None:
    deliver(pair, 1001, 1002)
    older = pair.hq.save(pair.hq.state)
    pair.store.stop()
    delete_invoice(pair.hq, 1001)
    logged(pair, "delete")
    # Another batch: the last one alone would be appended again, and nothing would be lost.
    pair.hq.execute("UPDATE Invoice SET Total = 9.99 WHERE InvoiceId = 1002")
    logged(pair, "update")
    pair.hq.stop()
    pair.hq.restore(pair.hq.state, older)
    add_invoice(pair.hq, 1003)
    pair.hq.start()
    pair.store.start()
    assert_that_a_resync_mends_it(pair)


def test_a_consumers_site_restored_from_an_older_copy_catches_up(pair: Pair) -> None:
    deliver(pair, 1001)
    older = pair.store.save(pair.store.database)
    add_invoice(pair.hq, 1002)
    delete_invoice(pair.hq, 1001)
    pair.world.equal(pair.hq, pair.store, NEW)
    pair.store.stop()
    pair.store.restore(pair.store.database, older)
    pair.store.start()
    pair.world.equal(pair.hq, pair.store, NEW)
    add_invoice(pair.hq, 1003)
    pair.world.equal(pair.hq, pair.store, NEW)
    contained_rows(pair.store, pair.hq, EVERYTHING)


def test_what_a_restored_site_had_made_and_sent_comes_back_where_it_reads_again_first(twins: Pair) -> None:
    """As the handbook says for two sites that sync in both directions."""
    hq, store, world = twins.hq, twins.store, twins.world
    twins.start()
    add_invoice(store, 5001)
    world.equal(hq, store, NEW)
    for consumer, producer in ((hq, store), (store, hq)):
        world.caught_up(consumer, producer)
    older = store.save(store.database)
    add_invoice(store, 5002)
    add_invoice(hq, 1001)
    world.equal(hq, store, NEW)
    store.stop()
    store.restore(store.database, older)
    store.start()
    world.eventually(lambda: resync_is_required(hq), "headquarters shows that a resync is required")

    def read_again(site: Site) -> None:
        site.cli("resync", "--all", "--whole")
        world.eventually(lambda: site.json("status")["requests"] == 0, f"{site.name} has read everything", timeout=60)
        world.eventually(lambda: site.json("status")["producers"][0]["status"] == "connected", "and is in sync")

    read_again(store)
    read_again(hq)
    world.equal(hq, store, NEW)
    assert [number for (number,) in hq.rows("SELECT InvoiceId FROM Invoice WHERE InvoiceId > 412 ORDER BY 1")] == [
        1001,
        5001,
        5002,
    ]


def test_a_batch_that_is_delivered_twice_takes_effect_once(pair: Pair) -> None:
    """The consumer's state goes back in time, its site does not: the checkpoint beside the rows decides."""
    deliver(pair, 1001)
    older = pair.store.save(pair.store.state)
    add_invoice(pair.hq, 1002)
    pair.hq.execute("UPDATE Invoice SET Total = 5.55 WHERE InvoiceId = 1001")
    pair.world.equal(pair.hq, pair.store, NEW)
    pair.store.stop()
    pair.store.restore(pair.store.state, older)
    pair.store.execute("UPDATE Invoice SET Total = 6.66 WHERE InvoiceId = 1001")
    pair.store.start()
    add_invoice(pair.hq, 1003)
    pair.world.equal(pair.hq, pair.store, {**NEW, "Invoice": "InvoiceId > 1001"})
    assert pair.store.value("SELECT Total FROM Invoice WHERE InvoiceId = 1001") == 6.66, (
        "an old event was applied again"
    )
    assert same_rows(pair.hq, pair.store, {"InvoiceLine": "InvoiceLineId > 2240"})
    nothing_synced_twice(pair.store)
