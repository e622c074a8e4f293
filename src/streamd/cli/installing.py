"""Brings both databases to what this release and the configuration need: for `install` and for `run`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping

from streamd.cli.opening import opened_state, state_is_current
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
    done = subprocess.run(  # noqa: ASYNC221  # nothing else happens meanwhile; our own interpreter
        [sys.executable, "-m", "streamd.store.migrate"],
        # Not as an argument: a password in it would be shown to whoever lists this machine's processes.
        env={**os.environ, URL_VARIABLE: url},
        capture_output=True,
        text=True,
        timeout=MIGRATION_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        words, mend = _cause(done.stderr)
        raise StateError(
            f"the state database could not be brought to this release's schema: {words}",
            hint=mend or f"see that {shown_url(url)} can be written, and is no newer release's",
        )
    return ["brought the state database to this release's schema"]


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
    """What a failed migration said, and its mend where it knew one: our own words, or the end of a traceback."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    mend = lines.pop().removeprefix("→ ") if lines and lines[-1].startswith("→ ") else ""
    raised = [found[1] for line in lines if (found := _RAISED.match(line))]
    return raised[-1] if raised else (lines or ["it said nothing"])[-1], mend
