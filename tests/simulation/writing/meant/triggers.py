"""Sheets with cells, and triggers of users that change, swallow or add rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.simulation.sites import Site

SCHEMA = """
CREATE TABLE sheet (id INTEGER PRIMARY KEY, note VARCHAR(40), total INTEGER);
CREATE TABLE cell (
    id INTEGER PRIMARY KEY, sheet INTEGER NOT NULL REFERENCES sheet (id), note VARCHAR(40), worth INTEGER);
CREATE TABLE mark (id INTEGER PRIMARY KEY)
"""

TYPES: dict[str, Any] = {"sheet": {"children": {"cells": {"table": "cell", "parent_key": "sheet"}}}, "mark": {}}

Pair = Callable[..., Any]


def after(site: Site, table: str, event: str, statement: str) -> None:
    """A trigger of the user's that writes elsewhere, behind each row."""
    engine = site.access.engine
    if engine == "postgresql":
        site.access.raw(
            f"CREATE FUNCTION {table}_{event} () RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"{statement}; RETURN NULL; END $$"
        )
        end = f"EXECUTE FUNCTION {table}_{event} ()"
    else:
        end = f"BEGIN {statement}; END"
    site.access.raw(f"CREATE TRIGGER {table}_{event} AFTER {event} ON {table} FOR EACH ROW {end}")


async def refused(site: Site) -> str:
    """What the sync log says of what is parked."""
    return "\n".join(error for _, error in await site.queue())


def insert(table: str, note: str, number: int = 1) -> list[str]:
    made = [f"INSERT INTO sheet (id, note, total) VALUES ({number}, '{note if table == 'sheet' else 'x'}', 0)"]
    if table == "cell":
        made.append(f"INSERT INTO cell (id, sheet, note, worth) VALUES ({number}, {number}, '{note}', 0)")
    return made
