"""Values of documents as JSON. A number with a point is an exact decimal. Bytes are `{"$hex": "00ff"}`."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

HEX = "$hex"


def read_json(data: bytes | str) -> Any:
    """Decode JSON. A number with a point becomes an exact `Decimal`."""
    return _JSON.decode(data)


def read_rows(rows: Iterable[bytes]) -> list[dict[str, Any]]:
    """Decode rows that are JSON objects, in one step."""
    decoded: list[dict[str, Any]] = _JSON.decode(b"[" + b",".join(rows) + b"]")
    return decoded


def read_lists(rows: Iterable[bytes]) -> list[tuple[Any, ...]]:
    """Decode rows that are JSON arrays, in one step."""
    return _LISTS.decode(b"[" + b",".join(rows) + b"]")


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


_JSON = msgspec.json.Decoder(float_hook=Decimal)
_LISTS = msgspec.json.Decoder(list[tuple[Any, ...]], float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")
