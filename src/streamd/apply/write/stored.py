"""Whether what stands in a column is what was meant to be written there. Pure.

A column may keep a value in its own way: another zone, other digits behind the point, a number that came as text.
That is the same value. What lost digits, characters, leading zeros or a zone is another one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, localcontext
from ipaddress import ip_interface
from typing import Any
from uuid import UUID

import msgspec

from streamd.db.numbers import FLOAT_DIGITS, digits_of, float32, is_noise, is_same_float32
from streamd.model import Column, Kind
from streamd.wire import HEX, read_json, write_json

_INFINITY = float("inf")
_NUMBERS = (Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT, Kind.BOOLEAN)
_PLAIN_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")
"""Text that is a number and nothing else: zeros in front of one mean something."""

_UTC = re.compile(r"(.*\d)(?:Z|[+-]00(?::?00)?)")
_ZONE = re.compile(r"\d(?:Z|[+-]\d\d(?::?\d\d)?)$")
_PADDED = ("character(", "char(", "bpchar")


def is_stored(column: Column, meant: Any, found: Any) -> bool:
    """Whether a column that was given `meant` keeps it, where it reads as `found`. Both are as values travel."""
    if type(meant) is type(found) and meant == found:
        return True
    if column.kind == Kind.JSON:
        return _same_json(meant, found)
    if meant is None or found is None:
        return False
    if column.kind == Kind.BYTES:
        return _bytes(meant) == _bytes(found) is not None
    if isinstance(meant, str) and isinstance(found, str):
        return _same_text(column, meant, found)
    if isinstance(meant, str):
        return column.kind in _NUMBERS and _as_number(meant) == found
    if isinstance(found, str):
        return _as_text(column, meant, found)
    return bool(meant == found) or _same_number(column, meant, found)


def has_fewer_digits(column: Column, meant: Any, found: Any) -> bool:
    """Whether a column of decimals or floats kept a number rounded, or cut off."""
    if column.kind not in (Kind.DECIMAL, Kind.FLOAT) or not isinstance(meant, int | float | Decimal):
        return False
    if not isinstance(found, int | float | Decimal):
        return False
    one, other = _decimal(meant), _decimal(found)
    if one == other or not (one.is_finite() and other.is_finite()):
        return False
    if _double(one) == _double(other) or _is_single(one, other):
        return True
    places = _places(other)
    if places >= _places(one):
        return False
    with localcontext(prec=len(one.as_tuple().digits) + abs(one.adjusted()) + 2):
        unit = Decimal(1).scaleb(-places)
        return any(one.quantize(unit, how) == other for how in (ROUND_HALF_UP, ROUND_HALF_EVEN, ROUND_DOWN))


def _places(number: Decimal) -> int:
    """Digits behind the point, without zeros at the end."""
    _, digits, exponent = number.as_tuple()
    zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
    return max(-int(exponent) - zeros, 0)


def _is_single(one: Decimal, other: Decimal) -> bool:
    """Whether both are the same 32-bit float."""
    return float32(_double(one)) == float32(_double(other))


def _same_text(column: Column, meant: str, found: str) -> bool:
    declared = column.declared.lower()
    if declared.startswith(_PADDED) and meant.rstrip(" ") == found.rstrip(" "):
        return True
    if declared.startswith("set("):
        return set(meant.split(",")) == set(found.split(","))
    if declared.startswith(("inet", "cidr")):
        return _address(meant) == _address(found) is not None
    if column.kind == Kind.DATETIME and (utc := _UTC.fullmatch(meant)) is not None:
        # A column that keeps no zone keeps the time of UTC.
        meant = utc[1]
    elif column.kind == Kind.DATETIME_ZONED and _ZONE.search(meant) is None and (utc := _UTC.fullmatch(found)):
        # A time that came without a zone is one of UTC.
        return meant == utc[1] or same_text(Kind.DATETIME, meant, utc[1])
    return meant == found or same_text(column.kind, meant, found)


def _same_json(meant: Any, found: Any) -> bool:
    """JSON travels as its text; an engine without a type for it may keep a number of it as a number."""
    one, other = _json_text(meant), _json_text(found)
    return one == other or same_text(Kind.JSON, one, other)


def _json_text(value: Any) -> str:
    return value if isinstance(value, str) else write_json(value).decode()


def _bytes(value: Any) -> bytes | None:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, dict) and isinstance(value.get(HEX), str):
        try:
            return bytes.fromhex(value[HEX])
        except ValueError:
            return None
    return None


def _address(text: str) -> object:
    try:
        return ip_interface(text)
    except ValueError:
        return None


def _as_number(text: str) -> Decimal | None:
    return Decimal(text) if _PLAIN_NUMBER.fullmatch(text) else None


def _as_text(column: Column, meant: Any, found: str) -> bool:
    """Whether a column of text keeps a number, or a list or object, that came."""
    if isinstance(meant, bool):
        return found in (str(int(meant)), write_json(meant).decode())
    if isinstance(meant, int | float | Decimal):
        # PostgreSQL writes numbers that no JSON number is as text.
        number = _as_number(found)
        return number is not None and _same_number(column, meant, number)
    return found == write_json(meant).decode()


def _same_number(column: Column, meant: Any, found: Any) -> bool:
    if not isinstance(meant, int | float | Decimal) or not isinstance(found, int | float | Decimal):
        return False
    one, other = _decimal(meant), _decimal(found)
    if one == other:
        return True
    if column.kind == Kind.FLOAT:
        same = not isinstance(meant, int) and digits_of(one) <= FLOAT_DIGITS + 1 and _double(one) == _double(other)
        # Infinity, and zero, are no way to write a number.
        return (same and 0 < abs(_double(other)) < _INFINITY) or is_same_float32(meant, found)
    return column.kind == Kind.DECIMAL and is_noise(one, other)


def _decimal(value: int | float | Decimal) -> Decimal:
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def _double(value: Decimal) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


# Texts


def same_text(kind: Kind | None, one: str, other: str) -> bool:
    """Whether two texts of a column of this kind mean the same, though they differ."""
    meaning = _MEANINGS.get(kind)
    if meaning is None:
        return False
    found = meaning(one)
    return found is not None and found == meaning(other)


def is_written_out(kind: Kind, text: str) -> bool:
    """Whether a text says by itself which value of this kind it means: 2024-02-29 does, and 20240229 does not."""
    meaning = _MEANINGS.get(kind)
    return meaning is None or meaning(text) is not None


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
