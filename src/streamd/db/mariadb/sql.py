"""MariaDB's SQL: our tables, the triggers, and a row as JSON text.

A trigger runs in the user's session, but with the SQL mode in which it was made. What else a session sets (time zone,
character set, isolation) must not change what is written, and nothing that a trigger does may refuse the user's write.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence

from streamd.db.bound import User, bound_tables, fingerprint, kept_columns
from streamd.db.mariadb.driver import TRIGGER_MODE
from streamd.db.numbers import scale_of
from streamd.db.sqltext import PREFIX as PREFIX
from streamd.db.sqltext import literal as literal
from streamd.db.sqltext import quote as quote
from streamd.db.tables import table_statements
from streamd.model import Catalogue, ChildTable, Column, DocumentType, Kind, Table

NAME_LENGTH = 64
"""Characters in a name, at most."""

DOCTYPE_LENGTH = 140
NAME_BYTES = 2500
"""Bytes of a document's name as JSON, at most: an index key has 3072, and the type's name takes up to 560 of them."""

_TYPES = {
    "int": "INT",
    "big": "BIGINT",
    "counter": "BIGINT AUTO_INCREMENT PRIMARY KEY",
    "text": "LONGTEXT",
    "short": "VARCHAR(255)",
    "doctype": f"VARCHAR({DOCTYPE_LENGTH})",
    "name": f"VARBINARY({NAME_BYTES})",
    "digest": "CHAR(32)",
    "stamps": 'fingerprint VARCHAR(32) NOT NULL, "at" BIGINT NOT NULL, tx BIGINT NOT NULL',
    "ids": ", ids LONGTEXT NOT NULL",
    "text_in_index": "name(191)",
}
TABLES = table_statements(
    _TYPES,
    {
        "streamd_table": "tbl VARCHAR(64) PRIMARY KEY, number BIGINT NOT NULL, made_at BIGINT NOT NULL",
        "streamd_partition": "tbl VARCHAR(64), part VARCHAR(64), number BIGINT NOT NULL, made_at BIGINT NOT NULL, "
        "PRIMARY KEY (tbl, part)",
    },
    options=" ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin",
    indexes_inside=True,
)

NOW_MS = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000"

APPLYING = "@streamd_applying"
"""A variable of our writing sessions: only where it is set it is worth a look whether a change has an origin mark."""

TOO_LARGE = '{"$unreadable":"the row as JSON is larger than max_allowed_packet"}'
"""Stands where a row could not be written as JSON. It has no name, so it becomes a gap."""

NOT_TEXT = "CONVERT(CONVERT(UNHEX('D800') USING ucs2) USING utf8mb4)"
"""Half a surrogate pair: whoever reads the row sees that this value cannot be read."""

SPATIAL = (
    *("geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon"),
    "geometrycollection",
)
"""Types whose values travel as the bytes that the server keeps: the reference system, and the shape as WKB."""

_LARGE = ("mediumblob", "longblob", "json", *SPATIAL)
"""Types whose values a function makes larger, and that can be so large."""

_TRIGGER = re.compile(
    r'CREATE OR REPLACE TRIGGER ("(?:[^"]|"")+") (AFTER \w+ ON "(?:[^"]|"")+" FOR EACH ROW) '
    r'(?:PRECEDES "(?:[^"]|"")+" )?',
    re.S,
)


NOBODY: Mapping[tuple[str, str], str] = {}


def row_columns(columns: Iterable[Column]) -> list[Column]:
    """The columns that a row as JSON has: those that hold data of their own."""
    return [column for column in columns if not column.generated]


def plain_value(column: Column, reference: str) -> str:
    """An expression: a value as the number or the text that it is in JSON."""
    declared = column.declared
    if column.kind == Kind.DATETIME_ZONED:
        # Its seconds since 1970 are what is stored; all else goes through the session's time zone.
        moment = f"'1970-01-01' + INTERVAL UNIX_TIMESTAMP({reference}) SECOND"
        zero = f"IF({reference} = 0, '0000-00-00 00:00:00', {_trimmed(declared, moment)})"
        return f"CONCAT({zero}, '+00:00')"
    if column.kind in (Kind.DATETIME, Kind.TIME):
        return _trimmed(declared, reference)
    if declared.startswith(("bit", "year")) or (column.kind == Kind.INTEGER and "zerofill" in declared):
        return f"CAST({reference} AS UNSIGNED)"
    if declared.startswith("float"):
        return _shortest(reference)
    if column.kind == Kind.FLOAT and "zerofill" in declared:
        return f"CAST({reference} AS DOUBLE)"
    if column.kind == Kind.DECIMAL and "zerofill" in declared:
        return f"({reference} + 0)"
    if column.kind == Kind.BYTES:
        return f"CONCAT('{{\"$hex\":\"', LOWER(HEX({reference})), '\"}}')"
    if "character set" in declared:
        return _in_unicode(reference, declared.rpartition(" ")[2])
    if column.kind == Kind.JSON:
        return f"CONVERT({reference} USING utf8mb4)"
    return reference


def _shortest(reference: str) -> str:
    """An expression: a 32-bit float as the shortest number that is this float, which is what was meant by it.

    The server itself writes six digits; up to nine may be needed. As a double, 0.1 would be 0.10000000149011612.
    """
    exponent = f"FLOOR(LOG10(ABS({reference})))"
    seven, eight, nine = (
        f"CONCAT(ROUND({reference} / POW(10, {exponent}), {digits}), 'e', {exponent})" for digits in (6, 7, 8)
    )
    found = f"{nine} + 0e0"
    for text in (eight, seven, f"CAST({reference} AS CHAR)"):
        found = f"IF(CAST({text} AS FLOAT) = {reference}, {text} + 0e0, {found})"
    return found


def _in_unicode(reference: str, charset: str) -> str:
    """An expression: a text of another character set. Where Unicode lacks one of its characters, it is no valid text.

    The server would write a question mark for it, and nobody would know.
    """
    text = f"CONVERT({reference} USING utf8mb4)"
    is_lost = f"LOCATE('?', BINARY {text}) AND BINARY CONVERT({text} USING {charset}) <> BINARY {reference}"
    return f"IF({is_lost}, {NOT_TEXT}, {text})"


def _trimmed(declared: str, expression: str) -> str:
    """A time without the zeros at the end of its fraction."""
    if "(" not in declared:
        return expression
    return f"TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM {expression}))"


def value_as_json(column: Column, reference: str) -> str:
    """An expression: a value as an argument of `JSON_OBJECT` or `JSON_ARRAY`."""
    value = plain_value(column, reference)
    if column.kind == Kind.BYTES:
        return f"JSON_COMPACT({value})"
    if column.kind == Kind.JSON:
        # What is known as JSON would be nested. It travels as its text.
        return f"CONCAT({value}, '')"
    return value


def row_as_json(columns: Iterable[Column], alias: str) -> str:
    """An expression: the columns of a row (`NEW`, `OLD` or a table's alias) as one JSON object."""
    parts = (
        f"{literal(column.name)}, {value_as_json(column, f'{alias}.{quote(column.name)}')}"
        for column in row_columns(columns)
    )
    made = f"COALESCE(JSON_OBJECT({', '.join(parts)}), {literal(TOO_LARGE)})"
    large = " OR ".join(
        f"LENGTH({alias}.{quote(column.name)}) > (@@max_allowed_packet - 64) DIV 2"
        for column in row_columns(columns)
        if column.declared in _LARGE
    )
    # What a function makes must not be larger than a packet; else it is NULL, and the value would seem to be NULL.
    return f"IF({large}, {literal(TOO_LARGE)}, {made})" if large else made


def values_as_json(columns: Iterable[Column], alias: str) -> str:
    """An expression: the values of these columns as one JSON array. NULL, where that is too large."""
    return f"JSON_ARRAY({', '.join(value_as_json(each, f'{alias}.{quote(each.name)}') for each in columns)})"


def name_as_json(key: Sequence[str], columns: Mapping[str, Column], alias: str) -> str:
    """An expression: a name as a JSON array."""
    parts = (value_as_json(columns[name], f"{alias}.{quote(name)}") for name in key)
    return f"JSON_ARRAY({', '.join(parts)})"


def name_key_sql(key: Sequence[str], columns: Mapping[str, Column], alias: str) -> str:
    """An expression: a row's name as `bookkeeping.name_key` makes it."""
    parts = []
    for name in key:
        column = columns[name]
        value = plain_value(column, f"{alias}.{quote(name)}")
        if column.kind in (Kind.INTEGER, Kind.BOOLEAN):
            parts.append(f"CONCAT('i', {value})")
        elif column.kind == Kind.FLOAT or (column.kind == Kind.DECIMAL and scale_of(column)):
            number = f"CAST({value} AS DOUBLE)"
            parts.append(f"CONCAT('r', {number}, IF({number} REGEXP '[.e]', '', '.0'))")
        elif column.kind == Kind.DECIMAL:
            parts.append(f"CONCAT('i', {value})")
        else:
            parts.append(f"CONCAT('t', CONVERT({value} USING utf8mb4))")
    joined = parts[0] if len(parts) == 1 else "CONCAT(" + ", CHAR(31 USING utf8mb4), ".join(parts) + ")"
    return f"CAST(CONVERT({joined} USING utf8mb4) AS BINARY)"


def triggers(
    catalogue: Catalogue, tables: Mapping[str, Table], first: Mapping[tuple[str, str], str] = NOBODY
) -> dict[str, str]:
    """The statements that make the triggers of the offered document types' tables, by the triggers' names.

    `first` is which trigger of the user's fires first, by table and event. Ours fires before it: what that one
    writes follows from the row, and has to be captured behind it.
    """
    found = {}
    for table_name, users in bound_tables(catalogue).items():
        table = tables[table_name]
        for event in ("INSERT", "UPDATE", "DELETE"):
            name = trigger_name(table_name, event)
            theirs = first.get((table_name, event))
            place = f"PRECEDES {quote(theirs)} " if theirs else ""
            found[name] = (
                f"CREATE OR REPLACE TRIGGER {quote(name)} AFTER {event} ON {quote(table_name)} FOR EACH ROW {place}"
                f"{_body(table, event, users)}"
            )
    return found


def trigger_name(table: str, event: str) -> str:
    name = f"{PREFIX}{table}_{event.lower()}"
    if len(name) <= NAME_LENGTH:
        return name
    digest = hashlib.blake2b(table.encode(), digest_size=6).hexdigest()
    return f"{PREFIX}{table[: NAME_LENGTH - len(PREFIX) - 20]}_{digest}_{event.lower()}"


def _body(table: Table, event: str, users: Sequence[User]) -> str:
    kept = kept_columns(table.columns, users)
    columns = {column.name: column for column in table.columns}
    alias = "OLD" if event == "DELETE" else "NEW"
    marks = [_mark(doctype, child, columns, alias) for doctype, child in users]
    mark = marks[0] if len(marks) == 1 else f"COALESCE({', '.join(marks)})"
    before = "NULL" if event == "INSERT" else row_as_json(kept, "OLD")
    after = "NULL" if event == "DELETE" else row_as_json(kept, "NEW")
    write = (
        f"IF {APPLYING} IS NOT NULL THEN SET streamd_mark = {mark}; END IF; "
        'INSERT INTO streamd_change (tbl, op, "before", "after", origin, fingerprint, "at", tx) VALUES ('
        f"{literal(table.name)}, '{event[0]}', {before}, {after}, streamd_mark, '{fingerprint(table)}', {NOW_MS}, 0);"
    )
    if event == "UPDATE":
        write = f"IF {_is_changed(table, row_columns(kept))} THEN {write} END IF;"
    return f"BEGIN DECLARE streamd_mark LONGTEXT CHARACTER SET utf8mb4; {write} END"


def _is_changed(table: Table, columns: Sequence[Column]) -> str:
    """A condition: an update changed one of these columns.

    A trigger is shown a column that sets itself as set anew also where the update found the row as it wanted it, and
    left it alone. So where nothing else differs, what stands in the table counts.
    """
    changed = f"NOT ({' AND '.join(map(_same, columns))})"
    renewing = [column for column in columns if column.renews]
    if not renewing or not table.primary_key:
        return changed
    others = " AND ".join(_same(column) for column in columns if not column.renews)
    key = " AND ".join(f"s.{quote(name)} = NEW.{quote(name)}" for name in table.primary_key)
    stored = f"NOT ({' AND '.join(_same(column, 's') for column in renewing)})"
    written = f"EXISTS (SELECT 1 FROM {quote(table.name)} AS s WHERE {key} AND {stored})"
    return f"{changed} AND (NOT ({others}) OR {written})" if others else f"{changed} AND {written}"


def _same(column: Column, alias: str = "NEW") -> str:
    old, new = f"OLD.{quote(column.name)}", f"{alias}.{quote(column.name)}"
    if column.kind == Kind.DATETIME_ZONED:
        # Of a zero it is NULL in a trigger.
        return f"UNIX_TIMESTAMP({old}) <=> UNIX_TIMESTAMP({new}) AND ({old} = 0) <=> ({new} = 0)"
    if column.kind in (Kind.TEXT, Kind.JSON, Kind.ANY):
        return f"BINARY {old} <=> BINARY {new}"
    return f"{old} <=> {new}"


def _mark(doctype: DocumentType, child: ChildTable | None, columns: Mapping[str, Column], alias: str) -> str:
    key = child.parent_key if child else doctype.key
    where = "".join(
        f" AND {alias}.{quote(column)} <=> {literal(value)}" for column, value in (child.where if child else ())
    )
    return (
        f"(SELECT mark FROM streamd_origin WHERE doctype = {literal(doctype.name)} "
        f"AND name = {name_key_sql(key, columns, alias)}{where})"
    )


def trigger_digest(table: str, event: str, mode: str, body: str) -> str:
    """What a trigger does, in short."""
    return hashlib.sha256("\n".join((table, event, mode, body)).encode()).hexdigest()


def digest_of(statement: str) -> tuple[str, str] | None:
    """(name, digest) of the trigger that a statement of ours makes; None for any other statement."""
    found = _TRIGGER.match(statement)
    if found is None:
        return None
    name = found[1][1:-1].replace('""', '"')
    _, event, _, table = found[2].removesuffix(" FOR EACH ROW").split(" ", 3)
    return name, trigger_digest(table[1:-1].replace('""', '"'), event, TRIGGER_MODE, statement[found.end() :])


TRIGGERS = (
    "SELECT TRIGGER_NAME, EVENT_OBJECT_TABLE, EVENT_MANIPULATION, SHA2(CONCAT_WS(CHAR(10), EVENT_OBJECT_TABLE, "
    "EVENT_MANIPULATION, SQL_MODE, ACTION_STATEMENT), 256) FROM information_schema.TRIGGERS "
    "WHERE TRIGGER_SCHEMA = DATABASE() AND ACTION_TIMING = 'AFTER' ORDER BY ACTION_ORDER"
)
"""All that fire after a row was written, for each table and event in the order in which they do."""

BEHIND = " behind "


def placed(rows: Iterable[Sequence[str]]) -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """What `TRIGGERS` gave: (the digests of ours, the first of the user's by table and event).

    One of ours that fires behind one of the user's has a digest that is like no other.
    """
    ours: dict[str, str] = {}
    first: dict[tuple[str, str], str] = {}
    for name, table, event, digest in rows:
        if name.startswith(PREFIX):
            before = first.get((table, event))
            ours[name] = f"{digest}{BEHIND}{before}" if before else digest
        else:
            first.setdefault((table, event), name)
    return ours, first
