"""One daemon beside one database: who holds it, who waits, and what becomes of a lock that was lost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from streamd.db import open_hold
from streamd.db.alone import Hold
from streamd.errors import Fenced, SiteBusy, SiteHeld
from streamd.lifecycle.holding import Holding
from tests.support.database_url import DatabaseUrl, Engine
from tests.support.engines import open_access
from tests.support.polling import patience
from tests.support.servers import ENGINES, administrator, drop_database, fresh_database


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param  # type: ignore[no-any-return]  # one of the above


@pytest.fixture
async def database(engine: Engine) -> AsyncIterator[DatabaseUrl]:
    made = fresh_database(engine)
    yield made
    drop_database(made)


def lose(database: DatabaseUrl) -> None:
    """Take the lock from whoever has it, as a restart of the server does."""
    if database.engine == "sqlite":
        Path(database.name + "-streamd").unlink()
        return
    access = open_access(administrator(database))
    if database.engine == "postgresql":
        access.rows("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2")
        return
    (number,) = access.rows(f"SELECT IS_USED_LOCK(CONCAT('streamd ', MD5('{database.name}')))")[0]
    access.raw(f"KILL {number}")


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30 * patience()):
        while not await condition():
            await asyncio.sleep(0.05)


async def test_who_holds_it_is_told_without_taking_it(database: DatabaseUrl) -> None:
    hold, other = open_hold(database.url), open_hold(database.url)
    assert await other.holder() is None
    await hold.take()
    assert str(os.getpid() if database.engine != "mariadb" else "connection") in (await other.holder() or "")
    await hold.close()
    await until_held(other, database.url)
    await other.close()


async def until_held(hold: Hold | Holding, url: str) -> None:
    async def held() -> bool:
        try:
            await (hold.begin(url) if isinstance(hold, Holding) else hold.take())
        except SiteHeld:
            return False
        return True

    await until(held)


async def test_a_second_one_waits_until_the_first_one_has_ended(database: DatabaseUrl) -> None:
    first, second = open_hold(database.url), open_hold(database.url)
    await first.take()
    with pytest.raises(SiteHeld) as refused:
        await second.take()
    assert "another streamd daemon" in refused.value.message
    if database.engine != "mariadb":
        assert f"{os.getpid()}@" in refused.value.message
    await first.take()
    await first.close()
    await until_held(second, database.url)
    with pytest.raises(SiteHeld):
        await first.take()
    await first.close()
    await second.close()


async def test_a_lock_that_was_lost_is_taken_again_unless_another_one_has_it(database: DatabaseUrl) -> None:
    first, second = Holding(), open_hold(database.url)
    await first.begin(database.url)
    lose(database)
    await _again(first)
    with pytest.raises(SiteHeld):
        await second.take()
    lose(database)
    await until_held(second, database.url)
    with pytest.raises(Fenced):
        await _again(first)
    await first.end()
    await second.close()


async def _again(holding: Holding) -> None:
    """A turn or two: the first one may find a connection that is broken."""

    async def turned() -> bool:
        try:
            await holding.turn()
        except SiteBusy:
            return False
        return True

    await until(turned)


async def test_another_database_is_another_ones(database: DatabaseUrl) -> None:
    other = fresh_database(database.engine)
    first, second = open_hold(database.url), open_hold(other.url)
    await first.take()
    await second.take()
    await first.close()
    await second.close()
    drop_database(other)


async def test_a_link_to_a_file_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "site.db").touch()
    (tmp_path / "link.db").symlink_to("site.db")
    first, second = (open_hold(f"sqlite:///{tmp_path}/{name}.db") for name in ("site", "link"))
    await first.take()
    with pytest.raises(SiteHeld):
        await second.take()
    await first.close()
