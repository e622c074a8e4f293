"""Installs what the configuration needs in a site's database: streamd's tables, and triggers for every column.

If triggers were missing or incomplete, changes may be missing, so a gap is written into the log. The gap is noted
before the triggers are created, and written afterwards, so that it is not lost if the process ends in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streamd.common import clock
from streamd.db.base import SITE_SCHEMA, SiteDatabase, SiteIdentity
from streamd.errors import NotInstalled, SiteError
from streamd.model import Catalogue, DocumentType, Table
from streamd.store.engine import State, now_ms
from streamd.store.peers import Peers
from streamd.store.pending_gaps import PendingGaps
from streamd.update_log import UpdateLog

IDS_SINCE = 7
"""The first schema of streamd's tables that knows documents by ids alone. Earlier ones have lives or counterparts."""

VANISHED = (
    "triggers had vanished, or are new (for a unique key that is new, or that an earlier release did not look at): "
    "what only they see was not seen"
)
MIGRATION = "triggers were removed during a migration (uninstall --for-migration): changes made meanwhile were not seen"


async def install_site(
    name: str, site: SiteDatabase, catalogue: Catalogue, tables: Mapping[str, Table], state: State | None
) -> list[str]:
    """Create missing tables and triggers, and remove unneeded ones. Returns what was done, in words.

    `name` is the site's name for people. `state` is its state database, with this release's schema; None only if
    nothing was installed before. Raises `SiteError`.
    """
    before = await site.identity()
    if before is not None and before.schema > SITE_SCHEMA:
        raise SiteError(
            f"the site's database has streamd tables of a newer release (schema {before.schema})",
            hint="install that release, or a newer one",
        )
    blind = await site.blind_spots(catalogue, tables) if catalogue.offers else []
    if blind:
        raise SiteError("changes would be lost, or arrive out of order: " + "; ".join(blind), hint="fix that first")
    ours, wanted = await site.our_triggers(), site.wanted_triggers(catalogue, tables)
    statements = site.uninstall_script(sorted(ours.keys() - wanted.keys()), keep_tables=True)
    if before is None or before.schema != SITE_SCHEMA or any(ours.get(name) != wanted[name] for name in wanted):
        statements += site.install_script(catalogue, tables)
    if before is not None and state is not None:
        await note_gaps(state, losses(site, ours, catalogue, tables))
    if statements:
        await site.run_script(statements)
    if before is not None:
        await _convert_lives(site, before)
    after = await site.identity()
    if after is None:
        raise NotInstalled("streamd could not be installed in the site's database")
    done = _done(before, ours, wanted)
    if after.name != name:
        await site.set_name(name)
    if state is not None:
        done += await write_gaps(site, state)
    return done


async def _convert_lives(site: SiteDatabase, before: SiteIdentity) -> None:
    """Convert the names that an earlier release recorded to ids, also if that was interrupted before."""
    async with site.snapshot() as reader:
        is_due = before.schema < IDS_SINCE or await reader.has_conversions()
    if is_due:
        async with site.transaction() as transaction:
            await transaction.convert(before.site)


def add_remote_columns(
    site: SiteDatabase, doctypes: Iterable[DocumentType], tables: Mapping[str, Table]
) -> tuple[list[str], dict[str, Table]]:
    """The statements that add the columns with a document's origin to these types, and the tables after them.

    Raises `SiteError` for a single.
    """
    statements: list[str] = []
    after = dict(tables)
    for doctype in doctypes:
        if doctype.single:
            raise SiteError(
                f"{doctype.name} is a single, which has no table of its own to add columns to",
                hint="leave it out: there is one such document at each site, under the same name",
            )
        made, after[doctype.table] = site.remote_columns(after[doctype.table])
        statements += made
    return statements, after


def require_tables(identity: SiteIdentity | None) -> SiteIdentity:
    """The site's identity. Raises `NotInstalled` if streamd's tables are missing, or belong to another release."""
    if identity is None:
        raise NotInstalled("nothing is installed in the site's database", hint="run `streamd install`")
    if identity.schema != SITE_SCHEMA:
        raise NotInstalled(
            f"streamd's tables in the site's database belong to another release (schema {identity.schema}; this one "
            f"needs {SITE_SCHEMA})",
            hint="run `streamd install`" if identity.schema < SITE_SCHEMA else "run that release, or a newer one",
        )
    return identity


def missing_triggers(ours: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """The triggers that are missing or outdated."""
    return sorted(name for name, text in wanted.items() if ours.get(name) != text)


def losses(
    site: SiteDatabase, ours: Mapping[str, str], catalogue: Catalogue, tables: Mapping[str, Table]
) -> dict[str, str]:
    """The types of which these triggers may have missed changes, and why."""
    found: dict[str, set[str]] = {}
    for trigger, columns in site.outgrown(ours, catalogue, tables).items():
        for doctype in site.doctypes_behind([trigger], catalogue, tables):
            found.setdefault(doctype, set()).update(columns)
    reasons = {doctype: columns_changed(columns) for doctype, columns in found.items()}
    missing = site.wanted_triggers(catalogue, tables).keys() - ours.keys()
    return reasons | dict.fromkeys(site.doctypes_behind(missing, catalogue, tables), VANISHED)


def columns_changed(columns: Iterable[str]) -> str:
    """The reason of a gap: columns that the triggers did not record; empty if unknown."""
    names = ", ".join(sorted(columns))
    what = f"columns were added: {names}" if names else "the columns, keys or triggers of its tables were changed"
    return f"{what}; what changed before streamd's triggers were renewed was not seen as it is"


async def note_gaps(state: State, reasons: Mapping[str, str]) -> None:
    """Note gaps of types that a consumer was approved for. Of other types, no consumer misses anything."""
    approved = await Peers(state).approved_doctypes() if reasons else set()
    gaps = [(doctype, reason) for doctype, reason in reasons.items() if doctype in approved]
    if gaps and await UpdateLog(state).head() is not None:
        await PendingGaps(state).add(gaps)


async def note_migration(state: State) -> None:
    """Note gaps because the triggers are about to be removed for a migration."""
    await note_gaps(state, dict.fromkeys(await Peers(state).approved_doctypes(), MIGRATION))


async def write_gaps(site: SiteDatabase, state: State) -> list[str]:
    """Write the noted gaps into the log, now that changes are recorded again. Returns what was done, in words."""
    pending_gaps, log = PendingGaps(state), UpdateLog(state)
    pending = await pending_gaps.pending()
    if not pending:
        return []
    async with site.snapshot() as snapshot:
        claim = await snapshot.last_claim()
    at = clock.tick(claim.clock if claim else clock.ZERO, now_ms(), state.site)
    done = []
    for reason in dict.fromkeys(pending.values()):
        doctypes = sorted(doctype for doctype in pending if pending[doctype] == reason)
        await log.add_gap(doctypes, reason, clock=at)
        await pending_gaps.settle(doctypes)
        done.append(f"wrote into the log that changes of {', '.join(doctypes)} may be missing: {reason}")
    return done


def _done(before: SiteIdentity | None, ours: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    parts = [
        (len(wanted.keys() - ours.keys()), "made"),
        (sum(name in ours and ours[name] != text for name, text in wanted.items()), "renewed"),
        (len(ours.keys() - wanted.keys()), "removed"),
    ]
    done = []
    if before is None:
        done.append("made streamd's tables in the site's database")
    elif before.schema != SITE_SCHEMA:
        done.append("brought streamd's tables in the site's database to this release's schema")
    return done + [f"{word} {number} trigger{'s' if number > 1 else ''}" for number, word in parts if number]
