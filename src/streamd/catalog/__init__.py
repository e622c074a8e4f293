"""Builds the catalogue of document types from the configuration and the schema of the database.

On a Frappe site they come from the application's metadata: `metadata_tables` names the tables that `build` needs, and
`read_metadata` reads them.
"""

from __future__ import annotations

from streamd.catalog.building import build
from streamd.catalog.frappe import metadata_tables, read_metadata
from streamd.catalog.unlinked import left_out, warnings

__all__ = ["build", "left_out", "metadata_tables", "read_metadata", "warnings"]
