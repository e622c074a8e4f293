"""Up to which moment everything is there: what a site may say of its log, and what of a type here."""

from __future__ import annotations

from typing import Any

import pytest

from streamd.model import Cursor
from streamd.status.judging import Limits, attention, lag_of, silence, type_status
from streamd.status.values import (
    CaptureStatus,
    Completeness,
    ConsumerStatus,
    DaemonStatus,
    Life,
    ProducerStatus,
    Status,
)
from streamd.store.heartbeat import STARTING
from streamd.store.producers import CATCHING_UP, CONNECTED, CompleteUpTo, Obstacles, Producer, SubscribedType
from streamd.update_log import Watermarks

NOW = 1_000_000_000
RUNS = DaemonStatus(running=True, state=Life.RUNNING)


def place(sequence: int, log: str = "log") -> Cursor:
    return Cursor(log, sequence, "")


def test_a_page_that_ends_before_the_log_carries_no_later_moment_than_it_covers() -> None:
    through = Watermarks()
    through.add("log", 5, 100)
    through.add("log", 9, 200)
    assert through.at(place(4)) is None
    assert [through.at(place(number)) for number in (5, 8, 9, 12)] == [100, 100, 200, 200]


def test_a_moment_moves_on_where_nothing_is_written() -> None:
    through = Watermarks()
    through.add("log", 5, 100)
    through.add("log", 5, 300)
    assert through.at(place(5)) == through.latest == 300


def test_a_new_log_knows_nothing_of_the_old_ones_places() -> None:
    through = Watermarks()
    through.add("log", 5, 100)
    through.add("new", 0, 200)
    assert through.at(place(5)) is None
    assert through.at(place(0, "new")) == 200


def test_a_clock_that_was_set_back_is_followed() -> None:
    through = Watermarks()
    through.add("log", 5, 9000)
    through.add("log", 5, 100)
    assert through.latest == 100


def producer(**changed: Any) -> Producer:
    values: dict[str, Any] = {
        "name": "hq",
        "url": "",
        "producer_site": "s",
        "producer_name": "hq",
        "version": "1",
        "paused": False,
    }
    values |= {
        "status": CONNECTED,
        "error": "",
        "sequence": 7,
        "head": 7,
        "last_contact_at": NOW - 2000,
        "last_event_at": None,
    }
    return Producer(**{**values, **changed})


def subscribed(status: str = "Approved", age: int = 1000, heard: int = 2000) -> SubscribedType:
    return SubscribedType("Invoice", status, complete=CompleteUpTo(NOW - 5000, age, NOW - heard))


def test_a_type_is_complete_where_the_producer_says_so_and_its_age_is_by_the_producers_clock() -> None:
    entry = SubscribedType("Invoice", "Approved", complete=CompleteUpTo(17, 1000, NOW - 2000))
    found = type_status(entry, producer(), Obstacles(), "", NOW)
    assert (found.state, found.complete_to_at, found.age_seconds) == (Completeness.COMPLETE, 17, 3.0)
    assert lag_of(producer(), [found]) == 0


@pytest.mark.parametrize(
    "why",
    [
        {"entry": subscribed("Pending")},
        {"entry": subscribed("Rejected")},
        {"entry": SubscribedType("Invoice", "Approved")},
        {"entry": subscribed(age=90_000)},
        {"entry": subscribed(heard=90_000)},
        {"obstacles": Obstacles(queued=["Invoice"])},
        {"obstacles": Obstacles(gaps=["Invoice"])},
        {"obstacles": Obstacles(requested=["Invoice"])},
        {"obstacles": Obstacles(paused={"Invoice": "no such column"})},
        {"row": producer(paused=True)},
        {"row": producer(status="away")},
        {"row": producer(status="refused")},
        {"row": producer(status="resync required")},
        {"row": producer(status="connecting")},
        {"row": producer(last_contact_at=NOW - 90_000)},
        {"row": producer(last_contact_at=None)},
        {"daemon": DaemonStatus(running=False)},
        {"daemon": DaemonStatus(running=False, state=Life.SILENT)},
    ],
    ids=str,
)
def test_nothing_is_complete_or_zero_behind_that_is_not_known_to_be(why: dict[str, Any]) -> None:
    row, daemon = why.get("row", producer()), why.get("daemon", RUNS)
    silent = silence(row, daemon, NOW)
    found = type_status(why.get("entry", subscribed()), row, why.get("obstacles", Obstacles()), silent, NOW)
    assert found.state != Completeness.COMPLETE
    assert found.why
    assert lag_of(row, [found]) is None


