"""Writes what was decided: row writes, the order of their documents, and statements of many rows."""
