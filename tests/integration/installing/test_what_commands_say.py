"""What commands say, of what they did and of what they cannot do."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager

from click.testing import CliRunner
from sqlalchemy import update

from streamd.cli.main import cli
from streamd.cli.shared.opening import opened_site, opened_state
from streamd.model import SyncEntry
from streamd.settings import load
from streamd.store.engine import State
from streamd.store.heartbeat import Heartbeat
from streamd.store.producers import Producers, SubscribedType
from streamd.store.schema import heartbeat
from streamd.store.sync_log import SyncLog
from tests.integration.installing.shop import Shop, approve


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
