"""Brings both databases to what this release and the configuration need: for `install` and for `run`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping

from streamd import clock
from streamd.cli.opening import opened_state, state_is_current
from streamd.db.base import SITE_SCHEMA, SiteDatabase
from streamd.errors import NotInstalled, SiteError, StateError
from streamd.model import Catalogue, Table
from streamd.settings import Settings
from streamd.sqlite_driver import what_to_look_at
from streamd.store.engine import now_ms
from streamd.store.peers import Peers
from streamd.update_log import UpdateLog

MIGRATION_SECONDS = 600

_RAISED = re.compile(r"[\w.]*(?:Error|Exception)\b: (?:\(sqlite3\.\w+\) )?(.+)")
"""The line of a traceback that says which exception it was; what the database said stands behind its class."""


async def migrate_state(settings: Settings) -> list[str]:
    """Create or upgrade the state database where it needs it; says what was done. Raises `StateError`.

    Alembic runs as a process of its own: what it takes of memory is given back.
    """
    if await state_is_current(settings):
        return []
    url = settings.state.database
    done = subprocess.run(  # noqa: ASYNC221, S603  # nothing else happens meanwhile; our own interpreter
        [sys.executable, "-m", "streamd.store.migrate", url],
        capture_output=True,
        text=True,
        timeout=MIGRATION_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        words = _cause(done.stderr)
        raise StateError(
            f"the state database could not be brought to this release's schema: {words}",
            hint=what_to_look_at(words, "state.database")
            or f"see that {url} can be written, and is no newer release's",
        )
    return ["brought the state database to this release's schema"]


async def install_site(
    settings: Settings, site: SiteDatabase, catalogue: Catalogue, tables: Mapping[str, Table]
) -> list[str]:
    """Make what is missing of our tables and triggers, remove what is too much; says what was done.

    The state database has to be current. Raises `SiteError`.
    """
    before = await site.identity()
    if before is not None and before.schema > SITE_SCHEMA:
        raise SiteError(
            f"the site's database has streamd tables of a newer release (schema {before.schema})",
            hint="install that release, or a newer one",
        )
    ours, wanted = await site.our_triggers(), site.wanted_triggers(catalogue, tables)
    statements = site.uninstall_script(sorted(ours.keys() - wanted.keys()), keep_tables=True)
    missing = wanted.keys() - ours.keys()
    if before is None or before.schema != SITE_SCHEMA or any(ours.get(name) != wanted[name] for name in wanted):
        statements += site.install_script(catalogue, tables)
    if statements:
        await site.run_script(statements)
    after = await site.identity()
    if after is None:
        raise NotInstalled("streamd could not be installed in the site's database")
    done = _done(before is None, ours, wanted)
    if after.name != settings.site.name:
        await site.set_name(settings.site.name)
    if before is not None and missing:
        done += await _show_gap(settings, site, catalogue, site.doctypes_behind(missing, catalogue, tables))
    return done


def missing_triggers(ours: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """The triggers that are not there, or not as they ought to be."""
    return sorted(name for name, text in wanted.items() if ours.get(name) != text)


def _cause(trace: str) -> str:
    """What a traceback is about, in its own words: its last exception, without the library's references."""
    lines = [line.strip() for line in trace.splitlines() if line.strip()]
    raised = [found[1] for line in lines if (found := _RAISED.match(line))]
    return raised[-1] if raised else (lines or ["it said nothing"])[-1]


def _done(new: bool, ours: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    made = len(wanted.keys() - ours.keys())
    renewed = sum(name in ours and ours[name] != text for name, text in wanted.items())
    removed = len(ours.keys() - wanted.keys())
    parts = [(made, "made"), (renewed, "renewed"), (removed, "removed")]
    done = ["made streamd's tables in the site's database"] if new else []
    return done + [f"{word} {number} trigger{'s' if number > 1 else ''}" for number, word in parts if number]


async def _show_gap(settings: Settings, site: SiteDatabase, catalogue: Catalogue, doctypes: Iterable[str]) -> list[str]:
    """Say in the log that changes may be missing: a gap is never silent.

    Only for types that somebody was approved for: of the others nothing was promised.
    """
    identity = await site.identity()
    assert identity is not None  # noqa: S101  # the caller installed it
    async with site.snapshot() as snapshot:
        claim = await snapshot.last_claim()
    async with opened_state(settings, identity.site) as state:
        affected = sorted(set(doctypes) & await Peers(state).approved_doctypes())
        log = UpdateLog(state)
        if not affected or await log.head() is None:
            return []
        await log.add_gap(
            affected,
            "triggers were missing: changes made meanwhile were not seen",
            clock=clock.tick(claim.clock if claim else clock.ZERO, now_ms(), identity.site),
        )
    return [f"wrote into the log that changes of {', '.join(affected)} may be missing (there were no triggers)"]
