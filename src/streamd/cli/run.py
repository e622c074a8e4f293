"""`streamd run`: checks, migrates, installs, and then becomes the daemon."""

from __future__ import annotations

import os
import sys

import click

from streamd.cli.main import chosen_config
from streamd.cli.shared.installing import install, migrate_state
from streamd.cli.shared.opening import alone, finish, opened_site, opened_state, settings_of
from streamd.errors import NotInstalled
from streamd.lifecycle.installing import missing_triggers, require_tables
from streamd.lifecycle.notify import Notifier
from streamd.lifecycle.preparing import catalogue_of, require_usable
from streamd.settings import Settings
from streamd.store.heartbeat import STARTING, Heartbeat


@click.command()
@click.pass_context
def run(ctx: click.Context) -> None:
    """Run the daemon, until SIGTERM or Ctrl-C.

    It first migrates the state database to this release, and installs what is missing in the site's database
    (unless `install = false` in [site]). While another daemon works on the site's database, it waits.
    """
    settings = settings_of(ctx)
    require_usable(settings)
    for line in finish(_prepare(settings)):
        click.echo(line, err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    config = str(chosen_config(ctx).resolve())
    # The daemon is another program: neither click nor rich, nor what the checks took of memory, stays in it.
    # Each thread of the database driver would keep a heap of its own otherwise.
    environment = {"MALLOC_ARENA_MAX": "2", **os.environ}
    os.execve(sys.executable, [sys.executable, "-m", "streamd.process", config], environment)  # noqa: S606  # ourselves


async def _prepare(settings: Settings) -> list[str]:
    notifier = Notifier()
    async with notifier.starting(), opened_site(settings) as site:
        await catalogue_of(settings, site)  # what is wrong with it is said at once
        async with alone(settings, waits=notifier.status):
            catalogue, tables = await catalogue_of(settings, site)
            done = await migrate_state(settings)
            if settings.site.install:
                done += await install(settings, site, catalogue, tables)
            identity = require_tables(await site.identity())
            missing = missing_triggers(await site.our_triggers(), site.wanted_triggers(catalogue, tables))
            if missing:
                raise NotInstalled(
                    f"missing or out of date in the site's database: {', '.join(missing)}",
                    hint="run `streamd install` (or let `run` do it: install = true in [site])",
                )
            async with opened_state(settings, identity.site) as state:
                # Our process becomes the daemon: whoever asks meanwhile sees it start.
                await Heartbeat(state).beat(captured=0, problem=STARTING)
            return done
