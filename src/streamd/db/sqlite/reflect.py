"""What tables a SQLite database has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from streamd.db.sqlite.keys import gives_another_each_time
from streamd.db.sqlite.sql import PREFIX
from streamd.db.sqlite.uniques import unique_keys
from streamd.model import Column, ForeignKey, Kind, Table

_WORDS = (
    ("BOOL", Kind.BOOLEAN),
    ("TIMESTAMPTZ", Kind.DATETIME_ZONED),
    ("DATETIME", Kind.DATETIME),
    ("TIMESTAMP", Kind.DATETIME),
    ("DATE", Kind.DATE),
    ("TIME", Kind.TIME),
    ("UUID", Kind.UUID),
    ("JSON", Kind.JSON),
    ("INT", Kind.INTEGER),
    ("DEC", Kind.DECIMAL),
    ("NUMERIC", Kind.DECIMAL),
    ("MONEY", Kind.DECIMAL),
    ("CHAR", Kind.TEXT),
    ("CLOB", Kind.TEXT),
    ("TEXT", Kind.TEXT),
    ("REAL", Kind.FLOAT),
    ("FLOA", Kind.FLOAT),
    ("DOUB", Kind.FLOAT),
    ("BLOB", Kind.BYTES),
    ("BINARY", Kind.BYTES),
)


def kind_of(declared: str) -> Kind:
    """What a declared type means. SQLite holds anything anywhere, so this is a promise of the user's."""
    upper = declared.upper()
    return next((kind for word, kind in _WORDS if word in upper), Kind.ANY)


FOREIGN_KEYS = """
SELECT m.name, f.id, f."table", f."from", f."to", f.on_delete, f.on_update
FROM sqlite_master AS m JOIN pragma_foreign_key_list(m.name) AS f
WHERE m.type = 'table' AND lower(m.sql) NOT LIKE 'create virtual %' ORDER BY m.name, f.id, f.seq
"""
KEYS = """
SELECT m.name, x.name FROM sqlite_master AS m JOIN pragma_table_xinfo(m.name) AS x
WHERE m.type = 'table' AND lower(m.sql) NOT LIKE 'create virtual %' AND x.pk > 0 ORDER BY m.name, x.pk
"""


def foreign_keys_of(rows: Iterable[Sequence[Any]], keys: Iterable[Sequence[Any]]) -> dict[str, list[ForeignKey]]:
    """The foreign keys of each table that has some, of what `FOREIGN_KEYS` and `KEYS` give.

    One to a table that is not there may name no column; it refers to nothing.
    """
    primary: dict[str, list[str]] = {}
    tables: dict[str, str] = {}
    for table, column in keys:
        primary.setdefault(table.lower(), []).append(column)
        tables[table.lower()] = table
    parts: dict[tuple[str, int], list[Sequence[Any]]] = {}
    for row in rows:
        parts.setdefault((row[0], row[1]), []).append(row)
    found: dict[str, list[ForeignKey]] = {}
    for (table, _), some in parts.items():
        _, _, referred, _, _, on_delete, on_update = some[0]
        theirs = [row[4] for row in some]
        if None in theirs:
            theirs = primary.get(referred.lower(), [])
        columns = tuple(row[3] for row in some)
        key = ForeignKey(columns, tables.get(referred.lower(), referred), tuple(theirs), on_delete, on_update)
        found.setdefault(table, []).append(key)
    return found


def reflect(connection: Connection) -> dict[str, Table]:
    """Every table of the user's. Of one that cannot be read (a virtual table without its module) only that is told."""
    triggers: dict[str, list[str]] = {}
    for name, table in connection.execute(text("SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'")):
        if not name.startswith(PREFIX):
            triggers.setdefault(table, []).append(name)
    foreign = foreign_keys_of(connection.exec_driver_sql(FOREIGN_KEYS), connection.exec_driver_sql(KEYS))
    found = {}
    names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")).scalars()
    for name in list(names):
        if not name.startswith((PREFIX, "sqlite_")):
            try:
                found[name] = _table(connection, name, tuple(triggers.get(name, ())), tuple(foreign.get(name, ())))
            except OperationalError as error:
                if "locked" in str(error.orig) or "busy" in str(error.orig):
                    raise
                found[name] = Table(name, (), unreadable=str(error.orig))
    return found


def _table(connection: Connection, name: str, triggers: tuple[str, ...], foreign_keys: tuple[ForeignKey, ...]) -> Table:
    quoted = '"' + name.replace('"', '""') + '"'
    uniques, in_unique = _uniques(connection, quoted)
    rowid = _rowid(connection, quoted)
    columns = []
    key: dict[int, str] = {}
    # `table_xinfo` knows generated columns (hidden 2 and 3) and the declared type as it was written.
    for row in connection.exec_driver_sql(f"PRAGMA table_xinfo({quoted})"):
        _, column, declared, not_null, default, in_key, hidden = row
        if hidden == 1:
            continue
        if in_key:
            key[in_key] = column
        columns.append(
            Column(
                column,
                declared,
                kind_of(declared),
                nullable=not not_null and not in_key,
                generated=hidden in (2, 3),
                has_default=default is not None,
                unique=column in in_unique,
                automatic=column == rowid or gives_another_each_time(default),
                default=default if column in in_unique and default is not None else "",
            )
        )
    primary_key = tuple(key[place] for place in sorted(key))
    enforced = unique_keys(connection, name, rowid)
    return Table(name, tuple(columns), primary_key, tuple(uniques), foreign_keys, triggers, enforced=enforced)


def _rowid(connection: Connection, quoted: str) -> str | None:
    """The column that is another name for the number which SQLite gives to each row, if there is one."""
    key = [row for row in connection.exec_driver_sql(f"PRAGMA table_xinfo({quoted})") if row[5]]
    indexes = connection.exec_driver_sql(f"PRAGMA index_list({quoted})").fetchall()
    # A primary key with an index of its own is none: INTEGER PRIMARY KEY DESC, and tables WITHOUT ROWID.
    if len(key) != 1 or key[0][2].upper() != "INTEGER" or any(row[3] == "pk" for row in indexes):
        return None
    name: str = key[0][1]
    return name


def _uniques(connection: Connection, quoted: str) -> tuple[list[tuple[str, ...]], set[str]]:
    """The unique keys of a table besides its primary key, and all columns that are in one, partial ones too."""
    found: list[tuple[str, ...]] = []
    columns: set[str] = set()
    for _, index, unique, origin, partial in connection.exec_driver_sql(f"PRAGMA index_list({quoted})").fetchall():
        if not unique or origin == "pk":
            continue
        name = '"' + index.replace('"', '""') + '"'
        parts = [row[2] for row in connection.exec_driver_sql(f"PRAGMA index_info({name})")]
        columns |= {part for part in parts if part is not None}  # None: an expression
        if None not in parts and not partial and tuple(parts) not in found:
            found.append(tuple(parts))
    return sorted(found), columns
