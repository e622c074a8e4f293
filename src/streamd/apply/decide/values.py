"""When two values of a column mean the same, whatever they look like. Pure.

Databases write one value in several ways: PostgreSQL brings JSON into a form of its own, a UUID may be in capitals, a
time may carry zeros behind its point. Such texts are the same here, in columns of those kinds only. What is written is
always the text as it came.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from streamd.db.numbers import is_same_float32
from streamd.model import ChildTable, DocumentType, Kind, Row
from streamd.wire import read_json, write_json

SHOWN = 2000
"""Characters of a value or document that a note or an error shows, at most."""

Fields = DocumentType | ChildTable
"""What says of which kind the columns of a row are."""


def same(table: Fields, column: str, one: Any, other: Any) -> bool:
    """Whether two values of a column mean the same. 1, 1.0 and true do; text and a number never do."""
    if isinstance(one, str) != isinstance(other, str):
        return False
    if one == other:
        return True
    if isinstance(one, str):
        return same_text(_kind(table, column), one, other)
    are_numbers = isinstance(one, float | Decimal) and isinstance(other, float | Decimal)
    return are_numbers and _kind(table, column) == Kind.FLOAT and is_same_float32(one, other)


def same_text(kind: Kind | None, one: str, other: str) -> bool:
    """Whether two texts of a column of this kind mean the same, though they differ."""
    meaning = _MEANINGS.get(kind)
    if meaning is None:
        return False
    found = meaning(one)
    return found is not None and found == meaning(other)


def identical(one: Any, other: Any) -> bool:
    """Whether two values are one and the same: then there is nothing to write."""
    return type(one) is type(other) and bool(one == other)


def same_row(table: Fields, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two rows hold the same values in the columns that both have."""
    return all(same(table, column, value, other[column]) for column, value in one.items() if column in other)


def differing(table: Fields, row: Row, here: Mapping[str, Any]) -> Row:
    """The values of a row that are others than those that stand here, or are not here."""
    return {
        column: value
        for column, value in row.items()
        if column not in here or not same(table, column, here[column], value)
    }


def shown(value: object) -> str:
    """A value, or a document, as notes and errors show it: as JSON, numbers with the digits that they have."""
    text = write_json(value).decode()
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _kind(table: Fields, column: str) -> Kind | None:
    return next((each.kind for each in table.columns if each.name == column), None)


def _of_json(text: str) -> object:
    """What a JSON text means, in a form in which `true` is not 1; numbers compare by value. None for no JSON."""
    try:
        return _plain(read_json(text))
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return None


def _plain(value: Any) -> object:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if value is None or isinstance(value, bool):
        return (value,)
    return value


def _of_uuid(text: str) -> object:
    try:
        return UUID(text)
    except ValueError:
        return None


_MOMENT = re.compile(
    r"(?P<date>\d{4,}-\d\d-\d\d)?[T ]?(?P<minute>\d\d:\d\d)?(?::(?P<second>\d\d)(?:\.(?P<fraction>\d+))?)?"
    r" ?(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?",
    re.ASCII,
)


def _of_moment(text: str) -> object:
    """Date, time and zone of a text, without the zeros that say nothing. None for a text that is none of these."""
    found = _MOMENT.fullmatch(text)
    if found is None or not (found["date"] or found["minute"]):
        return None
    date, zone = found["date"] or "", found["zone"]
    time = f"{found['minute'] or '00:00'}:{found['second'] or '00'}"
    fraction = (found["fraction"] or "").rstrip("0")
    if zone is not None and zone != "Z" and zone.strip("+-0:"):
        try:
            # One moment has many names: as many as there are zones.
            moment = datetime.fromisoformat(f"{date or '2000-01-01'}T{time}") - _offset(zone)
        except (ValueError, OverflowError):
            return text  # not between the years 1 and 9999: compared as it is written
        if not date:
            return time, fraction, zone[0], _offset(zone)
        date, time = moment.date().isoformat(), moment.time().isoformat()
    return date, time, fraction, zone is not None


def _offset(zone: str) -> timedelta:
    digits = zone[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -offset if zone[0] == "-" else offset


_MEANINGS: dict[Kind | None, Callable[[str], object]] = {
    Kind.JSON: _of_json,
    Kind.UUID: _of_uuid,
    Kind.DATE: _of_moment,
    Kind.TIME: _of_moment,
    Kind.DATETIME: _of_moment,
    Kind.DATETIME_ZONED: _of_moment,
}
