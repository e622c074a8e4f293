"""The database servers of the tests: databases of their own, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pymysql
import pytest

from tests.data import REPOSITORY
from tests.support import servers
from tests.support.database_url import DatabaseUrl, Engine
from tests.support.engines import open_access
from tests.support.polling import eventually
from tests.support.processes import mariadb_server, postgresql_server
from tests.support.sites.site import Producer
from tests.support.sites.world import World


@pytest.mark.parametrize("engine", servers.ENGINES)
def test_a_database_is_empty_its_users_own_and_its_copy_is_apart(engine: Engine) -> None:
    rows = open_access(servers.fresh_database(engine))
    rows.execute("CREATE TABLE Pet (PetId INTEGER PRIMARY KEY, Name VARCHAR(20))")
    rows.execute("INSERT INTO Pet VALUES (?, ?)", 1, "100 % 'cat'?")
    copy = open_access(servers.copy_database(rows.database))
    copy.execute("UPDATE Pet SET Name = 'dog'")
    assert rows.rows("SELECT PetId, Name FROM Pet") == [(1, "100 % 'cat'?")]
    assert copy.rows("SELECT PetId, Name FROM Pet") == [(1, "dog")]
    for each in (rows, copy):
        servers.drop_database(each.database)


def test_a_database_of_mariadb_is_copied_with_its_counters_and_triggers() -> None:
    rows = open_access(servers.fresh_database("mariadb"))
    rows.execute("CREATE TABLE Parent (id BIGINT AUTO_INCREMENT PRIMARY KEY, twice BIGINT AS (id * 2) VIRTUAL)")
    rows.execute("CREATE TABLE Child (id BIGINT AUTO_INCREMENT PRIMARY KEY, parent BIGINT REFERENCES Parent (id))")
    rows.execute("CREATE TRIGGER more AFTER INSERT ON Parent FOR EACH ROW INSERT INTO Child (parent) VALUES (NEW.id)")
    rows.execute("INSERT INTO Parent (id) VALUES (7), (8)")
    rows.execute("DELETE FROM Child WHERE parent = 8")
    rows.execute("DELETE FROM Parent WHERE id = 8")
    copy = open_access(servers.copy_database(rows.database))
    copy.execute("INSERT INTO Parent () VALUES ()")
    assert copy.rows("SELECT id, twice FROM Parent ORDER BY id") == [(7, 14), (9, 18)]
    assert copy.rows("SELECT id, parent FROM Child ORDER BY id") == [(1, 7), (3, 9)]


def test_what_is_set_at_a_copy_of_sites_is_not_set_at_what_they_were_copied_from(tmp_path: Path) -> None:
    originals = World(tmp_path / "originals")
    hq, store = originals.site("hq", ""), originals.site("store", "")
    store.producers["hq"] = Producer(hq, "key", "secret", ("Invoice",))
    for site in (hq, store):
        site.execute("CREATE TABLE Pet (PetId INTEGER PRIMARY KEY)")
    _, copy = World(tmp_path / "copies").copy([hq, store])
    copy.producers["hq"].settings["repair_gaps"] = False
    assert "repair_gaps" not in store.producers["hq"].settings


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"])
def test_a_user_who_was_granted_nothing_may_do_nothing(engine: Engine) -> None:
    rows = open_access(servers.fresh_database(engine))
    rows.execute("CREATE TABLE Pet (PetId INTEGER PRIMARY KEY)")
    stranger = open_access(servers.unprivileged_role(rows.database))
    with pytest.raises((psycopg.errors.InsufficientPrivilege, pymysql.OperationalError)):
        stranger.rows("SELECT * FROM Pet")


@pytest.mark.parametrize("engine", ["postgresql", "mariadb"])
def test_a_server_ends_with_the_tests_even_if_they_are_killed(engine: Engine) -> None:
    variables = {postgresql_server.URL_VARIABLE, mariadb_server.URL_VARIABLE}
    script = (
        "import time; from tests.support import servers; "
        f"print(servers.administrator(servers.fresh_database('{engine}')).url, flush=True); time.sleep(600)"
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if name not in variables},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert killed.stdout is not None
    url = killed.stdout.readline().strip()
    if not url:
        pytest.skip("no programs to start a server with")
    rows = open_access(DatabaseUrl.parse(engine, url))
    assert rows.value("SELECT 1") == 1
    killed.kill()
    killed.wait()

    def ended() -> bool:
        try:
            return not rows.value("SELECT 1")
        except (psycopg.OperationalError, pymysql.OperationalError):
            return True

    eventually(ended, "the server ended too")


@pytest.mark.parametrize("module", [postgresql_server, mariadb_server])
def test_without_a_server_the_reason_says_what_to_install(module: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_program", lambda names, folders: None)
    engine: Engine = "postgresql" if module is postgresql_server else "mariadb"
    monkeypatch.delenv(module.URL_VARIABLE, raising=False)
    monkeypatch.setattr(servers, "_servers", {})
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match=rf"apt install {engine}.*{module.URL_VARIABLE}"):
        servers.fresh_database(engine)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt install"):
        servers.fresh_database(engine)
