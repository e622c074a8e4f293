"""Builds the catalogue, from `[doctypes]` or from a Frappe site's metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from streamd.catalog.builder import declare
from streamd.catalog.excluding import without_excluded
from streamd.catalog.frappe import DOCTYPES, SCHEMA, SERIES, USERS, Meta, Metadata, document_types, guarded, read
from streamd.catalog.naming import Faults, path
from streamd.catalog.referring import references_of
from streamd.common.spelling import did_you_mean
from streamd.errors import ConfigurationError
from streamd.model import Catalogue, ChildTable, DocumentType, Link, Table
from streamd.settings import DoctypeSettings, Settings


def build(settings: Settings, tables: Mapping[str, Table], metadata: Metadata | None = None) -> Catalogue:
    """The document types of a site. Pure. Raises `ConfigurationError` with all faults.

    `metadata` contains the rows of the tables that `metadata_tables` names.
    """
    faults = Faults()
    if settings.site.catalog == "frappe":
        catalogue = _build_frappe(settings, tables, metadata or {}, faults)
    else:
        catalogue = _build_declared(settings, tables, faults)
    if faults:
        raise ConfigurationError(*faults)
    return replace(
        catalogue,
        references=references_of(catalogue.doctypes.values(), tables),
        triggered=frozenset(name for name, table in tables.items() if table.triggers),
        open_to_effects=frozenset(
            name for name, declaration in settings.doctypes.items() if declaration.side_effects == "local"
        ),
    )


def _build_declared(settings: Settings, tables: Mapping[str, Table], faults: Faults) -> Catalogue:
    """The document types that the configuration declares."""
    for name in settings.site.offers or ():
        if name not in settings.doctypes:
            hint = did_you_mean(name, list(settings.doctypes), f"declare [doctypes.{path(name)}], or remove it")
            faults.add("site.offers", f"{name} is not a document type of this site", hint)
    doctypes = declare(settings.doctypes, tables, {}, faults)
    doctypes = without_excluded(doctypes, settings.doctypes, tables, faults)
    return Catalogue(doctypes, frozenset(doctypes if settings.site.offers is None else settings.site.offers))


def _build_frappe(settings: Settings, tables: Mapping[str, Table], metadata: Metadata, faults: Faults) -> Catalogue:
    """Every DocType of the site, and the changes and additions of `[doctypes]`.

    Documents may link to any type, so the catalogue has all of them. Only offered types get triggers, and none is
    offered unless the configuration names it.
    """
    if not metadata.get(DOCTYPES):
        faults.add(
            "site.catalog",
            f"the database has no DocTypes in a table {DOCTYPES}, so it is not the database of a Frappe site",
            "set site.database to the site's database (db_name in its site_config.json), or remove catalog",
        )
        raise ConfigurationError(*faults)
    metas = read(metadata)
    doctypes = document_types(metas, tables)
    _check_conflicts(settings, doctypes, faults)
    declared = {
        name: _complete_settings(doctypes[name], declaration) if name in doctypes else declaration
        for name, declaration in settings.doctypes.items()
        if name not in doctypes or not doctypes[name].single
    }
    for name, doctype in declare(declared, tables, doctypes, faults).items():
        doctypes[name] = _treat_blank_as_null(doctype)
    doctypes = without_excluded(doctypes, settings.doctypes, tables, faults)
    _check_named_types(settings, metas, doctypes, faults)
    _check_subscribers(settings, metadata, faults)
    offers = frozenset(settings.site.offers or ())
    closed = guarded(doctypes)
    return Catalogue(doctypes, offers, closed, offers - closed, SERIES if SERIES[0] in tables else None)


def _check_conflicts(settings: Settings, doctypes: Mapping[str, DocumentType], faults: Faults) -> None:
    taken = {doctype.table: name for name, doctype in doctypes.items() if not doctype.single}
    for name, declaration in settings.doctypes.items():
        table = declaration.table or name
        if name in doctypes and doctypes[name].single:
            what = "is a single, which has no table" + (" with columns to exclude" if declaration.exclude else "")
            hint = "leave it out of offers" if declaration.exclude else "remove this: offer it by its name"
            faults.add(path("doctypes", name), what, hint)
        elif name not in doctypes and table in taken:
            faults.add(
                path("doctypes", name, "table"),
                f"{table} is the table of the DocType {taken[table]}",
                f"declare [doctypes.{path(taken[table])}], with the keys that should differ from the DocType",
            )


def _complete_settings(doctype: DocumentType, declaration: DoctypeSettings) -> DoctypeSettings:
    """A DocType as settings: from its metadata, with the declared keys replaced."""
    from_metadata: dict[str, Any] = {
        "table": doctype.table,
        "key": doctype.key,
        "naming": doctype.naming or None,
        **_link_settings(doctype.links),
        "children": {
            child.field: {
                "table": child.table,
                "key": child.key,
                "parent_key": child.parent_key,
                "where": dict(child.where),
                "order_by": child.order_by,
                "naming": child.naming or None,
                **_link_settings(child.links),
            }
            for child in doctype.children
        },
    }
    replaced = declaration.model_dump(exclude_unset=True)
    children = from_metadata["children"]
    for field, child in replaced.pop("children", {}).items():
        children[field] = children.get(field, {}) | child
    return DoctypeSettings(**{**from_metadata, **replaced, "children": children})


def _link_settings(links: Sequence[Link]) -> dict[str, dict[str, str]]:
    return {
        "links": {",".join(link.columns): link.doctype for link in links if link.doctype is not None},
        "dynamic_links": {",".join(link.columns): link.type_column for link in links if link.type_column is not None},
    }


def _treat_blank_as_null(doctype: DocumentType) -> DocumentType:
    def change_links(owner: DocumentType | ChildTable) -> tuple[Link, ...]:
        return tuple(replace(link, blank_is_null=True) for link in owner.links)

    children = tuple(replace(child, links=change_links(child)) for child in doctype.children)
    return replace(doctype, links=change_links(doctype), children=children)


def _check_named_types(
    settings: Settings, metas: Mapping[str, Meta], doctypes: Mapping[str, DocumentType], faults: Faults
) -> None:
    """The types in `offers` and in the producers' `doctypes` must exist."""
    named = [("site.offers", name) for name in settings.site.offers or ()]
    for producer, declaration in settings.producers.items():
        named += [(path("producers", producer, "doctypes"), name) for name in declaration.subscribed]
    for where, name in named:
        if name not in doctypes:
            faults.add(where, *_explain_missing(name, metas, doctypes))


