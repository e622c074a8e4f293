"""Document types of a Frappe site: each DocType as the site's metadata describes it. Pure.

A DocType X is the table `tabX` with the key `name`. Its fields of type Table and Table MultiSelect are child tables:
the rows of `tab<options>` with matching `parent`, `parenttype` and `parentfield`, so several types may share one table.
A single has no table. Its fields are rows of `tabSingles`, which has no unique key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from streamd.model import ChildTable, Column, DocumentType, Kind, Link, Row, Table
from streamd.settings import Settings

PREFIX = "tab"
KEY = ("name",)
SINGLE_KEY = ("doctype", "field")
SINGLE_COLUMNS = (*SINGLE_KEY, "value")
NAME_COLUMN = Column("name", "varchar(140)", Kind.TEXT, nullable=False)
"""A single has this one column instead of a row."""

SERIES = ("tabSeries", "name", "current")
"""The table and columns with the counters of a Frappe site's naming series."""

SCHEMA = frozenset({"DocType", "Custom Field"})
"""DocTypes that are not document types. Their rows describe tables and columns that only the application creates, when
it saves them. Links to them are ignored, because both sites have the DocTypes."""

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
"""DocTypes that grant access, contain secrets, or are programs. Otherwise a site that may write a note at another site
could create users there through a link, or fetch them from there."""

Metadata = Mapping[str, Sequence[Row]]
"""Rows of metadata tables, by table."""

DOCTYPES, DOCFIELDS, CUSTOM_FIELDS = "tabDocType", "tabDocField", "tabCustom Field"
PROPERTY_SETTERS, USERS, SINGLES = "tabProperty Setter", "tabUser", "tabSingles"

TABLES: Mapping[str, tuple[str, ...]] = {
    DOCTYPES: ("name", "issingle", "istable", "autoname", "custom"),
    DOCFIELDS: ("parent", "parenttype", "fieldname", "fieldtype", "options"),
    CUSTOM_FIELDS: ("dt", "fieldname", "fieldtype", "options"),
    PROPERTY_SETTERS: ("doc_type", "doctype_or_field", "field_name", "property", "value"),
}

LINK, DYNAMIC_LINK = "Link", "Dynamic Link"
TABLE_TYPES = ("Table", "Table MultiSelect")
NAMING_SERIES, HASH = "naming_series", "hash"
KINDS = frozenset({LINK, DYNAMIC_LINK, *TABLE_TYPES})
"""The types of fields that are links or child tables."""


@dataclass(frozen=True, slots=True)
class Field:
    """A link or child table. `options` is the DocType; for a Dynamic Link, the field with the DocType."""

    name: str
    kind: str
    options: str


@dataclass(frozen=True, slots=True)
class Meta:
    """One DocType: its links and tables, by field name.

    `naming` is how the application names its documents, in the words of the DocType (`field:code`, `hash`, the pattern
    of a series, …). After `naming_series:` follows the pattern that the application offers first. Empty if only the
    application's code decides.
    """

    name: str
    single: bool
    child: bool
    naming: str
    fields: dict[str, Field]


def metadata_tables(settings: Settings) -> Mapping[str, tuple[str, ...]]:
    """The metadata tables and columns that `build` needs; none for `catalog = "tables"`."""
    if settings.site.catalog != "frappe":
        return {}
    users = any(producer.subscriber for producer in settings.producers.values())
    return {**TABLES, USERS: ("name",)} if users else TABLES


async def read_metadata(
    settings: Settings,
    tables: Mapping[str, Table],
    table_rows: Callable[[str, Sequence[str]], Awaitable[list[Row]]],
) -> dict[str, list[Row]]:
    """The rows that `build` needs. Missing tables are left out; `build` reports them."""
    return {
        name: await table_rows(name, columns)
        for name, columns in metadata_tables(settings).items()
        if name in tables and all(tables[name].column(column) is not None for column in columns)
    }


