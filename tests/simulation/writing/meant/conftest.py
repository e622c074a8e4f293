"""Pairs of sites, on each engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.sites import Site
from tests.simulation.writing.meant.triggers import SCHEMA, TYPES, Pair
from tests.support.database_url import Engine
from tests.support.servers import ENGINES


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param  # type: ignore[no-any-return]  # one of the above


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Makes two open sites: pair(engine, schema, types, consumer's engine, schema and types)."""
    async with AsyncExitStack() as stack:

        async def make(
            engine: Engine,
            schema: str = SCHEMA,
            types: dict[str, Any] = TYPES,
            *,
            to: Engine | None = None,
            there: str | None = None,
            here: dict[str, Any] | None = None,
        ) -> tuple[Site, Site]:
            sites = (
                Site(tmp_path, "hq", schema=schema, engine=engine, doctypes=types),
                Site(tmp_path, "store", schema=there or schema, engine=to or engine, doctypes=here or types),
            )
            for site in sites:
                await site.open()
                stack.push_async_callback(site.close)
            return sites

        yield make
