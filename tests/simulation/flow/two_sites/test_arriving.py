"""What happens between two sites, step by step: documents arrive, change, are renamed and go."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.simulation.flow.two_sites.statements import CUSTOMER, INVOICE, ITEM, LINE
from tests.simulation.sites import Site
from tests.support.matrix import EACH_PAIR, EACH_TURN


@EACH_TURN
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


async def test_an_update_of_a_document_that_was_never_here_fetches_it_whole(hq: Site, store: Site) -> None:
    store.write(CUSTOMER)
    await hq.pass_over(store)
    store.write("UPDATE Customer SET City = 'Rome'")
    await hq.pull_all(store)
    assert hq.everything() == store.everything()


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
