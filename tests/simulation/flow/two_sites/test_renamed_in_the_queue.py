"""Refused documents that are renamed, deleted or taken whole before they are mended."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from streamd.apply.parked.healer import Route
from streamd.model import Cursor
from tests.simulation.flow.two_sites.statements import CUSTOMER, INVOICE, ITEM, LINE, ON_SQLITE
from tests.simulation.sites import Site, event

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
