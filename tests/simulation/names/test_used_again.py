"""A name that is used again is of another document: nothing that is meant for the one comes to the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.simulation.sites import Site, settle, write
from tests.support.matrix import EACH_PAIR, Engines


@pytest.fixture
async def sites(tmp_path: Path, engines: Engines) -> AsyncIterator[tuple[Site, Site]]:
    hq, store = Site(tmp_path, "hq", engine=engines[0]), Site(tmp_path, "store", engine=engines[1])
    for site in (hq, store):
        await site.open()
    yield hq, store
    for site in (hq, store):
        await site.close()


async def begin(hq: Site, store: Site) -> None:
    """Two customers, who came from the store, are at both."""
    store.write(
        "INSERT INTO Customer VALUES (1, 'Ada', 'Turin', NULL)", "INSERT INTO Customer VALUES (2, 'Bo', NULL, NULL)"
    )
    await settle(hq, store)


async def assert_equal(*sites: Site) -> None:
    for site in sites:
        assert await site.queue() == [], site.name
        assert site.everything() == sites[0].everything(), site.name


def customers(site: Site) -> list[tuple[object, ...]]:
    return site.rows("SELECT Id, Name, City FROM Customer ORDER BY Id")


RENAME = "UPDATE Customer SET Id = 9 WHERE Id = 1"
AGAIN = "INSERT INTO Customer VALUES (1, 'Cy', NULL, NULL)"
DELETE = "DELETE FROM Customer WHERE Id = 1"
EDIT = "UPDATE Customer SET City = 'Oslo' WHERE Id = 1"


@EACH_PAIR
async def test_an_edit_of_a_new_document_under_an_old_name_is_of_the_new_one(sites: tuple[Site, Site]) -> None:
    hq, store = sites
    await begin(hq, store)
    await write(hq, RENAME, AGAIN)
    await settle(hq, store)
    await write(store, EDIT)
    await settle(hq, store)
    assert customers(hq) == [(1, "Cy", "Oslo"), (2, "Bo", None), (9, "Ada", "Turin")]
    await assert_equal(hq, store)


async def test_an_edit_of_a_document_that_was_renamed_follows_it_although_another_one_has_its_name(
    sites: tuple[Site, Site],
) -> None:
    hq, store = sites
    await begin(hq, store)
    await write(hq, RENAME, AGAIN)
    await write(store, EDIT)
    await settle(hq, store)
    assert customers(hq) == [(1, "Cy", None), (2, "Bo", None), (9, "Ada", "Oslo")]
    await assert_equal(hq, store)


async def test_an_edit_of_a_deleted_document_does_not_come_to_its_successor(sites: tuple[Site, Site]) -> None:
    hq, store = sites
    await begin(hq, store)
    await write(hq, DELETE, AGAIN)
    await write(store, EDIT)
    await settle(hq, store)
    assert customers(hq) == [(1, "Cy", None), (2, "Bo", None)]
    await assert_equal(hq, store)
    notes = [entry.note for entry in await hq.sync_log.list()]
    assert "was deleted here; the edit is not applied" in notes
    await write(store, EDIT)
    await write(hq, "UPDATE Customer SET Name = 'Cyd' WHERE Id = 1")
    await settle(hq, store)
    assert customers(hq) == [(1, "Cyd", "Oslo"), (2, "Bo", None)], "now it is the new one that was edited"
    await assert_equal(hq, store)


async def test_a_deletion_of_the_old_document_leaves_its_successor(sites: tuple[Site, Site]) -> None:
    hq, store = sites
    await begin(hq, store)
    await write(hq, DELETE, AGAIN)
    await write(store, DELETE)
    await settle(hq, store)
    assert customers(hq) == [(1, "Cy", None), (2, "Bo", None)]
    await assert_equal(hq, store)


async def test_a_rename_of_the_old_document_leaves_its_successor(sites: tuple[Site, Site]) -> None:
    hq, store = sites
    await begin(hq, store)
    await write(hq, DELETE, AGAIN)
    await write(store, RENAME, "UPDATE Customer SET City = 'Oslo' WHERE Id = 9")
    await settle(hq, store)
    assert customers(hq) == [(1, "Cy", None), (2, "Bo", None)]
    await assert_equal(hq, store)


@EACH_PAIR
async def test_two_documents_that_exchange_their_names_are_edited_as_themselves(sites: tuple[Site, Site]) -> None:
    hq, store = sites
    await begin(hq, store)
    await write(
        hq,
        "UPDATE Customer SET Id = 3 WHERE Id = 1",
        "UPDATE Customer SET Id = 1 WHERE Id = 2",
        "UPDATE Customer SET Id = 2 WHERE Id = 3",
    )
    await write(store, EDIT, "UPDATE Customer SET City = 'Rome' WHERE Id = 2")
    await settle(hq, store)
    assert customers(hq) == [(1, "Bo", "Rome"), (2, "Ada", "Oslo")]
    await assert_equal(hq, store)
    await write(store, EDIT)
    await settle(hq, store)
    assert customers(hq) == [(1, "Bo", "Oslo"), (2, "Ada", "Oslo")]
    await assert_equal(hq, store)


async def test_a_name_is_used_again_and_again(sites: tuple[Site, Site]) -> None:
    hq, store = sites
    await begin(hq, store)
    for number in range(20):
        await write(hq, DELETE, f"INSERT INTO Customer VALUES (1, 'n{number}', NULL, NULL)")
        await write(store, f"UPDATE Customer SET City = 'c{number}' WHERE Id = 1")
        await settle(hq, store)
        assert customers(hq) == [(1, f"n{number}", None), (2, "Bo", None)]
        await assert_equal(hq, store)


async def test_two_documents_that_were_made_anew_under_one_name_are_never_merged(sites: tuple[Site, Site]) -> None:
    hq, store = sites
    await begin(hq, store)
    await write(hq, DELETE, AGAIN)
    await write(store, DELETE, "INSERT INTO Customer VALUES (1, 'Dee', 'Bonn', NULL)")
    await settle(hq, store)
    assert customers(hq) == [(1, "Cy", None), (2, "Bo", None)]
    assert customers(store) == [(1, "Dee", "Bonn"), (2, "Bo", None)]
    for site in sites:
        ((state, error),) = await site.queue()
        assert state == "parked"
        assert "same name, another document" in error


async def test_two_documents_that_were_made_anew_as_equals_are_one(sites: tuple[Site, Site]) -> None:
    hq, store = sites
    await begin(hq, store)
    await write(hq, DELETE, AGAIN)
    await write(store, DELETE, AGAIN)
    await settle(hq, store)
    await write(store, EDIT)
    await write(hq, "UPDATE Customer SET Name = 'Cyd' WHERE Id = 1")
    await settle(hq, store)
    assert customers(hq) == [(1, "Cyd", "Oslo"), (2, "Bo", None)]
    await assert_equal(hq, store)


async def test_a_document_that_takes_the_name_of_the_other_sites_new_one_is_not_overwritten(
    sites: tuple[Site, Site],
) -> None:
    """The store has never heard of customer 9 at headquarters, and calls another one so."""
    hq, store = sites
    await begin(hq, store)
    await write(hq, "INSERT INTO Customer VALUES (9, 'Cy', NULL, NULL)")
    await write(store, RENAME)
    await settle(hq, store)
    assert customers(hq) == [(1, "Ada", "Turin"), (2, "Bo", None), (9, "Cy", None)]
    assert customers(store) == [(2, "Bo", None), (9, "Ada", "Turin")]
    assert {state for site in sites for state, _ in await site.queue()} == {"parked"}


@pytest.mark.parametrize("later", [0, 1], ids=["hq-is-later", "store-is-later"])
async def test_where_both_sites_rename_one_document_edits_under_the_name_that_is_lost_reach_it(
    sites: tuple[Site, Site], later: int
) -> None:
    hq, store = sites
    await begin(hq, store)
    first, second = (store, hq) if later == 0 else (hq, store)
    await write(first, RENAME)
    await write(second, "UPDATE Customer SET Id = 8 WHERE Id = 1")
    await write(first, "UPDATE Customer SET City = 'Oslo' WHERE Id = 9", "UPDATE Customer SET Id = 7 WHERE Id = 2")
    await write(first, "INSERT INTO Customer VALUES (1, 'Cy', NULL, NULL)")
    await settle(hq, store)
    assert customers(hq) == [(1, "Cy", None), (7, "Bo", None), (8, "Ada", "Oslo")]
    await assert_equal(hq, store)


async def test_what_a_third_site_says_of_the_old_document_is_known_for_it(
    sites: tuple[Site, Site], tmp_path: Path
) -> None:
    """Through headquarters in between, where the new one came from the store."""
    hq, store = sites
    other = Site(tmp_path, "other")
    await other.open()
    await begin(hq, store)
    await settle(hq, other)
    await write(store, DELETE, AGAIN)
    await write(other, EDIT)
    for _ in range(3):
        await settle(hq, store)
        await settle(hq, other)
    assert customers(store) == [(1, "Cy", None), (2, "Bo", None)]
    await assert_equal(hq, store, other)
    await write(other, EDIT)
    for _ in range(3):
        await settle(hq, other)
        await settle(hq, store)
    assert customers(store) == [(1, "Cy", "Oslo"), (2, "Bo", None)]
    await assert_equal(hq, store, other)
    await other.close()


async def test_a_document_that_was_fetched_is_known_as_the_one_that_it_is(sites: tuple[Site, Site]) -> None:
    """The site that fetches it knew the old one, and edits the new one at once."""
    hq, store = sites
    await begin(hq, store)
    await write(store, DELETE)
    await settle(hq, store)
    await write(store, AGAIN)
    async with hq.database.transaction() as transaction:
        head = await store.update_log.head()
        assert head is not None
        await transaction.put_checkpoint(store.site, head.log, head.sequence, head.nonce)
    await write(store, "INSERT INTO Invoice VALUES (1, 1, NULL)")
    await hq.pull_all(store)
    assert customers(hq) == [(1, "Cy", None), (2, "Bo", None)]
    await write(hq, EDIT)
    await settle(hq, store)
    assert customers(store) == [(1, "Cy", "Oslo"), (2, "Bo", None)]
    await assert_equal(hq, store)


async def test_what_is_appended_again_after_a_crash_says_the_same_lives(sites: tuple[Site, Site]) -> None:
    hq, store = sites
    await begin(hq, store)
    await write(hq, DELETE)
    hq.write(AGAIN)
    hq.write("UPDATE Customer SET City = 'Rome' WHERE Id = 1")
    hq.write("UPDATE Customer SET Id = 5 WHERE Id = 1")
    hq.write("INSERT INTO Customer VALUES (1, 'Di', NULL, NULL)")
    await hq.crash_between_claim_and_append()
    await write(store, EDIT)
    await settle(hq, store)
    assert customers(hq) == [(1, "Di", None), (2, "Bo", None), (5, "Cy", "Rome")]
    await assert_equal(hq, store)
    await write(store, EDIT)
    await settle(hq, store)
    assert customers(hq) == [(1, "Di", "Oslo"), (2, "Bo", None), (5, "Cy", "Rome")]
    await assert_equal(hq, store)


async def test_what_is_named_here_goes_back_as_itself_although_its_name_here_is_another_ones(tmp_path: Path) -> None:
    """Ada came from the store and got the number 2 at headquarters, which another customer has by now."""
    hq, store = Site(tmp_path, "hq", renamed=("Customer", "Invoice")), Site(tmp_path, "store")
    for site in (hq, store):
        await site.open()
    hq.write("INSERT INTO Customer VALUES (1, 'Bo', NULL, NULL)")
    store.write("INSERT INTO Customer VALUES (1, 'Ada', 'Turin', NULL)")
    await hq.pull_all(store)
    assert customers(hq) == [(1, "Bo", None), (2, "Ada", "Turin")]
    await write(hq, "DELETE FROM Customer WHERE Id = 1", "UPDATE Customer SET City = 'Rome' WHERE Id = 2")
    await write(hq, "UPDATE Customer SET Id = 9 WHERE Id = 2", "INSERT INTO Customer VALUES (2, 'Cy', NULL, NULL)")
    await write(hq, "UPDATE Customer SET City = 'Oslo' WHERE Id = 2", "UPDATE Customer SET Name = 'Adah' WHERE Id = 9")
    await settle(hq, store)
    assert customers(hq) == [(2, "Cy", "Oslo"), (9, "Adah", "Rome")]
    assert customers(store) == [(1, "Adah", "Rome"), (2, "Cy", "Oslo")]
    assert [await site.queue() for site in (hq, store)] == [[], []]
    for site in (hq, store):
        await site.close()
