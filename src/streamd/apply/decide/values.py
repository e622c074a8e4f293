"""Whether rows that came hold what the rows here do, and how values are shown. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from streamd.apply.write.stored import is_stored
from streamd.model import ChildTable, DocumentType, Row
from streamd.wire import write_json

SHOWN = 2000
"""Characters of a value or document that a note or an error shows, at most."""

Fields = DocumentType | ChildTable
"""What says of which kind the columns of a row are."""


def same(table: Fields, column: str, here: Any, there: Any) -> bool:
    """Whether a column that holds `here` would hold the same if `there` was written to it.

    Types may differ between sites: a number that came as text, or as a float of 32 bits, is that number here.
    """
    if here == there and isinstance(here, str) == isinstance(there, str):
        return True
    if here is None or there is None:
        return False
    known = next((each for each in table.columns if each.name == column), None)
    return known is not None and is_stored(known, there, here)


def identical(one: Any, other: Any) -> bool:
    """Whether two values are one and the same: then there is nothing to write."""
    return type(one) is type(other) and bool(one == other)


def same_row(table: Fields, there: Mapping[str, Any], here: Mapping[str, Any]) -> bool:
    """Whether a row that came holds what the one that is here does, in the columns that both have."""
    return all(same(table, column, here[column], value) for column, value in there.items() if column in here)


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
