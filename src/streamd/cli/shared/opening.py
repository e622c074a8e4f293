"""Opens what a command works on: the configuration, the site's database, and the state database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from streamd.cli.main import chosen_config
from streamd.db import open_hold, open_site
from streamd.db.base import SiteDatabase, SiteIdentity
from streamd.errors import NotInstalled, SiteHeld
from streamd.lifecycle.holding import LOOK_SECONDS
from streamd.settings import Settings, load
from streamd.status import is_running
from streamd.store.engine import State, now_ms
from streamd.store.heartbeat import Heartbeat
from streamd.store.migrate import HEAD
from streamd.store.producers import Producers

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Opened:
    """An installed site: what most commands need."""

    config: Path
    settings: Settings
    site: SiteDatabase
    identity: SiteIdentity
    state: State

    async def daemon_runs(self) -> bool:
        """Whether the daemon of this site runs, as far as its sign of life says."""
        return is_running(await Heartbeat(self.state).current(), now_ms())

    async def producer_names(self) -> dict[str, str]:
        """A producer's UUID → its name in the configuration."""
        return {each.producer_site: each.name for each in await Producers(self.state).all() if each.producer_site}

    async def when(self) -> str:
        """When the daemon does what was asked of it, in words."""
        if await self.daemon_runs():
            return "The daemon does it within seconds; see `streamd status`."
        return "The daemon does not run. It does it when you start `streamd run`."


def settings_of(ctx: click.Context) -> Settings:
    """The configuration. Raises `ConfigurationError`."""
    return load(chosen_config(ctx))


@asynccontextmanager
async def opened_site(settings: Settings) -> AsyncIterator[SiteDatabase]:
    """The site's database, installed or not."""
    site = open_site(settings.site.database)
    try:
        yield site
    finally:
        await site.close()


@asynccontextmanager
async def opened(ctx: click.Context) -> AsyncIterator[Opened]:
    """Everything of an installed site. Raises `ConfigurationError`, `NotInstalled`, `StateError`."""
    config = chosen_config(ctx)
    settings = load(config)
    async with opened_site(settings) as site:
        identity = await site.identity()
        if identity is None:
            raise NotInstalled("streamd is not installed in the site's database", hint="run `streamd install`")
        async with opened_state(settings, identity.site) as state:
            yield Opened(config, settings, site, identity, state)


@asynccontextmanager
async def opened_state(settings: Settings, site: str) -> AsyncIterator[State]:
    """The state database, with this release's schema. Raises `NotInstalled`, `StateError`."""
    state = State(settings.state.database, site)
    try:
        if await state.revision() is None:
            holder = await holder_of(settings)
            hint = "run `streamd install`"
            if holder is not None:
                hint = (
                    f"another daemon works on the site's database, with another state database ({holder}): stop it, or "
                    "name its state database in state.database"
                )
            raise NotInstalled("there is no state database yet", hint=hint)
        await state.check_revision()
        yield state
    finally:
        await state.close()


async def holder_of(settings: Settings) -> str | None:
    """Who works on the site's database now, as a daemon does; None: nobody. Raises `SiteError`."""
    return await open_hold(settings.site.database).holder()


async def state_revision(settings: Settings) -> str | None:
    """Which schema the state database has; None where there is none yet. Changes nothing. Raises `StateError`."""
    state = State(settings.state.database, "")
    try:
        return await state.revision()
    finally:
        await state.close()


async def state_is_current(settings: Settings) -> bool:
    """Whether the state database is there, with this release's schema. Raises `StateError`."""
    return await state_revision(settings) == HEAD


@asynccontextmanager
async def alone(settings: Settings, *, waits: Callable[[str], None] | None = None) -> AsyncIterator[None]:
    """Hold the site's database meanwhile, as its daemon does. Raises `SiteHeld`.

    With `waits` it waits until nobody has it, and tells `waits` for whom.
    """
    hold, said = open_hold(settings.site.database), False
    try:
        while True:
            try:
                await hold.take()
                break
            except SiteHeld as error:
                if waits is None:
                    raise
                waits(f"waiting: {error.message}")
                if not said:
                    click.echo(f"waiting: {error}", err=True)
                said = True
            await asyncio.sleep(LOOK_SECONDS)
        yield
    finally:
        await hold.close()


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work to its end."""
    return asyncio.run(work)
