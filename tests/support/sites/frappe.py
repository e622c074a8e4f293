"""The dumps of two Frappe sites: loaded into MariaDB for real sites, or read as text for what is decided purely."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

from streamd.model import Column, Kind, Row, Table
from tests.data import data_file
from tests.support.sites.site import Site

SiteName = Literal["hq", "store"]

OFFERED = (
    "Note", "Retail Category", "Retail Customer", "Retail Invoice", "Retail Item", "Retail Payment",
    "Retail Settings", "ToDo", "User",
)  # fmt: skip
"""What the two sites have in common, and one has documents of."""


class FrappeSite(Site):
    """A site whose database is a Frappe site's, with the document types of that."""

    def __init__(self, folder: Path, name: SiteName) -> None:
        """A site of its own, loaded from the dump of this name."""
        super().__init__(folder, name, "", engine="mariadb")
        self.access.raw(dump(name))

    def write_config(self) -> None:
        super().write_config()
        text = self.config.read_text(encoding="utf-8")
        self.config.write_text(text.replace("[site]\n", '[site]\ncatalog = "frappe"\n', 1), encoding="utf-8")


@cache
def dump(site: SiteName) -> str:
    """The dump of one site, as SQL."""
    return gzip.decompress(data_file("frappe", f"{site}.sql.gz").read_bytes()).decode("utf-8")


@cache
def tables(site: SiteName) -> dict[str, Table]:
    """The dump's tables, as far as a catalogue looks at them."""
    return {table.name: table for table in _tables(dump(site))}


def rows(site: SiteName, table: str) -> list[Row]:
    """The dump's rows of one table: texts, numbers as texts, and None."""
    columns = [column.name for column in tables(site)[table].columns]
    found = []
    text = dump(site)
    for insert in re.finditer(rf"^INSERT INTO `{re.escape(table)}` VALUES\n(.*?);\n(?=[/U]|INSERT)", text, re.S | re.M):
        found += [dict(zip(columns, values, strict=True)) for values in _values(insert[1])]
    return found


_CREATE = re.compile(r"^CREATE TABLE `([^`]+)` \(\n(.*?)^\) ENGINE", re.S | re.M)
_COLUMN = re.compile(r"^  `([^`]+)` (\w+(?:\([^)]*\))?)(.*?),?$", re.M)
_KINDS = {"int": Kind.INTEGER, "bigint": Kind.INTEGER, "decimal": Kind.DECIMAL, "date": Kind.DATE, "time": Kind.TIME}


def _tables(text: str) -> Iterator[Table]:
    for name, body in _CREATE.findall(text):
        key = re.search(r"PRIMARY KEY \(`([^)]+)`\)", body)
        columns = tuple(
            Column(column, kind, _kind(kind), nullable="NOT NULL" not in rest, has_default=_defaults(rest))
            for column, kind, rest in _COLUMN.findall(body)
        )
        yield Table(name, columns, tuple(key[1].split("`,`")) if key else ())


def _defaults(rest: str) -> bool:
    return "DEFAULT" in rest and "DEFAULT NULL" not in rest


def _kind(declared: str) -> Kind:
    word = declared.partition("(")[0]
    return Kind.DATETIME if word == "datetime" else _KINDS.get(word, Kind.TEXT)


_VALUE = re.compile(r"'((?:[^'\\]|\\.|'')*)'|([^,()']+)")
_ESCAPED = re.compile(r"\\(.)|''", re.S)
_CONTROL = {"n": "\n", "t": "\t", "r": "\r", "0": "\0"}


def _values(body: str) -> Iterator[list[Any]]:
    """The rows of an INSERT; each stands in a line, because line ends within texts are escaped."""
    for line in body.splitlines():
        yield [
            None if plain == "NULL" else plain or _ESCAPED.sub(_unescaped, text) for text, plain in _VALUE.findall(line)
        ]


def _unescaped(found: re.Match[str]) -> str:
    return "'" if found[1] is None else _CONTROL.get(found[1], found[1])
