"""How each engine is talked to: see `access.py` for what is asked of it."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pymysql
from pymysql.constants import CLIENT

from tests.support import servers
from tests.support.access import Access, Connection, Cursor, TypedRow, in_fixed_order
from tests.support.database_url import DatabaseUrl, Engine

SITE_FILE = "site.db"
"""The file of a site's SQLite database, in the site's folder."""


def open_access(database: DatabaseUrl) -> Access:
    """A user's own access to a database."""
    return _ENGINES[database.engine](database)


def make_site_database(engine: Engine, folder: Path, template: DatabaseUrl | None) -> Access:
    """A site's database: empty, or a copy of `template`. With SQLite it is a file in the site's folder."""
    return _ENGINES[engine].make(engine, folder, template)


class SqliteAccess(Access):
    """A file. Its connections are those of `sqlite3`."""

    errors = (sqlite3.Error,)
    begin = "BEGIN IMMEDIATE"

    @classmethod
    def make(cls, engine: Engine, folder: Path, template: DatabaseUrl | None) -> Access:
        path = folder / SITE_FILE
        if template is not None:
            shutil.copy(template.name, path)
        return cls(DatabaseUrl(engine, str(path)))

    @property
    def configured(self) -> str:
        return f"sqlite:///{Path(self.database.name).name}"

    @contextmanager
    def _connected(self, *, ours: bool = False) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.database.name, isolation_level=None, timeout=10)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            yield connection
        finally:
            connection.close()

    def raw(self, script: str) -> None:
        with self._connected() as connection:
            # One transaction: row by row, each would be a transaction of its own.
            connection.executescript(f"BEGIN;\n{script}\n;COMMIT;")

    def columns(self, table: str) -> list[str]:
        return [row[1] for row in self.rows(f'PRAGMA table_xinfo("{table}")')]

    def tables(self) -> list[str]:
        return [name for (name,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]

    def typed_rows(self, table: str, where: str = "true") -> list[TypedRow]:
        """With storage classes: a REAL is compared as the very same double, and 1 and 1.0 differ."""
        chosen = ", ".join(f'"{column}", typeof("{column}")' for column in self.columns(table))
        rows = self.rows(f'SELECT {chosen} FROM "{table}" WHERE {where}')
        return sorted((tuple(zip(row[1::2], row[0::2], strict=True)) for row in rows), key=repr)

    def waiting_changes(self) -> int:
        after = "(SELECT coalesce(max(last_change), 0) FROM streamd_capture)"
        return int(self.value(f"SELECT count(*) FROM streamd_change WHERE id > {after}"))

    def empty(self) -> None:
        with self._connected() as connection:
            connection.execute("PRAGMA foreign_keys = OFF")
            for table in self.tables():
                connection.execute(f'DELETE FROM "{table}"')
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _defer(self, connection: Connection) -> None:
        connection.execute("PRAGMA defer_foreign_keys = ON")


class ServerAccess(Access):
    """A database of a server."""

    @classmethod
    def make(cls, engine: Engine, folder: Path, template: DatabaseUrl | None) -> Access:
        return cls(servers.fresh_database(engine) if template is None else servers.copy_database(template))

    def typed_rows(self, table: str, where: str = "true") -> list[TypedRow]:
        """In one query: tests compare all the time, and a server has to be connected to for each."""
        return in_fixed_order(self.rows(f'SELECT * FROM "{table}" WHERE {where}'))


class PostgreSqlAccess(ServerAccess):
    """A database of PostgreSQL. Our tables are in a schema of their own."""

    errors = (psycopg.Error,)

    @contextmanager
    def _connected(self, *, ours: bool = False) -> Iterator[Connection]:
        options = "-c search_path=public,streamd" if ours else ""
        with psycopg.connect(self.database.url, autocommit=True, options=options) as connection:
            yield Translated(connection.cursor(), _postgresql_name)

    def raw(self, script: str) -> None:
        with psycopg.connect(self.database.url, autocommit=True) as connection:
            connection.execute(script.encode())

    def columns(self, table: str) -> list[str]:
        rows = self.rows(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = ?"
            " ORDER BY ordinal_position",
            table,
        )
        return [name for (name,) in rows]

    def tables(self) -> list[str]:
        return [name for (name,) in self.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]

    def empty(self) -> None:
        names = [f'"{table}"' for table in self.tables()]
        self.execute(f"TRUNCATE {', '.join(names)}")

    def _allow_deferring(self, connection: Connection) -> None:
        rigid = connection.execute(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'f' AND NOT condeferrable"
        )
        for table, constraint in rigid.fetchall():
            connection.execute(f'ALTER TABLE {table} ALTER CONSTRAINT "{constraint}" DEFERRABLE')

    def _defer(self, connection: Connection) -> None:
        connection.execute("SET CONSTRAINTS ALL DEFERRED")


class MariaDbAccess(ServerAccess):
    """A database of MariaDB. Double quotes are around names, as everywhere."""

    errors = (pymysql.Error,)

    @contextmanager
    def _connected(self, *, ours: bool = False) -> Iterator[Connection]:
        connection = self._connect("SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')")
        try:
            yield Translated(connection.cursor(), str)
        finally:
            connection.close()

    def raw(self, script: str) -> None:
        connection = self._connect(None)
        try:
            with connection.cursor() as cursor:
                cursor.execute(script)
                while cursor.nextset():
                    pass
        finally:
            connection.close()

    def _connect(self, first: str | None) -> pymysql.Connection[Any]:
        database = self.database
        return pymysql.connect(
            host=database.host,
            port=database.port,
            user=database.user,
            password=database.password,
            database=database.name,
            charset="utf8mb4",
            autocommit=True,
            ssl_disabled=True,  # pymysql reads the system's certificates for each connection otherwise
            init_command=first,
            client_flag=CLIENT.MULTI_STATEMENTS | CLIENT.FOUND_ROWS,
        )

    def columns(self, table: str) -> list[str]:
        rows = self.rows(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = database() AND table_name = ?"
            " ORDER BY ordinal_position",
            table,
        )
        return [name for (name,) in rows]

    def tables(self) -> list[str]:
        return [
            name
            for (name,) in self.rows(
                "SELECT table_name FROM information_schema.tables"
                " WHERE table_schema = database() AND table_type = 'BASE TABLE'"
            )
        ]

    def empty(self) -> None:
        with self._connected() as connection:
            connection.execute("SET foreign_key_checks = 0")
            for table in self.tables():
                connection.execute(f'TRUNCATE TABLE "{table}"')

    def _defer(self, connection: Connection) -> None:
        connection.execute("SET foreign_key_checks = 0")


_ENGINES: dict[Engine, type[SqliteAccess | PostgreSqlAccess | MariaDbAccess]] = {
    "sqlite": SqliteAccess,
    "postgresql": PostgreSqlAccess,
    "mariadb": MariaDbAccess,
}


class Translated:
    """A driver's connection that takes statements as tests write them."""

    def __init__(self, cursor: Any, name: Callable[[str], str]) -> None:
        self._cursor = cursor
        self._name = name

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Cursor:
        # Without values neither driver looks for placeholders.
        self._cursor.execute(translate(statement, self._name, bound=bool(values)), tuple(values) or None)
        return Result(self._cursor)

    def executemany(self, statement: str, rows: Sequence[Sequence[Any]], /) -> Cursor:
        self._cursor.executemany(translate(statement, self._name, bound=True), [tuple(row) for row in rows])
        return Result(self._cursor)


class Result:
    """The rows of a statement; none where it gives none."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def fetchall(self) -> list[tuple[Any, ...]]:
        return list(self._cursor.fetchall()) if self._cursor.description else []

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.fetchall())


_TOKEN = re.compile(r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*` | \d[\w.]* | [^\W\d]\w* | \? | %""", re.VERBOSE)


def translate(statement: str, name: Callable[[str], str], *, bound: bool) -> str:
    """A statement as the driver wants it: `name` quotes bare words, `bound` says whether values go with it."""

    def token(found: re.Match[str]) -> str:
        text = found[0]
        if text == "?":
            return "%s"
        if text[0].isalpha():
            text = name(text)
        return text.replace("%", "%%") if bound else text

    return _TOKEN.sub(token, statement)


def _postgresql_name(word: str) -> str:
    """A word of capital and small letters is a name, and would be folded to small ones."""
    return word if word.isupper() or word.islower() else f'"{word}"'
