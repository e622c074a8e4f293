"""Builds the catalogue from wherever the site's document types come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from streamd.catalog.builder import build_declared, declare
from streamd.catalog.excluding import without_excluded
from streamd.catalog.frappe import SCHEMA, SERIES, document_types, guarded
from streamd.catalog.frappe_metadata import DOCTYPES, USERS, Meta, Metadata, read
from streamd.catalog.naming import path
from streamd.catalog.referring import references_of
from streamd.common.spelling import did_you_mean
from streamd.errors import ConfigurationError, Problem
from streamd.model import Catalogue, ChildTable, DocumentType, Link, Table
from streamd.settings import DoctypeSettings, Settings


def build(settings: Settings, tables: Mapping[str, Table], metadata: Metadata | None = None) -> Catalogue:
    """The document types of a site. Pure. Raises `ConfigurationError` with every fault at once.

    `metadata` has the rows of the tables that `metadata_tables` names.
    """
    if settings.site.catalog == "frappe":
        catalogue = _build_frappe(settings, tables, metadata or {})
    else:
        catalogue = build_declared(settings, tables)
    return replace(
        catalogue,
        references=references_of(catalogue.doctypes.values(), tables),
        triggered=frozenset(name for name, table in tables.items() if table.triggers),
        open_to_effects=frozenset(name for name, given in settings.doctypes.items() if given.side_effects == "local"),
    )


def _build_frappe(settings: Settings, tables: Mapping[str, Table], metadata: Metadata) -> Catalogue:
    """Every DocType of the site, changed and completed by what the configuration declares itself.

    All of them, because what a document links to, and what links to a renamed one, can be any; only what is offered
    gets triggers, and nothing is offered unless it is named.
    """
    if not metadata.get(DOCTYPES):
        raise ConfigurationError(
            Problem(
                "site.catalog",
                f"the database has no table {DOCTYPES} with DocTypes in it: it is no Frappe site's",
                "name the site's own database (db_name in its site_config.json), or remove catalog",
            )
        )
    metas = read(metadata)
    doctypes = document_types(metas, tables)
    own, problems = _declared(settings, tables, doctypes)
    doctypes, wrong = without_excluded(doctypes | own, settings.doctypes, tables)
    problems += wrong
    problems += _name_problems(settings, metas, doctypes)
    problems += _subscriber_problems(settings, metadata)
    if problems:
        raise ConfigurationError(*problems)
    offers = frozenset(settings.site.offers or ())
    closed = guarded(doctypes)
    return Catalogue(doctypes, offers, closed, offers - closed, SERIES if SERIES[0] in tables else None)


def _declared(
    settings: Settings, tables: Mapping[str, Table], doctypes: Mapping[str, DocumentType]
) -> tuple[dict[str, DocumentType], list[Problem]]:
    """The types of `[doctypes]`: DocTypes with something replaced, and tables that are none."""
    problems = list(_conflicts(settings, doctypes))
    wanted = {
        name: _completed(doctypes[name], given) if name in doctypes else given
        for name, given in settings.doctypes.items()
        if name not in doctypes or not doctypes[name].single
    }
    made, wrong = declare(wanted, tables, doctypes)
    return {name: _blank_is_null(doctype) for name, doctype in made.items()}, [*problems, *wrong]


def _conflicts(settings: Settings, doctypes: Mapping[str, DocumentType]) -> Iterator[Problem]:
    taken = {doctype.table: name for name, doctype in doctypes.items() if not doctype.single}
    for name, given in settings.doctypes.items():
        table = given.table or name
        if name in doctypes and doctypes[name].single:
            hint = "leave it out of offers" if given.exclude else "remove this: offer it by its name"
            yield Problem(
                path("doctypes", name),
                "is a single, which has no table of its own" + (" to exclude columns of" if given.exclude else ""),
                hint,
            )
        elif name not in doctypes and table in taken:
            yield Problem(
                path("doctypes", name, "table"),
                f"{table} is the table of the DocType {taken[table]}",
                f"declare [doctypes.{path(taken[table])}], with what is to be another way than its DocType says",
            )


def _completed(doctype: DocumentType, given: DoctypeSettings) -> DoctypeSettings:
    """What the metadata says of a DocType as settings, with what is given in its place, key by key."""
    said: dict[str, Any] = {
        "table": doctype.table,
        "key": doctype.key,
        "naming": doctype.naming or None,
        **_links(doctype.links),
        "children": {
            child.field: {
                "table": child.table,
                "key": child.key,
                "parent_key": child.parent_key,
                "where": dict(child.where),
                "order_by": child.order_by,
                "naming": child.naming or None,
                **_links(child.links),
            }
            for child in doctype.children
        },
    }
    replaced = given.model_dump(exclude_unset=True)
    children = said["children"]
    for field, child in replaced.pop("children", {}).items():
        children[field] = children.get(field, {}) | child
    return DoctypeSettings(**{**said, **replaced, "children": children})


def _links(links: Sequence[Link]) -> dict[str, dict[str, str]]:
    return {
        "links": {",".join(link.columns): link.doctype for link in links if link.doctype is not None},
        "dynamic_links": {",".join(link.columns): link.type_column for link in links if link.type_column is not None},
    }


def _blank_is_null(doctype: DocumentType) -> DocumentType:
    def of(owner: DocumentType | ChildTable) -> tuple[Link, ...]:
        return tuple(replace(link, blank_is_null=True) for link in owner.links)

    children = tuple(replace(child, links=of(child)) for child in doctype.children)
    return replace(doctype, links=of(doctype), children=children)


def _name_problems(
    settings: Settings, metas: Mapping[str, Meta], doctypes: Mapping[str, DocumentType]
) -> Iterator[Problem]:
    """Names in `offers` and in producers' `doctypes` that no document type has."""
    named = [("site.offers", name) for name in settings.site.offers or ()]
    for producer, given in settings.producers.items():
        named += [(path("producers", producer, "doctypes"), name) for name in given.subscribed]
    for where, name in named:
        if name not in doctypes:
            yield Problem(where, *_why_not(name, metas, doctypes))


def _why_not(name: str, metas: Mapping[str, Meta], doctypes: Mapping[str, DocumentType]) -> tuple[str, str]:
    """(what is wrong, how to fix it) with a name that is no document type's."""
    meta = metas.get(name)
    if meta is None:
        return f"the site has no DocType {name}", did_you_mean(name, list(doctypes), "name one of its DocTypes")
    if meta.child:
        parents = sorted(each.name for each in metas.values() if any(f.options == name for f in each.fields.values()))
        of = f" (it is one of {', '.join(parents)})" if parents else ""
        return f"{name} is a child table: its rows travel with their documents{of}", "name the parent DocType"
    if name in SCHEMA:
        return (
            f"{name} describes tables, and rows alone would not make them",
            "install the app, or import the customisation, at both sites",
        )
    return f"the DocType {name} has no table in this database", "remove it, or run `bench migrate` first"


def _subscriber_problems(settings: Settings, metadata: Metadata) -> Iterator[Problem]:
    users = {row["name"] for row in metadata.get(USERS, ())}
    for name, producer in settings.producers.items():
        if producer.subscriber is not None and producer.subscriber not in users:
            yield Problem(
                path("producers", name, "subscriber"),
                f"the site has no user {producer.subscriber}",
                did_you_mean(producer.subscriber, sorted(users), "make this user, or name another one"),
            )
