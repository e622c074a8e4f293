"""Two daemons with state databases of their own for one site's database: one works, the other one waits."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Kit
from tests.support.database_url import Engine
from tests.support.servers import ENGINES
from tests.support.sites.chinook import CATALOGUE
from tests.support.sites.site import Site
from tests.support.sites.world import World


@pytest.mark.parametrize("engine", ENGINES)
def test_a_second_daemon_waits_and_takes_over_when_the_first_is_killed(engine: Engine, world: World, kit: Kit) -> None:
    first = world.site("first", CATALOGUE, kit.templates(engine).empty)
    second = world.site("second", CATALOGUE, kit.templates(engine).empty)
    second.daemons_role = first.access.database
    first.start()
    second.start(wait=False)
    world.eventually(lambda: "another streamd daemon" in _said(second), "the second one waits")
    assert first.request("GET", "/v1/health")[0] == 200
    assert second.running
    assert not second.state.exists(), "it did something before it was its turn"
    assert "another" not in _said(first)
    first.kill()
    second.wait_until_up()


def _said(site: Site) -> str:
    return site.log.read_text(encoding="utf-8") if site.log.exists() else ""
