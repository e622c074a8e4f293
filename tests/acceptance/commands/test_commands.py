"""The commands work whether the daemon runs or not, and say the same."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Pair
from tests.support.sites.chinook import NEW, add_invoice

LISTS = [
    ("status",),
    ("keys", "list"),
    ("consumers", "list"),
    ("producers", "list"),
    ("log", "updates"),
    ("log", "syncs"),
    ("log", "syncs", "--status", "failed"),
]


def test_lists_are_readable_and_have_json_whether_the_daemons_run_or_not(pair: Pair) -> None:
    pair.start()
    add_invoice(pair.hq, 1001)
    pair.world.equal(pair.hq, pair.store, NEW)
    pair.world.caught_up(pair.store, pair.hq)
    for command in LISTS:
        assert pair.store.cli(*command).strip(), f"{command} printed nothing"
    assert pair.hq.json("status")["daemon"]["running"] is True
    pair.world.stop()
    printed = {command: pair.hq.json(*command) for command in LISTS}
    assert printed[("status",)]["daemon"]["running"] is False
    created = [entry for entry in printed[("log", "updates")] if entry["doctype"] == "Invoice"]
    assert len(created) == 1
    assert "4.95" in pair.hq.cli("log", "show", str(created[0].get("id", created[0].get("sequence"))))
    synced = [entry for entry in pair.store.json("log", "syncs") if entry["doctype"] == "Invoice"]
    assert [entry["status"] for entry in synced] == ["Synced"]
    assert pair.store.producers["hq"].api_secret not in repr(printed)
    checked = pair.hq.run("check")
    assert checked.code == 0, checked.text


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_a_paused_producer_is_not_asked_until_it_is_resumed(pair: Pair, running: bool) -> None:
    if running:
        pair.start()
    pair.store.cli("producers", "pause", "hq")
    if not running:
        pair.start()
    pair.world.eventually(
        lambda: (
            "paused" in repr(pair.store.state_rows("SELECT status, paused FROM producers")).lower()
            or pair.store.state_rows("SELECT paused FROM producers") == [(1,)]
        ),
        "the store knows that the producer is paused",
    )
    add_invoice(pair.hq, 1001)
    pair.world.eventually(
        lambda: pair.hq.state_rows("SELECT 1 FROM update_log WHERE doctype = 'Invoice'"),
        "the invoice is logged",
    )
    if not running:
        pair.world.stop()
    pair.store.cli("producers", "resume", "hq")
    if not running:
        pair.start()
    pair.world.equal(pair.hq, pair.store, NEW)


def test_a_name_that_is_not_there_is_said_with_exit_code_5(pair: Pair) -> None:
    for command in (
        ("consumers", "approve", "nobody"),
        ("consumers", "reject", "nobody"),
        ("consumers", "remove", "nobody"),
        ("keys", "revoke", "nothing"),
        ("log", "show", "987654"),
        ("resync", "987654"),
        ("discard", "987654"),
        ("producers", "pause", "nobody"),
    ):
        done = pair.hq.run(*command)
        assert done.code == 5, f"{command}: {done.text}"
        assert "Traceback" not in done.err, done.text


def test_uninstalling_for_a_migration_lets_the_users_schema_change_and_shows_a_gap(pair: Pair) -> None:
    pair.start()
    add_invoice(pair.hq, 1001)
    pair.world.equal(pair.hq, pair.store, NEW)
    pair.world.stop()
    for site in (pair.hq, pair.store):
        site.cli("uninstall", "--for-migration")
        assert site.rows("SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'streamd%'") == []
        site.execute("ALTER TABLE Invoice DROP COLUMN BillingState")
        site.execute("ALTER TABLE Invoice ADD COLUMN Remark TEXT")
    pair.start()
    add_invoice(pair.hq, 1002)
    pair.hq.execute("UPDATE Invoice SET Remark = 'after' WHERE InvoiceId = 1001")
    pair.world.equal(pair.hq, pair.store, NEW)


def test_uninstall_leaves_nothing_behind(pair: Pair) -> None:
    printed = pair.hq.cli("uninstall", "--sql")
    assert "DROP" in printed
    assert pair.hq.rows("SELECT name FROM sqlite_master WHERE name LIKE 'streamd%'")
    pair.hq.cli("uninstall", "--yes")
    assert pair.hq.rows("SELECT name FROM sqlite_master WHERE name LIKE 'streamd%'") == []
    pair.hq.execute("UPDATE Invoice SET Total = 1 WHERE InvoiceId = 1")
