"""Document types of a Frappe site: each DocType as the site's own metadata describes it. Pure.

A DocType X is the table `tabX`, named by `name`. Its fields of type Table and Table MultiSelect are child tables:
the rows of `tab<options>` with `parent`, `parenttype` and `parentfield`, so one table may serve several types. A single
has no table: its fields are rows of `tabSingles`, which no key keeps unique.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from streamd.catalog.frappe_metadata import DYNAMIC_LINK, LINK, SINGLES, TABLE_TYPES, Field, Meta
from streamd.model import ChildTable, Column, DocumentType, Kind, Link, Table

PREFIX = "tab"
KEY = ("name",)
SINGLE_KEY = ("doctype", "field")
SINGLE_COLUMNS = (*SINGLE_KEY, "value")
NAME_COLUMN = Column("name", "varchar(140)", Kind.TEXT, nullable=False)
"""What a single has instead of a row."""

SERIES = ("tabSeries", "name", "current")
"""Where a Frappe site counts its naming series."""

SCHEMA = frozenset({"DocType", "Custom Field"})
"""DocTypes that are no document types: their rows mean nothing without the tables and columns that they describe,
which the application makes when they are saved there. Links to them are none either: both sites have what they name."""

_ACCESS = (
    "Custom DocPerm", "Custom Role", "DocShare", "Module Profile", "Role", "Role Profile", "User", "User Group",
    "User Permission", "User Type",
)  # fmt: skip
_SECRETS = (
    "Braintree Settings", "Connected App", "Data Migration Connector", "Email Account", "Email Domain",
    "Event Consumer", "Event Producer", "Google Calendar", "Google Contacts", "OAuth Authorization Code",
    "OAuth Bearer Token", "OAuth Client", "Slack Webhook URL", "Social Login Key", "Stripe Settings", "Token Cache",
    "Webhook",
)  # fmt: skip
_RUN_BY_THE_APPLICATION = (
    "Assignment Rule", "Auto Email Report", "Client Script", "Custom Script", "Dashboard Chart Source",
    "Data Migration Mapping", "Data Migration Plan", "Document Naming Rule", "Energy Point Rule", "Module Def",
    "Notification", "Page", "Print Format", "Property Setter", "Report", "Scheduled Job Type", "Server Script",
    "Web Form", "Web Page", "Web Template", "Website Theme", "Workflow",
)  # fmt: skip
GUARDED = frozenset({*_ACCESS, *_SECRETS, *_RUN_BY_THE_APPLICATION})
"""DocTypes that decide who may do what, hold secrets, or are programs. A site that may write a note which another one
has seen could otherwise make users there, or fetch them from there."""


def document_types(metas: Mapping[str, Meta], tables: Mapping[str, Table]) -> dict[str, DocumentType]:
    """Every DocType whose documents can be synced, by name: those with a table, and singles.

    Fields whose columns are not there (virtual ones, and what no migration has made yet) are passed over.
    """
    declared = {name for name, meta in metas.items() if _is_document_type(meta, tables)}
    return {name: _document_type(metas[name], metas, tables, declared) for name in sorted(declared)}


def guarded(doctypes: Mapping[str, DocumentType]) -> frozenset[str]:
    """The types that no link brings along: those of `GUARDED`, and all singles."""
    return frozenset(name for name, doctype in doctypes.items() if name in GUARDED or doctype.single)


def _is_document_type(meta: Meta, tables: Mapping[str, Table]) -> bool:
    if meta.child or meta.name in SCHEMA:
        return False
    table = tables.get(SINGLES if meta.single else PREFIX + meta.name)
    wanted = SINGLE_COLUMNS if meta.single else KEY
    return table is not None and all(table.column(column) is not None for column in wanted)


def _document_type(
    meta: Meta, metas: Mapping[str, Meta], tables: Mapping[str, Table], declared: set[str]
) -> DocumentType:
    children = tuple(_children(meta, metas, tables, declared))
    if meta.single:
        values = ChildTable(
            field=SINGLES,
            table=SINGLES,
            key=SINGLE_KEY,
            parent_key=("doctype",),
            columns=tables[SINGLES].columns,
            links=tuple(_single_links(meta, declared)),
            where=(("doctype", meta.name),),
            keeps_unique=False,
        )
        return DocumentType(meta.name, "", KEY, (NAME_COLUMN,), (), (values, *children), single=True)
    table = tables[PREFIX + meta.name]
    # A field that became a table field leaves its old column behind, which the application does not read any more.
    fields = {child.field for child in children}
    columns = tuple(column for column in table.columns if column.name not in fields)
    links = tuple(_links(meta, table, declared))
    return DocumentType(meta.name, table.name, KEY, columns, links, children, naming=meta.naming)


def _links(meta: Meta, table: Table, declared: set[str]) -> Iterator[Link]:
    """The links of a row of this DocType. An empty text in one is what the application writes for nothing."""
    columns = {column.name for column in table.columns}
    for field in meta.fields.values():
        if field.name not in columns:
            continue
        if field.kind == LINK and field.options in declared:
            yield Link((field.name,), field.options, blank_is_null=True)
        elif field.kind == DYNAMIC_LINK and field.options in columns and field.options != field.name:
            yield Link((field.name,), None, field.options, blank_is_null=True)


def _single_links(meta: Meta, declared: set[str]) -> Iterator[Link]:
    """The links of a single's values: which row it is says what its value links to.

    Its Dynamic Links are none: the type stands in another row.
    """
    for field in meta.fields.values():
        if field.kind == LINK and field.options in declared:
            where = (("doctype", meta.name), ("field", field.name))
            yield Link(("value",), field.options, None, where, blank_is_null=True)


def _children(
    meta: Meta, metas: Mapping[str, Meta], tables: Mapping[str, Table], declared: set[str]
) -> Iterator[ChildTable]:
    for field in meta.fields.values():
        child = metas.get(field.options)
        if field.kind in TABLE_TYPES and child is not None and child.child:
            table = tables.get(PREFIX + child.name)
            if table is not None:
                yield from _child(meta, field, child, table, declared)


def _child(meta: Meta, field: Field, child: Meta, table: Table, declared: set[str]) -> Iterator[ChildTable]:
    if any(table.column(column) is None for column in (*KEY, "parent", "parenttype", "parentfield")):
        return
    yield ChildTable(
        field=field.name,
        table=table.name,
        key=KEY,
        parent_key=("parent",),
        columns=table.columns,
        links=tuple(_links(child, table, declared)),
        where=(("parenttype", meta.name), ("parentfield", field.name)),
        order_by="idx" if table.column("idx") is not None else None,
        naming=child.naming,
    )
