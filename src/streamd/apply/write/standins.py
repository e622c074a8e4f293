"""Values for the time being: what a unique column can hold while its own value is still another row's. Pure.

They are like the value that is meant: as long, of the same kinds of characters, of the same sign and size. So types,
lengths and most CHECK constraints take them. Which one is free, and allowed, the database says when it is tried.
"""

from __future__ import annotations

import re
import secrets
import string
import uuid
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from streamd.model import Column, Kind
from streamd.wire import HEX

TRIES = 4
"""Values of each sort that are tried."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_DAYS = 300_000
_CLASSES = (string.digits, string.ascii_lowercase, string.ascii_uppercase)


def stand_ins(column: Column, meant: Any) -> Iterator[Any]:
    """Values that may do, the best first. `meant` is the column's value as it is to be in the end."""
    if column.nullable:
        yield None
    for _ in range(TRIES):
        yield from _like(column, meant)


def _like(column: Column, meant: Any) -> Iterator[Any]:
    """One value of each sort that comes into question."""
    if column.declared.endswith("range"):
        # Nothing overlaps an empty range.
        yield "empty"
    if isinstance(meant, bool):
        yield not meant
    elif isinstance(meant, int | Decimal):
        yield from _numbers(meant)
    elif isinstance(meant, float):
        yield meant * (2 + secrets.randbelow(1 << 20)) + secrets.randbelow(1 << 20)
    elif column.kind == Kind.UUID:
        yield str(uuid.uuid4())
    elif isinstance(meant, str):
        yield from _texts(column, meant)
    elif isinstance(meant, dict) and meant.keys() == {HEX}:
        yield {HEX: secrets.token_hex(max(len(meant[HEX]) // 2, 1))}
    elif column.kind == Kind.JSON:
        yield [secrets.token_hex(8)]


def _numbers(meant: int | Decimal) -> Iterator[int | Decimal]:
    sign = -1 if meant < 0 else 1
    if isinstance(meant, Decimal):
        step = Decimal(1).scaleb(int(meant.as_tuple().exponent))
        digits = len(meant.as_tuple().digits)
        yield sign * step * secrets.randbelow(10 ** max(digits, 2))
        return
    for bits in (abs(meant).bit_length(), 15, 31):
        yield sign * (secrets.randbelow(1 << max(bits, 4)) + 1)
    yield -sign * secrets.randbelow(1 << 15)


def _texts(column: Column, meant: str) -> Iterator[str]:
    if column.kind in (Kind.DATE, Kind.DATETIME, Kind.DATETIME_ZONED) or _DATE.match(meant):
        day = date(1800, 1, 1) + timedelta(days=secrets.randbelow(_DAYS))
        near = date(2000, 1, 1) + timedelta(days=secrets.randbelow(10_000))
        yield _DATE.sub(day.isoformat(), meant)
        yield _DATE.sub(near.isoformat(), meant)
    elif column.kind == Kind.TIME:
        parts = (secrets.randbelow(24), secrets.randbelow(60), secrets.randbelow(60))
        yield ":".join(f"{part:02}" for part in parts)
    else:
        yield "".join(map(_character, meant))
        # A short text may have no other one like it.
        yield secrets.token_hex(16)[: max(len(meant), 1)]
        yield secrets.token_hex(16)


def _character(meant: str) -> str:
    """Another character of the same class; what is neither letter nor digit stays."""
    return next((secrets.choice(some) for some in _CLASSES if meant in some), meant)
