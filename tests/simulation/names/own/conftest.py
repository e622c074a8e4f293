"""Headquarters, and two tills that know nothing of each other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.names.own.tills import IDENTITY, RENAMED, TYPES
from tests.simulation.sites import DOCTYPES, SCHEMA, Site
from tests.support.database_url import Engine


@pytest.fixture
async def hq(tmp_path: Path, engine: Engine) -> AsyncIterator[Site]:
    """Headquarters, where no customer may be called “no”."""
    schema = SCHEMA.replace('"Id" INTEGER PRIMARY KEY', f'"Id" {IDENTITY[engine]}')
    schema = schema.replace('"Name" TEXT NOT NULL', '"Name" TEXT NOT NULL CHECK ("Name" <> \'no\')')
    site = Site(tmp_path, "hq", engine=engine, schema=schema, doctypes=TYPES, renamed=RENAMED)
    await site.open()
    yield site
    await site.close()


@pytest.fixture
async def tills(tmp_path: Path) -> AsyncIterator[list[Site]]:
    """Two shops that know nothing of each other."""
    sites = [Site(tmp_path, name, doctypes=TYPES, renamed=RENAMED) for name in ("north", "south")]
    for site in sites:
        await site.open()
    yield sites
    for site in sites:
        await site.close()


@pytest.fixture
async def labelled(tmp_path: Path) -> AsyncIterator[Site]:
    """Headquarters that names items by their labels, and has one that is called Tea."""
    types: dict[str, Any] = {**DOCTYPES, "Item": {"naming": "field:Label"}}
    site = Site(tmp_path, "named", doctypes=types, renamed=("Item",))
    await site.open()
    site.write("INSERT INTO Item VALUES ('Tea', 'Tea', 5, 7)")
    yield site
    await site.close()
