"""Where document types come from: the configuration, completed by what the database says of its tables."""

from __future__ import annotations

from streamd.catalog.builder import build
from streamd.catalog.unlinked import warnings

__all__ = ["build", "warnings"]
