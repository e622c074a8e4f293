"""A migrated state database of each engine that can keep the state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack

import pytest

from streamd.store.engine import State
from streamd.store.migrate import migrate
from tests.support.database_url import DatabaseUrl, Engine
from tests.support.processes.outage import Passage
from tests.support.servers import copy_database, drop_database, fresh_database

STATE_ENGINES: tuple[Engine, ...] = ("sqlite", "postgresql")
HERE, ELSEWHERE = "99999999-9999-4999-8999-999999999999", "22222222-2222-4222-8222-222222222222"

Opener = Callable[..., State]


@pytest.fixture(scope="session", params=STATE_ENGINES)
def migrated(request: pytest.FixtureRequest) -> DatabaseUrl:
    """A state database as the migrations make it, from which others are copied."""
    return _migrated(request.param)


@pytest.fixture(scope="session")
def migrated_postgresql() -> DatabaseUrl:
    """The same for what only PostgreSQL does."""
    return _migrated("postgresql")


@pytest.fixture
def database(migrated: DatabaseUrl) -> Iterator[DatabaseUrl]:
    """A migrated, empty state database."""
    copy = copy_database(migrated)
    yield copy
    drop_database(copy)


@pytest.fixture
def postgresql(migrated_postgresql: DatabaseUrl) -> Iterator[DatabaseUrl]:
    """A migrated, empty state database of PostgreSQL."""
    copy = copy_database(migrated_postgresql)
    yield copy
    drop_database(copy)


@pytest.fixture
def empty(migrated: DatabaseUrl) -> Iterator[DatabaseUrl]:
    """A database without anything."""
    made = fresh_database(migrated.engine)
    yield made
    drop_database(made)


@pytest.fixture
def passage(postgresql: DatabaseUrl) -> Iterator[Passage]:
    """A way to the PostgreSQL server that the test can close."""
    made = Passage(postgresql.host, postgresql.port)
    yield made
    made.end()


@pytest.fixture
async def opened() -> AsyncIterator[Opener]:
    """Opens a database for a site: `opened(url, site)`. A daemon does so once, and each command does."""
    async with AsyncExitStack() as stack:

        def begin(url: str, site: str = HERE) -> State:
            state = State(url, site)
            stack.push_async_callback(state.close)
            return state

        yield begin


@pytest.fixture
def state(database: DatabaseUrl, opened: Opener) -> State:
    """This site's part of the database."""
    return opened(database.url)


@pytest.fixture
def other(database: DatabaseUrl, opened: Opener) -> State:
    """The same part as another process sees it."""
    return opened(database.url)


@pytest.fixture
def neighbour(database: DatabaseUrl, opened: Opener) -> State:
    """Another site's part of the same database."""
    return opened(database.url, ELSEWHERE)


async def migrate_apart(url: str) -> None:
    """Migrate from within a test that runs in an event loop."""
    await asyncio.to_thread(migrate, url)


def _migrated(engine: Engine) -> DatabaseUrl:
    database = fresh_database(engine)
    migrate(database.url)
    return database
