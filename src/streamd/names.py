"""Names of documents: the values of their key columns, compared exactly, in order."""

from __future__ import annotations

import msgspec

Scalar = str | int | float
Name = tuple[Scalar, ...]


def name_text(name: Name) -> str:
    """A name as it is stored and compared: a JSON array, so that `1` and `"1"` differ."""
    return msgspec.json.encode(name).decode()


def name_from_text(text: str | bytes) -> Name:
    """The inverse of `name_text`."""
    return _NAME.decode(text)


def name_label(name: Name) -> str:
    """A name as people read it."""
    return ", ".join(str(part) for part in name)


_NAME = msgspec.json.Decoder(tuple[Scalar, ...])
