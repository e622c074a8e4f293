"""What several integration tests stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.serving import ProducerSite, producer


@pytest.fixture(scope="session")
def state_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the migrated, empty state database is kept, once it was made."""
    return tmp_path_factory.mktemp("template") / "state.db"


@pytest.fixture
async def hq(tmp_path: Path, state_template: Path) -> AsyncIterator[ProducerSite]:
    """A producer that runs."""
    async with producer(tmp_path, state_template) as site:
        yield site


@pytest.fixture
async def start(tmp_path: Path, state_template: Path) -> AsyncIterator[Callable[..., Any]]:
    """Starts a producer with other settings: `await start(requests_per_minute=10)`."""
    async with AsyncExitStack() as stack:

        async def begin(**server: Any) -> ProducerSite:
            return await stack.enter_async_context(producer(tmp_path, state_template, **server))

        yield begin
