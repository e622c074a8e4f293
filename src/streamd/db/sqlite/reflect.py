"""What tables a SQLite database has."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from streamd.db.sqlite.keys import gives_another_each_time
from streamd.db.sqltext import PREFIX, quote
from streamd.doctypes import UniqueKey
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
    quoted = quote(name)
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
        parts = [row[2] for row in connection.exec_driver_sql(f"PRAGMA index_info({quote(index)})")]
        columns |= {part for part in parts if part is not None}  # None: an expression
        if None not in parts and not partial and tuple(parts) not in found:
            found.append(tuple(parts))
    return sorted(found), columns


_PIECE = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\] | --[^\n]* | /\*.*?(?:\*/|\Z) | \w+ | \s+ | .""",
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"\s*(--|/\*)")
_DIRECTION = re.compile(r"\s+(?:asc|desc)\s*$", re.IGNORECASE)
BINARY = "BINARY"


def unique_keys(connection: Connection, table: str, rowid: str | None) -> tuple[UniqueKey, ...]:
    """All unique keys of a table, the primary key too. `rowid` is the column that is another name for that."""
    found = []
    if rowid is not None:
        found.append(UniqueKey((quote(rowid),), (BINARY,), exact=frozenset({rowid})))
    for _, index, unique, _, partial in connection.exec_driver_sql(f"PRAGMA index_list({quote(table)})").fetchall():
        if unique:
            found.append(_unique_key(connection, index, partial=bool(partial)))
    return tuple(found)


def _unique_key(connection: Connection, index: str, *, partial: bool) -> UniqueKey:
    rows = connection.exec_driver_sql(f"PRAGMA index_xinfo({quote(index)})").fetchall()
    parts = [(column, collation) for _, _, column, _, collation, is_key in rows if is_key]
    written: tuple[list[str], str] = ([], "")
    if partial or any(column is None for column, _ in parts):
        statement = connection.execute(text("SELECT sql FROM sqlite_master WHERE name = :name"), {"name": index})
        written = terms_and_condition(statement.scalar_one())
    terms = tuple(quote(column) if column is not None else written[0][at] for at, (column, _) in enumerate(parts))
    exact = frozenset(column for column, collation in parts if column is not None and collation.upper() == BINARY)
    return UniqueKey(terms, tuple(collation for _, collation in parts), written[1], exact)


def terms_and_condition(statement: str) -> tuple[list[str], str]:
    """What a `CREATE INDEX` lists, without directions, and the condition after WHERE."""
    terms, depth, part, ended = [], 0, "", False
    for piece in _pieces(statement):
        depth -= piece == ")"
        if not ended and ((depth == 0 and piece == ")") or (depth == 1 and piece == ",")):
            terms.append(_DIRECTION.sub("", part).strip())
            part, ended = "", piece == ")"
        elif ended or depth:
            part += piece
        depth += piece == "("
    condition = re.sub(r"^\s*where\b", "", part, flags=re.IGNORECASE).strip()
    return terms, condition


def _pieces(statement: str) -> Iterator[str]:
    for piece in _PIECE.findall(statement):
        yield " " if _COMMENT.match(piece) else piece
