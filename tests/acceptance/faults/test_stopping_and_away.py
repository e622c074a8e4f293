"""Daemons that end in the middle of their work, and producers that are away."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.acceptance.conftest import Pair
from tests.support.compare import contained_rows
from tests.support.sites.chinook import ALL, INVOICE, NEW, add_invoice
from tests.support.sites.world import nothing_synced_twice

MANY = 1500


def test_sigterm_in_the_middle_of_a_big_catch_up_leaves_nothing_half_done(pair: Pair) -> None:
    pair.hq.start()
    with pair.hq.connection() as connection:
        for invoice in range(10_000, 10_000 + MANY):
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                f"{INVOICE} (?, ?, '2026-01-01', 4.95)",
                (invoice, 1 + invoice % 59),
            )
            connection.executemany(
                "INSERT INTO InvoiceLine VALUES (?, ?, ?, 0.99, 1)",
                [(invoice * 10 + line, invoice, 1 + (invoice * 7 + line * 600) % 3503) for line in range(5)],
            )
            connection.execute("COMMIT")
    stops = 0
    for _ in range(3):
        before = pair.store.value("SELECT count(*) FROM Invoice")
        if before == MANY:
            break
        pair.store.start()
        pair.world.eventually(
            lambda before=before: pair.store.value("SELECT count(*) FROM Invoice") > before,
            "the store catches up",
        )
        pair.store.stop()
        stops += 1
        halves = pair.store.value(
            "SELECT count(*) FROM Invoice i"
            " WHERE (SELECT count(*) FROM InvoiceLine l WHERE l.InvoiceId = i.InvoiceId) <> 5"
        )
        assert halves == 0, "invoices without all of their lines"
        assert pair.store.value("SELECT count(*) FROM pragma_foreign_key_check") == 0
        contained_rows(pair.store, pair.hq, dict.fromkeys(ALL, "1"))
    assert stops
    pair.store.start()
    pair.world.equal(pair.hq, pair.store, NEW, timeout=30)
    nothing_synced_twice(pair.store)


@contextmanager
def hanging_up(port: int) -> Iterator[list[float]]:
    """Listen where a site was, and hang up on each caller: a list that grows with each call."""
    calls: list[float] = []
    with socket.create_server(("127.0.0.1", port)) as listener:

        def answer() -> None:
            while True:
                try:
                    caller, _ = listener.accept()
                except OSError:
                    return
                calls.append(time.monotonic())
                caller.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield calls
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def complaints(pair: Pair, after: int) -> list[str]:
    """What the store said at warning level or above, after its first lines."""
    lines = pair.store.log_lines()[after:]
    return [json.dumps(line) for line in lines if line.get("level") in ("warning", "error")]


def test_a_producer_that_was_away_is_caught_up_with_and_its_absence_is_said_once(pair: Pair) -> None:
    pair.start()
    add_invoice(pair.hq, 1001)
    pair.world.equal(pair.hq, pair.store, NEW)
    pair.world.caught_up(pair.store, pair.hq)
    spoken = len(pair.store.log_lines())
    pair.hq.stop()
    add_invoice(pair.hq, 1002)
    pair.hq.execute("UPDATE Invoice SET Total = 3.33 WHERE InvoiceId = 1001")
    pair.store.execute("UPDATE Customer SET Company = 'here' WHERE CustomerId = 1")
    with hanging_up(pair.hq.port) as calls:
        pair.world.eventually(lambda: len(calls) >= 4, "the store keeps trying", timeout=12)
    said = complaints(pair, spoken)
    assert len(said) == 1, f"that headquarters is away has to be said once, not at each try: {said}"
    assert "hq" in said[0]
    pair.hq.start()
    pair.world.equal(pair.hq, pair.store, NEW)
    assert pair.store.value("SELECT Company FROM Customer WHERE CustomerId = 1") == "here"
    contained_rows(pair.store, pair.hq, {"Invoice": "1", "InvoiceLine": "1", "Track": "1"})
    nothing_synced_twice(pair.store)


def test_both_sites_edit_while_apart_and_end_equal(twins: Pair) -> None:
    twins.start()
    twins.hq.stop()
    for invoice in range(1001, 1021):
        add_invoice(twins.hq, invoice)
        add_invoice(twins.store, invoice + 1000)
    twins.hq.execute("UPDATE Track SET UnitPrice = 1.29 WHERE GenreId = 1")
    twins.store.execute("UPDATE Track SET Composer = 'unknown' WHERE Composer IS NULL AND GenreId = 1")
    twins.hq.start()
    twins.world.equal(twins.hq, twins.store, ALL, timeout=20)


def test_a_store_that_starts_before_headquarters_waits_for_it(pair: Pair) -> None:
    pair.store.start()
    pair.world.eventually(lambda: pair.store.json("status"), "the store runs alone")
    assert pair.store.running
    pair.hq.start()
    add_invoice(pair.hq, 1001)
    pair.world.equal(pair.hq, pair.store, NEW)


def test_a_second_daemon_for_one_database_waits_and_takes_over_when_the_first_is_killed(pair: Pair) -> None:
    pair.hq.start()
    first, pair.hq.process = pair.hq.process, None
    assert first is not None
    pair.hq.start(wait=False)
    try:
        pair.world.eventually(
            lambda: "another streamd daemon" in pair.hq.log.read_text(encoding="utf-8"),
            "the second one says why it waits",
        )
        assert first.poll() is None, "the first one goes on"
        assert pair.hq.running, "the second one does not end"
    finally:
        first.kill()
        first.wait()
    pair.hq.wait_until_up()
    add_invoice(pair.hq, 1001)
    pair.store.start()
    pair.world.equal(pair.hq, pair.store, NEW)


def test_the_status_says_that_a_producer_is_back_before_it_has_anything_new(pair: Pair) -> None:
    pair.start()

    def status() -> str:
        return str(pair.store.json("status")["producers"][0]["status"])

    pair.world.eventually(lambda: status() == "connected", "all is well", timeout=10)
    pair.hq.stop()
    pair.world.eventually(lambda: status() == "away", "it is away", timeout=10)
    pair.hq.start()
    pair.world.eventually(lambda: status() == "connected", "it is back", timeout=10)
    pair.store.restart()
    pair.world.eventually(lambda: status() == "connected", "and it is when the store begins anew", timeout=5)
    pair.store.cli("resync", "--doctype", "Genre", "--whole")
    pair.world.eventually(lambda: pair.store.json("status")["requests"] == 0, "it was read again", timeout=10)
    pair.world.eventually(lambda: status() == "connected", "and after reading again", timeout=5)