def read(metadata: Metadata) -> dict[str, Meta]:
    """Every DocType with its fields, including custom fields and changed properties."""
    changed = _changed_properties(metadata.get(PROPERTY_SETTERS, ()))
    rows = [(row["parent"], row) for row in metadata.get(DOCFIELDS, ()) if row["parenttype"] == "DocType"]
    rows += [(row["dt"], row) for row in metadata.get(CUSTOM_FIELDS, ())]
    series = {
        doctype: _first_line(changed.get((doctype, NAMING_SERIES), {}).get("options", row["options"]))
        for doctype, row in rows
        if row["fieldname"] == NAMING_SERIES
    }
    found = {}
    for row in metadata.get(DOCTYPES, ()):
        name = str(row["name"])
        autoname = changed.get((name, ""), {}).get("autoname", row["autoname"])
        naming = _naming(row, autoname or "", series.get(name, ""))
        found[name] = Meta(name, _is_set(row["issingle"]), _is_set(row["istable"]), naming, {})
    for doctype, row in rows:
        meta, name = found.get(doctype), row["fieldname"]
        if meta is None or not name:
            continue
        properties = changed.get((doctype, name), {})
        kind = properties.get("fieldtype", row["fieldtype"])
        options = (properties.get("options", row["options"]) or "").strip()
        if kind in KINDS and options:
            meta.fields[name] = Field(name, kind, options)
    return found


def _changed_properties(rows: Sequence[Row]) -> dict[tuple[str, str], dict[str, str]]:
    """Changes by property setters: fields' types and options by (DocType, field name), naming by (DocType, "")."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        of_field = row["doctype_or_field"] == "DocField"
        wanted = ("fieldtype", "options") if of_field else ("autoname",)
        field_name = (row["field_name"] or "") if of_field else ""
        if row["property"] in wanted and bool(field_name) == of_field:
            found.setdefault((row["doc_type"], field_name), {})[row["property"]] = row["value"] or ""
    return found


def _naming(row: Row, autoname: str, series: str) -> str:
    """The naming of a DocType. `autoname` is its property, `series` the pattern that is offered first."""
    autoname = autoname.strip()
    if autoname == f"{NAMING_SERIES}:":
        return autoname + series
    if not autoname and (_is_set(row["istable"]) or _is_set(row["custom"])):
        # The application has no code for these, so it uses its default.
        return HASH
    return autoname


def _first_line(options: str | None) -> str:
    return next((line.strip() for line in (options or "").splitlines() if line.strip()), "")


def _is_set(value: object) -> bool:
    """Whether a check field is set. Engines and drivers return a number, text, or a boolean."""
    return value not in (None, 0, "0", "", False)


def document_types(metas: Mapping[str, Meta], tables: Mapping[str, Table]) -> dict[str, DocumentType]:
    """Every DocType whose documents can be synced, by name: those with a table, and singles.

    Fields without a column (virtual fields, and fields of a pending migration) are skipped.
    """
    declared = {name for name, meta in metas.items() if _is_document_type(meta, tables)}
    return {name: _document_type(metas[name], metas, tables, declared) for name in sorted(declared)}


def guarded(doctypes: Mapping[str, DocumentType]) -> frozenset[str]:
    """The types that links do not open: those of `GUARDED`, and all singles."""
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
    # A field that became a table field leaves its old column, which the application no longer reads.
    fields = {child.field for child in children}
    columns = tuple(column for column in table.columns if column.name not in fields)
    links = tuple(_links(meta, table, declared))
    return DocumentType(meta.name, table.name, KEY, columns, links, children, naming=meta.naming)


def _links(meta: Meta, table: Table, declared: set[str]) -> Iterator[Link]:
    """The links of a row of this DocType. The application writes empty text for an empty link."""
    columns = {column.name for column in table.columns}
    for field in meta.fields.values():
        if field.name not in columns:
            continue
        if field.kind == LINK and field.options in declared:
            yield Link((field.name,), field.options, blank_is_null=True)
        elif field.kind == DYNAMIC_LINK and field.options in columns and field.options != field.name:
            yield Link((field.name,), None, field.options, blank_is_null=True)


def _single_links(meta: Meta, declared: set[str]) -> Iterator[Link]:
    """The links of a single's values: each row is one field, and its value may be a link.

    Dynamic Links of singles are ignored, because their type is in another row.
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
