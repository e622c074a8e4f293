"""The user's schema changes, at either side: noticed within seconds, said, and fixed by itself."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.acceptance.conftest import Pair
from tests.support import servers
from tests.support.compare import same_rows
from tests.support.engines import open_access
from tests.support.matrix import in_matrix
from tests.support.sites.chinook import NEW, add_invoice
from tests.support.sites.site import Site
from tests.support.sites.world import approvals

NOTICED_SECONDS = 5.0
"""How soon a change of the schema has to be noticed: a daemon looks every 2 seconds."""

CITY = "SELECT BillingCity FROM Invoice WHERE InvoiceId = ?"
REMARK = "SELECT Remark FROM Invoice WHERE InvoiceId = ?"


def said(site: Site, event: str) -> list[dict[str, Any]]:
    return [line for line in site.log_lines() if line.get("event") == event]


def begun_anew(pair: Pair, site: Site, because: str, count: int = 1, timeout: float = NOTICED_SECONDS) -> None:
    """Wait until the daemon has noticed, and runs again, as it has `count` times before."""
    pair.world.eventually(
        lambda: (
            [line for line in said(site, "restarting") if because in str(line["because"])]
            and len(said(site, "running")) > count
        ),
        f"{site.name} notices: {because}",
        timeout,
    )


def gaps(consumer: Site, doctype: str) -> list[tuple[str, str]]:
    """(status, error) of what the consumer's sync log says of missing changes."""
    return consumer.state_rows(
        "SELECT status, error FROM sync_log WHERE update_type = 'gap' AND doctype = ? ORDER BY id", doctype
    )


def logged_gaps(producer: Site, doctype: str) -> list[str]:
    return [
        data
        for (data,) in producer.state_rows(
            "SELECT data FROM update_log WHERE operation = 'gap' AND doctype = ? ORDER BY sequence", doctype
        )
    ]


def repaired(pair: Pair, doctype: str, why: str) -> None:
    """Wait until the gap is in the producer's log, with its reason, and closed at the consumer."""
    pair.world.eventually(
        lambda: any(why in data for data in logged_gaps(pair.hq, doctype)), f"the log says: {why}", NOTICED_SECONDS
    )
    pair.world.eventually(
        lambda: gaps(pair.store, doctype) and {status for status, _ in gaps(pair.store, doctype)} == {"Synced"},
        f"the gap of {doctype} is repaired",
        timeout=20,
    )


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


@pytest.fixture
def started(pair: Pair) -> Pair:
    """Both daemons run; one invoice has travelled."""
    pair.start()
    add_invoice(pair.hq, 1001)
    pair.world.equal(pair.hq, pair.store, NEW)
    return pair


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


def test_tables_that_no_longer_fit_the_configuration_are_said_and_waited_for(started: Pair) -> None:
    hq, store = started.hq, started.store
    hq.execute("ALTER TABLE Note RENAME TO Remark")
    started.world.eventually(lambda: said(hq, "cannot_continue"), "it is said", timeout=NOTICED_SECONDS)
    assert "Note" in said(hq, "cannot_continue")[0]["error"]
    found = hq.json("status")["daemon"]
    assert found["running"]
    assert "has no table Note" in found["problem"]
    time.sleep(3)
    assert hq.running
    assert len(said(hq, "cannot_continue")) == 1, "it is said once"
    add_invoice(hq, 1002)
    hq.execute("ALTER TABLE Remark RENAME TO Note")
    started.world.equal(hq, store, NEW, timeout=30)
    started.world.eventually(lambda: not hq.json("status")["daemon"]["problem"], "all is well again")


def test_a_daemon_that_waits_for_tables_ends_when_it_is_told_to(started: Pair) -> None:
    started.hq.execute("DROP TABLE Note")
    started.world.eventually(lambda: said(started.hq, "cannot_continue"), "it is said", timeout=NOTICED_SECONDS)
    started.hq.stop()


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


def test_a_changed_configuration_is_taken_without_a_restart(started: Pair) -> None:
    hq, store = started.hq, started.store
    assert hq.process is not None
    pid = hq.process.pid
    hq.offers = ("Customer", "Employee")
    hq.write_config()
    hq.process.send_signal(signal.SIGHUP)
    begun_anew(started, hq, "SIGHUP")
    hq.execute("UPDATE Invoice SET BillingCity = 'not offered' WHERE InvoiceId = 1001")
    hq.execute("UPDATE Customer SET City = 'offered' WHERE CustomerId = 1")
    city = "SELECT City FROM Customer WHERE CustomerId = 1"
    started.world.eventually(lambda: store.value(city) == "offered", "the store has met the new configuration")
    assert {name.split("_")[1] for (name,) in triggers(hq)} == {"Customer", "Employee"}
    hq.offers = None
    hq.write_config()
    hq.process.send_signal(signal.SIGHUP)
    begun_anew(started, hq, "SIGHUP", 2)
    repaired(started, "Invoice", "triggers had vanished")
    started.world.equal(hq, store, NEW, timeout=20)
    assert store.value(CITY, 1001) == "not offered"
    assert hq.process.pid == pid
    assert approvals(hq, store)["Invoice"] == "Approved"


def test_a_wrong_configuration_is_not_taken_and_the_daemon_goes_on(started: Pair) -> None:
    hq, store = started.hq, started.store
    assert hq.process is not None
    text = hq.config.read_text(encoding="utf-8")
    for wrong in (text + "\n[sight]\n", text.replace("[doctypes.Note]", '[doctypes.Note]\ntable = "Nothing"'), "="):
        before = len(said(hq, "configuration_rejected"))
        hq.config.write_text(wrong, encoding="utf-8")
        hq.process.send_signal(signal.SIGHUP)
        started.world.eventually(
            lambda before=before: len(said(hq, "configuration_rejected")) > before, "it says what is wrong"
        )
    add_invoice(hq, 1002)
    started.world.equal(hq, store, NEW)
    assert said(hq, "restarting") == []
    hq.config.write_text(text, encoding="utf-8")


def triggers(site: Site) -> list[tuple[Any, ...]]:
    return site.rows("SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'streamd%'")


def test_daemons_end_within_the_time_they_promise_also_after_beginning_anew(started: Pair) -> None:
    started.hq.execute("ALTER TABLE Note ADD COLUMN more TEXT")
    begun_anew(started, started.hq, "added: more")
    assert same_rows(started.hq, started.store, {"Invoice": NEW["Invoice"]})
    started.hq.stop()
