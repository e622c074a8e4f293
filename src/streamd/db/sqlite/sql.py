"""SQLite's SQL: our tables, and a row as JSON text.

SQLite's own `json_object` cannot be used in a trigger: it rounds floating-point numbers, fails on BLOBs (and
with it the user's write), and takes a limited number of columns. So each value is written by a switch over
its storage class.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from streamd.db.base import TableWrite, WriteKind
from streamd.model import Column, Scalar

PREFIX = "streamd_"

TABLES = {
    "streamd_site": """CREATE TABLE IF NOT EXISTS streamd_site (
        id INTEGER PRIMARY KEY CHECK (id = 1), site TEXT NOT NULL, name TEXT NOT NULL,
        schema INTEGER NOT NULL, installed_at INTEGER NOT NULL)""",
    "streamd_change": """CREATE TABLE IF NOT EXISTS streamd_change (
        id INTEGER PRIMARY KEY AUTOINCREMENT, tbl TEXT NOT NULL, op TEXT NOT NULL, before TEXT, after TEXT,
        origin TEXT, fingerprint TEXT NOT NULL, at INTEGER NOT NULL)""",
    "streamd_capture": """CREATE TABLE IF NOT EXISTS streamd_capture (
        id INTEGER PRIMARY KEY CHECK (id = 1), log TEXT NOT NULL, batch INTEGER NOT NULL,
        last_change INTEGER NOT NULL, digest TEXT NOT NULL, clock TEXT NOT NULL,
        previous_change INTEGER NOT NULL, previous_clock TEXT NOT NULL)""",
    "streamd_origin": """CREATE TABLE IF NOT EXISTS streamd_origin (
        doctype TEXT NOT NULL, name TEXT NOT NULL, mark TEXT NOT NULL,
        PRIMARY KEY (doctype, name)) WITHOUT ROWID""",
    "streamd_checkpoint": """CREATE TABLE IF NOT EXISTS streamd_checkpoint (
        producer TEXT PRIMARY KEY, log TEXT NOT NULL, sequence INTEGER NOT NULL, nonce TEXT NOT NULL)""",
    "streamd_document": """CREATE TABLE IF NOT EXISTS streamd_document (
        doctype TEXT NOT NULL, name TEXT NOT NULL, source TEXT NOT NULL, remote_name TEXT NOT NULL,
        clock TEXT NOT NULL, field_clocks TEXT NOT NULL, seen TEXT NOT NULL, deleted_at INTEGER,
        renamed_to TEXT, PRIMARY KEY (doctype, name)) WITHOUT ROWID""",
    "streamd_parked": """CREATE TABLE IF NOT EXISTS streamd_parked (
        id INTEGER PRIMARY KEY AUTOINCREMENT, producer TEXT NOT NULL, log TEXT NOT NULL,
        sequence INTEGER NOT NULL, doctype TEXT NOT NULL, name TEXT NOT NULL, event TEXT NOT NULL,
        state TEXT NOT NULL, error TEXT NOT NULL, attempts INTEGER NOT NULL, retry_at INTEGER NOT NULL,
        waits_doctype TEXT, waits_name TEXT, request TEXT NOT NULL, tried_at INTEGER NOT NULL,
        parked_at INTEGER NOT NULL)""",
    "streamd_counterpart": """CREATE TABLE IF NOT EXISTS streamd_counterpart (
        peer TEXT NOT NULL, doctype TEXT NOT NULL, remote_key TEXT NOT NULL, remote_name TEXT NOT NULL,
        name_key TEXT NOT NULL, name TEXT NOT NULL, "rows" TEXT NOT NULL,
        PRIMARY KEY (peer, doctype, remote_key)) WITHOUT ROWID""",
    "streamd_counterpart_here": """CREATE INDEX IF NOT EXISTS streamd_counterpart_here
        ON streamd_counterpart (doctype, name_key)""",
    "streamd_series": """CREATE TABLE IF NOT EXISTS streamd_series (
        name TEXT PRIMARY KEY, current INTEGER NOT NULL) WITHOUT ROWID""",
    "streamd_life": """CREATE TABLE IF NOT EXISTS streamd_life (
        doctype TEXT NOT NULL, name TEXT NOT NULL, lives TEXT NOT NULL, PRIMARY KEY (doctype, name)) WITHOUT ROWID""",
    "streamd_identity": """CREATE TABLE IF NOT EXISTS streamd_identity (
        doctype TEXT NOT NULL, id_key TEXT NOT NULL, id TEXT NOT NULL, name_key TEXT NOT NULL, name TEXT NOT NULL,
        clock TEXT NOT NULL, gone_at INTEGER, PRIMARY KEY (doctype, id_key)) WITHOUT ROWID""",
    "streamd_identity_name": """CREATE INDEX IF NOT EXISTS streamd_identity_name
        ON streamd_identity (doctype, name_key)""",
    "streamd_row_ids": """CREATE TABLE IF NOT EXISTS streamd_row_ids (
        doctype TEXT NOT NULL, id_key TEXT NOT NULL, "rows" TEXT NOT NULL,
        PRIMARY KEY (doctype, id_key)) WITHOUT ROWID""",
    "streamd_told": """CREATE TABLE IF NOT EXISTS streamd_told (batch INTEGER PRIMARY KEY, ids TEXT NOT NULL)""",
    "streamd_displaced": """CREATE TABLE IF NOT EXISTS streamd_displaced (
        tbl TEXT NOT NULL, name TEXT NOT NULL, k1, k2, k3, before TEXT NOT NULL, origin TEXT,
        PRIMARY KEY (tbl, name)) WITHOUT ROWID""",
    "streamd_parked_document": """CREATE INDEX IF NOT EXISTS streamd_parked_document
        ON streamd_parked (doctype, name)""",
}

COLUMNS_PER_FORMAT = 40
"""SQLite limits the arguments of one function call; a row with more columns takes several calls."""

NOW_MS = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"


def quote(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def literal(value: Scalar) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)


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


def write_sql(write: TableWrite, otherwise: str = "") -> str:
    """The statement of a write, with its values as parameters. `otherwise` is its own conflict clause."""
    table = quote(write.table)
    columns = [quote(column.name) for column in write.columns]
    where = " AND ".join(f"{quote(column.name)} = ?" for column in write.where)
    if write.kind == WriteKind.INSERT:
        return f"INSERT {otherwise} INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
    if write.kind == WriteKind.UPDATE:
        return f"UPDATE {otherwise} {table} SET {', '.join(f'{column} = ?' for column in columns)} WHERE {where}"
    return f"DELETE FROM {table} WHERE {where}"


HAS_CONFLICT_CLAUSE = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ? AND sql LIKE '%conflict%'"
"""Whether a table may say what becomes of a row that breaks a constraint: IGNORE, REPLACE, …"""
