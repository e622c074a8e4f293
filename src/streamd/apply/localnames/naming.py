"""How documents are named here that come under another name: the conventions, read from their text. Pure.

| convention                  | the name of a document |
|-----------------------------|------------------------|
| `database`, `autoincrement` | the value that the database itself gives to the key |
| `uuid`, `hash`              | a new UUID; ten random hexadecimal digits |
| `prompt`                    | the name that it has at the producer |
| `field:x`                   | the value of one of its fields |
| `eval:…`                    | the value of an expression |
| `naming_series:`            | as the series says that stands in the document's own field `naming_series` |
| `format:EX-{YYYY}-{####}`   | a series, in braces |
| `SINV-.YYYY.-.#####`        | a series: a prefix, and a number that counts for each prefix by itself |

In a series, the parts between points may be `YYYY`, `YY`, `MM`, `DD`, `WW` (of the day on which the document is named
here), one of the document's own fields (`.company.` or `.{company}.`), a run of `#` (the number, with so many digits at
least), or anything else, which stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from streamd.doctypes import ChildTable, Column, DocumentType, Kind
from streamd.errors import RowRefused


class Convention(StrEnum):
    """Who gives the name."""

    DATABASE = "database"
    UUID = "uuid"
    HASH = "hash"
    SAME = "prompt"
    FIELD = "field"
    EXPRESSION = "eval"
    SERIES = "series"


NAMING_SERIES = "naming_series"
"""The field of a document that says which series it is in, as the ancestor's applications have it."""

_DAY = {"YYYY": "%Y", "YY": "%y", "MM": "%m", "DD": "%d", "WW": "%V"}
DAY_PARTS = _DAY.keys()
"""What of a series is put in from the day's date, where it stands by itself between points."""

_WORDS = {
    "database": Convention.DATABASE,
    "autoincrement": Convention.DATABASE,
    "uuid": Convention.UUID,
    "hash": Convention.HASH,
    "random": Convention.HASH,
    "prompt": Convention.SAME,
}
_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class Naming:
    """A convention. `rest` is what it needs to know: a field, an expression, or the parts of a series."""

    convention: Convention
    rest: str = ""
    by_field: bool = False
    """The series stands in the document itself; `rest` is the one for a document that names none."""


def read_naming(text: str) -> Naming:
    """The convention that a text states. Raises `ValueError` with what is wrong, in plain words."""
    plain = text.strip()
    word = _WORDS.get(plain.casefold())
    if word is not None:
        return Naming(word)
    kind, colon, rest = plain.partition(":")
    rest = rest.strip()
    if colon and kind == "field":
        if not rest:
            raise ValueError("names no field: write field:title")
        return Naming(Convention.FIELD, rest)
    if colon and kind == "eval":
        if not rest:
            raise ValueError("has no expression: write eval:doc.country + '-' + doc.code")
        return Naming(Convention.EXPRESSION, rest)
    if colon and kind == NAMING_SERIES:
        if rest:
            series_parts(rest)
        return Naming(Convention.SERIES, rest, by_field=True)
    if colon and kind == "format":
        plain = _BRACES.sub(lambda found: f".{found[1]}.", rest)
    if "#" not in plain:
        raise ValueError(
            f"{text!r} is no convention: write database, uuid, field:x, eval:…, or a series such as SINV-.YYYY.-.#####"
        )
    series_parts(plain)
    return Naming(Convention.SERIES, plain)


def default_naming(key: Column) -> Naming | None:
    """The convention of a type that states none: the database's own, where it has one."""
    return Naming(Convention.DATABASE) if key.automatic else None


ROW_CONVENTIONS = frozenset({Convention.DATABASE, Convention.UUID, Convention.HASH, Convention.SAME})
"""How child rows can get keys: nobody reads these."""


def row_naming(text: str, key: Column) -> Naming:
    """How a child row gets its key. Without a word about it that fits: as the database does, random text, or as it was.

    An application may say more of its child tables than it does itself.
    """
    try:
        rule = read_naming(text) if text else None
    except ValueError:
        rule = None
    if rule is not None and rule.convention in ROW_CONVENTIONS:
        return rule
    if key.automatic:
        return Naming(Convention.DATABASE)
    return Naming(Convention.HASH if key.kind in (Kind.TEXT, Kind.ANY) else Convention.SAME)


