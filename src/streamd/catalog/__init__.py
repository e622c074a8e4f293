"""Where document types come from: the configuration, completed by what the database says of its tables.

On a Frappe site they come from the application's own metadata: `metadata_tables` says which rows `build` wants for
that, and `read_metadata` gets them.
"""

from __future__ import annotations

from streamd.catalog.building import build
from streamd.catalog.frappe_metadata import metadata_tables, read_metadata
from streamd.catalog.unlinked import left_out, warnings

__all__ = ["build", "left_out", "metadata_tables", "read_metadata", "warnings"]
