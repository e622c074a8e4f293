"""From a bare database to a site and back: install, renew, uninstall."""

from __future__ import annotations

import asyncio
from contextlib import closing

from tests.integration.installing.shop import Shop, approve


def test_install_is_needed_once_and_says_what_it_did(shop: Shop) -> None:
    shop.streamd("init", "shop.db")
    assert "made" in shop.streamd("install").stdout
    before = shop.ours("trigger")
    assert before
    assert "nothing to do" in shop.streamd("install").stdout
    assert shop.ours("trigger") == before


def test_install_sql_is_printed_and_can_be_run_by_hand(shop: Shop) -> None:
    shop.streamd("init", "shop.db")
    script = shop.streamd("install", "--sql").stdout
    assert not shop.ours("table")
    assert not (shop.folder / "streamd-state.db").exists()
    with closing(shop.connect()) as connection:
        connection.executescript(script)
    assert shop.ours("trigger")
    assert "trigger" not in shop.streamd("install").stdout, "the script made them all"


def test_install_follows_the_configuration(installed: Shop) -> None:
    before = installed.ours("trigger")
    text = installed.config.read_text(encoding="utf-8")
    installed.config.write_text(text.replace("# offers = []", 'offers = ["Customer"]'), encoding="utf-8")
    assert "no longer needed" in installed.streamd("check", code=1).stdout
    assert "removed" in installed.streamd("install").stdout
    after = installed.ours("trigger")
    assert after < before
    assert all("Customer" in name for name in after)


def test_check_sees_triggers_that_vanished_with_a_rebuilt_table(installed: Shop) -> None:
    with closing(installed.connect()) as connection:
        connection.executescript(
            "PRAGMA foreign_keys = OFF; CREATE TABLE new (id INTEGER PRIMARY KEY, customer INTEGER);"
            "DROP TABLE Invoice; ALTER TABLE new RENAME TO Invoice;"
        )
    said = installed.streamd("check", code=1).stdout
    assert "missing" in said
    assert "Invoice" in said
    installed.streamd("install")
    installed.streamd("check")


def test_uninstall_for_a_migration_keeps_the_sites_identity(installed: Shop) -> None:
    before = installed.json("status")["site"]
    installed.streamd("uninstall", "--for-migration")
    assert not installed.ours("trigger")
    with closing(installed.connect()) as connection:
        connection.execute("ALTER TABLE Customer DROP COLUMN name")
    installed.streamd("install")
    assert installed.ours("trigger")
    assert installed.json("status")["site"] == before


def test_changes_that_nobody_saw_between_uninstall_and_install_are_a_gap_in_the_log(installed: Shop) -> None:
    site = installed.json("status")["site"]
    installed.streamd("keys", "create", "--for", "store")
    asyncio.run(approve(installed, site, "Customer"))
    installed.streamd("uninstall", "--for-migration")
    assert "Customer may be missing" in installed.streamd("install").stdout
    found = installed.json("log", "updates")
    assert [(entry["update_type"], entry["doctype"]) for entry in found] == [("Gap", "Customer")]
    assert "triggers" in installed.streamd("log", "show", found[0]["id"]).stdout
    installed.streamd("install")
    assert len(installed.json("log", "updates")) == 1, "nothing was missing the second time"


def test_uninstall_leaves_nothing_in_the_database(installed: Shop) -> None:
    script = installed.streamd("uninstall", "--sql").stdout
    assert installed.ours("table")
    installed.streamd("uninstall", "--yes")
    assert not installed.ours("table") | installed.ours("trigger") | installed.ours("index")
    installed.streamd("status", code=3)
    assert "DROP TRIGGER" in script
    assert "DROP TABLE" in script


def test_uninstall_asks_a_person_or_wants_to_be_told(installed: Shop) -> None:
    assert "--yes" in installed.streamd("uninstall", code=2).stderr
    assert installed.ours("table"), "nothing was removed"
    assert "are removed" in installed.streamd("uninstall", "--yes").stdout
    assert installed.streamd("uninstall", "--yes").stdout == "nothing is installed\n"


def test_a_state_database_that_is_none_is_called_so(installed: Shop) -> None:
    for file in installed.folder.glob("streamd-state.db*"):
        file.unlink()
    (installed.folder / "streamd-state.db").write_bytes(b"no database at all " * 500)
    for said in (
        installed.streamd("check", code=1).stdout,
        installed.streamd("install", code=1).stderr,
        installed.streamd("run", code=1).stderr,
    ):
        assert "file is not a database" in said
        assert "look at state.database" in said
        assert "sqlalche.me" not in said
        assert "another release" not in said


def test_a_site_database_that_is_none_is_called_so_with_its_setting(installed: Shop) -> None:
    (installed.folder / "shop.db").write_bytes(b"no database at all " * 500)
    for said in (installed.streamd("check", code=1).stdout, installed.streamd("install", code=1).stderr):
        assert "file is not a database" in said
        assert "look at site.database" in said


def test_run_installs_only_where_it_may(shop: Shop) -> None:
    shop.streamd("init", "shop.db")
    text = shop.config.read_text(encoding="utf-8")
    shop.config.write_text(text.replace("# offers = []", "install = false"), encoding="utf-8")
    assert "streamd install" in shop.streamd("run", code=3).stderr
    assert not shop.ours("trigger")


def of_the_release_before(shop: Shop) -> None:
    """Make of an installed site what the release before left there."""
    with closing(shop.connect()) as connection:
        connection.executescript(
            "DROP TABLE streamd_counterpart; DROP TABLE streamd_series; DROP TABLE streamd_life; "
            "DROP TABLE streamd_identity; DROP TABLE streamd_row_ids; DROP TABLE streamd_told; "
            "UPDATE streamd_site SET schema = 1"
        )


def test_a_site_of_the_release_before_is_brought_to_this_one(installed: Shop) -> None:
    before, tables = installed.json("status")["site"], installed.ours("table")
    of_the_release_before(installed)
    assert "run `streamd install`" in installed.streamd("check", code=1).stdout
    said = installed.streamd("install").stdout
    assert "brought streamd's tables in the site's database to this release's schema" in said
    assert "trigger" not in said, "they are as they ought to be"
    assert installed.ours("table") == tables
    assert installed.json("status")["site"] == before
    assert "nothing to do" in installed.streamd("install").stdout
    installed.streamd("check")


def test_a_daemon_that_may_not_install_says_what_to_run_at_a_site_of_the_release_before(installed: Shop) -> None:
    text = installed.config.read_text(encoding="utf-8")
    installed.config.write_text(text.replace("# offers = []", "install = false"), encoding="utf-8")
    of_the_release_before(installed)
    said = installed.streamd("run", code=3).stderr
    assert "belong to another release (schema 1" in said
    assert "run `streamd install`" in said
    assert "streamd_series" not in installed.ours("table")
