"""Finds the foreign keys whose actions make the database change rows of documents. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from streamd.catalog.naming import same_name
from streamd.doctypes import ChildTable, DocumentType, ForeignKey, Reference, Table

ACTING = frozenset({"CASCADE", "SET NULL", "SET DEFAULT"})


def references_of(doctypes: Iterable[DocumentType], tables: Mapping[str, Table]) -> tuple[Reference, ...]:
    """The foreign keys with an action, between tables of documents.

    On engines where actions fire no triggers, also those of other tables through which an action reaches documents.
    Such references have no document type.
    """
    some = [doctype for doctype in doctypes if not doctype.single and doctype.table in tables]
    holding = {
        table.name: table
        for doctype in some
        for name in (doctype.table, *(child.table for child in doctype.children))
        if (table := tables.get(name)) is not None
    }
    between = _tables_between(holding, tables)
    referred = holding | between
    found = []
    for doctype in some:
        for rows in (_own_rows(doctype), *doctype.children):
            table = holding.get(rows.table)
            if table is not None:
                found += [
                    Reference(doctype.name, _narrow(rows, key, table), key) for key in _acting_keys(table, referred)
                ]
    for table in between.values():
        rows = ChildTable("", table.name, table.primary_key, table.primary_key, table.columns)
        found += [Reference("", rows, key) for key in _acting_keys(table, referred) if key.on_delete == "CASCADE"]
    return tuple(found)


def _tables_between(holding: Mapping[str, Table], tables: Mapping[str, Table]) -> dict[str, Table]:
    """The tables without documents whose deleted rows may cascade to documents without firing a trigger."""
    found: dict[str, Table] = {}
    waiting = list(holding.values())
    while waiting:
        for key in waiting.pop().foreign_keys:
            name = same_name(key.table, tables) if key.silent and key.on_delete.upper() in ACTING else None
            if name is not None and name not in holding and name not in found:
                found[name] = tables[name]
                waiting.append(tables[name])
    return found


def _acting_keys(table: Table, holding: Mapping[str, Table]) -> Iterator[ForeignKey]:
    """The table's foreign keys with an action that refer to `holding`, with the spelling of the schema."""
    for key in table.foreign_keys:
        if key.on_delete.upper() not in ACTING and key.on_update.upper() not in ACTING:
            continue
        referred = same_name(key.table, holding)
        if referred is None:
            continue
        columns = _spell(key.columns, table)
        theirs = _spell(key.referred, holding[referred])
        if columns and len(columns) == len(theirs):
            yield ForeignKey(columns, referred, theirs, key.on_delete.upper(), key.on_update.upper(), key.silent)


def _spell(columns: Collection[str], table: Table) -> tuple[str, ...]:
    names = [column.name for column in table.columns]
    found = [same_name(column, names) for column in columns]
    return tuple(name for name in found if name is not None)


def _own_rows(doctype: DocumentType) -> ChildTable:
    return ChildTable("", doctype.table, doctype.key, doctype.key, doctype.columns)


def _narrow(rows: ChildTable, key: ForeignKey, table: Table) -> ChildTable:
    """The rows with the needed columns only. Columns of the foreign key may be excluded from the documents."""
    wanted = {*rows.key, *rows.parent_key, *key.columns, *(column for column, _ in rows.where)}
    columns = tuple(column for column in table.columns if column.name in wanted)
    return replace(rows, columns=columns, links=(), order_by=None)
