"""From a bare database to a site and back: init, check, install, status, uninstall."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import stat
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update

from streamd.cli.main import cli
from streamd.cli.shared.opening import opened_site, opened_state
from streamd.model import SyncEntry
from streamd.settings import load
from streamd.store.engine import State
from streamd.store.heartbeat import Heartbeat
from streamd.store.peers import Peers
from streamd.store.producers import Producers, SubscribedType
from streamd.store.schema import heartbeat
from streamd.store.sync_log import SyncLog
from streamd.update_log import UpdateLog
from streamd.wire import HandshakeRequest, WantedDoctype

SCHEMA = """
CREATE TABLE Customer (id INTEGER PRIMARY KEY, name TEXT NOT NULL, boss INTEGER REFERENCES Customer (id));
CREATE TABLE Invoice (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES Customer (id));
CREATE TABLE InvoiceLine (id INTEGER PRIMARY KEY, invoice INTEGER NOT NULL REFERENCES Invoice (id));
CREATE TABLE "odd name, 'quoted'" ("the ""key""\" TEXT NOT NULL PRIMARY KEY, value);
CREATE TABLE Member (number TEXT NOT NULL UNIQUE, photo BLOB PRIMARY KEY);
CREATE TABLE Fee (id INTEGER PRIMARY KEY, member BLOB REFERENCES Member (photo));
CREATE TABLE Log (text TEXT);
"""


class Shop:
    """A folder with a database, in which commands run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "streamd.toml"
        with closing(self.connect()) as connection:
            connection.executescript(SCHEMA)

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / "shop.db", isolation_level=None)

    def streamd(self, *arguments: str, code: int = 0) -> Result:
        done = CliRunner().invoke(cli, [*arguments, "--config", str(self.config)])
        assert done.exit_code == code, f"{arguments}: {done.output}"
        assert done.exception is None or isinstance(done.exception, SystemExit)
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.streamd(*arguments, "--json").stdout)

    def ours(self, kind: str) -> set[str]:
        with closing(self.connect()) as connection:
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type = ? AND name LIKE 'streamd%'", (kind,))
            return {name for (name,) in rows}

    def add(self, text: str) -> None:
        self.config.write_text(self.config.read_text(encoding="utf-8") + text, encoding="utf-8")


async def approve(shop: Shop, site: str, doctype: str) -> None:
    """A consumer that shook hands, and is approved for a type; and a log that has begun."""
    state = State(f"sqlite:///{shop.folder / 'streamd-state.db'}", site)
    request = HandshakeRequest(
        protocols=[1], site=str(uuid.uuid4()), name="store", doctypes=[WantedDoctype(doctype=doctype)]
    )
    await UpdateLog(state).begin()
    await Peers(state).register("store", request, {})
    await Peers(state).approve("store", [doctype], offers=[doctype])
    await state.close()


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.delenv("STREAMD_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return Shop(tmp_path)


@pytest.fixture
def installed(shop: Shop) -> Shop:
    shop.streamd("init", "shop.db")
    shop.streamd("install")
    return shop


# init


def test_init_writes_a_complete_file_that_can_be_used_as_it_is(shop: Shop) -> None:
    shop.streamd("init", "shop.db")
    settings = load(shop.config)
    assert settings.site.name == "shop"
    assert set(settings.doctypes) == {"Customer", "Invoice", "InvoiceLine", "Member", "Fee", "odd name, 'quoted'"}
    shop.streamd("install")
    shop.streamd("check")


def test_init_suggests_child_tables_and_says_why(shop: Shop) -> None:
    shop.streamd("init", "shop.db")
    text = shop.config.read_text(encoding="utf-8")
    reason, _, *lines = text[text.index("# Do the rows of InvoiceLine") :].splitlines()[:5]
    assert "its name begins with Invoice" in reason
    text = text.replace("\n[doctypes.InvoiceLine]\n", "\n")
    for line in lines:
        text = text.replace(line, line.removeprefix("# "), 1)
    shop.config.write_text(text, encoding="utf-8")
    assert load(shop.config).doctypes["Invoice"].children["lines"].table == "InvoiceLine"
    shop.streamd("install")
    shop.streamd("check")


def test_init_says_why_a_table_is_left_out(shop: Shop) -> None:
    shop.streamd("init", "shop.db")
    assert "# Log is left out" in shop.config.read_text(encoding="utf-8")


def test_init_of_a_frappe_site_leaves_the_types_to_its_own_metadata(shop: Shop) -> None:
    with closing(shop.connect()) as connection:
        for table in ("tabDocType", "tabDocField", "tabSales Invoice"):
            connection.execute(f'CREATE TABLE "{table}" (name VARCHAR(140) PRIMARY KEY)')
    shop.streamd("init", "shop.db")
    settings = load(shop.config)
    assert (settings.site.catalog, settings.site.offers, settings.doctypes) == ("frappe", (), {})
    assert "Sales Invoice" in shop.config.read_text(encoding="utf-8")


def test_init_does_not_overwrite_a_file(shop: Shop) -> None:
    shop.config.write_text("mine", encoding="utf-8")
    assert "--force" in shop.streamd("init", "shop.db", code=1).stderr
    assert shop.config.read_text(encoding="utf-8") == "mine"
    shop.streamd("init", "shop.db", "--force", "--name", "till 7")
    assert load(shop.config).site.name == "till 7"


def test_the_file_is_for_its_owner_alone(shop: Shop) -> None:
    shop.streamd("init", "sqlite:///shop.db")
    assert stat.S_IMODE(os.stat(shop.config).st_mode) == 0o600


def test_init_of_a_database_that_is_not_there_writes_nothing(shop: Shop) -> None:
    assert "no database" in shop.streamd("init", "nothing.db", code=1).stderr
    assert not shop.config.exists()
    assert not (shop.folder / "nothing.db").exists()


def test_a_new_identity_makes_a_clone_another_site(installed: Shop) -> None:
    before = installed.json("status")["site"]
    installed.streamd("keys", "create", "--for", "store")
    said = installed.streamd("init", "--new-identity").stdout
    after = installed.json("status")
    assert after["site"] != before
    assert after["site"] in said
    assert installed.json("keys", "list") == [], "keys were given out by the original"


# install and uninstall


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
            "DROP TABLE streamd_identity; DROP TABLE streamd_told; "
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
    assert "those of another release (schema 1" in said
    assert "run `streamd install`" in said
    assert "streamd_series" not in installed.ours("table")


# What commands say


def test_a_full_disk_and_a_folder_that_cannot_be_made_are_one_line(installed: Shop) -> None:
    program = [sys.executable, "-m", "streamd"]
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [*program, "status"], cwd=installed.folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "the output cannot be written: No space left on device\n")
    (installed.folder / "file").touch()
    said = CliRunner().invoke(cli, ["demo", "--once", "--folder", str(installed.folder / "file" / "demo")])
    assert said.exit_code == 1
    assert f"the folder {installed.folder / 'file' / 'demo'} cannot be made" in said.output


