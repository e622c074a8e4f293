"""What can be told of a SQLite site before it runs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import aiosqlite

from streamd.db.sqlite.errors import is_documents
from streamd.db.sqlite.sql import quote
from streamd.errors import Problem
from streamd.model import Catalogue, ChildTable, DocumentType


async def unusable(driver: aiosqlite.Connection, catalogue: Catalogue) -> list[str]:
    """Which tables need what only the user's application has: a collation, a function, the module of a virtual table.

    Each statement is prepared as the daemon will, and not run.
    """
    found = []
    # A statement that is only explained does not notice that the tables were changed by another connection.
    await driver.execute_fetchall("SELECT 1 FROM sqlite_master LIMIT 1")
    for doctype in catalogue.doctypes.values():
        owners: tuple[DocumentType | ChildTable, ...] = (*([] if doctype.single else [doctype]), *doctype.children)
        for owner in owners:
            fault = await _fault(driver, owner)
            if fault:
                found.append(
                    f"{owner.table}: {fault}. Only the application that made it has this: documents of {doctype.name} "
                    "cannot be written here. Make the table's columns, indexes, constraints and triggers do without it"
                )
    return found


async def _fault(driver: aiosqlite.Connection, owner: DocumentType | ChildTable) -> str:
    for statement in _statements(owner):
        try:
            await driver.execute_fetchall(f"EXPLAIN {statement}")
        except sqlite3.OperationalError as error:
            if not is_documents(error):
                raise
            return str(error)
    return ""


def _statements(owner: DocumentType | ChildTable) -> Iterable[str]:
    table = quote(owner.table)
    columns = [quote(column.name) for column in owner.columns if not column.generated]
    key = " AND ".join(f"{quote(name)} = NULL" for name in owner.key)
    yield f"SELECT 1 FROM {table} WHERE {key}"
    yield f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('NULL' for _ in columns)})"
    yield f"UPDATE {table} SET {', '.join(f'{column} = NULL' for column in columns)} WHERE {key}"
    yield f"DELETE FROM {table} WHERE {key}"


def unwritable(path: Path) -> list[Problem]:
    """The files, and the folder, that this user may not write; SQLite needs them all."""
    file = path.resolve()
    needed = [file, *(each for suffix in ("-wal", "-shm") if (each := Path(f"{file}{suffix}")).exists()), file.parent]
    refused = [each for each in needed if not os.access(each, os.W_OK)]
    return [
        Problem(
            "site.database",
            f"{each} cannot be written by this user",
            "let the user of streamd write the database's files and their folder (chown, chmod; is it mounted "
            "read-only?)",
        )
        for each in refused
    ]
