"""What tables a MariaDB database has, by a handful of queries, however many tables there are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from streamd.db.mariadb.driver import Session
from streamd.db.mariadb.keys import gives_another_each_time
from streamd.db.mariadb.sql import PREFIX, SPATIAL
from streamd.model import Column, ForeignKey, Kind, Table

_KINDS = {
    "tinyint": Kind.INTEGER,
    "smallint": Kind.INTEGER,
    "mediumint": Kind.INTEGER,
    "int": Kind.INTEGER,
    "bigint": Kind.INTEGER,
    "bit": Kind.INTEGER,
    "year": Kind.INTEGER,
    "decimal": Kind.DECIMAL,
    "float": Kind.FLOAT,
    "double": Kind.FLOAT,
    "date": Kind.DATE,
    "time": Kind.TIME,
    "datetime": Kind.DATETIME,
    "timestamp": Kind.DATETIME_ZONED,
    "binary": Kind.BYTES,
    "varbinary": Kind.BYTES,
    "tinyblob": Kind.BYTES,
    "blob": Kind.BYTES,
    "mediumblob": Kind.BYTES,
    "longblob": Kind.BYTES,
    "uuid": Kind.UUID,
    **dict.fromkeys(SPATIAL, Kind.BYTES),
}
"""All others are text: the kinds of text, enumerations, sets, network addresses."""

_JSON = re.compile(r'json_valid\("((?:[^"]|"")+)"\)', re.IGNORECASE)

_TABLES = (
    "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() "
    "AND TABLE_TYPE IN ('BASE TABLE', 'SYSTEM VERSIONED') ORDER BY TABLE_NAME"
)
_COLUMNS = (
    "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE, COLUMN_DEFAULT, EXTRA, "
    "CHARACTER_SET_NAME, IS_GENERATED FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() "
    "ORDER BY TABLE_NAME, ORDINAL_POSITION"
)
_CHECKS = (
    "SELECT TABLE_NAME, CHECK_CLAUSE FROM information_schema.CHECK_CONSTRAINTS "
    "WHERE CONSTRAINT_SCHEMA = DATABASE() AND CHECK_CLAUSE LIKE '%json_valid(%'"
)
_INDEXES = (
    "SELECT TABLE_NAME, INDEX_NAME, COLUMN_NAME, SUB_PART FROM information_schema.STATISTICS "
    "WHERE TABLE_SCHEMA = DATABASE() AND NON_UNIQUE = 0 ORDER BY TABLE_NAME, INDEX_NAME, SEQ_IN_INDEX"
)
_ROW_ENDS = (
    "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() "
    "AND GENERATION_EXPRESSION IN ('ROW START', 'ROW END')"
)
"""Columns of a declared period of system versioning: the server adds the row's end to each of its keys."""

_FOREIGN_KEYS = (
    "SELECT TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME, CASE WHEN REFERENCED_TABLE_SCHEMA = TABLE_SCHEMA "
    "THEN REFERENCED_TABLE_NAME ELSE CONCAT(REFERENCED_TABLE_SCHEMA, '.', REFERENCED_TABLE_NAME) END, "
    "REFERENCED_COLUMN_NAME FROM information_schema.KEY_COLUMN_USAGE WHERE TABLE_SCHEMA = DATABASE() "
    "AND REFERENCED_TABLE_NAME IS NOT NULL ORDER BY TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION"
)
_RULES = (
    "SELECT TABLE_NAME, CONSTRAINT_NAME, DELETE_RULE, UPDATE_RULE FROM information_schema.REFERENTIAL_CONSTRAINTS "
    "WHERE CONSTRAINT_SCHEMA = DATABASE()"
)
_TRIGGERS = (
    "SELECT EVENT_OBJECT_TABLE, TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE() "
    "AND EVENT_OBJECT_SCHEMA = DATABASE() ORDER BY TRIGGER_NAME"
)


