"""`streamd check` asks the real producers, and says what will not fit before a document moves."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from streamd.cli.main import cli
from streamd.wire import PROTOCOL, HandshakeRequest, WantedDoctype
from tests.support.processes.ports import free_port
from tests.support.sites.serving import ProducerSite

SCHEMA = """
CREATE TABLE Employee (id INTEGER PRIMARY KEY, name TEXT NOT NULL, reports_to INTEGER REFERENCES Employee);
CREATE TABLE Customer (id INTEGER PRIMARY KEY, name BLOB NOT NULL, region TEXT NOT NULL);
CREATE TABLE Track (code TEXT NOT NULL UNIQUE, id INTEGER PRIMARY KEY, title TEXT NOT NULL);
"""


class Store:
    """A consumer in a folder of its own, with `hq` as its producer."""

    def __init__(self, folder: Path, url: str, api_key: str, api_secret: str) -> None:
        folder.mkdir()
        self.credential = f"{api_key}:{api_secret}"
        with sqlite3.connect(folder / "store.db") as connection:
            connection.executescript(SCHEMA)
        self.config = folder / "streamd.toml"
        self.config.write_text(
            f"""
[site]
name = "store"
database = "sqlite:///store.db"
offers = []
[state]
database = "sqlite:///state.db"
[doctypes.Employee]
[doctypes.Customer]
[doctypes.Track]
key = "code"
[producers.hq]
url = "{url}"
api_key = "{api_key}"
api_secret = "{api_secret}"
use_same_name = true
doctypes = ["Employee", "Customer", "Track"]
""",
            encoding="utf-8",
        )

    async def streamd(self, *arguments: str) -> tuple[int, str]:
        """Run a command beside the producer, which lives in this test's event loop."""
        done = await asyncio.to_thread(CliRunner().invoke, cli, [*arguments, "--config", str(self.config)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.output
        return done.exit_code, done.stdout

    def edit(self, old: str, new: str) -> None:
        """Change its file."""
        text = self.config.read_text(encoding="utf-8")
        assert old in text
        self.config.write_text(text.replace(old, new), encoding="utf-8")

    async def ask(self, hq: ProducerSite) -> None:
        """Ask for the types, as the daemon does when it starts."""
        with sqlite3.connect(self.config.parent / "store.db") as connection:
            (site,) = connection.execute("SELECT site FROM streamd_site").fetchone()
        wanted = [WantedDoctype(doctype=doctype) for doctype in ("Employee", "Customer", "Track")]
        asked = HandshakeRequest(protocols=[PROTOCOL], site=site, name="store", doctypes=wanted)
        headers = {"Authorization": f"Bearer {self.credential}", "Content-Type": "application/json"}
        async with hq.http.post(
            f"{hq.server.url}/v1/handshake", data=msgspec.json.encode(asked), headers=headers
        ) as answer:
            assert answer.status == 200, await answer.text()

    async def check(self) -> tuple[int, list[dict[str, Any]]]:
        """The exit code, and the findings that are not good ones."""
        code, printed = await self.streamd("check", "--json")
        found = [each for each in json.loads(printed) if each["area"].startswith("producers.")]
        return code, [each for each in found if each["severity"] != "ok"]


@pytest.fixture
async def store(hq: ProducerSite, tmp_path: Path) -> Store:
    made = Store(tmp_path / "store", hq.server.url, *await hq.peers.create_key("store"))
    code, _ = await made.streamd("install")
    assert code == 0
    return made


async def test_what_waits_for_approval_is_a_warning(store: Store) -> None:
    code, found = await store.check()
    assert code == 0
    assert [(each["severity"], "Pending" in each["what"]) for each in found] == [("warning", True)] * 3


async def test_checking_changes_nothing_at_the_producer(store: Store, hq: ProducerSite) -> None:
    await store.check()
    assert await hq.peers.consumers() == []
    assert await hq.peers.approvals("store") == []
    await store.ask(hq)
    await hq.approve("Employee", "Customer", "Track")
    before = await hq.peers.approvals("store")
    store.edit('["Employee", "Customer", "Track"]', '[{ doctype = "Employee", condition = "doc.id > 5" }, "Track"]')
    _, found = await store.check()
    assert any("Employee" in each["what"] and "Pending" in each["what"] for each in found), "it would be asked anew"
    assert await hq.peers.approvals("store") == before


async def test_the_other_sides_columns_are_judged_as_soon_as_they_may_be_seen(store: Store, hq: ProducerSite) -> None:
    await store.ask(hq)
    await hq.approve("Employee", "Customer", "Track")
    code, found = await store.check()
    assert code == 1
    about = {
        each["area"]: " ".join(other["what"] for other in found if other["area"] == each["area"]) for each in found
    }
    assert set(about) == {"producers.hq.Customer", "producers.hq.Track"}
    assert "support" in about["producers.hq.Customer"], "a column that is missing here"
    assert "region" in about["producers.hq.Customer"], "a column that must be filled here, and is missing there"
    assert "bytes" in about["producers.hq.Customer"], "a column of another kind"
    assert "named by id there, and by code" in about["producers.hq.Track"], "another key"
    assert all(each["hint"] for each in found)


async def test_a_wrong_secret_is_mended_in_the_table_of_this_file(store: Store) -> None:
    store.edit('api_secret = "', 'api_secret = "x')
    code, found = await store.check()
    assert code == 1
    assert ["[producers.hq]" in each["hint"] for each in found] == [True]


async def test_tls_to_a_site_without_it_is_said(store: Store) -> None:
    store.edit("http://", "https://")
    code, found = await store.check()
    assert code == 1
    assert ["write http://" in each["hint"] for each in found] == [True]


async def test_a_rejected_type_is_a_problem(store: Store, hq: ProducerSite) -> None:
    await store.ask(hq)
    await hq.peers.reject("store", ["Track"])
    code, found = await store.check()
    assert code == 1
    assert [each["what"] for each in found if each["severity"] == "problem"] == ["Track was Rejected"]


async def test_a_key_that_is_refused_is_a_problem_and_not_shown(store: Store, hq: ProducerSite) -> None:
    for key in await hq.peers.keys():
        await hq.peers.revoke_key(key.api_key)
    code, found = await store.check()
    assert code == 1
    assert [each["severity"] for each in found] == ["problem"]
    assert found[0]["hint"]
    secret = store.config.read_text(encoding="utf-8").split('api_secret = "')[1].split('"')[0]
    assert secret not in json.dumps(found)


async def test_a_producer_that_is_away_is_a_problem(store: Store) -> None:
    text = store.config.read_text(encoding="utf-8")
    url = text.split('url = "')[1].split('"')[0]
    store.config.write_text(text.replace(url, f"http://127.0.0.1:{free_port()}"), encoding="utf-8")
    code, found = await store.check()
    assert code == 1
    assert "nothing listens at 127.0.0.1:" in found[0]["what"]


async def test_something_else_at_the_url_is_said_to_be_no_site(store: Store, hq: ProducerSite) -> None:
    text = store.config.read_text(encoding="utf-8")
    store.config.write_text(text.replace(hq.server.url, f"{hq.server.url}/elsewhere"), encoding="utf-8")
    code, found = await store.check()
    assert code == 1
    assert found[0]["severity"] == "problem"
