"""How values of documents are written as JSON, and read again.

A number with a point is a decimal, never rounded on its way; bytes are `{"$hex": "00ff"}`.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

HEX = "$hex"


def read_json(data: bytes | str) -> Any:
    """JSON as Python values; a number with a point is a `Decimal`, exactly as it was written."""
    return _JSON.decode(data)


def read_rows(rows: Iterable[bytes]) -> list[dict[str, Any]]:
    """Rows as JSON objects, decoded together."""
    found: list[dict[str, Any]] = _JSON.decode(b"[" + b",".join(rows) + b"]")
    return found


def read_lists(rows: Iterable[bytes]) -> list[tuple[Any, ...]]:
    """Rows as JSON arrays, decoded together."""
    return _LISTS.decode(b"[" + b",".join(rows) + b"]")


def write_json(value: Any) -> bytes:
    """Python values as JSON. Bytes are written as `{"$hex": …}`, infinity as `1e999`."""
    return _ENCODER.encode(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {HEX: value.hex()}
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return msgspec.Raw(b"1e999" if value > 0 else b"-1e999")
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


_JSON = msgspec.json.Decoder(float_hook=Decimal)
_LISTS = msgspec.json.Decoder(list[tuple[Any, ...]], float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")
