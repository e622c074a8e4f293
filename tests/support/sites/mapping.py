"""Types of two sites and a mapping between them: the ancestor's own example, and what is needed to make others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamd.model import Catalogue, ChildTable, Column, DocumentType, Kind, Link
from streamd.settings import MappingSettings
from streamd.wire import DoctypeDescriptor, describe


def text(name: str, **more: Any) -> Column:
    return Column(name, "varchar(140)", Kind.TEXT, **more)


def number(name: str, **more: Any) -> Column:
    return Column(name, "bigint", Kind.INTEGER, **more)


def columns(*names: str) -> tuple[Column, ...]:
    return tuple(text(name) for name in names)


def doctype(
    name: str,
    fields: Sequence[str | Column],
    *,
    key: tuple[str, ...] = ("name",),
    links: tuple[Link, ...] = (),
    children: tuple[ChildTable, ...] = (),
) -> DocumentType:
    """A type whose table is `tabNAME`; fields that are given by their names hold text."""
    own = tuple(text(field) if isinstance(field, str) else field for field in fields)
    return DocumentType(name, f"tab{name}", key, (*(text(part, nullable=False) for part in key), *own), links, children)


def catalogue(*doctypes: DocumentType) -> Catalogue:
    return Catalogue({each.name: each for each in doctypes}, frozenset())


def settings(**mappings: dict[str, Any]) -> dict[str, MappingSettings]:
    """Mappings as the file states them, by name (an underline stands for a blank)."""
    return {name.replace("_", " "): MappingSettings.model_validate(each) for name, each in mappings.items()}


def item(child: str, parent: str, **more: Any) -> ChildTable:
    """A child table as Frappe has it."""
    field = more.pop("field", "items")
    return ChildTable(
        field=field,
        table=f"tab{child}",
        key=("name",),
        parent_key=("parent",),
        columns=(*columns("name", "parent", "parenttype", "parentfield"), *more.pop("columns")),
        where=(("parenttype", parent), ("parentfield", field)),
        **more,
    )


LEAD = doctype("Lead", ("lead_name", "phone", "country"))
OPPORTUNITY = doctype(
    "Opportunity",
    ("party_name", "opportunity_from", "title", "source"),
    links=(Link(("party_name",), "Lead", blank_is_null=True),),
    children=(item("Opportunity Item", "Opportunity", columns=(text("item_code"), number("qty"), text("uom"))),),
)
HERE = catalogue(OPPORTUNITY, LEAD)

ADDRESS = doctype("Address", ("city", "country"))
REMOTE_LEAD = doctype("OneHash Lead", ("full_name", "phone", "country", "score"))
REMOTE_OPPORTUNITY = doctype(
    "OneHash Opportunity",
    ("full_name", "phone", "address", "subject", "source", "stage"),
    links=(Link(("address",), "Address"),),
    children=(
        item(
            "OneHash Item", "OneHash Opportunity", field="lines", columns=(text("code"), number("amount"), text("uom"))
        ),
    ),
)
THERE: list[DoctypeDescriptor] = [describe(each) for each in (REMOTE_OPPORTUNITY, REMOTE_LEAD, ADDRESS)]

EXAMPLE = settings(
    Opportunity_from_OneHash={
        "local_doctype": "Opportunity",
        "remote_doctype": "OneHash Opportunity",
        "fields": [
            {
                "local_fieldname": "party_name",
                "remote_fieldname": "full_name",
                "mapping_type": "Document",
                "mapping": "Lead from OneHash",
                "remote_value_filters": {
                    "full_name": "full_name",
                    "phone": "eval:doc.phone",
                    "country": "eval:doc.address.country",
                },
            },
            {"local_fieldname": "opportunity_from", "default_value": "Lead"},
            {"local_fieldname": "title", "remote_fieldname": "subject", "default_value": "no subject"},
            {
                "local_fieldname": "items",
                "remote_fieldname": "lines",
                "mapping_type": "Child Table",
                "mapping": "Item from OneHash",
            },
        ],
    },
    Lead_from_OneHash={
        "local_doctype": "Lead",
        "remote_doctype": "OneHash Lead",
        "fields": [{"local_fieldname": "lead_name", "remote_fieldname": "full_name"}],
    },
    Item_from_OneHash={
        "local_doctype": "Opportunity Item",
        "remote_doctype": "OneHash Item",
        "unmapped": "drop",
        "fields": [
            {"local_fieldname": "item_code", "remote_fieldname": "code"},
            {"local_fieldname": "qty", "remote_fieldname": "amount", "default_value": 1},
            {"local_fieldname": "uom", "default_value": "Nos"},
        ],
    },
)
