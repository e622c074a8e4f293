"""SQLite's SQL: our tables, and a row as JSON text.

SQLite's own `json_object` cannot be used in a trigger: it rounds floating-point numbers, fails on BLOBs (and
with it the user's write), and takes a limited number of columns. So each value is written by a switch over
its storage class.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from streamd.db.sqltext import PREFIX as PREFIX
from streamd.db.sqltext import literal as literal
from streamd.db.sqltext import quote as quote
from streamd.db.tables import table_statements
from streamd.model import Column

_TYPES = dict.fromkeys(("text", "short", "doctype", "name", "digest"), "TEXT") | {
    "int": "INTEGER",
    "big": "INTEGER",
    "counter": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "stamps": 'fingerprint TEXT NOT NULL, "at" INTEGER NOT NULL',
    "ids": "",  # they are in the order of commits
    "text_in_index": "name",
}
_TABLES = table_statements(
    _TYPES,
    {
        "streamd_displaced": "tbl TEXT NOT NULL, name TEXT NOT NULL, k1, k2, k3, before TEXT NOT NULL, origin TEXT, "
        "PRIMARY KEY (tbl, name)"
    },
)
# What is found by several columns is kept in the order of these.
TABLES = {name: f"{text} WITHOUT ROWID" if ", PRIMARY KEY (" in text else text for name, text in _TABLES.items()}

COLUMNS_PER_FORMAT = 40
"""SQLite limits the arguments of one function call; a row with more columns takes several calls."""

NOW_MS = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


def value_as_json(reference: str) -> str:
    """An expression: one value as JSON text, exactly. Infinity is written as `1e999`; NaN does not exist."""
    return (
        f"CASE typeof({reference}) WHEN 'text' THEN json_quote({reference}) WHEN 'integer' THEN {reference} "
        f"WHEN 'null' THEN 'null' WHEN 'real' THEN CASE "
        f"WHEN {reference} = 9e999 THEN '1e999' WHEN {reference} = -9e999 THEN '-1e999' "
        # A whole number of millionths is written short, all else so that nothing is lost. SQLite's own reading of
        # numbers cannot be asked whether the short one is right: it is wrong by one bit now and then.
        f"WHEN abs({reference}) < 1e9 AND round({reference} * 1e6) / 1e6 = {reference} "
        f"THEN printf('%!.15g', {reference}) ELSE printf('%!.18g', {reference}) END "
        f"""ELSE '{{"$hex":"' || lower(hex({reference})) || '"}}' END"""
    )


def label(column: str) -> str:
    """How a column's name stands in the text of a trigger."""
    return json.dumps(column, ensure_ascii=False).replace("%", "%%") + ":%s"


def row_as_json(columns: Iterable[Column], alias: str) -> str:
    """An expression: the columns of a row (`NEW`, `OLD` or a table's alias) as one JSON object."""
    written = [column for column in columns if not column.generated]
    parts = []
    for start in range(0, len(written), COLUMNS_PER_FORMAT):
        chunk = written[start : start + COLUMNS_PER_FORMAT]
        labels = ",".join(label(column.name) for column in chunk)
        values = ", ".join(value_as_json(f"{alias}.{quote(column.name)}") for column in chunk)
        parts.append(f"printf({literal(labels)}, {values})")
    return "'{' || " + " || ',' || ".join(parts) + " || '}'"


def name_key_sql(columns: Sequence[str], alias: str) -> str:
    references = [f"{alias}.{quote(column)}" for column in columns]
    return " || char(31) || ".join(f"substr(typeof({ref}), 1, 1) || {ref}" for ref in references)


HAS_CONFLICT_CLAUSE = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ? AND sql LIKE '%conflict%'"
"""Whether a table may say what becomes of a row that breaks a constraint: IGNORE, REPLACE, …"""
