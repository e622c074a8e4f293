"""Sites that are closed in the end, and the engines of a test that names none.

What streamd decides is the same on every engine (`support/matrix.py`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol, cast

import pytest

from tests.simulation.sites import Site
from tests.support.database_url import Engine
from tests.support.matrix import ONE_ENGINE, ONE_PAIR, Engines


@pytest.fixture(params=ONE_ENGINE)
def engine(request: pytest.FixtureRequest) -> Engine:
    return cast("Engine", request.param)


@pytest.fixture(params=ONE_PAIR)
def engines(request: pytest.FixtureRequest) -> Engines:
    return cast("Engines", request.param)


class Opened(Protocol):
    async def __call__(self, name: str, **how: Any) -> Site: ...


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    """Makes a site and opens it: `await opened("hq", schema=…)`, as `Site` takes it. In the end it is closed."""
    async with AsyncExitStack() as stack:

        async def begin(name: str, **how: Any) -> Site:
            site = Site(tmp_path, name, **how)
            await site.open()
            stack.push_async_callback(site.close)
            return site

        yield begin


class Sites:
    """Makes several sites that are alike: `await sites.make("hq", "store")`."""

    def __init__(self, opened: Opened, **alike: Any) -> None:
        self._opened = opened
        self._alike = alike

    async def make(self, *names: str, **how: Any) -> list[Site]:
        """Sites of these names, as `Site` takes them; `how` wins over what they have alike."""
        return [await self._opened(name, **{**self._alike, **how}) for name in names]
