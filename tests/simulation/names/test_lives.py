"""Names that are used again, where it is hard to tell what is meant: on SQLite, one step at a time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamd.capture.forming import APART_MS
from tests.simulation.conftest import Opened, Sites
from tests.simulation.sites import Site, settle, write

APART_SECONDS = APART_MS / 1000

SCHEMA = """CREATE TABLE "T" ("Id" TEXT PRIMARY KEY NOT NULL, "Who" TEXT NOT NULL, "Val" TEXT);
CREATE TABLE "L" ("Idx" TEXT PRIMARY KEY NOT NULL, "T" TEXT NOT NULL REFERENCES "T" ("Id"), "V" TEXT)"""
TYPES: dict[str, Any] = {"T": {"children": {"rows": {"table": "L", "key": "Idx", "parent_key": "T"}}}}
# The key of a child row contains its document's.
INNER = """CREATE TABLE "T" ("Id" TEXT PRIMARY KEY NOT NULL, "Who" TEXT NOT NULL, "Val" TEXT);
CREATE TABLE "L" ("T" TEXT NOT NULL REFERENCES "T" ("Id"), "Idx" INTEGER NOT NULL, "V" TEXT,
    PRIMARY KEY ("T", "Idx"))"""
INNER_TYPES: dict[str, Any] = {"T": {"children": {"rows": {"table": "L", "key": ["T", "Idx"], "parent_key": "T"}}}}
NUMBERS = """CREATE TABLE "T" ("Id" INTEGER PRIMARY KEY AUTOINCREMENT, "Who" TEXT NOT NULL, "Val" TEXT)"""
NUMBER_TYPES: dict[str, Any] = {"T": {"naming": "database"}}


@pytest.fixture
def sites(opened: Opened) -> Sites:
    return Sites(opened, schema=SCHEMA, doctypes=TYPES)


async def numbered_sites(sites: Sites, *, named_here: set[str]) -> list[Site]:
    """Two sites of numbered documents; some give them numbers of their own."""
    made = []
    for name in ("hq", "store"):
        renamed = ("T",) if name in named_here else ()
        made += await sites.make(name, schema=NUMBERS, doctypes=NUMBER_TYPES, renamed=renamed)
    return made


def t(site: Site) -> list[tuple[object, ...]]:
    return sorted(site.rows('SELECT "Id", "Who", "Val" FROM "T"'), key=str)


def kids(site: Site) -> list[tuple[object, ...]]:
    return sorted(site.rows('SELECT "T", "Idx", "V" FROM "L"'), key=str)


def insert(key: str, who: str) -> str:
    return f"INSERT INTO T VALUES ('{key}', '{who}', NULL)"


def rename(old: str, new: str) -> list[str]:
    return [f"UPDATE T SET Id = '{new}' WHERE Id = '{old}'", f"UPDATE L SET T = '{new}' WHERE T = '{old}'"]


def delete(key: str) -> str:
    return f"DELETE FROM T WHERE Id = '{key}'"


def edit(key: str, value: str) -> str:
    return f"UPDATE T SET Val = '{value}' WHERE Id = '{key}'"


@pytest.mark.parametrize("what", ["deleted", "edited"])
async def test_what_is_meant_for_a_document_that_is_gone_never_comes_to_one_that_had_its_new_name_before(
    sites: Sites, what: str
) -> None:
    hq, store = await sites.make("hq", "store")
    await write(hq, insert("hq2", "Bo"))
    await write(store, insert("st1", "Ada"))
    await settle(hq, store)
    # The store: Ada gives up st1, and Bo takes it.
    await write(store, rename("st1", "st3"), rename("hq2", "st1"))
    # Headquarters, later, and without having heard: Bo is renamed, deleted, and another one is made in its place.
    await write(hq, rename("hq2", "hq1"), delete("hq1"), insert("hq1", "Cy"))
    # The store, without having heard: does something to Bo.
    await write(store, delete("st1") if what == "deleted" else edit("st1", "for Bo"))
    await settle(hq, store)
    assert t(hq) == [("hq1", "Cy", None), ("st3", "Ada", None)]
    assert t(store) == t(hq)
    assert [await site.queue() for site in (hq, store)] == [[], []]


async def test_a_document_that_was_deleted_under_another_name_stays_deleted(sites: Sites) -> None:
    hq, store = await sites.make("hq", "store")
    await write(hq, insert("hq2", "Bo"))
    await settle(hq, store)
    await write(store, rename("hq2", "st2"), rename("st2", "st3"))
    await write(hq, rename("hq2", "hq3"), delete("hq3"))
    await settle(hq, store)
    assert [await site.queue() for site in (hq, store)] == [[], []]
    assert (t(hq), t(store)) == ([], [])


async def test_an_edit_under_a_name_that_lost_of_a_document_that_is_gone_is_parked_nowhere(sites: Sites) -> None:
    hq, store = await sites.make("hq", "store")
    await write(store, insert("st1", "Bo"))
    await settle(hq, store)
    await write(hq, rename("st1", "hq3"))
    await write(store, rename("st1", "st2"))
    await write(hq, edit("hq3", "x"))
    await write(store, delete("st2"), insert("st2", "Cy"))
    await settle(hq, store)
    assert t(hq) == t(store) == [("st2", "Cy", None)]
    assert [await site.queue() for site in (hq, store)] == [[], []]


async def test_a_gap_that_is_repaired_leaves_the_successor_of_what_is_read(sites: Sites) -> None:
    hq, store = await sites.make("hq", "store")
    await write(hq, insert("hq2", "Ada"))
    await settle(hq, store)
    await write(hq, delete("hq2"), insert("hq2", "Bo"))
    await hq.read_whole(store, "T", repair=True)
    assert t(hq) == [("hq2", "Bo", None)], "read again, as the daemon does by itself for a gap in the store's log"
    await settle(hq, store)
    assert t(store) == t(hq)


async def test_a_local_edit_of_the_old_document_does_not_stay_on_its_successor_that_is_read_again(sites: Sites) -> None:
    hq, store = await sites.make("hq", "store")
    await write(hq, insert("hq2", "Ada"))
    await settle(hq, store)
    await write(hq, delete("hq2"), insert("hq2", "Bo"))
    await write(store, edit("hq2", "for Ada"))
    await store.read_whole(hq, "T", repair=True)
    assert t(store) == [("hq2", "Bo", None)]


async def test_a_deletion_of_the_old_document_does_not_come_to_its_successor_that_was_read_again(sites: Sites) -> None:
    hq, store = await sites.make("hq", "store")
    await write(hq, insert("hq2", "Ada"))
    await settle(hq, store)
    await write(hq, delete("hq2"), insert("hq2", "Bo"))
    await write(store, edit("hq2", "for Ada"))
    await store.read_whole(hq, "T", repair=True)
    await write(store, edit("hq2", "for Bo"))
    await settle(hq, store)
    assert [await site.queue() for site in (hq, store)] == [[], []]
    assert t(hq) == t(store) == [("hq2", "Bo", "for Bo")]


async def test_an_edit_of_a_row_whose_key_holds_the_name_reaches_the_document_that_was_renamed(
    sites: Sites,
) -> None:
    hq, store = await sites.make("hq", "store", schema=INNER, doctypes=INNER_TYPES)
    await write(store, [insert("st1", "Ada"), "INSERT INTO L VALUES ('st1', 1, 'old')"])
    await settle(hq, store)
    await write(store, rename("st1", "st2"))
    await write(hq, "UPDATE L SET V = 'new' WHERE T = 'st1'")
    await settle(hq, store)
    assert kids(store) == [("st2", 1, "new")]
    assert kids(hq) == kids(store)


async def test_a_removed_row_whose_key_holds_the_name_stays_removed_where_the_document_was_renamed(
    sites: Sites,
) -> None:
    hq, store = await sites.make("hq", "store", schema=INNER, doctypes=INNER_TYPES)
    await write(store, [insert("st1", "Ada"), "INSERT INTO L VALUES ('st1', 1, 'old')"])
    await settle(hq, store)
    await write(store, rename("st1", "st2"))
    await write(hq, "DELETE FROM L WHERE T = 'st1'")
    await settle(hq, store)
    assert (kids(hq), kids(store)) == ([], [])


async def test_a_document_with_such_rows_that_both_sites_rename_gets_the_later_name_at_both(sites: Sites) -> None:
    hq, store = await sites.make("hq", "store", schema=INNER, doctypes=INNER_TYPES)
    await write(store, [insert("st1", "Ada"), "INSERT INTO L VALUES ('st1', 1, 'old')"])
    await settle(hq, store)
    await write(store, rename("st1", "st2"))
    await write(hq, rename("st1", "hq1"))
    await settle(hq, store)
    assert [await site.queue() for site in (hq, store)] == [[], []]
    assert t(hq) == t(store) == [("hq1", "Ada", None)]


def numbered(who: str) -> str:
    return f"INSERT INTO T (Who) VALUES ('{who}')"


def renumber(old: int, new: int) -> str:
    return f"UPDATE T SET Id = {new} WHERE Id = {old}"


async def test_a_parked_document_of_the_same_name_stays_parked_when_the_other_one_is_edited_there(sites: Sites) -> None:
    """Headquarters names the store's documents anew; the store keeps headquarters' names."""
    hq, store = await numbered_sites(sites, named_here={"hq"})
    await write(store, numbered("Ada"))
    await write(hq, numbered("Bo"))
    await hq.pull_all(store)  # Ada is 2 at headquarters
    await write(hq, "UPDATE T SET Val = 'x' WHERE Id = 2")
    await settle(hq, store)
    assert t(hq) == [(1, "Bo", None), (2, "Ada", "x")]
    assert t(store) == [(1, "Ada", "x")]
    ((state, error),) = await store.queue()
    assert (state, "same name, another document" in error) == ("parked", True)


async def test_a_parked_document_of_the_same_name_never_overwrites_the_one_that_is_here(sites: Sites) -> None:
    hq, store = await numbered_sites(sites, named_here={"hq"})
    await write(store, numbered("Ada"))
    await write(hq, numbered("Bo"))
    await settle(hq, store)
    assert len(await store.queue()) == 1
    await write(hq, renumber(2, 1001), "UPDATE T SET Val = 'for Bo' WHERE Id = 1")
    await write(store, "UPDATE T SET Val = 'for Ada' WHERE Id = 1")
    await settle(hq, store)
    assert ("Ada",) in store.rows("SELECT Who FROM T")
    assert store.rows("SELECT Val FROM T WHERE Who = 'Ada'") == [("for Ada",)]


async def test_with_own_names_a_document_that_was_deleted_here_and_renamed_there_stays_deleted(sites: Sites) -> None:
    hq, store = await numbered_sites(sites, named_here={"hq", "store"})
    await write(store, numbered("Ada"))
    await settle(hq, store)
    await write(hq, "DELETE FROM T")
    await write(store, renumber(1, 1102), renumber(1102, 1103))
    await settle(hq, store)
    assert [await site.queue() for site in (hq, store)] == [[], []]
    assert (t(hq), t(store)) == ([], [])


async def test_with_own_names_an_edit_under_a_name_that_was_given_up_comes_to_the_document_that_has_it_now(
    sites: Sites,
) -> None:
    hq, store = await numbered_sites(sites, named_here={"hq"})
    await write(store, numbered("Ada"))
    await write(hq, numbered("Bo"))
    await settle(hq, store)  # Ada is 2 at headquarters; Bo waits at the store, where 1 is Ada
    await write(store, renumber(1, 1101))
    await store.pull_all(hq)
    assert t(store) == [(1, "Bo", None), (1101, "Ada", None)], "healed, as promised"
    await write(store, numbered("Cy"), "UPDATE T SET Val = 'for Bo' WHERE Id = 1")
    await settle(hq, store)
    assert sorted(row[1:] for row in t(hq)) == sorted(row[1:] for row in t(store))
    assert hq.rows("SELECT Val FROM T WHERE Who = 'Bo'") == [("for Bo",)]
    assert hq.rows("SELECT Val FROM T WHERE Who = 'Ada'") == [(None,)]


async def test_a_name_that_is_used_again_and_comes_by_two_ways_is_parked_nowhere(sites: Sites) -> None:
    hq, store, other = await sites.make("hq", "store", "other")
    await write(other, insert("a", "Ada"), rename("a", "b"), insert("a", "Bo"))
    await settle(hq, store, other)
    assert [await site.queue() for site in (hq, store, other)] == [[], [], []]


async def test_documents_that_exchange_names_and_come_by_two_ways_are_there_once(sites: Sites) -> None:
    hq, store, other = await sites.make("hq", "store", "other")
    await write(store, insert("st1", "Ada"))
    await settle(hq, store, other)
    await write(store, [insert("st3", "Bo"), "INSERT INTO L VALUES ('row', 'st3', 'x')"])
    await write(store, [*rename("st3", "st9"), *rename("st1", "st3"), *rename("st9", "st1")])
    await write(store, "DELETE FROM L WHERE Idx = 'row'")
    await settle(hq, store, other)
    assert t(store) == [("st1", "Bo", None), ("st3", "Ada", None)]
    assert (t(hq), t(other)) == (t(store), t(store))


async def test_reading_whole_keeps_a_document_that_was_renamed_here_and_is_there(sites: Sites) -> None:
    """`resync --whole` asked for by a person at headquarters, before the store has heard of anything."""
    hq, store = await sites.make("hq", "store")
    await write(store, insert("st1", "Ada"))
    await settle(hq, store)
    await write(hq, rename("st1", "hq9"), insert("st1", "Cy"))
    await hq.read_whole(store, "T")
    assert "Ada" in [row[1] for row in t(hq)], "it is at the producer, and was here"
    await settle(hq, store)
    assert t(hq) == t(store)


async def test_a_producer_that_gets_the_type_from_nobody_may_use_a_name_again(sites: Sites) -> None:
    """A hub that edits a type, and gets it from a site that only makes documents, and from one that edits them."""
    hq, maker, store = await sites.make("hq", "maker", "store")
    maker.capture._remembered = frozenset()  # as in a daemon without producers of the type
    await write(maker, insert("a", "Ada"))
    await hq.pull_all(maker)
    await settle(hq, store)
    await write(maker, delete("a"), insert("a", "Bo"))
    await hq.pull_all(maker)
    await write(store, edit("a", "for Ada"))
    await settle(hq, store)
    assert t(hq) == [("a", "Bo", None)]
    assert t(store) == t(hq)


async def test_on_sqlite_a_name_that_is_used_again_a_second_later_is_of_another_document(sites: Sites) -> None:
    """docs/explanation/naming.md: only what happens within one transaction, or within a second, is one change."""
    hq, store = await sites.make("hq", "store")
    await write(hq, insert("a", "Ada"))
    await settle(hq, store)
    hq.write(delete("a"))
    await asyncio.sleep(1.2 * APART_SECONDS)
    hq.write(insert("a", "Bo"))
    await write(store, edit("a", "for Ada"))
    await settle(hq, store)
    assert t(hq) == t(store) == [("a", "Bo", None)]


async def test_on_sqlite_an_older_edit_stays_older_where_the_document_is_changed_again_before_it_is_captured(
    sites: Sites,
) -> None:
    """README: of one field the newest wins. The other site's edit is made in the time between."""
    hq, store = await sites.make("hq", "store")
    await write(hq, insert("a", "Ada"))
    await settle(hq, store)
    hq.write(edit("a", "older"))
    await asyncio.sleep(0.8 * APART_SECONDS)
    await write(store, edit("a", "newer"))
    await asyncio.sleep(0.8 * APART_SECONDS)
    hq.write("UPDATE T SET Who = 'Adah' WHERE Id = 'a'")
    await settle(hq, store)
    assert t(hq) == t(store) == [("a", "Adah", "newer")]


