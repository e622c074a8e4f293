"""Names of documents: the values of their key columns, in order, compared exactly."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

Scalar = str | int | float
Name = tuple[Scalar, ...]
N = TypeVar("N", Name, str)
"""A name, or its text."""


class DocumentId(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which document is meant, whatever it is called: given once, and never changed by a rename.

    `name` is the one that it was made under. A *natural* id has nothing else: nearly every document has that. Where the
    name had been another document's, the id is *born*: `clock` is that of the event that made the document. `site` is
    where it was made, once it has come to a site that names documents itself.
    """

    name: Name
    clock: str = ""
    site: str = ""


class LinkId(msgspec.Struct, frozen=True, omit_defaults=True):
    """The document that the links of an event to `name` mean, where that is not the name's natural id.

    `id` is None where no document had the name: the link leads nowhere. `birth` is that of `Event`.
    """

    doctype: str
    name: Name
    id: DocumentId | None = None
    birth: str = ""


class RowId(msgspec.Struct, frozen=True, array_like=True):
    """Which child row of a document is meant, whatever its key is here: the key that it got where it was added.

    `site` is where that was, if that site names documents itself and the document was not made there; else "".
    """

    key: Scalar
    site: str = ""


def names_by_type(refs: Iterable[tuple[str, N]]) -> dict[str, list[N]]:
    """The names of documents (type, name) by their types, each name once, in the order in which they came."""
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
    parts: list[str] = []
    first = last = None
    for current in [*sorted(ids), None]:
        if last is not None and current == last + 1:
            last = current
            continue
        if first is not None:
            parts.append(f"{first}-{last}" if first != last else f"{first}")
        first = last = current
    return ",".join(parts)


def ranges_of(text: str) -> list[tuple[int, int]]:
    """The inverse of `id_ranges`, as (first, last) pairs."""
    ranges = []
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        ranges.append((int(first), int(last or first)))
    return ranges


_NAME = msgspec.json.Decoder(tuple[Scalar, ...])
