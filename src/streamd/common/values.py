"""Values of documents: names, ids, and how values are written as JSON.

A name is the values of a document's key columns, in order, compared exactly. In JSON, a number with a point is an exact
decimal, and bytes are `{"$hex": "00ff"}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

Scalar = str | int | float
Name = tuple[Scalar, ...]
N = TypeVar("N", Name, str)
"""A name, or its text."""

HEX = "$hex"

_LONG = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9]{4000,}(?![0-9.eE])')
"""A text, or a whole number that may have more digits than msgspec reads. PostgreSQL has such numbers."""


class DocumentId(msgspec.Struct, frozen=True, omit_defaults=True):
    """Identifies a document for its whole life, also across renames.

    `name` is the name under which the document was created. A *natural* id has only this; nearly every document has
    one. If the name had belonged to another document before, the id is *born*: `clock` is that of the event that
    created the document. `site` is where it was created, once it has come to a site that names documents itself.
    """

    name: Name
    clock: str = ""
    site: str = ""


class LinkId(msgspec.Struct, frozen=True, omit_defaults=True):
    """The document that an event's links to `name` refer to, if that is not the name's natural id.

    `id` is None if no document had the name, so that the link leads nowhere. `birth` is that of `Event`.
    """

    doctype: str
    name: Name
    id: DocumentId | None = None
    birth: str = ""


class RowId(msgspec.Struct, frozen=True, array_like=True):
    """Identifies a child row of a document, whatever its key is here: the key that it got where it was added.

    `site` is where that was, if that site names documents itself and the document was not created there; else "".
    """

    key: Scalar
    site: str = ""


def names_by_type(refs: Iterable[tuple[str, N]]) -> dict[str, list[N]]:
    """The names of documents (type, name) by type: each name once, in the given order."""
    found: dict[str, dict[N, None]] = {}
    for doctype, name in refs:
        found.setdefault(doctype, {})[name] = None
    return {doctype: list(names) for doctype, names in found.items()}


def name_text(name: Name) -> str:
    """A name as it is stored and compared: a JSON array, so that `1` and `"1"` differ."""
    return msgspec.json.encode(name).decode()


def name_from_text(text: str | bytes) -> Name:
    """The inverse of `name_text`."""
    return _NAME.decode(text)


def name_label(name: Name) -> str:
    """A name for people."""
    return ", ".join(str(part) for part in name)


def id_ranges(ids: Iterable[int]) -> str:
    """A set of ids as short text: `3-7,9`."""
    ranges: list[list[int]] = []
    for current in sorted(ids):
        if ranges and current == ranges[-1][1] + 1:
            ranges[-1][1] = current
        else:
            ranges.append([current, current])
    return ",".join(f"{first}-{last}" if first != last else f"{first}" for first, last in ranges)


def ranges_of(text: str) -> list[tuple[int, int]]:
    """The inverse of `id_ranges`, as (first, last) pairs."""
    parts = (part.partition("-") for part in text.split(",") if part)
    return [(int(first), int(last or first)) for first, _, last in parts]


def decoder(shape: Any) -> Callable[[bytes | str], Any]:
    """What decodes JSON of this shape. A number with a point, or of thousands of digits, becomes an exact `Decimal`.

    It raises `msgspec.DecodeError`.
    """
    decode = msgspec.json.Decoder(shape, float_hook=Decimal).decode

    def read(data: bytes | str) -> Any:
        try:
            return decode(data)
        except msgspec.ValidationError:
            text = data.encode() if isinstance(data, str) else data
            decimals = _LONG.sub(_as_decimal, text)
            if decimals == text:
                raise
            return decode(decimals)

    return read


def _as_decimal(found: re.Match[bytes]) -> bytes:
    text = found[0]
    return text if text.startswith(b'"') else text + b"e0"


def read_json(data: bytes | str) -> Any:
    """Decode JSON. A number with a point becomes an exact `Decimal`."""
    return _read(data)


def read_rows(rows: Iterable[bytes]) -> list[dict[str, Any]]:
    """Decode rows that are JSON objects, in one step."""
    decoded: list[dict[str, Any]] = _read(b"[" + b",".join(rows) + b"]")
    return decoded


def read_lists(rows: Iterable[bytes]) -> list[tuple[Any, ...]]:
    """Decode rows that are JSON arrays, in one step."""
    decoded: list[tuple[Any, ...]] = _read_lists(b"[" + b",".join(rows) + b"]")
    return decoded


def write_json(value: Any) -> bytes:
    """Encode Python values as JSON: bytes as `{"$hex": …}`, infinity as `1e999`."""
    return _ENCODER.encode(_encodable(value))


def _encodable(value: Any) -> Any:
    if isinstance(value, bytes):
        return {HEX: value.hex()}
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return msgspec.Raw(b"1e999" if value > 0 else b"-1e999")
    if isinstance(value, dict):
        return {key: _encodable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(part) for part in value]
    return value


_NAME = msgspec.json.Decoder(tuple[Scalar, ...])
_read = decoder(Any)
_read_lists = decoder(list[tuple[Any, ...]])
_ENCODER = msgspec.json.Encoder(decimal_format="number")
