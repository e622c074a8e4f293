"""The values that stand in what is asked of a site's database, and in its answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from operator import itemgetter
from typing import Any, NamedTuple

from streamd.errors import RowRefused
from streamd.model import Change, Column, Name

SHOWN = 60
"""Characters of a value that an error shows."""

SITE_SCHEMA = 7
"""The version of our tables in the site's database."""


@dataclass(frozen=True, slots=True)
class SiteIdentity:
    """Who this site is."""

    site: str
    name: str
    schema: int


REMOTE_COLUMNS = ("remote_site_name", "remote_docname")
"""Columns of a document's own that say where it came from, and what it is called there; where a table has them."""


class SeriesBook(NamedTuple):
    """The table that keeps the last number of each series, and its two columns."""

    table: str
    name: str
    current: str


OUR_SERIES = SeriesBook("streamd_series", "name", "current")
"""Where series are counted, unless the site's application counts them itself."""


@dataclass(frozen=True, slots=True)
class RawDocument:
    """A document as JSON: the parent row, and each child table's rows in their order."""

    name: Name
    row: bytes
    children: dict[str, list[bytes]]

    def whole(self) -> bytes:
        """The document as one JSON object, child rows under their fields."""
        parts = [self.row[:-1]]
        for field, rows in self.children.items():
            parts.append(b',"%s":[' % field.encode() + b",".join(rows) + b"]")
        return b"".join(parts) + b"}"

    def readable(self) -> bool:
        """Whether all of it is valid text: SQLite stores any bytes as TEXT, and JSON cannot carry them."""
        try:
            self.whole().decode()
        except UnicodeDecodeError:
            return False
        return True

    def problem(self) -> str:
        """Why it is not readable: which columns hold what is not text. Empty if it is readable."""
        found = list(_invalid_columns(self.row))
        for field, rows in self.children.items():
            found += [f"{field}.{column}" for row in rows for column in _invalid_columns(row)]
        return f"{', '.join(dict.fromkeys(found))}: not valid UTF-8 text" if found else ""


def _invalid_columns(row: bytes) -> Iterator[str]:
    """The columns of a row, as JSON, whose texts are not valid UTF-8."""
    for column, value in json.loads(row.decode("utf-8", "surrogateescape")).items():
        if isinstance(value, str) and not value.isascii() and value != value.encode("utf-8", "replace").decode():
            yield column


def cannot_hold(column: Column, value: Any, why: str) -> RowRefused:
    """The error of a value that a column at this site cannot hold."""
    shown = str(value) if isinstance(value, int | float | Decimal) else repr(value)
    shown = shown if len(shown) <= SHOWN else shown[: SHOWN - 1] + "…"
    return RowRefused(f"{column.name} ({column.declared or 'without a type'}) cannot hold {shown}: {why}")


class WriteKind(StrEnum):
    """What is done to rows."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class TableWrite:
    """One kind of write to one table, for many rows.

    Each row of `rows` has the values of `columns` (those that are written), then those of `where` (those that say
    which row is meant). `exactly`: each must hit exactly one row of the table. Values are as they travel (`wire`).
    An update names the columns `kept` as well, with the values that they have: else the database would set them.
    """

    kind: WriteKind
    table: str
    columns: tuple[Column, ...]
    where: tuple[Column, ...]
    rows: Sequence[Sequence[Any]]
    exactly: bool = False
    kept: tuple[Column, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """What one read of the change table gave, in order.

    `cut`: the limit ended it in the midst of things, so that a transaction, or a document, may go on after it.
    `everything`: nothing that was committed before the read began was left behind.
    """

    rows: Sequence[Change]
    cut: bool
    everything: bool


def cells(places: Sequence[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """What takes the values at these places, or of these columns, out of a row."""
    if len(places) > 1:
        return itemgetter(*places)
    (place,) = places
    return lambda row: (row[place],)


def unlike(rows: Sequence[tuple[Any, ...]], found: Sequence[tuple[Any, ...]], key: Sequence[int]) -> set[int]:
    """The places of `rows` that are not, exactly so, among those found. `key` are the places of the key's columns."""
    if rows == found:
        return set()  # nearly always, and in one order
    name = cells(key)
    try:
        there = {name(row): row for row in found}
        return {place for place, row in enumerate(rows) if there.get(name(row)) != row}
    except TypeError:
        return set(range(len(rows)))  # a value that is no key of a dict
