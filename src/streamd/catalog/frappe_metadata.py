"""Reads the metadata of a Frappe site: its DocTypes, their links, tables and naming. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from streamd.model import Row, Table
from streamd.settings import Settings

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
    naming: str = ""
    fields: dict[str, Field] = field(default_factory=dict)


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
        found[name] = Meta(name, _is_set(row["issingle"]), _is_set(row["istable"]), naming)
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