def test_what_cannot_be_meant_has_the_exit_code_of_its_kind(installed: Shop) -> None:
    installed.streamd("keys", "create", "--for", "", code=2)
    assert "did you mean Invoice?" in installed.streamd("resync", "--doctype", "Invioce", code=5).stderr
    assert "nothing" in installed.streamd("resync", "--doctype", "Invoice").stdout


def test_approving_what_is_approved_already_is_fine(installed: Shop) -> None:
    installed.streamd("keys", "create", "--for", "store")
    installed.streamd("consumers", "approve", "store", code=5)
    asyncio.run(approve(installed, installed.json("status")["site"], "Customer"))
    said = installed.streamd("consumers", "approve", "store").stdout
    assert said == "nothing of store is Pending: everything that it asked for is Approved\n"


def test_lists_have_one_line_per_row_when_they_are_piped(installed: Shop) -> None:
    name = "a consumer whose name is long " * 4
    installed.streamd("keys", "create", "--for", name.strip())
    for command in (("keys", "list"), ("consumers", "list")):
        assert name.strip() in installed.streamd(*command).stdout


def test_a_secret_is_shown_once(installed: Shop) -> None:
    made = installed.json("keys", "create", "--for", "store")
    listed = installed.streamd("keys", "list").stdout + json.dumps(installed.json("keys", "list"))
    assert made["api_key"] in listed
    assert made["api_secret"] not in listed
    assert made["api_secret"].encode() not in (installed.folder / "streamd-state.db").read_bytes()


def test_status_says_what_a_person_needs_to_know(installed: Shop) -> None:
    with closing(installed.connect()) as connection:
        connection.execute("INSERT INTO Customer (name) VALUES ('Ada')")
    found = installed.json("status")
    assert found["daemon"]["running"] is False
    assert found["waiting_changes"] == 1
    said = installed.streamd("status").stdout
    assert "not running" in said
    assert "streamd run" in said


def test_pausing_a_producer_works_before_the_daemon_ever_ran(installed: Shop) -> None:
    installed.add(
        '\n[producers.hq]\nurl = "http://127.0.0.1:9"\napi_key = "k"\napi_secret = "s"\n'
        'use_same_name = true\ndoctypes = ["Customer"]\n'
    )
    assert [row["status"] for row in installed.json("producers", "list")] == ["not started yet"]
    installed.streamd("producers", "pause", "hq")
    assert [row["status"] for row in installed.json("producers", "list")] == ["paused"]
    installed.streamd("producers", "resume", "hq")
    assert not installed.json("producers", "list")[0]["paused"]


