"""A Frappe site's own metadata, and settings for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from streamd.catalog import build
from streamd.errors import ConfigurationError, Problem
from streamd.model import Link, Row, Table
from streamd.settings import Settings

Metadata = dict[str, list[Row]]


def settings(
    doctypes: Mapping[str, Any] | None = None, producers: Mapping[str, Any] | None = None, **site: Any
) -> Settings:
    return Settings(
        site={"name": "hq", "database": "mariadb://u@h/x", "catalog": "frappe", **site},
        doctypes=doctypes or {},
        producers=producers or {},
    )


def problems_of(wanted: Settings, tables: Mapping[str, Table], metadata: Metadata | None) -> list[Problem]:
    with pytest.raises(ConfigurationError) as caught:
        build(wanted, tables, metadata)
    return list(caught.value.problems)


def to(field: str, doctype: str) -> Link:
    return Link((field,), doctype, blank_is_null=True)


def field(parent: str, name: str, kind: str, options: str) -> Row:
    return {"parent": parent, "parenttype": "DocType", "fieldname": name, "fieldtype": kind, "options": options}
