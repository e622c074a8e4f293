"""The command line: one small file per group of verbs. click and rich are imported below here only."""

from __future__ import annotations

from streamd.cli.main import main

__all__ = ["main"]
