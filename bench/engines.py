"""The shop's own program on each engine: the plain driver, no part of streamd."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import psycopg
import pymysql
from psycopg import sql

from bench.shop import Document
from tests.support.database_url import DatabaseUrl, Engine
from tests.support.engines import open_access

INVOICE_COLUMNS = 8
LINE_COLUMNS = 6


class Shop(ABC):
    """One connection to a shop's database, whose tables are there. Commits are as durable as the server makes them."""

    schema: ClassVar[str]
    bulk: ClassVar[str]
    """The quickest way into a table that its driver offers, in a few words."""

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def write(self, documents: Sequence[Document]) -> None:
        """Each invoice in a transaction of its own."""

    @abstractmethod
    def change(self, numbers: Sequence[int], status: str) -> None:
        """One column of each of these invoices, each in a transaction of its own."""

    @abstractmethod
    def load(self, documents: Sequence[Document]) -> None:
        """All of them in one transaction, as quickly as the driver can."""

    @abstractmethod
    def value(self, query: str) -> Any:
        """The first column of the first row, as everybody sees it now."""

    @abstractmethod
    def name(self, identifier: str) -> str:
        """A name of the schema, quoted."""

    def newest(self) -> int:
        """The highest number of an invoice; -1 without any."""
        found = self.value(f"SELECT max({self.name('InvoiceId')}) FROM {self.name('Invoice')}")
        return -1 if found is None else int(found)

    def lines(self) -> int:
        """How many lines there are."""
        return int(self.value(f"SELECT count(*) FROM {self.name('InvoiceLine')}"))


class SqliteShop(Shop):
    """A file in WAL mode: commits that do not wait for the disk, as WAL allows.

    With `synchronous = FULL` each commit would wait for the disk, and what a trigger costs would hardly show.
    """

    schema = """
CREATE TABLE Invoice (
    InvoiceId INTEGER PRIMARY KEY,
    Customer TEXT NOT NULL,
    InvoiceDate DATETIME NOT NULL,
    BillingAddress TEXT,
    BillingCity TEXT,
    BillingCountry TEXT,
    Status TEXT NOT NULL DEFAULT 'open',
    Total NUMERIC(10, 2) NOT NULL
);
CREATE TABLE InvoiceLine (
    InvoiceLineId INTEGER PRIMARY KEY,
    InvoiceId INTEGER NOT NULL REFERENCES Invoice (InvoiceId),
    Item TEXT NOT NULL,
    Description TEXT,
    UnitPrice NUMERIC(10, 2) NOT NULL,
    Quantity INTEGER NOT NULL
);
CREATE INDEX InvoiceLineInvoice ON InvoiceLine (InvoiceId);
"""
    bulk = "executemany"
    _invoice = f"INSERT INTO Invoice VALUES ({', '.join('?' * INVOICE_COLUMNS)})"
    _line = f"INSERT INTO InvoiceLine VALUES ({', '.join('?' * LINE_COLUMNS)})"

    def __init__(self, database: DatabaseUrl) -> None:
        self._connection = sqlite3.connect(database.name, isolation_level=None, timeout=30)
        for pragma in ("journal_mode = WAL", "foreign_keys = ON", "synchronous = NORMAL"):
            self._connection.execute(f"PRAGMA {pragma}")

    def close(self) -> None:
        self._connection.close()

    def write(self, documents: Sequence[Document]) -> None:
        for row, items in documents:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute(self._invoice, row)
            self._connection.executemany(self._line, items)
            self._connection.execute("COMMIT")

    def change(self, numbers: Sequence[int], status: str) -> None:
        for number in numbers:
            self._connection.execute("UPDATE Invoice SET Status = ? WHERE InvoiceId = ?", (status, number))

    def load(self, documents: Sequence[Document]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(self._invoice, [row for row, _ in documents])
        self._connection.executemany(self._line, [item for _, items in documents for item in items])
        self._connection.execute("COMMIT")

    def value(self, query: str) -> Any:
        return self._connection.execute(query).fetchone()[0]

    def name(self, identifier: str) -> str:
        return identifier


class PostgreSqlShop(Shop):
    """A database of PostgreSQL, through psycopg."""

    schema = """
CREATE TABLE "Invoice" (
    "InvoiceId" bigint PRIMARY KEY,
    "Customer" text NOT NULL,
    "InvoiceDate" timestamp NOT NULL,
    "BillingAddress" text,
    "BillingCity" text,
    "BillingCountry" text,
    "Status" text NOT NULL DEFAULT 'open',
    "Total" numeric(10, 2) NOT NULL
);
CREATE TABLE "InvoiceLine" (
    "InvoiceLineId" bigint PRIMARY KEY,
    "InvoiceId" bigint NOT NULL REFERENCES "Invoice" ("InvoiceId"),
    "Item" text NOT NULL,
    "Description" text,
    "UnitPrice" numeric(10, 2) NOT NULL,
    "Quantity" integer NOT NULL
);
CREATE INDEX ON "InvoiceLine" ("InvoiceId");
"""
    bulk = "COPY"
    _invoice = f'INSERT INTO "Invoice" VALUES ({", ".join(["%s"] * INVOICE_COLUMNS)})'
    _line = f'INSERT INTO "InvoiceLine" VALUES ({", ".join(["%s"] * LINE_COLUMNS)})'

    def __init__(self, database: DatabaseUrl) -> None:
        self._connection = psycopg.connect(database.url, autocommit=True)
        self._cursor = self._connection.cursor()

    def close(self) -> None:
        self._connection.close()

    def write(self, documents: Sequence[Document]) -> None:
        for row, items in documents:
            with self._connection.transaction():
                self._cursor.execute(self._invoice, row)
                self._cursor.executemany(self._line, items)

    def change(self, numbers: Sequence[int], status: str) -> None:
        for number in numbers:
            self._cursor.execute('UPDATE "Invoice" SET "Status" = %s WHERE "InvoiceId" = %s', (status, number))

    def load(self, documents: Sequence[Document]) -> None:
        with self._connection.transaction():
            self._copy("Invoice", [row for row, _ in documents])
            self._copy("InvoiceLine", [item for _, items in documents for item in items])

    def _copy(self, table: str, rows: Sequence[Sequence[object]]) -> None:
        with self._cursor.copy(sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))) as copy:
            for row in rows:
                copy.write_row(row)

    def value(self, query: str) -> Any:
        found = self._cursor.execute(query.encode()).fetchone()
        return found[0] if found else None

    def name(self, identifier: str) -> str:
        return f'"{identifier}"'


