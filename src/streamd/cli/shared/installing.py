"""Brings both databases to what this release and the configuration need: for `install` and for `run`."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress

from streamd.cli.shared.opening import opened_state, state_is_current
from streamd.db.base import SiteDatabase
from streamd.errors import StateError
from streamd.lifecycle.installing import install_site
from streamd.model import Catalogue, Table
from streamd.settings import Settings, shown_url
from streamd.store.migrate import URL_VARIABLE

MIGRATION_SECONDS = 600

_RAISED = re.compile(r"[\w.]*(?:Error|Exception)\b: (.+)")
"""The line of a traceback that says which exception it was; what it says stands behind its class."""


async def migrate_state(settings: Settings) -> list[str]:
    """Create or upgrade the state database where it needs it; says what was done. Raises `StateError`.

    Alembic runs as a process of its own: what it takes of memory is given back.
    """
    if await state_is_current(settings):
        return []
    url = settings.state.database
    code, said = await _migrated(url)
    if code < 0:
        raise StateError(
            f"bringing the state database to this release's schema was stopped by {_signal_name(-code)}",
            hint="the database is unharmed: run the command again",
        )
    if code != 0:
        words, hint = _cause(said)
        raise StateError(
            f"the state database could not be brought to this release's schema: {words}",
            hint=hint or f"see that {shown_url(url)} can be written, and is no newer release's",
        )
    return ["brought the state database to this release's schema"]


async def _migrated(url: str) -> tuple[int, str]:
    """Run the migration to its end: its exit code (that of a signal is negative), and what it said.

    SIGTERM to this process stops the migration, and is answered: in a container it would be ignored otherwise.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "streamd.store.migrate",
        # Not as an argument: a password in it would be shown to whoever lists this machine's processes.
        env={**os.environ, URL_VARIABLE: url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    stopped: list[int] = []

    def stop() -> None:
        stopped.append(-signal.SIGTERM)
        with suppress(ProcessLookupError):
            process.terminate()

    loop = asyncio.get_running_loop()
    with suppress(RuntimeError):  # only the main thread is told of signals
        loop.add_signal_handler(signal.SIGTERM, stop)
    try:
        async with asyncio.timeout(MIGRATION_SECONDS):
            _, said = await process.communicate()
    except TimeoutError:
        return 1, f"it took longer than {MIGRATION_SECONDS} seconds"
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        if process.returncode is None:
            process.kill()
            await process.wait()
    # Who asked to stop is not kept waiting, also where the migration had just come to its end.
    return (stopped or [process.returncode or 0])[0], said.decode("utf-8", "replace")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


async def install(
    settings: Settings, site: SiteDatabase, catalogue: Catalogue, tables: Mapping[str, Table]
) -> list[str]:
    """Install in the site's database; says what was done. The state database has to be current. Raises `SiteError`."""
    identity = await site.identity()
    if identity is None:
        return await install_site(settings.site.name, site, catalogue, tables, None)
    async with opened_state(settings, identity.site) as state:
        return await install_site(settings.site.name, site, catalogue, tables, state)


def _cause(said: str) -> tuple[str, str]:
    """What a failed migration said, and its hint where it knew one: our own words, or the end of a traceback."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    hint = lines.pop().removeprefix("→ ") if lines and lines[-1].startswith("→ ") else ""
    raised = [found[1] for line in lines if (found := _RAISED.match(line))]
    return raised[-1] if raised else (lines or ["it said nothing"])[-1], hint
