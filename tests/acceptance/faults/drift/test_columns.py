"""Columns are added, dropped, renamed and retyped at either side: noticed within seconds, said, and recovered from."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Pair
from tests.acceptance.faults.drift.gaps import CITY, begun_anew, gaps, logged_gaps, repaired, said
from tests.support.matrix import in_matrix
from tests.support.sites.chinook import NEW, add_invoice

REMARK = "SELECT Remark FROM Invoice WHERE InvoiceId = ?"


def test_a_column_added_at_both_sides_while_the_daemons_run_arrives_with_what_was_written_in_between(
    started: Pair,
) -> None:
    store, hq = started.store, started.hq
    store.execute("ALTER TABLE Invoice ADD COLUMN Remark TEXT")
    begun_anew(started, store, "columns of Invoice (added: Remark)")
    with hq.connection() as connection:
        connection.execute("ALTER TABLE Invoice ADD COLUMN Remark TEXT")
        # The triggers do not know the column yet.
        connection.execute("UPDATE Invoice SET Remark = 'in between' WHERE InvoiceId = 1001")
    begun_anew(started, hq, "columns of Invoice (added: Remark)")
    hq.execute("UPDATE Invoice SET Remark = 'later' WHERE InvoiceId = 1")
    repaired(started, "Invoice", "columns were added: Remark")
    started.world.eventually(lambda: store.value(REMARK, 1001) == "in between", "the row in between is completed")
    assert hq.value(REMARK, 1) == "later"
    add_invoice(hq, 1002)
    hq.execute("UPDATE Invoice SET Remark = 'captured' WHERE InvoiceId = 1002")
    started.world.equal(hq, store, NEW)
    assert store.value(REMARK, 1002) == "captured"


def test_a_column_that_the_consumer_gets_later_is_filled_by_reading_again(started: Pair) -> None:
    hq, store = started.hq, started.store
    hq.execute("ALTER TABLE Invoice ADD COLUMN Remark TEXT")
    begun_anew(started, hq, "added: Remark")
    hq.execute("UPDATE Invoice SET Remark = 'early' WHERE InvoiceId = 1001")
    repaired(started, "Invoice", "columns were added: Remark")
    started.world.caught_up(store, hq)
    store.execute("ALTER TABLE Invoice ADD COLUMN Remark TEXT")
    begun_anew(started, store, "added: Remark")
    started.world.eventually(lambda: store.value(REMARK, 1001) == "early", "the consumer's new column is filled")


def test_a_column_dropped_in_a_migration_loses_nothing_that_was_written_meanwhile(started: Pair) -> None:
    hq, store = started.hq, started.store
    hq.stop()
    hq.cli("uninstall", "--for-migration")
    hq.execute("ALTER TABLE Invoice DROP COLUMN BillingState")
    hq.execute("UPDATE Invoice SET BillingCity = 'unseen' WHERE InvoiceId = 1001")
    hq.execute("DELETE FROM InvoiceLine WHERE InvoiceLineId = 100100")
    add_invoice(hq, 1002)
    assert "during a migration" in hq.cli("install")
    hq.start()
    repaired(started, "Invoice", "during a migration")
    repaired(started, "Customer", "during a migration")
    started.world.equal(hq, store, {"InvoiceLine": NEW["InvoiceLine"]})
    assert store.value(CITY, 1001) == "unseen"
    assert store.value(CITY, 1002) == "Stuttgart"
    add_invoice(hq, 1003)
    started.world.eventually(lambda: store.value(CITY, 1003) == "Stuttgart", "it goes on")
    assert len(logged_gaps(hq, "Invoice")) == 1


def test_a_column_renamed_at_both_sides_goes_on_under_its_new_name(started: Pair) -> None:
    hq, store = started.hq, started.store
    rename = "ALTER TABLE Invoice RENAME COLUMN BillingCity TO City"
    store.execute(rename)
    with hq.connection() as connection:
        connection.execute(rename)
        # Still written under the old name.
        connection.execute("UPDATE Invoice SET City = 'in between' WHERE InvoiceId = 1001")
    begun_anew(started, store, "added: City; removed: BillingCity")
    begun_anew(started, hq, "added: City; removed: BillingCity")
    repaired(started, "Invoice", "columns were added: City")
    started.world.equal(hq, store, NEW)
    assert store.value("SELECT City FROM Invoice WHERE InvoiceId = 1001") == "in between"
    hq.execute("UPDATE Invoice SET City = 'afterwards' WHERE InvoiceId = 1001")
    started.world.equal(hq, store, NEW)


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_a_column_that_the_second_site_gets_later_is_filled_there_and_its_default_replaces_nothing_at_the_first(
    twins: Pair, running: bool
) -> None:
    hq, store = twins.hq, twins.store
    twins.start()
    add_invoice(hq, 1001)
    twins.world.equal(hq, store, NEW)
    hq.execute("ALTER TABLE Invoice ADD COLUMN Remark TEXT")
    begun_anew(twins, hq, "added: Remark")
    # Until then the column is new at both, and of documents that both had before, a person would decide.
    twins.world.eventually(lambda: said(hq, "read_whole"), "hq has read the store for its own new column", timeout=30)
    add_invoice(hq, 1002)
    hq.execute("UPDATE Invoice SET Remark = 'x' WHERE InvoiceId = 1002")
    twins.world.eventually(lambda: store.rows(CITY, 1002), "the invoice is at the store, without the column")
    twins.world.caught_up(store, hq)
    if not running:
        store.stop()
    store.execute("ALTER TABLE Invoice ADD COLUMN Remark TEXT DEFAULT 'd'")
    if running:
        begun_anew(twins, store, "added: Remark")
    else:
        store.start()
    twins.world.eventually(lambda: store.value(REMARK, 1002) == "x", "the store's new column is filled", timeout=20)
    twins.world.eventually(
        lambda: {status for status, _ in gaps(hq, "Invoice")} == {"Synced"}, "hq has read the store", timeout=20
    )
    assert hq.rows("SELECT InvoiceId, Remark FROM Invoice WHERE InvoiceId > 1000 ORDER BY 1") == [
        (1001, None),
        (1002, "x"),
    ]
    twins.world.eventually(lambda: store.value(REMARK, 1001) is None, "what hq has stands at the store", timeout=20)


def test_a_column_that_the_consumer_dropped_is_left_out_and_everything_else_goes_on(pair: Pair) -> None:
    hq, store = pair.hq, pair.store
    store.offers = ()  # a site that only receives has no triggers, which SQLite would not let a column go from
    pair.start()
    add_invoice(hq, 1001)
    pair.world.equal(hq, store, NEW)
    store.execute("ALTER TABLE Invoice DROP COLUMN BillingState")
    hq.execute("UPDATE Invoice SET BillingState = 'gone', BillingCity = 'kept' WHERE InvoiceId = 1001")
    pair.world.eventually(lambda: store.value(CITY, 1001) == "kept", "the edit arrives without the column", 15)
    assert store.running
    add_invoice(hq, 1002)
    pair.world.eventually(lambda: store.value(CITY, 1002) == "Stuttgart", "new documents arrive")


def test_a_column_that_the_consumer_retyped_is_noticed_and_documents_go_on(started: Pair) -> None:
    hq, store = started.hq, started.store
    (create,) = store.rows("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'Note'")[0]
    with store.write() as connection:
        connection.execute(create.replace("text TEXT", "text BLOB").replace("Note", "Note_new", 1))
        connection.execute("DROP TABLE Note")
        connection.execute("ALTER TABLE Note_new RENAME TO Note")
    begun_anew(started, store, "columns of Note (changed: text)")
    hq.execute("INSERT INTO Note VALUES (1, 'Customer', 1, 'hello')")
    started.world.equal(hq, store, NEW)


RETYPE = {
    "postgresql": "ALTER TABLE Invoice ALTER COLUMN Total TYPE NUMERIC(14, 4)",
    "mariadb": "ALTER TABLE Invoice MODIFY Total NUMERIC(14, 4) NOT NULL",
}


@pytest.mark.parametrize("engines", in_matrix(("postgresql", "mariadb"), ("mariadb", "postgresql")))
def test_columns_of_servers_are_added_dropped_renamed_and_retyped_while_the_daemons_run(started: Pair) -> None:
    hq, store, world = started.hq, started.store, started.world

    def change(statement: str, because: str, *, also: str = "") -> None:
        """Change the table at both sites, the consumer first; `also` is written before anybody noticed."""
        for site in (store, hq):
            ran = len(said(site, "running"))
            site.execute(RETYPE[site.access.engine] if statement == "RETYPE" else statement)
            if also and site is hq:
                hq.execute(also)
            begun_anew(started, site, because, ran, timeout=15)

    change(
        "ALTER TABLE Invoice ADD COLUMN Remark VARCHAR(40)",
        "added: Remark",
        also="UPDATE Invoice SET Remark = 'in between' WHERE InvoiceId = 1001",
    )
    world.eventually(lambda: store.value(REMARK, 1001) == "in between", "the row in between is completed")

    change("ALTER TABLE Invoice DROP COLUMN BillingState", "removed: BillingState")
    add_invoice(hq, 1002)
    world.equal(hq, store, NEW)

    change("ALTER TABLE Invoice RENAME COLUMN BillingCity TO City", "added: City; removed: BillingCity")
    hq.execute("UPDATE Invoice SET City = 'Ulm' WHERE InvoiceId = 1002")
    world.equal(hq, store, NEW)

    change("RETYPE", "changed: Total")
    hq.execute("UPDATE Invoice SET Total = 1.2345 WHERE InvoiceId = 1002")
    world.equal(hq, store, NEW)
    assert str(store.value("SELECT Total FROM Invoice WHERE InvoiceId = 1002")) == "1.2345"
    assert not store.rows("SELECT state, error FROM streamd_parked")
