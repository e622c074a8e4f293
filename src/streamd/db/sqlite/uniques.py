"""The unique keys of a SQLite table, those over expressions and under a condition too."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlalchemy import Connection, text

from streamd.db.sqlite.sql import quote
from streamd.doctypes import UniqueKey

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
