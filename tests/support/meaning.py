"""What values mean, whatever engine they are in: for comparing a table of one engine with one of another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, InvalidOperation
from typing import Any

Row = Sequence[Any]
Meaning = tuple[str, Any]

_EXACT = Context(prec=3000)
"""More digits than any engine stores: nothing is rounded."""


def meanings(ones: Sequence[Row], others: Sequence[Row]) -> tuple[list[tuple[Meaning, ...]], list[tuple[Meaning, ...]]]:
    """The rows of one table at two sites, with the same columns, as values that are equal if they mean the same.

    - NULL is NULL, and differs from an empty text.
    - Numbers are compared as exact decimals: 1, 1.0, True and Decimal("1.00") mean the same. A double means the
      shortest decimal that reads as it, so 0.1 equals Decimal("0.1").
    - A text and a number differ ("1" and 1); but where one side's column gives exact decimals, a text on the
      other side means the number that it is: SQLite can keep long ones exactly in no other way.
    - Where one side's column gives dates, times, or JSON, a text on the other side is read as such. A date means its
      midnight. A moment without a zone means UTC where the other side's has one.
    - Bytes are compared as bytes, UUIDs and all other values as their text.
    """
    columns = range(len(next(iter([*ones, *others]), ())))
    kinds = [_kind([row[column] for row in (*ones, *others)]) for column in columns]

    def meant(rows: Sequence[Row]) -> list[tuple[Meaning, ...]]:
        return sorted(
            (tuple(meaning(value, kind) for value, kind in zip(row, kinds, strict=True)) for row in rows), key=repr
        )

    return meant(ones), meant(others)


def meaning(value: Any, kind: str = "") -> Meaning:
    """One value of a column of this kind (`_kind`)."""
    if value is None:
        return ("null", None)
    if isinstance(value, bytes | bytearray | memoryview):
        return ("bytes", bytes(value))
    if isinstance(value, str):
        read = _READERS.get(kind)
        try:
            return read(value) if read else ("text", value)
        except (ValueError, InvalidOperation):
            return ("text", value)
    if isinstance(value, int | float | Decimal):
        return _number(value)
    if isinstance(value, date):
        return _moment(value, zoned=kind == "zoned")
    if isinstance(value, time | timedelta):
        return _time(value)
    if isinstance(value, list | dict):
        return ("json", json.dumps(value, sort_keys=True, default=str))
    return ("text", str(value))


def _kind(values: Sequence[Any]) -> str:
    """What the values of a column, at both sites together, say of it."""
    if any(isinstance(value, datetime) and value.tzinfo is not None for value in values):
        return "zoned"
    for kind, types in (("moment", date), ("time", (time, timedelta)), ("json", (list, dict)), ("decimal", Decimal)):
        if any(isinstance(value, types) for value in values):
            return kind
    return ""


def _number(value: float | Decimal) -> Meaning:
    exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    if not exact.is_finite():
        return ("number", str(exact))
    return ("number", str(exact.normalize(_EXACT)) if exact else "0")


def _moment(value: date, *, zoned: bool) -> Meaning:
    moment = value if isinstance(value, datetime) else datetime.combine(value, time())
    if moment.tzinfo is None and zoned:
        moment = moment.replace(tzinfo=UTC)
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return ("moment", moment.isoformat())


def _time(value: time | timedelta) -> Meaning:
    if isinstance(value, time):
        value = timedelta(hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond)
    return ("time", value)


_READERS = {
    "decimal": lambda text: _number(Decimal(text)),
    "moment": lambda text: _moment(datetime.fromisoformat(text), zoned=False),
    "zoned": lambda text: _moment(datetime.fromisoformat(text), zoned=True),
    "time": lambda text: _time(time.fromisoformat(text)),
    "json": lambda text: meaning(json.loads(text)),
}
