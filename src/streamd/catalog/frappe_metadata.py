"""What a Frappe site says of its own DocTypes, read from the rows of its metadata tables. Pure."""

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
"""The field types that make a document more than a row."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field that links, or holds child rows. `options` is a DocType, or the field that holds it (Dynamic Link)."""

    name: str
    kind: str
    options: str


@dataclass(frozen=True, slots=True)
class Meta:
    """One DocType: its links and tables, by field name.

    `naming` is how the application names its documents, as the DocType says it (`field:code`, `hash`, a pattern of a
    series, …): `naming_series:` is followed by the pattern that is offered first. Empty where only the application's
    code knows.
    """

    name: str
    single: bool
    child: bool
    naming: str = ""
    fields: dict[str, Field] = field(default_factory=dict)


def metadata_tables(settings: Settings) -> Mapping[str, tuple[str, ...]]:
    """The small tables whose rows `build` wants besides, with the columns it looks at; none for a plain catalogue."""
    if settings.site.catalog != "frappe":
        return {}
    users = any(producer.subscriber for producer in settings.producers.values())
    return {**TABLES, USERS: ("name",)} if users else TABLES


async def read_metadata(
    settings: Settings,
    tables: Mapping[str, Table],
    table_rows: Callable[[str, Sequence[str]], Awaitable[list[Row]]],
) -> dict[str, list[Row]]:
    """The rows that `build` wants. What the database has not got is left out: `build` says what that means."""
    return {
        name: await table_rows(name, columns)
        for name, columns in metadata_tables(settings).items()
        if name in tables and all(tables[name].column(column) is not None for column in columns)
    }


def read(metadata: Metadata) -> dict[str, Meta]:
    """Every DocType, with its fields as they are after customising: custom fields added, properties changed."""
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
        said = changed.get((name, ""), {}).get("autoname", row["autoname"])
        naming = _naming(row, said or "", series.get(name, ""))
        found[name] = Meta(name, _true(row["issingle"]), _true(row["istable"]), naming)
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
    """What property setters say of fields' types and options, by (DocType, field name), and of DocTypes' naming,
    by (DocType, "").
    """
    found: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        of_field = row["doctype_or_field"] == "DocField"
        wanted = ("fieldtype", "options") if of_field else ("autoname",)
        field_name = (row["field_name"] or "") if of_field else ""
        if row["property"] in wanted and bool(field_name) == of_field:
            found.setdefault((row["doc_type"], field_name), {})[row["property"]] = row["value"] or ""
    return found


def _naming(row: Row, said: str, series: str) -> str:
    """How documents of a DocType are named, of which the metadata say this. `series` is the pattern offered first."""
    said = said.strip()
    if said == f"{NAMING_SERIES}:":
        return said + series
    if not said and (_true(row["istable"]) or _true(row["custom"])):
        # No code of the application names these, so it gives them the names that it gives where nothing says how.
        return HASH
    return said


def _first_line(options: str | None) -> str:
    return next((line.strip() for line in (options or "").splitlines() if line.strip()), "")


def _true(value: object) -> bool:
    """Whether a check field is set: engines and drivers hold it as a number, a text, or a boolean."""
    return value not in (None, 0, "0", "", False)
