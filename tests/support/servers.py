"""Databases for tests, of every engine: `fresh_database(engine)`.

A server is started when the first test needs one, one for each process that runs tests: starting takes about
a second, and sharing one between processes would need locks and counting that have to survive a killed
process. It ends with the tests, however they end (`server_keeper.py`). A running server is used instead where
`STREAMD_TEST_POSTGRESQL_URL` or `STREAMD_TEST_MARIADB_URL` names one, such as
`postgresql://postgres@127.0.0.1:5432/postgres` and `mariadb://root:secret@127.0.0.1:3306/mysql`: its user has to
be allowed to make databases and users. What is made there is dropped again.

Where there is no server, its tests are skipped, and the summary says so; in CI (`CI=true`) they fail.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.database_url import DatabaseUrl, Engine
from tests.support.processes import mariadb_server, postgresql_server
from tests.support.processes.mariadb_server import MariaDbServer
from tests.support.processes.postgresql_server import PostgreSqlServer

ENGINES: tuple[Engine, ...] = ("sqlite", "postgresql", "mariadb")
MISSING = "no server: "
"""How the reason of a test begins that is skipped for want of a server."""


class SqliteFiles:
    """The same for SQLite: files in a temporary folder."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="streamd-sqlite-"))

    def create(self, name: str) -> DatabaseUrl:
        path = self._folder / f"{name}.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        return DatabaseUrl("sqlite", str(path))

    def copy(self, source: DatabaseUrl, name: str) -> DatabaseUrl:
        target = self.create(name)
        with closing(sqlite3.connect(source.name)) as one, closing(sqlite3.connect(target.name)) as other:
            one.backup(other)
        return target

    def drop(self, name: str) -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(name + suffix).unlink(missing_ok=True)

    def stop(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


Server = SqliteFiles | PostgreSqlServer | MariaDbServer

_servers: dict[Engine, Server] = {}
"""One for each process, because a process is what a server costs a second to start for."""


def fresh_database(engine: Engine) -> DatabaseUrl:
    """A new, empty database that its user owns. It is dropped at the end of the tests, or by `drop_database`."""
    return server(engine).create(_unique_name())


def copy_database(source: DatabaseUrl) -> DatabaseUrl:
    """A new database with all that is in another one, which nobody may be writing to meanwhile."""
    return server(source.engine).copy(source, _unique_name())


def drop_database(database: DatabaseUrl) -> None:
    """Drop a database that was made here, even while somebody is connected to it."""
    server(database.engine).drop(database.name)


def unprivileged_role(database: DatabaseUrl) -> DatabaseUrl:
    """The same PostgreSQL or MariaDB database for another user, who may connect, and what tests grant besides."""
    host = server(database.engine)
    assert not isinstance(host, SqliteFiles), "SQLite knows no users"
    role = host.role()
    return DatabaseUrl(database.engine, database.name, role.user, role.password, role.host, role.port)


def administrator(database: DatabaseUrl) -> DatabaseUrl:
    """The same PostgreSQL or MariaDB database for somebody who may do everything."""
    host = server(database.engine)
    assert not isinstance(host, SqliteFiles), "SQLite knows no users"
    return host.administrator(database.name)


def server(engine: Engine) -> Server:
    """The engine's server, started if need be. Skips the test where there is none; fails it in CI."""
    if engine not in _servers:
        _servers[engine] = _STARTERS[engine]()
    return _servers[engine]


def start_durable(engine: Engine) -> None:
    """Start the engine's server so that each commit waits for the disk, as at a real site: for measuring.

    A running server that a URL names is taken as it is. Nothing may have asked for this engine's server before.
    """
    assert engine not in _servers, f"there is a server for {engine} already"
    if engine == "postgresql" and not os.environ.get(postgresql_server.URL_VARIABLE):
        durable = PostgreSqlServer.private(postgresql_server.DURABLE)
        _servers[engine] = durable or _missing("PostgreSQL", postgresql_server.WANTED)
    if engine == "mariadb" and not os.environ.get(mariadb_server.URL_VARIABLE):
        _servers[engine] = MariaDbServer.private(mariadb_server.DURABLE) or _missing("MariaDB", mariadb_server.WANTED)


def stop_servers() -> None:
    """Drop what was made, and end what was started."""
    while _servers:
        _servers.popitem()[1].stop()


def _postgresql() -> Server:
    url = os.environ.get(postgresql_server.URL_VARIABLE)
    found = PostgreSqlServer.named(url) if url else PostgreSqlServer.private()
    return found or _missing("PostgreSQL", postgresql_server.WANTED)


def _mariadb() -> Server:
    url = os.environ.get(mariadb_server.URL_VARIABLE)
    found = MariaDbServer.named(url) if url else MariaDbServer.private()
    return found or _missing("MariaDB", mariadb_server.WANTED)


_STARTERS: dict[Engine, Callable[[], Server]] = {
    "sqlite": SqliteFiles,
    "postgresql": _postgresql,
    "mariadb": _mariadb,
}


def _missing(what: str, wanted: str) -> Server:
    reason = f"{MISSING}{what}: {wanted}"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _unique_name() -> str:
    return f"streamd_test_{secrets.token_hex(6)}"
