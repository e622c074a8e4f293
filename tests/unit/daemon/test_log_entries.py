"""Ids and names as people type them on the command line."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streamd.cli.shared.entries import choose, parse_id, possible_names, sync_row
from streamd.errors import NotFound, StreamdError
from streamd.model import Event, QueuedEvent, SyncEntry


def parked(id: int, name: int, sequence: int) -> QueuedEvent:
    event = Event(sequence, "n", 1, "Item", (name,), "update", "", 0)
    return QueuedEvent(id, "site", "log", event, "parked", "it failed", 1, 0)


def failed(id: int, name: int, sequence: int) -> SyncEntry:
    return SyncEntry("update", "Failed", "Item", "hq", f"[{name}]", f"[{name}]", True, "{}", sequence, id=id)


QUEUE = [parked(12, 1, 100), parked(13, 2, 101)]
PRODUCERS = {"site": "hq", "other": "store"}


@pytest.mark.parametrize(("text", "kind", "number"), [("12", "", 12), ("u7", "u", 7), ("P3", "p", 3)])
def test_ids_say_which_log_they_belong_to(text: str, kind: str, number: int) -> None:
    id = parse_id(text)
    assert (id.kind, id.number) == (kind, number)


@pytest.mark.parametrize("text", ["", "x", "12a", "p", "-1", "٣", "9" * 30])
def test_what_is_no_id_is_said_to_be_none(text: str) -> None:
    with pytest.raises(NotFound):
        parse_id(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("12", [(12,), ("12",)]), ("A-1", [("A-1",)]), ('["AB",2024]', [("AB", 2024)]), ("[x", [("[x",)])],
)
def test_a_typed_name_may_be_a_number_or_text(text: str, meant: list[tuple[object, ...]]) -> None:
    assert possible_names(text) == meant


def test_a_comma_may_separate_columns_or_be_part_of_the_name() -> None:
    assert {("AB, 2024",), ("AB", 2024), ("AB", "2024")} == set(possible_names("AB, 2024"))


def test_a_parked_event_is_found_by_its_id_with_or_without_the_letter() -> None:
    assert choose(parse_id("p13"), QUEUE, None, PRODUCERS).id == 13
    assert choose(parse_id("13"), QUEUE, None, PRODUCERS).id == 13


def test_the_id_of_the_sync_logs_entry_means_its_event() -> None:
    assert choose(parse_id("77"), QUEUE, failed(77, 2, 101), PRODUCERS).id == 13


def test_the_event_of_another_producer_with_the_same_name_and_number_is_another_one() -> None:
    theirs = replace(parked(14, 2, 101), producer="other")
    assert choose(parse_id("77"), [*QUEUE, theirs], failed(77, 2, 101), PRODUCERS).id == 13
    with pytest.raises(NotFound):
        choose(parse_id("77"), [theirs], failed(77, 2, 101), PRODUCERS)


def test_an_id_that_could_mean_two_events_is_refused() -> None:
    with pytest.raises(StreamdError, match=r"p12 .* p13"):
        choose(parse_id("12"), QUEUE, failed(12, 2, 101), PRODUCERS)


@pytest.mark.parametrize("text", ["p99", "99", "u12"])
def test_an_event_that_is_not_kept_is_not_found(text: str) -> None:
    with pytest.raises(NotFound):
        choose(parse_id(text), QUEUE, None, PRODUCERS)


def test_an_entry_whose_event_is_parked_goes_by_the_id_that_can_be_resynced() -> None:
    row = sync_row(failed(77, 2, 101), QUEUE[1])
    assert (row["id"], row["status"], row["error"]) == ("p13", "Failed", "it failed")
    assert sync_row(failed(77, 2, 101))["id"] == "77"
