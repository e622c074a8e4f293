"""Which names the key of a table can hold at all. An engine with strict types fails where it is asked for others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time

from streamd.model import Column, Kind, Name, Scalar

_BITS = {"smallint": 15, "tinyint": 7, "mediumint": 23, "integer": 31, "int": 31}
"""Bits of a signed integer type; all others have 63."""

_UUID = re.compile(r"[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)


def possible_names(columns: Sequence[Column], names: Iterable[Name]) -> Iterator[Name]:
    """Those of the names that these key columns can hold."""
    for name in names:
        if len(name) == len(columns) and all(_holds(column, part) for column, part in zip(columns, name, strict=True)):
            yield name


def storable_names(names: Iterable[Name]) -> Iterator[Name]:
    """Those of the names that an engine without strict types can be asked for: numbers of 64 bits, valid text."""
    for name in names:
        if all(_storable(part) for part in name):
            yield name


def _storable(part: Scalar) -> bool:
    if isinstance(part, str):
        return not any("\ud800" <= character <= "\udfff" for character in part)
    return not isinstance(part, int) or -(1 << 63) <= part < 1 << 63


def _holds(column: Column, part: Scalar) -> bool:
    if column.kind == Kind.ANY:
        return True
    if column.kind == Kind.INTEGER:
        word = re.split(r"[ (]", column.declared.lower(), maxsplit=1)[0]
        limit = 1 << (_BITS.get(word, 63) + ("unsigned" in column.declared.lower()))
        return isinstance(part, int) and -limit <= part < limit
    if column.kind in (Kind.DECIMAL, Kind.FLOAT, Kind.BOOLEAN):
        return isinstance(part, int | float)
    return isinstance(part, str) and "\0" not in part and is_text_of(column, part)


def is_text_of(column: Column, part: str) -> bool:
    """Whether a column of text, or of something that travels as text, can hold this one."""
    if (size := re.search(r"\((\d+)\)", column.declared)) and len(part) > int(size[1]):
        return False
    try:
        part.encode()
        if column.kind == Kind.UUID:
            return _UUID.fullmatch(part) is not None
        if column.kind == Kind.DATE:
            date.fromisoformat(part)
        elif column.kind in (Kind.DATETIME, Kind.DATETIME_ZONED):
            datetime.fromisoformat(part)
        elif column.kind == Kind.TIME:
            time.fromisoformat(part)
    except ValueError:
        return False
    return True
