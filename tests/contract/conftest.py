"""One installed site for each engine: what every site database has to keep of its promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamd.db.base import SiteDatabase
from streamd.model import Catalogue, Claim
from tests.simulation.sites import Site
from tests.support.access import Access
from tests.support.database_url import Engine
from tests.support.servers import ENGINES


class Installed:
    """A site with our tables and triggers, and the user's own access to it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.database: SiteDatabase = site.database
        self.catalogue: Catalogue = site.catalogue
        self.access: Access = site.access

    def write(self, *statements: str) -> None:
        self.site.write(*statements)

    async def claim(self) -> Claim:
        async with self.database.snapshot() as reader:
            claim = await reader.last_claim()
        assert claim is not None
        return claim


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param  # type: ignore[no-any-return]  # one of the above


@pytest.fixture
async def installed(tmp_path: Path, engine: Engine) -> AsyncIterator[Installed]:
    site = Site(tmp_path, "hq", engine=engine)
    await site.open()
    yield Installed(site)
    await site.close()