def kind_of(data_type: str, declared: str) -> Kind:
    """What a column of this type holds."""
    if declared.startswith("tinyint(1)"):
        return Kind.BOOLEAN
    return _KINDS.get(data_type, Kind.TEXT)


async def reflect(session: Session) -> dict[str, Table]:
    """Every table of the user's."""
    names = [name for (name,) in await session.fetch(_TABLES) if not name.startswith(PREFIX)]
    json_columns = {
        (table, column.replace('""', '"'))
        for table, clause in await session.fetch(_CHECKS)
        for column in _JSON.findall(_text(clause))
    }
    keys, uniques, in_unique = await _indexes(session)
    foreign = await foreign_keys(session)
    columns: dict[str, list[Column]] = {}
    for row in await session.fetch(_COLUMNS):
        table, name = row[:2]
        columns.setdefault(table, []).append(
            _column(row, (table, name) in json_columns, name in in_unique.get(table, ()))
        )
    triggers: dict[str, list[str]] = {}
    for table, trigger in await session.fetch(_TRIGGERS):
        if not trigger.startswith(PREFIX):
            triggers.setdefault(table, []).append(trigger)
    return {
        name: Table(
            name,
            tuple(columns.get(name, ())),
            keys.get(name, ()),
            tuple(dict.fromkeys(uniques.get(name, ()))),
            tuple(foreign.get(name, ())),
            tuple(triggers.get(name, ())),
        )
        for name in names
    }


def _column(row: Sequence[Any], is_json: bool, unique: bool) -> Column:
    _, name, data_type, declared, nullable, default, extra, charset, is_generated = row
    declared = _text(declared)
    if charset is not None and charset != "utf8mb4":
        declared += f" character set {charset}"
    if is_json:
        declared = "json"
    kind = Kind.JSON if is_json else kind_of(data_type, declared)
    generated = is_generated not in (None, "NEVER")
    counted = "auto_increment" in extra
    has_default = default is not None or nullable == "YES" or counted
    automatic = counted or gives_another_each_time(None if default is None else _text(default))
    renews = "on update" in extra.lower()
    return Column(name, declared, kind, nullable == "YES", generated, has_default, unique, automatic, renews)


async def _indexes(
    session: Session,
) -> tuple[dict[str, tuple[str, ...]], dict[str, list[tuple[str, ...]]], dict[str, set[str]]]:
    indexes: dict[tuple[str, str], list[tuple[str, Any]]] = {}
    ends = {(table, column) for table, column in await session.fetch(_ROW_ENDS)}
    for table, index, column, part in await session.fetch(_INDEXES):
        if (table, column) in ends:
            continue
        indexes.setdefault((table, index), []).append((column, part))
    keys: dict[str, tuple[str, ...]] = {}
    uniques: dict[str, list[tuple[str, ...]]] = {}
    in_unique: dict[str, set[str]] = {}
    for (table, index), parts in indexes.items():
        names = tuple(column for column, _ in parts)
        if index == "PRIMARY":
            keys[table] = names
            continue
        in_unique.setdefault(table, set()).update(names)
        # An index over the beginnings of values says nothing about the whole ones.
        if all(part is None for _, part in parts):
            uniques.setdefault(table, []).append(names)
    return keys, uniques, in_unique


async def foreign_keys(session: Session) -> dict[str, list[ForeignKey]]:
    """The foreign keys of each table that has some."""
    rules = {(table, name): rule for table, name, *rule in await session.fetch(_RULES)}
    parts: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for table, constraint, *part in await session.fetch(_FOREIGN_KEYS):
        parts.setdefault((table, constraint), []).append(tuple(part))
    found: dict[str, list[ForeignKey]] = {}
    for (table, constraint), columns in parts.items():
        on_delete, on_update = rules.get((table, constraint), ("", ""))
        found.setdefault(table, []).append(
            ForeignKey(
                tuple(column for column, _, _ in columns),
                columns[0][1],
                tuple(referred for _, _, referred in columns),
                on_delete=on_delete,
                on_update=on_update,
                silent=True,
            )
        )
    return found


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
