"""Warnings about a valid catalogue: foreign keys that are not links, links that fetch nothing, tables left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from streamd.catalog.building import build
from streamd.catalog.frappe import Metadata
from streamd.catalog.links import Target, target_of
from streamd.catalog.naming import path
from streamd.errors import Problem
from streamd.model import Catalogue, ChildTable, DocumentType, ForeignKey, Table
from streamd.settings import Settings


def warnings(settings: Settings, tables: Mapping[str, Table], metadata: Metadata | None = None) -> list[Problem]:
    """Foreign keys that are not links, links that fetch nothing, tables left out, and settings without effect.

    None of them is fatal. Raises `ConfigurationError` if the catalogue itself is faulty.
    """
    catalogue = build(settings, tables, metadata)
    found = list(_producer_warnings(settings, catalogue))
    targets = {name: Target(name, doctype.table, doctype.key) for name, doctype in catalogue.doctypes.items()}
    for name, doctype in catalogue.doctypes.items():
        if not doctype.single:
            found += _unlinked_keys(("doctypes", name), doctype, doctype, tables, targets)
        for child in doctype.children:
            found += _unlinked_keys(("doctypes", name, "children", child.field), child, doctype, tables, targets)
    return [*found, *left_out(catalogue, tables)]


def left_out(catalogue: Catalogue, tables: Mapping[str, Table]) -> Iterator[Problem]:
    """Tables whose rows seem to belong to a declared type's documents, but are in no document type."""
    types = catalogue.doctypes.values()
    declared = {doctype.table.casefold(): doctype for doctype in types if not doctype.single}
    used = declared.keys() | {child.table.casefold() for doctype in types for child in doctype.children}
    parts = {_unquote(part) for table in tables.values() for part in (*table.partitions, *table.heirs)}
    for table in tables.values():
        if table.name.casefold() in used or table.name in parts:
            continue
        for key in table.foreign_keys:
            parent = declared.get(key.table.casefold())
            if parent is None or not _looks_like_child(table, key):
                continue
            yield Problem(
                path("doctypes", parent.name),
                f"rows of {table.name} refer to {parent.name} but belong to no document type, so they are not synced",
                f"if they are part of it, add [{path('doctypes', parent.name, 'children')}.NAME] with "
                f'table = "{table.name}"; if they are documents, declare a type; if other sites do not need them, '
                "do nothing",
                fatal=False,
            )
            break


def _unquote(part: str) -> str:
    """The name of a partition, without its schema and its quotes."""
    return part.partition(".")[2].strip('"').replace('""', '"')


def _looks_like_child(table: Table, key: ForeignKey) -> bool:
    """Whether a table's rows look like child rows: deleted with the parent, keyed by it, or named after it.

    An order that refers to its customer is none of these.
    """
    with_parent = key.on_delete.upper() == "CASCADE"
    keyed = set(key.columns) < set(table.primary_key)
    stem = key.table.casefold().removesuffix("s")
    return with_parent or keyed or (len(stem) > 1 and table.name.casefold().startswith(stem))


def _producer_warnings(settings: Settings, catalogue: Catalogue) -> Iterator[Problem]:
    for name, producer in settings.producers.items():
        if producer.subscriber is not None and settings.site.catalog != "frappe":
            yield Problem(
                path("producers", name, "subscriber"),
                "has no effect, because only documents of a Frappe site have an owner",
                'remove it, or set catalog = "frappe" in [site]',
                fatal=False,
            )
        reached = set(producer.subscribed).union(*(catalogue.opened_by(each) for each in producer.subscribed))
        linked = frozenset().union(*(catalogue[each].linked_doctypes() for each in reached if each in catalogue))
        closed = sorted((linked & catalogue.guarded) - set(producer.subscribed))
        if closed:
            yield Problem(
                path("producers", name, "doctypes"),
                f"links to {', '.join(closed)} fetch nothing, because these types are guarded; a document that needs a "
                "missing one is parked",
                "make sure that both sites have these documents, or subscribe to the types by name",
                fatal=False,
            )


def _unlinked_keys(
    where: tuple[str, ...],
    owner: DocumentType | ChildTable,
    parent: DocumentType,
    tables: Mapping[str, Table],
    targets: Mapping[str, Target],
) -> list[Problem]:
    found = []
    linked = {frozenset(link.columns) for link in owner.links}
    for key in tables[owner.table].foreign_keys:
        columns = frozenset(key.columns)
        home = isinstance(owner, ChildTable) and columns == frozenset(owner.parent_key)
        if columns in linked or (home and key.table.casefold() == parent.table.casefold()):
            continue
        target = target_of(key, targets)
        hint = (
            f'add "{",".join(key.columns)}" = "{target.doctype}" to links'
            if target
            else f"declare a document type for {key.table}, or make sure that both sites have its rows"
        )
        why = "links leaves it out" if target else f"{key.table} is not a declared document type"
        found.append(
            Problem(
                path(*where),
                f"the foreign key from {', '.join(key.columns)} to {key.table} is not a link ({why}): "
                "rows that it refers to are not fetched, and a document that needs a missing row is parked",
                hint,
                fatal=False,
            )
        )
    return found