def _explain_missing(name: str, metas: Mapping[str, Meta], doctypes: Mapping[str, DocumentType]) -> tuple[str, str]:
    """(what is wrong, hint) for a name that is not a document type."""
    meta = metas.get(name)
    if meta is None:
        return f"the site has no DocType {name}", did_you_mean(name, list(doctypes), "name one of its DocTypes")
    if meta.child:
        parents = sorted(each.name for each in metas.values() if any(f.options == name for f in each.fields.values()))
        of = f" ({', '.join(parents)})" if parents else ""
        return f"{name} is a child table, so its rows travel with their documents{of}", "name the parent DocType"
    if name in SCHEMA:
        return (
            f"{name} describes tables, and syncing its rows would not create them",
            "install the app, or import the customisation, at both sites",
        )
    return f"the DocType {name} has no table in this database", "remove it, or run `bench migrate` first"


def _check_subscribers(settings: Settings, metadata: Metadata, faults: Faults) -> None:
    users = {row["name"] for row in metadata.get(USERS, ())}
    for name, producer in settings.producers.items():
        if producer.subscriber is not None and producer.subscriber not in users:
            hint = did_you_mean(producer.subscriber, sorted(users), "create this user, or name another one")
            faults.add(path("producers", name, "subscriber"), f"the site has no user {producer.subscriber}", hint)