async def test_a_document_that_was_renamed_there_while_all_were_read_again_is_not_lost(sites: Sites) -> None:
    """Its row is in the way here, under the document's old name: it cannot be written under the new one at first."""
    hq, store = await sites.make("hq", "store")
    await write(hq, [insert("hq2", "Ada"), "INSERT INTO L VALUES ('row', 'hq2', 'x')"])
    await settle(hq, store)
    await write(hq, rename("hq2", "hq3"))
    await store.read_whole(hq, "T", repair=True)
    await settle(hq, store)
    assert t(store) == t(hq) == [("hq3", "Ada", None)]
    assert kids(store) == kids(hq) == [("hq3", "row", "x")]


async def test_documents_that_exchanged_names_and_were_read_again_do_not_stop_what_follows(sites: Sites) -> None:
    """What is read again is later than the events that made it so."""
    hq, store = await sites.make("hq", "store")
    await write(hq, insert("hq2", "Ada"), insert("hq3", "Bo"))
    await write(hq, [*rename("hq3", "hq9"), *rename("hq2", "hq3"), *rename("hq9", "hq2")])
    await store.read_whole(hq, "T", repair=True)
    await write(hq, edit("hq2", "x"))
    await settle(hq, store)
    assert t(store) == t(hq) == [("hq2", "Bo", "x"), ("hq3", "Ada", None)]
    assert [await site.queue() for site in (hq, store)] == [[], []]
