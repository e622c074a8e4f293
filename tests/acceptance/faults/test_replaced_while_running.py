"""Files that are replaced or removed under a running daemon: it goes on in what is there, or says what is wrong."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from tests.acceptance.conftest import Kit, Pair
from tests.support.sites.chinook import NEW, add_invoice
from tests.support.sites.world import World, nothing_synced_twice

SOON = 60


@pytest.fixture
def pair(world: World, kit: Kit) -> Pair:
    """The store has headquarters as its producer; both run, and one invoice arrived."""
    hq, store = world.copy(kit.one_way("sqlite", "sqlite", "small"))
    pair = Pair(world, hq, store)
    pair.start()
    add_invoice(hq, 1001)
    world.equal(hq, store, NEW)
    world.caught_up(store, hq)
    return pair


def put_in_place(file: Path, saved: Path) -> None:
    os.replace(saved, file)
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).unlink(missing_ok=True)
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


def test_a_file_that_is_replaced_by_its_copy_at_either_site_goes_on_being_synced(pair: Pair) -> None:
    put_in_place(pair.hq.database, pair.hq.save(pair.hq.database))
    add_invoice(pair.hq, 1002)
    pair.world.equal(pair.hq, pair.store, NEW, timeout=SOON)
    put_in_place(pair.store.database, pair.store.save(pair.store.database))
    add_invoice(pair.hq, 1003)
    pair.world.equal(pair.hq, pair.store, NEW, timeout=SOON)
    nothing_synced_twice(pair.store)
    assert "resync required" not in pair.store.run("status").out.lower()


def test_a_consumer_that_is_put_back_to_an_older_copy_gets_again_what_it_lost(pair: Pair) -> None:
    older = pair.store.save(pair.store.database)
    add_invoice(pair.hq, 1002)
    pair.world.equal(pair.hq, pair.store, NEW)
    pair.world.caught_up(pair.store, pair.hq)
    put_in_place(pair.store.database, older)
    pair.world.equal(pair.hq, pair.store, NEW, timeout=SOON)


def test_a_producer_that_is_put_back_to_an_older_copy_has_its_consumers_told(pair: Pair) -> None:
    older = pair.hq.save(pair.hq.database)
    add_invoice(pair.hq, 1002)
    pair.world.equal(pair.hq, pair.store, NEW)
    pair.world.caught_up(pair.store, pair.hq)
    put_in_place(pair.hq.database, older)
    pair.world.eventually(
        lambda: "resync required" in pair.store.run("status").out.lower(), "it is said at the consumer", timeout=SOON
    )


def test_a_state_that_is_removed_is_said_and_the_daemon_goes_on_when_it_is_back(pair: Pair) -> None:
    saved = pair.hq.save(pair.hq.state)
    for suffix in ("", "-wal", "-shm"):
        pair.hq.state.with_name(pair.hq.state.name + suffix).unlink(missing_ok=True)
    pair.world.eventually(
        lambda: any(line.get("event") == "cannot_continue" for line in pair.hq.log_lines()), "it is said", timeout=SOON
    )
    assert pair.hq.running
    said = pair.hq.run("status")
    assert said.code != 0
    assert "state" in said.err
    assert not pair.hq.state.exists(), "no new state was made: it would have no keys"
    put_in_place(pair.hq.state, saved)
    add_invoice(pair.hq, 1002)
    pair.world.equal(pair.hq, pair.store, NEW, timeout=SOON)
