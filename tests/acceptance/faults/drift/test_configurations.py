"""Tables that do not fit the configuration, and a configuration that changes, while the daemon runs."""

from __future__ import annotations

import signal
import time
from typing import Any

from tests.acceptance.conftest import Pair
from tests.acceptance.faults.drift.gaps import CITY, NOTICED_SECONDS, begun_anew, repaired, said
from tests.support.compare import same_rows
from tests.support.sites.chinook import NEW, add_invoice
from tests.support.sites.site import Site
from tests.support.sites.world import approvals


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
