"""Commands at the wrong site, too early, or beside another daemon say so, and what to do."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamd.cli.main import cli
from streamd.db.engines import POSTGRESQL

TABLES = "CREATE TABLE Customer (Id INTEGER PRIMARY KEY, Name TEXT)"


class Shop:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "streamd.toml"
        with sqlite3.connect(folder / "shop.db") as connection:
            connection.executescript(f"PRAGMA journal_mode = WAL; {TABLES}")
        self.configure("[doctypes.Customer]")

    def configure(self, *more: str, database: str = "shop.db") -> None:
        self.config.write_text(
            f'[site]\nname = "shop"\ndatabase = "sqlite:///{database}"\n[state]\ndatabase = "sqlite:///state.db"\n'
            + "\n".join(more),
            encoding="utf-8",
        )

    def run(self, *arguments: str) -> Result:
        done = CliRunner().invoke(cli, [*arguments, "--config", str(self.config)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.output
        return done


PRODUCER = """
[producers.hq]
url = "http://127.0.0.1:1"
api_key = "k"
api_secret = "s"
use_same_name = true
doctypes = ["Customer"]
"""


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    assert made.run("install").exit_code == 0
    return made


def test_a_consumer_that_has_not_connected_cannot_be_approved_yet(shop: Shop) -> None:
    assert shop.run("keys", "create", "--for", "b").exit_code == 0
    done = shop.run("consumers", "approve", "b")
    assert done.exit_code == 5
    assert "b has a key, but has not connected yet" in done.output
    assert "start b's daemon" in done.output
    assert "there is no consumer nobody" in shop.run("consumers", "approve", "nobody").output


def test_a_resync_at_a_site_that_receives_nothing_is_sent_to_the_one_that_does(shop: Shop) -> None:
    done = shop.run("resync", "--doctype", "Customer", "--whole")
    assert done.exit_code == 5
    assert "at the site that receives" in done.output


def test_a_resync_of_a_misspelled_type_says_which_was_meant(shop: Shop) -> None:
    shop.configure("[doctypes.Customer]", PRODUCER)
    assert "did you mean Customer?" in shop.run("resync", "--doctype", "Costumer", "--whole").output


def test_one_check_reports_what_is_wrong_everywhere(shop: Shop) -> None:
    shop.configure("[doctypes.Customer]", "[doctypes.Costumer]", PRODUCER)
    done = shop.run("check")
    assert done.exit_code == 2
    places = [line.split()[1].rstrip(":") for line in done.output.splitlines() if line.startswith("✗")]
    assert places == ["doctypes.Costumer", "producers.hq"]
    shop.configure("[doctypes.Customer]", PRODUCER.replace('api_secret = "s"', ""), database="elsewhere.db")
    places = [line.split()[1].rstrip(":") for line in shop.run("check").output.splitlines() if line.startswith("✗")]
    assert places == ["producers.hq.api_secret", "site.database"]


def test_an_empty_database_is_said_to_be_empty(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "empty.db").close()
    shop = Shop(tmp_path)
    shop.configure(database="empty.db")
    (tmp_path / "empty.db").touch()
    done = shop.run("check")
    assert "empty.db has no tables" in done.output
    assert "Create your application's tables first" in done.output
    done = shop.run("init", str(tmp_path / "empty.db"), "--force")
    assert "has no tables" in done.output


def test_tables_without_a_document_type_are_listed(shop: Shop) -> None:
    shop.configure()
    assert "for the tables to sync, of Customer" in shop.run("check").output


def test_a_missing_driver_is_installed_where_streamd_runs() -> None:
    _, hint = POSTGRESQL.missing(ModuleNotFoundError(name="asyncpg"))
    assert hint == f"{sys.executable} -m pip install asyncpg"
