"""Headquarters and a store, of the engines of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.simulation.sites import Site
from tests.support.matrix import Engines


@pytest.fixture
async def hq(tmp_path: Path, engines: Engines) -> AsyncIterator[Site]:
    site = Site(tmp_path, "hq", engine=engines[0])
    await site.open()
    yield site
    await site.close()


@pytest.fixture
async def store(tmp_path: Path, engines: Engines) -> AsyncIterator[Site]:
    site = Site(tmp_path, "store", engine=engines[1])
    await site.open()
    yield site
    await site.close()
