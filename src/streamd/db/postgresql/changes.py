"""The changes that triggers wrote, as they are read. No row that a user can write keeps the others from being read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import msgspec

from streamd.db.postgresql.reflect import columns_of
from streamd.db.postgresql.values import reader
from streamd.model import Change

# A database without an encoding keeps any bytes as text. The server would refuse to send them as text, and with them
# everything else.
_BYTES = "convert_to({}, CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END)"
CHANGE = (
    f"""id, tbl, op, {_BYTES.format('"before"')}, {_BYTES.format('"after"')}, """
    """coalesce(origin, ''), fingerprint, "at", tx::text::bigint"""
)


async def changes_of(driver: asyncpg.Connection, rows: Sequence[Any]) -> list[Change]:
    """Changes as `CHANGE` gave them, with their rows as values travel."""
    shapes = await columns_of(driver, {row[1] for row in rows}) if rows else {}
    readers = {table: reader(columns) for table, columns in shapes.items()}
    return [_change(row, readers.get(row[1])) for row in rows]


def _change(row: Any, read: Callable[[bytes], bytes] | None) -> Change:
    number, table, op, before, after, origin, fingerprint, at, tx = row
    old, new = _read(before, read), _read(after, read)
    return Change(number, table, op, old, new, origin, fingerprint, at, tx)


def _read(row: bytes | None, read: Callable[[bytes], bytes] | None) -> bytes | None:
    if row is None or read is None:
        return row
    try:
        return read(row)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return row  # it becomes a gap, which says why
