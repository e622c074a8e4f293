"""Changes that no trigger saw are a gap, and are repaired."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.acceptance.conftest import Pair
from tests.acceptance.faults.drift.gaps import CITY, NOTICED_SECONDS, begun_anew, gaps, logged_gaps, repaired
from tests.support import servers
from tests.support.engines import open_access
from tests.support.matrix import in_matrix
from tests.support.sites.chinook import NEW, add_invoice
from tests.support.sites.site import Site


def forgetful_rebuild(site: Site, meanwhile: Callable[[Any], None]) -> None:
    """A table rebuilt as tools do it that know nothing of triggers; and a write before anybody could notice."""
    (create,) = site.rows("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'Invoice'")[0]
    with site.connection() as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(create.replace("Invoice", "Invoice_new", 1))
        connection.execute("INSERT INTO Invoice_new SELECT * FROM Invoice")
        connection.execute("DROP TABLE Invoice")
        connection.execute("ALTER TABLE Invoice_new RENAME TO Invoice")
        meanwhile(connection)
        connection.execute("COMMIT")


def test_the_triggers_refuse_no_write_after_a_forgotten_migration_and_what_was_unseen_is_repaired(
    started: Pair,
) -> None:
    hq, store = started.hq, started.store

    def unseen(connection: Any) -> None:
        connection.execute("UPDATE Invoice SET BillingCity = 'unseen' WHERE InvoiceId = 1001")

    forgetful_rebuild(hq, unseen)
    begun_anew(started, hq, "triggers are missing")
    repaired(started, "Invoice", "triggers had vanished")
    assert store.value(CITY, 1001) == "unseen"
    assert gaps(store, "Customer") == [], "only types whose triggers were gone are read again"
    add_invoice(hq, 1002)
    started.world.equal(hq, store, NEW)


def test_a_gap_is_left_to_a_person_where_the_configuration_says_so(pair: Pair) -> None:
    pair.store.producers["hq"].settings["repair_gaps"] = False
    pair.start()
    add_invoice(pair.hq, 1001)
    pair.world.equal(pair.hq, pair.store, NEW)

    def unseen(connection: Any) -> None:
        connection.execute("UPDATE Invoice SET BillingCity = 'unseen' WHERE InvoiceId = 1001")

    forgetful_rebuild(pair.hq, unseen)
    pair.world.eventually(lambda: gaps(pair.store, "Invoice"), "the gap is shown", timeout=20)
    add_invoice(pair.hq, 1002)
    pair.world.eventually(lambda: pair.store.value(CITY, 1002), "the consumer goes on")
    assert pair.store.json("status")["requests"] == 0
    assert pair.store.value(CITY, 1001) == "Stuttgart"
    assert [entry["update_type"] for entry in pair.store.json("log", "syncs", "--status", "failed")] == ["Gap"]
    pair.store.cli("resync", "--doctype", "Invoice", "--whole")
    pair.world.equal(pair.hq, pair.store, NEW, timeout=30)
    repaired(pair, "Invoice", "triggers had vanished")


def test_a_gap_is_repaired_although_the_consumer_was_killed_when_it_met_it(pair: Pair) -> None:
    pair.start()
    add_invoice(pair.hq, 1001)
    pair.world.equal(pair.hq, pair.store, NEW)
    pair.store.stop()

    def unseen(connection: Any) -> None:
        connection.execute("UPDATE Invoice SET BillingCity = 'unseen' WHERE InvoiceId = 1001")

    forgetful_rebuild(pair.hq, unseen)
    pair.world.eventually(lambda: logged_gaps(pair.hq, "Invoice"), "the gap is in the log", timeout=NOTICED_SECONDS)
    pair.store.start(STREAMD_CRASH_AT="apply.committed", wait=False)
    pair.world.eventually(pair.store.died, "the consumer dies with the gap", timeout=30)
    pair.store.start()
    repaired(pair, "Invoice", "triggers had vanished")
    assert pair.store.value(CITY, 1001) == "unseen"


def test_repairing_a_gap_leaves_what_was_edited_here_and_has_not_arrived_there(twins: Pair) -> None:
    hq, store = twins.hq, twins.store
    twins.start()
    add_invoice(hq, 1001)
    twins.world.equal(hq, store, NEW)
    hq.stop()
    # The store's edit waits for headquarters, whose own is not seen by anybody.
    store.execute("UPDATE Invoice SET BillingCity = 'edited at the store' WHERE InvoiceId = 1001")
    hq.cli("uninstall", "--for-migration")
    hq.execute("UPDATE Invoice SET BillingState = 'unseen' WHERE InvoiceId = 1001")
    hq.cli("install")
    hq.start()
    repaired(twins, "Invoice", "during a migration")
    twins.world.equal(hq, store, NEW, timeout=20)
    found = store.rows("SELECT BillingCity, BillingState FROM Invoice WHERE InvoiceId = 1001")
    assert found == [("edited at the store", "unseen")]


def test_repairing_a_gap_takes_an_unseen_edit_of_what_was_edited_here_before(twins: Pair) -> None:
    hq, store = twins.hq, twins.store
    twins.start()
    add_invoice(hq, 1001)
    twins.world.equal(hq, store, NEW)
    store.execute("UPDATE Invoice SET BillingCity = 'edited at the store' WHERE InvoiceId = 1001")
    twins.world.equal(hq, store, NEW)
    hq.stop()
    hq.cli("uninstall", "--for-migration")
    hq.execute("UPDATE Invoice SET BillingCity = 'unseen' WHERE InvoiceId = 1001")
    hq.cli("install")
    hq.start()
    repaired(twins, "Invoice", "during a migration")
    twins.world.equal(hq, store, NEW, timeout=20)
    assert store.value(CITY, 1001) == "unseen"


@pytest.fixture
def seeing(pair: Pair) -> Iterator[Pair]:
    """Headquarters' user may see how MariaDB made its tables."""
    user = f"{pair.hq.access.database.user}@'%'"
    administrator = open_access(servers.administrator(pair.hq.access.database))
    administrator.execute(f"GRANT PROCESS ON *.* TO {user}")
    yield pair
    administrator.execute(f"REVOKE PROCESS ON *.* FROM {user}")


@pytest.mark.parametrize("engines", in_matrix(("mariadb", "sqlite")))
def test_a_table_that_mariadb_truncated_is_emptied_at_the_consumer_too(seeing: Pair) -> None:
    hq, store = seeing.hq, seeing.store
    seeing.start()
    for number in (1, 2):
        hq.execute("INSERT INTO Note VALUES (?, 'Artist', 90, 'heard')", number)
    seeing.world.equal(hq, store, {"Note": "true"})
    looked = "SELECT count(*) FROM streamd_table WHERE tbl = 'Note'"
    seeing.world.eventually(lambda: hq.value(looked) == 1, "headquarters has looked at the table", timeout=20)
    hq.stop()
    hq.access.raw("TRUNCATE TABLE Note")
    hq.start()
    hq.execute("INSERT INTO Note VALUES (3, 'Artist', 90, 'heard again')")
    repaired(seeing, "Note", "Note was emptied (TRUNCATE)")
    seeing.world.equal(hq, store, {"Note": "true"})