class MariaDbShop(Shop):
    """A database of MariaDB, through PyMySQL."""

    schema = """
CREATE TABLE Invoice (
    InvoiceId BIGINT PRIMARY KEY,
    Customer VARCHAR(140) NOT NULL,
    InvoiceDate DATETIME NOT NULL,
    BillingAddress VARCHAR(140),
    BillingCity VARCHAR(140),
    BillingCountry VARCHAR(140),
    Status VARCHAR(140) NOT NULL DEFAULT 'open',
    Total DECIMAL(10, 2) NOT NULL
) ENGINE = InnoDB;
CREATE TABLE InvoiceLine (
    InvoiceLineId BIGINT PRIMARY KEY,
    InvoiceId BIGINT NOT NULL,
    Item VARCHAR(140) NOT NULL,
    Description TEXT,
    UnitPrice DECIMAL(10, 2) NOT NULL,
    Quantity INT NOT NULL,
    FOREIGN KEY (InvoiceId) REFERENCES Invoice (InvoiceId)
) ENGINE = InnoDB;
"""
    bulk = "INSERT of many rows"
    _invoice = f"INSERT INTO Invoice VALUES ({', '.join(['%s'] * INVOICE_COLUMNS)})"
    _line = f"INSERT INTO InvoiceLine VALUES ({', '.join(['%s'] * LINE_COLUMNS)})"

    def __init__(self, database: DatabaseUrl) -> None:
        self._connection = pymysql.connect(
            host=database.host,
            port=database.port,
            user=database.user,
            password=database.password,
            database=database.name,
            charset="utf8mb4",
            autocommit=True,
        )
        self._cursor = self._connection.cursor()

    def close(self) -> None:
        self._connection.close()

    def write(self, documents: Sequence[Document]) -> None:
        for row, items in documents:
            self._connection.begin()
            self._cursor.execute(self._invoice, row)
            self._cursor.executemany(self._line, items)
            self._connection.commit()

    def change(self, numbers: Sequence[int], status: str) -> None:
        for number in numbers:
            self._cursor.execute("UPDATE Invoice SET Status = %s WHERE InvoiceId = %s", (status, number))

    def load(self, documents: Sequence[Document]) -> None:
        self._connection.begin()
        self._cursor.executemany(self._invoice, [row for row, _ in documents])
        self._cursor.executemany(self._line, [item for _, items in documents for item in items])
        self._connection.commit()

    def value(self, query: str) -> Any:
        self._cursor.execute(query)
        found = self._cursor.fetchone()
        return found[0] if found else None

    def name(self, identifier: str) -> str:
        return f"`{identifier}`"


_SHOPS: dict[Engine, type[SqliteShop | PostgreSqlShop | MariaDbShop]] = {
    "sqlite": SqliteShop,
    "postgresql": PostgreSqlShop,
    "mariadb": MariaDbShop,
}

NAMES: dict[Engine, str] = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mariadb": "MariaDB"}

_VERSIONS: dict[Engine, str] = {
    "sqlite": "SELECT sqlite_version()",
    "postgresql": "SHOW server_version",
    "mariadb": "SELECT version()",
}


def open_shop(database: DatabaseUrl) -> Shop:
    """A connection of the shop's own program to its database."""
    return _SHOPS[database.engine](database)


def schema_of(engine: Engine) -> str:
    """The statements that make the shop's tables."""
    return _SHOPS[engine].schema


def make_shop(database: DatabaseUrl) -> None:
    """Make the shop's tables in an empty database."""
    open_access(database).raw(_SHOPS[database.engine].schema)
    open_shop(database).close()


def bulk_way(engine: Engine) -> str:
    """How `Shop.load` writes on this engine."""
    return _SHOPS[engine].bulk


def version(database: DatabaseUrl) -> str:
    """The version of the engine that a database is in."""
    shop = open_shop(database)
    try:
        return str(shop.value(_VERSIONS[database.engine]))
    finally:
        shop.close()
