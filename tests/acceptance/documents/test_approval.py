"""Nothing leaves a site before a person approved it, nor after *reject* or *unsubscribe*."""

from __future__ import annotations

import json
from typing import Any

from tests.acceptance.conftest import Pair, Templates
from tests.support.sites.chinook import CATALOGUE, NEW, add_invoice
from tests.support.sites.site import Site
from tests.support.sites.world import Link, World, approvals, subscriptions, update_log


def ask(consumer: Site, producer: Site, path: str, **body: Any) -> tuple[int, str]:
    """A request with the consumer's own credential, made by somebody who keeps no rules."""
    entry = consumer.producers[producer.name]
    return producer.request("POST", f"/v1/{path}", body, f"{entry.api_key}:{entry.api_secret}")


def wait_for_genre(pair: Pair, genre: int) -> None:
    """Make a genre at headquarters and wait for it: what was logged before has been served, or never is."""
    pair.hq.execute("INSERT INTO Genre VALUES (?, 'marker')", genre)
    pair.world.eventually(
        lambda: pair.store.value("SELECT count(*) FROM Genre WHERE GenreId = ?", genre) == 1,
        f"genre {genre} arrives",
    )


def test_nothing_leaves_before_approval_and_approval_begins_at_the_present(world: World, templates: Templates) -> None:
    hq = world.site("hq", CATALOGUE, templates.full)
    store = world.site("store", CATALOGUE, templates.empty)
    pair = Pair(world, hq, store)
    world.subscribe(Link(store, hq, ["Invoice", "Genre", "Note"]))
    assert approvals(hq, store) == {"Invoice": "Pending", "Genre": "Pending", "Note": "Pending"}

    listed = json.dumps(hq.json("consumers", "list"))
    assert "Pending" in listed
    for opened in ("Customer", "Employee", "Track", "Album", "Artist", "MediaType"):
        assert opened in listed, f"the list has to say that Invoice opens {opened}"

    hq.cli("consumers", "approve", "store", "Genre")
    world.eventually(lambda: subscriptions(store, hq).get("Genre") == "Approved", "the store knows of the approval")
    add_invoice(hq, 1001)
    wait_for_genre(pair, 900)
    assert store.value("SELECT count(*) FROM Invoice") == 0
    assert not update_log(hq, "Invoice"), "a type that no approved consumer has is not logged"

    answers = [
        ask(store, hq, "events", limit=1000),
        ask(store, hq, "documents", documents=[{"doctype": "Invoice", "name": [1001], "path": []}]),
        ask(store, hq, "documents", documents=[{"doctype": "Customer", "name": [1], "path": []}]),
        ask(
            store,
            hq,
            "documents",
            documents=[{"doctype": "Customer", "name": [1], "path": [{"doctype": "Invoice", "name": [1001]}]}],
        ),
        ask(store, hq, "names", doctype="Invoice"),
    ]
    for status, text in answers:
        assert status < 500, text
        assert "Stuttgart" not in text
        assert "luisg@embraer.com.br" not in text

    hq.cli("consumers", "approve", "store", "Invoice")
    world.eventually(lambda: subscriptions(store, hq).get("Invoice") == "Approved", "the store knows of the approval")
    add_invoice(hq, 1002)
    world.equal(hq, store, {"Invoice": "InvoiceId > 1001", "InvoiceLine": "InvoiceId > 1001"})
    assert store.rows("SELECT InvoiceId FROM Invoice") == [(1002,)]
    for site in (hq, store):
        said = [line["doctypes"] for line in site.log_lines() if line["event"] == "approved"]
        assert said == [["Genre"], ["Invoice"]], f"{site.name} says each approval once"


def test_reject_stops_delivery_of_that_type_only(pair: Pair) -> None:
    pair.start()
    add_invoice(pair.hq, 1001)
    pair.world.equal(pair.hq, pair.store, NEW)
    pair.hq.cli("consumers", "reject", "store", "Invoice")
    add_invoice(pair.hq, 1002)
    pair.hq.execute("UPDATE Invoice SET Total = 1 WHERE InvoiceId = 1001")
    wait_for_genre(pair, 900)
    assert pair.store.rows("SELECT InvoiceId, Total FROM Invoice") == [(1001, 4.95)]
    status, text = ask(pair.store, pair.hq, "events", limit=1000)
    assert '"Invoice","name"' not in text.replace(" ", ""), f"{status}: {text}"
    pair.world.eventually(
        lambda: subscriptions(pair.store, pair.hq).get("Invoice") == "Rejected",
        "the store knows that it was rejected",
    )


def test_unsubscribe_stops_delivery_of_that_type_only(pair: Pair) -> None:
    pair.start()
    add_invoice(pair.hq, 1001)
    pair.world.equal(pair.hq, pair.store, NEW)
    pair.store.stop()
    pair.store.producers["hq"].unsubscribed = ("Invoice",)
    pair.store.start()
    pair.world.eventually(
        lambda: approvals(pair.hq, pair.store).get("Invoice") == "Unsubscribed", "headquarters knows of it"
    )
    add_invoice(pair.hq, 1002)
    wait_for_genre(pair, 900)
    assert pair.store.rows("SELECT InvoiceId FROM Invoice") == [(1001,)]
    assert '"Invoice","name"' not in ask(pair.store, pair.hq, "events", limit=1000)[1].replace(" ", "")


def test_a_removed_entry_means_the_same_as_unsubscribe(pair: Pair) -> None:
    entry = pair.store.producers["hq"]
    entry.doctypes = tuple(doctype for doctype in entry.doctypes if doctype != "Invoice")
    pair.start()
    pair.world.eventually(
        lambda: approvals(pair.hq, pair.store).get("Invoice") == "Unsubscribed", "headquarters knows of it"
    )
    add_invoice(pair.hq, 1001)
    wait_for_genre(pair, 900)
    assert pair.store.value("SELECT count(*) FROM Invoice") == 0


def test_a_revoked_key_opens_nothing_and_the_consumer_says_so(pair: Pair) -> None:
    pair.start()
    wait_for_genre(pair, 900)
    pair.hq.cli("keys", "revoke", pair.store.producers["hq"].api_key)
    pair.hq.execute("INSERT INTO Genre VALUES (901, 'secret')")
    assert ask(pair.store, pair.hq, "events", limit=1000)[0] == 401
    pair.world.eventually(
        lambda: any(line.get("event") == "producer_refused" for line in pair.store.log_lines()),
        "the store says that its key is refused",
    )
    assert "API key" in pair.store.json("status")["producers"][0]["error"]
    assert pair.store.value("SELECT count(*) FROM Genre WHERE GenreId = 901") == 0
    assert pair.store.running


def test_a_second_key_takes_over_without_a_pause(pair: Pair) -> None:
    pair.start()
    wait_for_genre(pair, 900)
    old = pair.store.producers["hq"].api_key
    made = pair.hq.json("keys", "create", "--for", "store")
    pair.store.stop()
    pair.store.producers["hq"].api_key, pair.store.producers["hq"].api_secret = (
        made["api_key"],
        made["api_secret"],
    )
    pair.store.start()
    pair.hq.cli("keys", "revoke", old)
    wait_for_genre(pair, 901)
    assert all(secret not in pair.hq.log.read_text() for secret in (made["api_secret"],))
    assert made["api_secret"] not in pair.store.log.read_text()
