"""Which tables get triggers, what of their rows may be captured, and which rights the daemon needs on them. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from streamd.errors import Problem
from streamd.model import Catalogue, ChildTable, Column, DocumentType, Table

User = tuple[DocumentType, ChildTable | None]
"""A document type to whose documents a table's rows belong: as the parent (None), or as child rows."""


def bound_tables(catalogue: Catalogue) -> dict[str, list[User]]:
    """The tables of the offered document types, with who uses them."""
    bound: dict[str, list[User]] = {}
    for name in sorted(catalogue.offers):
        doctype = catalogue[name]
        if not doctype.single:
            bound.setdefault(doctype.table, []).append((doctype, None))
        for child in doctype.children:
            bound.setdefault(child.table, []).append((doctype, child))
    return bound


def excluded_columns(users: Iterable[User]) -> frozenset[str]:
    """The columns that are never captured: what one of the users excludes is captured for none."""
    return frozenset(name for doctype, child in users for name in (child or doctype).excluded)


def kept_columns(columns: Iterable[Column], users: Sequence[User]) -> tuple[Column, ...]:
    """The columns of a table that are captured."""
    excluded = excluded_columns(users)
    return tuple(column for column in columns if column.name not in excluded)


def fingerprint(table: Table) -> str:
    """A short digest of a table's columns. With other ones its rows may have changed, and no trigger saw that."""
    text = json.dumps([(column.name, column.declared, column.generated) for column in table.columns])
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def wanted_rights(catalogue: Catalogue, written: Collection[str]) -> Iterator[tuple[str, str]]:
    """The rights that the daemon needs on each table: it reads all types, and writes those that are `written`."""
    rights: dict[str, tuple[str, ...]] = {}
    for name, doctype in catalogue.doctypes.items():
        more = ("INSERT", "UPDATE", "DELETE") if name in written else ()
        for table in ([] if doctype.single else [doctype.table]) + [child.table for child in doctype.children]:
            rights[table] = tuple(dict.fromkeys((*rights.get(table, ("SELECT",)), *more)))
    for table, wanted in rights.items():
        yield from ((table, right) for right in wanted)


def rights_missing(
    missing: Iterable[tuple[str, str]], before: str, quote: Callable[[str], str], grantee: str
) -> list[Problem]:
    """Rights that are missing, by table, each with the statement that grants them. `before` stands before a table."""
    by_table: dict[str, list[str]] = {}
    for table, right in missing:
        by_table.setdefault(table, []).append(right)
    return [
        Problem(
            "site.database",
            f"the user of site.database lacks {', '.join(rights)} on {table}",
            f"GRANT {', '.join(rights)} ON {before}{quote(table)} TO {grantee}",
        )
        for table, rights in by_table.items()
    ]
