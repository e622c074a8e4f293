"""The metadata of a dumped Frappe site."""

from __future__ import annotations

import pytest

from streamd.catalog.frappe import TABLES
from streamd.model import Table
from tests.support.sites import frappe
from tests.unit.catalog.frappe.metadata import Metadata


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    return frappe.tables("hq")


@pytest.fixture(scope="module")
def dumped() -> Metadata:
    """The metadata tables of the real site."""
    wanted = {**TABLES, "tabUser": ("name",)}
    return {
        table: [{column: row[column] for column in columns} for row in frappe.rows("hq", table)]
        for table, columns in wanted.items()
    }


@pytest.fixture
def metadata(dumped: Metadata) -> Metadata:
    """The same, to be changed."""
    return {table: list(rows) for table, rows in dumped.items()}