def row_key_naming(child: ChildTable) -> Naming | None:
    """How new rows get keys of their own here; None where they keep what the producer calls them.

    A key that holds the parent's, or several columns, means something: it stays, under the parent's name here.
    """
    if len(child.key) != 1 or child.key[0] in child.parent_key:
        return None
    key = next(column for column in child.columns if column.name == child.key[0])
    rule = row_naming(child.naming, key)
    return None if rule.convention is Convention.SAME else rule


def naming_of(doctype: DocumentType) -> Naming | None:
    """How documents of this type are named here; None where nothing says so. Raises `ValueError`."""
    if doctype.naming:
        return read_naming(doctype.naming)
    key = next((column for column in doctype.columns if column.name == doctype.key[0]), None)
    return default_naming(key) if key is not None and len(doctype.key) == 1 else None


def is_named_here(doctype: DocumentType) -> bool:
    """Whether something says how documents of this type are named here."""
    try:
        return naming_of(doctype) is not None
    except ValueError:
        return False


def series_parts(pattern: str) -> list[str]:
    """The parts of a series. Raises `ValueError` where it has not exactly one number."""
    if "." not in pattern and not pattern.endswith("#"):
        pattern += ".#####"
    elif "." not in pattern:
        # `SINV-####` is `SINV-.####`.
        pattern = f"{pattern.rstrip('#')}.{'#' * (len(pattern) - len(pattern.rstrip('#')))}"
    parts = [part for part in pattern.split(".") if part]
    numbers = [part for part in parts if set(part) == {"#"}]
    if len(numbers) != 1:
        raise ValueError(f"{pattern!r} has {len(numbers)} numbers: a series has one, such as .#####")
    return parts


@dataclass(frozen=True, slots=True)
class Place:
    """Where a document's number stands: what is counted by itself (`prefix`), the digits, and what follows them."""

    prefix: str
    digits: int
    suffix: str = ""

    def name(self, number: int) -> str:
        return f"{self.prefix}{number:0{self.digits}d}{self.suffix}"


def place_in(naming: Naming, fields: Mapping[str, Any], today: date) -> Place:
    """The place of a document in its series. Raises `RowRefused` where the document does not say enough."""
    before, after, digits = "", "", 0
    for part in _parts(naming, fields):
        if set(part) == {"#"}:
            digits = len(part)
        elif digits:
            after += _part(part, fields, today)
        else:
            before += _part(part, fields, today)
    return Place(before, digits, after)


def fields_in_series(naming: Naming, fields: Mapping[str, Any]) -> frozenset[str]:
    """The fields of a document by which its series counts; none where its series cannot be read."""
    try:
        parts = _parts(naming, fields)
    except RowRefused:
        return frozenset()
    return frozenset(part.strip("{}") for part in parts) & fields.keys()


def _parts(naming: Naming, fields: Mapping[str, Any]) -> list[str]:
    pattern = naming.rest
    if naming.by_field:
        given = fields.get(NAMING_SERIES)
        pattern = given if isinstance(given, str) and given.strip() else pattern
        if not pattern:
            raise RowRefused(f"cannot be named: its {NAMING_SERIES} is empty, and the type states no series")
    try:
        return series_parts(pattern)
    except ValueError as error:
        raise RowRefused(f"cannot be named: {error}") from None


def _part(part: str, fields: Mapping[str, Any], today: date) -> str:
    if part in _DAY:
        return today.strftime(_DAY[part])
    braced = part.startswith("{") and part.endswith("}")
    fieldname = part[1:-1] if braced else part
    if fieldname not in fields:
        if braced:
            raise RowRefused(f"cannot be named: it has no field {fieldname}, which its series names")
        return part
    value = fields[fieldname]
    if value is None or not isinstance(value, str | int):
        raise RowRefused(f"cannot be named: its {fieldname} is empty, and its series counts by it")
    return str(value)
