"""What tables a SQLite database has, through SQLAlchemy's inspector."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, inspect, text

from streamd.db.sqlite_keys import gives_another_each_time
from streamd.db.sqlite_sql import PREFIX
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


def reflect(connection: Connection) -> dict[str, Table]:
    """Every table of the user's."""
    inspector = inspect(connection)
    triggers: dict[str, list[str]] = {}
    for name, table in connection.execute(text("SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger'")):
        if not name.startswith(PREFIX):
            triggers.setdefault(table, []).append(name)
    found = {}
    for name in inspector.get_table_names():
        if not name.startswith((PREFIX, "sqlite_")):
            found[name] = _table(connection, inspector, name, tuple(triggers.get(name, ())))
    return found


def _table(connection: Connection, inspector: Any, name: str, triggers: tuple[str, ...]) -> Table:
    quoted = '"' + name.replace('"', '""') + '"'
    uniques, in_unique = _uniques(connection, quoted)
    rowid = _rowid(connection, quoted)
    columns = []
    # `table_xinfo` knows generated columns (hidden 2 and 3) and the declared type as it was written.
    for row in connection.exec_driver_sql(f"PRAGMA table_xinfo({quoted})"):
        _, column, declared, not_null, default, in_key, hidden = row
        if hidden == 1:
            continue
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
            )
        )
    primary_key = tuple(inspector.get_pk_constraint(name)["constrained_columns"] or ())
    foreign_keys = _foreign_keys(connection, inspector, name)
    return Table(name, tuple(columns), primary_key, tuple(uniques), foreign_keys, triggers)


def _foreign_keys(connection: Connection, inspector: Any, name: str) -> tuple[ForeignKey, ...]:
    actions = {}
    quoted = '"' + name.replace('"', '""') + '"'
    columns: dict[int, list[str]] = {}
    for number, _, table, column, _, on_update, on_delete, _ in connection.exec_driver_sql(
        f"PRAGMA foreign_key_list({quoted})"
    ):
        columns.setdefault(number, []).append(column)
        actions[number] = (table, on_delete, on_update)
    rules = {(tuple(columns[number]), table): rule for number, (table, *rule) in actions.items()}
    found = []
    for key in inspector.get_foreign_keys(name):
        referred = tuple(key["referred_columns"] or ())
        if not referred:
            referred = tuple(inspector.get_pk_constraint(key["referred_table"])["constrained_columns"] or ())
        own, table = tuple(key["constrained_columns"]), key["referred_table"]
        found.append(ForeignKey(own, table, referred, *rules.get((own, table), ("", ""))))
    return tuple(found)


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