def test_a_type_that_is_being_fetched_is_behind_by_what_is_known() -> None:
    row = producer(status=CATCHING_UP, head=20, last_contact_at=NOW - 200_000)
    found = type_status(subscribed(), row, Obstacles(), silence(row, RUNS, NOW), NOW)
    assert (found.state, lag_of(row, [found])) == (Completeness.INCOMPLETE, 13)


def status(**changed: Any) -> Status:
    values: dict[str, Any] = {
        "at": NOW,
        "site": "",
        "name": "",
        "daemon": RUNS,
        "log": None,
        "waiting_changes": 0,
        "consumers": (),
    }
    values |= {
        "waiting_changes": 0,
        "consumers": (),
        "producers": (),
        "parked": 0,
        "held": 0,
        "pending": 0,
        "requests": 0,
        "gaps": 0,
        "incomplete": (),
    }
    return Status(**{**values, "capture": CaptureStatus(NOW, 1.0), **changed})


def consumer(doctypes: dict[str, str]) -> ConsumerStatus:
    return ConsumerStatus("b", "s", "b", "1", NOW, 0, None, doctypes)


def shown(entry: SubscribedType, **changed: Any) -> ProducerStatus:
    row = producer(**changed)
    paused = {entry.doctype: entry.paused} if entry.paused else {}
    types = (type_status(entry, row, Obstacles(paused), "", NOW),)
    lag = lag_of(row, types)
    return ProducerStatus(
        "hq", "", "s", row.status, "", False, 7, row.head, lag, None, None, {}, paused_types=paused, types=types
    )


def test_a_site_where_all_is_well_has_nothing_to_look_at() -> None:
    assert attention(status(producers=(shown(subscribed()),)), Limits()) == ()


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (status(daemon=DaemonStatus(running=False)), "does not run"),
        (status(daemon=DaemonStatus(running=True, state=Life.RUNNING, problem="disk full")), "disk full"),
        (status(capture=CaptureStatus(NOW, 400.0)), "400 s"),
        (status(parked=1), "parked"),
        (status(parked=2), "`streamd log syncs --status failed` lists them"),
        (status(held=3), "3 events held: `streamd log syncs --status held` lists them"),
        (
            status(consumers=(consumer({"Invoice": "Pending", "Sales Order": "Pending", "Item": "Approved"}),)),
            "`streamd consumers approve b Invoice 'Sales Order'`",
        ),
        (status(producers=(shown(subscribed("Pending")),)), "`streamd consumers approve NAME Invoice` at that site"),
        (status(daemon=DaemonStatus(running=True, state=Life.RUNNING, problem=STARTING)), "the daemon is starting"),
        (status(daemon=DaemonStatus(running=False, held_by="streamd 7@shop")), "streamd 7@shop"),
        (status(incomplete=("Invoice",)), "resync"),
        (status(producers=(shown(subscribed("Pending")),)), "Pending"),
        (status(producers=(shown(subscribed(age=400_000)),)), "402 s"),
        (status(producers=(shown(SubscribedType("Invoice", "Approved")),)), "has not reported"),
    ],
    ids=str,
)
def test_what_needs_a_person_is_said(found: Status, word: str) -> None:
    assert word in " ".join(attention(found, Limits()))


def test_limits_say_from_where_on_a_lag_is_something_to_look_at() -> None:
    found = status(producers=(shown(subscribed(age=20_000), head=20, status=CATCHING_UP),))
    assert attention(found, Limits()) == ()
    assert attention(found, Limits(max_behind=12))
    assert attention(found, Limits(max_age=10))


def test_a_paused_type_says_why_since_when_and_what_ends_it() -> None:
    entry = SubscribedType("Invoice", "Approved", paused="no column Total", paused_at=NOW - 90_000)
    (line,) = attention(status(producers=(shown(entry),)), Limits())
    assert "Invoice is paused since 90 s ago" in line
    assert "no column Total" in line
    assert "continues by itself" in line
