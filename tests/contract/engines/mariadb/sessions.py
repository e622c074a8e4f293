"""Sites on MariaDB, sessions of their users, and what was captured of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pymysql

from streamd.db import open_site
from streamd.db.base import SiteDatabase, TableWrite, WriteKind
from streamd.model import Change, Row, Table
from tests.contract.conftest import Installed
from tests.simulation.sites import Site
from tests.support import servers
from tests.support.engines import open_access


def rows_after(changes: list[Change]) -> list[dict[str, Any]]:
    return [json.loads(change.after) for change in changes if change.after is not None]


@asynccontextmanager
async def mariadb_site(folder: Path, schema: str, *doctypes: str, **settings: Any) -> AsyncIterator[Site]:
    site = Site(folder, "hq", engine="mariadb", schema=schema, doctypes=dict.fromkeys(doctypes, settings))
    await site.open(logged=doctypes)
    try:
        yield site
    finally:
        await site.close()


@contextmanager
def session(site: Site | Installed, *settings: str) -> Iterator[pymysql.cursors.Cursor]:
    """A user's own session, in which nothing is as we would set it."""
    there = site.access.database
    connection = pymysql.connect(
        host=there.host,
        port=there.port,
        user=there.user,
        password=there.password,
        database=there.name,
        charset="utf8mb4",
        autocommit=True,
    )
    try:
        with connection.cursor() as cursor:
            for setting in settings:
                cursor.execute(setting)
            yield cursor
    finally:
        connection.close()


async def insert_rows(site: Site, table: Table, *rows: Row) -> None:
    columns = tuple(column for column in table.columns if column.name in rows[0])
    values = [[row[column.name] for column in columns] for row in rows]
    async with site.database.transaction() as transaction:
        await transaction.write([TableWrite(WriteKind.INSERT, table.name, columns, (), values)])


async def changes_of(site: Site) -> list[Change]:
    async with site.database.snapshot() as reader:
        claim = await reader.last_claim()
    assert claim is not None
    return list((await site.database.read_changes(claim, 1000)).rows)


TEXTS = """CREATE TABLE "Text" ("Id" INT PRIMARY KEY, "Value" LONGTEXT, "Raw" LONGBLOB)"""

TYPES = """CREATE TABLE "All Types" (
    "Id" BIGINT PRIMARY KEY, "tiny" TINYINT, "flag" BOOLEAN, "unsigned" BIGINT UNSIGNED, "filled" INT(8) ZEROFILL,
    "bits" BIT(10), "year" YEAR, "exact" DECIMAL(38,20), "filled exact" DECIMAL(10,2) ZEROFILL, "single" FLOAT,
    "double" DOUBLE, "date" DATE, "time" TIME, "time6" TIME(6), "moment" DATETIME, "moment6" DATETIME(6),
    "instant" TIMESTAMP NULL, "instant6" TIMESTAMP(6) NULL, "char" CHAR(10), "varchar" VARCHAR(40),
    "latin" VARCHAR(40) CHARACTER SET latin1, "cyrillic" VARCHAR(40) CHARACTER SET cp1251,
    "old utf8" TEXT CHARACTER SET utf8mb3, "other order" VARCHAR(40) COLLATE utf8mb4_unicode_ci,
    "binary order" VARCHAR(40) COLLATE utf8mb4_bin, "text" LONGTEXT, "enum" ENUM('a', 'B', 'it''s', '2'),
    "set" SET('x', 'y'), "json" JSON, "uuid" UUID, "address" INET6, "binary" BINARY(4), "varbinary" VARBINARY(40),
    "blob" LONGBLOB, "select" INT, "quo""te" INT, "back\\slash" INT, "question?" INT, "per%cent" INT,
    "UPPER" INT, "twice" INT AS ("select" * 2) STORED, "later" INT AS ("select" * 3) VIRTUAL
)"""


@asynccontextmanager
async def as_another(site: Site, *privileges: str) -> AsyncIterator[SiteDatabase]:
    """The site's database for a user of its own, with these privileges on the whole server."""
    user = servers.unprivileged_role(site.access.database)
    administrator = open_access(servers.administrator(site.access.database))
    administrator.execute(f"GRANT ALL PRIVILEGES ON {user.name}.* TO {user.user}@'%'")
    for privilege in privileges:
        administrator.execute(f"GRANT {privilege} ON *.* TO {user.user}@'%'")
    database = open_site(user.url)
    try:
        yield database
    finally:
        await database.close()
