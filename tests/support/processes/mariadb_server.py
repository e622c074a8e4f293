"""MariaDB for tests: a private server, or a running one that a URL names."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pymysql
from pymysql.cursors import Cursor

from tests.support.database_url import DatabaseUrl
from tests.support.processes.ports import free_port
from tests.support.processes.private_server import PrivateServer, find_program

URL_VARIABLE = "STREAMD_TEST_MARIADB_URL"
WANTED = f"install MariaDB (Debian: apt install mariadb-server), or set {URL_VARIABLE}"

FOLDERS = [Path(folder) for folder in ("/usr/sbin", "/usr/bin", "/usr/libexec", "/usr/local/sbin", "/opt/homebrew/bin")]

SETTINGS = {
    "character-set-server": "utf8mb4",
    "innodb-flush-log-at-trx-commit": "2",
    "innodb-buffer-pool-size": "64M",
    "innodb-log-file-size": "16M",
    "innodb-doublewrite": "OFF",
    "innodb-flush-method": "nosync",
    "debug-no-sync": "",
    "max-connections": "200",
    "max-allowed-packet": "64M",
    "performance-schema": "OFF",
    "skip-name-resolve": "ON",
    "skip-log-bin": "",
}

DURABLE = {
    "character-set-server": "utf8mb4",
    "innodb-flush-log-at-trx-commit": "1",
    "innodb-log-file-size": "96M",
    "innodb-doublewrite": "ON",
    "skip-name-resolve": "ON",
    "skip-log-bin": "",
}
"""As a real site has it: the server's own defaults, with what makes commits durable said aloud."""


class MariaDbServer:
    """Makes and drops databases. `admin` may do everything; one user may do everything in them, and nothing else."""

    def __init__(self, admin: DatabaseUrl, private: PrivateServer | None) -> None:
        self._private = private
        self._admin = admin
        self._databases: list[str] = []
        self._roles: list[str] = []
        self._owner = self.role()

    @classmethod
    def named(cls, url: str) -> MariaDbServer:
        """The running server at a URL, whose user may make databases and users."""
        return cls(DatabaseUrl.parse("mariadb", url), None)

    @classmethod
    def private(cls, settings: Mapping[str, str] = SETTINGS) -> MariaDbServer | None:
        """A server of our own, or None where its programs are not installed. Raises `ServerFailed`."""
        daemon = find_program(["mariadbd"], FOLDERS)
        install = find_program(["mariadb-install-db"], FOLDERS)
        if daemon is None or install is None:
            return None
        server = PrivateServer("mariadb")
        data, port = server.folder / "data", free_port()
        server.prepare(
            [
                str(install),
                "--no-defaults",
                f"--datadir={data}",
                # Servers that share a folder for temporary tables remove each other's.
                f"--tmpdir={server.folder}",
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
                f"--innodb-log-file-size={settings['innodb-log-file-size']}",
            ]
        )
        admin = DatabaseUrl("mariadb", "mysql", "root", host="127.0.0.1", port=port)
        settings = {
            **settings,
            "datadir": str(data),
            "bind-address": admin.host,
            "port": str(port),
            "socket": str(server.folder / "mariadb.sock"),
            "tmpdir": str(server.folder),
            "pid-file": str(server.folder / "mariadb.pid"),
        }
        options = [f"--{name}={value}" if value else f"--{name}" for name, value in settings.items()]
        # SIGKILL: nobody needs what it would still write.
        server.start([str(daemon), "--no-defaults", *options], "SIGKILL", lambda: _answers(admin))
        return cls(admin, server)

    def create(self, name: str) -> DatabaseUrl:
        """An empty database of this name. Raises `ServerFailed` if our own server is gone."""
        if self._private is not None:
            self._private.assert_running()
        self._execute(f"CREATE DATABASE {quote(name)} CHARACTER SET utf8mb4")
        self._databases.append(name)
        self._execute(f"GRANT ALL PRIVILEGES ON {quote(name)}.* TO %s@'%%'", self._owner.user)
        return replace(self._owner, name=name)

    def drop(self, name: str) -> None:
        """Drop one of our databases, whoever is connected to it."""
        for connection in self._execute("SELECT id FROM information_schema.processlist WHERE db = %s", name):
            try:
                self._execute(f"KILL {connection[0]}")
            except pymysql.OperationalError as error:
                if error.args[0] != pymysql.constants.ER.NO_SUCH_THREAD:
                    raise
        self._execute(f"DROP DATABASE IF EXISTS {quote(name)}")
        self._databases.remove(name)

    def copy(self, source: DatabaseUrl, name: str) -> DatabaseUrl:
        """A copy of a database that nobody writes to: tables with their rows and counters, and triggers."""
        target = self.create(name)
        with _connect(replace(self._admin, name=name)) as connection, connection.cursor() as cursor:
            _copy_tables(cursor, source.name)
            _copy_triggers(cursor, source.name)
        return target

    def role(self) -> DatabaseUrl:
        """A user who may log in, and nothing else."""
        name, password = f"site_{secrets.token_hex(4)}", secrets.token_hex(8)
        self._execute("CREATE USER %s@'%%' IDENTIFIED BY %s", name, password)
        self._roles.append(name)
        return replace(self._admin, user=name, password=password)

    def administrator(self, name: str) -> DatabaseUrl:
        """The same database as root sees it."""
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
            self._execute("DROP USER IF EXISTS %s@'%%'", role)

    def _execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with _connect(self._admin) as connection, connection.cursor() as cursor:
            # Without values the driver does not look for placeholders.
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())


def quote(identifier: str) -> str:
    return "`" + identifier.replace("`", "``") + "`"


def _connect(database: DatabaseUrl) -> pymysql.Connection[Cursor]:
    return pymysql.connect(
        host=database.host,
        port=database.port,
        user=database.user,
        password=database.password,
        database=database.name,
        charset="utf8mb4",
        autocommit=True,
        ssl_disabled=True,  # pymysql reads the system's certificates for each connection otherwise
    )


def _answers(admin: DatabaseUrl) -> bool:
    try:
        _connect(admin).close()
    except pymysql.OperationalError:
        return False
    return True


def _copy_tables(cursor: Cursor, source: str) -> None:
    """Tables as `SHOW CREATE TABLE` tells them, which includes the next automatic number; then their rows."""
    cursor.execute("SET foreign_key_checks = 0, unique_checks = 0, sql_mode = 'NO_AUTO_VALUE_ON_ZERO'")
    cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = %s", (source,))
    for (table,) in cursor.fetchall():
        cursor.execute(f"SHOW CREATE TABLE {quote(source)}.{quote(table)}")
        cursor.execute(cursor.fetchone()[1])
        cursor.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
            " AND generation_expression IS NULL ORDER BY ordinal_position",
            (source, table),
        )
        columns = ", ".join(quote(column) for (column,) in cursor.fetchall())
        cursor.execute(f"INSERT INTO {quote(table)} ({columns}) SELECT {columns} FROM {quote(source)}.{quote(table)}")


def _copy_triggers(cursor: Cursor, source: str) -> None:
    cursor.execute("SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = %s", (source,))
    for (trigger,) in cursor.fetchall():
        cursor.execute(f"SHOW CREATE TRIGGER {quote(source)}.{quote(trigger)}")
        row = cursor.fetchone()
        cursor.execute("SET sql_mode = %s", (row[1],))
        cursor.execute(row[2])