def test_resync_asks_the_daemon_for_whole_types(installed: Shop) -> None:
    installed.add(
        '\n[producers.hq]\nurl = "http://127.0.0.1:9"\napi_key = "k"\napi_secret = "s"\n'
        'use_same_name = true\ndoctypes = ["Customer", "Invoice"]\n'
    )
    assert "nothing" in installed.streamd("resync", "--all").stdout
    said = installed.streamd("resync", "--doctype", "Customer", "--whole").stdout
    assert said.splitlines() == [
        "hq: all of Customer will be read again",
        "hq: Customer waits until hq was asked whether this site may have it",
        "The daemon does not run. It does it when you start `streamd run`.",
    ]
    installed.streamd("resync", "--all", "--whole")
    assert installed.json("status")["requests"] == 2
    installed.streamd("resync", "--doctype", "Member", "--whole", code=5)
    installed.streamd("resync", code=2)
    installed.streamd("resync", "p1", "--all", code=2)


def test_resync_says_that_a_type_is_read_again_only_where_nothing_has_to_come_first(installed: Shop) -> None:
    installed.add(
        '\n[producers.hq]\nurl = "http://127.0.0.1:9"\napi_key = "k"\napi_secret = "s"\n'
        'use_same_name = true\ndoctypes = ["Customer"]\n'
    )
    installed.streamd("producers", "pause", "hq")
    asyncio.run(approved(installed, "hq", "Customer"))
    ask = ("resync", "--doctype", "Customer", "--whole")
    (first, when) = installed.streamd(*ask).stdout.splitlines()
    assert first == "hq: all of Customer will be read again"
    assert "does not run" in when
    with living_daemon(installed):
        (first, when) = installed.streamd(*ask).stdout.splitlines()
        assert first == "hq: all of Customer will be read again"
        assert when == "The daemon runs, and does it as soon as hq is resumed; see `streamd status`."
        installed.streamd("producers", "resume", "hq")
        (first, when) = installed.streamd(*ask).stdout.splitlines()
        assert first == "hq: all of Customer is read again"
        assert "within seconds" in when


async def approved(shop: Shop, producer: str, doctype: str) -> None:
    async with opened_state_of(shop) as state:
        await Producers(state).set_subscriptions(producer, [SubscribedType(doctype, "Approved")])


@contextmanager
def living_daemon(shop: Shop) -> Iterator[None]:
    """Another process seems to be the daemon."""

    async def beat(pid: int) -> None:
        async with opened_state_of(shop) as state:
            await Heartbeat(state).beat(captured=0)
            async with state.write() as connection:
                await connection.execute(update(heartbeat).values(pid=pid))

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        asyncio.run(beat(other.pid))
        try:
            yield
        finally:
            other.kill()


@asynccontextmanager
async def opened_state_of(shop: Shop) -> AsyncIterator[State]:
    settings = load(shop.config)
    async with opened_site(settings) as site:
        identity = await site.identity()
    assert identity is not None
    async with opened_state(settings, identity.site) as state:
        yield state


def test_a_gap_is_shown_as_failed_until_a_person_discards_it(installed: Shop) -> None:
    gap = SyncEntry("gap", "Failed", "Customer", "hq", '[""]', '[""]', True, "null", 7, error="changes are missing")

    async def happen() -> None:
        state = State(f"sqlite:///{installed.folder / 'streamd-state.db'}", installed_site)
        await SyncLog(state).add([gap])
        await state.close()

    installed_site = installed.json("status")["site"]
    asyncio.run(happen())
    found = installed.json("log", "syncs", "--status", "failed")
    assert [(entry["update_type"], entry["error"]) for entry in found] == [("Gap", "changes are missing")]
    assert "changes are missing" in installed.streamd("log", "show", found[0]["id"]).stdout
    assert installed.json("status")["gaps"] == 1
    said = installed.streamd("status").stdout
    assert "Customer: changes are missing: `streamd resync --doctype Customer --whole`" in said
    installed.streamd("discard", found[0]["id"])
    assert installed.json("log", "syncs", "--status", "failed") == []
    assert installed.json("status")["gaps"] == 0
    assert "changes are missing" not in installed.streamd("status").stdout
    installed.streamd("discard", found[0]["id"], code=5)


def test_the_help_documents_the_exit_codes(shop: Shop) -> None:
    said = CliRunner().invoke(cli, ["--help"]).stdout
    for code in range(6):
        assert f"\n    {code}    " in said
    for verb in ("init", "check", "run", "consumers", "resync", "demo"):
        assert verb in said
