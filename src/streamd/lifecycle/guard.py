"""Checks that the site's database still has the tables and triggers that the daemon started with.

Users change their schema while the daemon runs. Triggers may then be gone, or may not record a new column. So changes
are noticed soon, and the daemon starts again with the new schema.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass

import structlog

from streamd.db.base import SiteDatabase
from streamd.db.books.bookkeeping import RESTORED, went_back
from streamd.lifecycle.installing import missing_triggers
from streamd.model import Catalogue, ChildTable, Claim, Column, DocumentType, Table
from streamd.rows import tables_of
from streamd.store.engine import now_ms

log = structlog.get_logger("streamd.daemon")

LOOK_SECONDS = 2.0
"""How often to check the schema, if the engine can tell cheaply whether anything changed."""

READ_SECONDS = 5.0
"""How often to read the schema, if the engine cannot."""

TIME_SHARE = 20
"""Reading takes at most this fraction of the time: a database with a thousand tables is read less often."""

LONGEST_SECONDS = 10.0
"""The schema is read at least this often: whoever changed it waits for the daemon to notice."""


@dataclass(slots=True)
class Guard:
    """Compares tables and triggers with those that the daemon started with.

    `claimed` returns the last claim that is known to be committed; None while unknown. `pause` is the number of seconds
    until the next check. `looked_at` is when the last check without differences began (ms since 1970): until then,
    triggers recorded every change.
    """

    database: SiteDatabase
    catalogue: Catalogue
    tables: Mapping[str, Table]
    _: KW_ONLY
    site: str
    claimed: Callable[[], Claim | None]
    pause: float = LOOK_SECONDS
    looked_at: int | None = None
    _stamp: object = None
    _reading_seconds: float = math.inf

    async def look(self) -> str:
        """What is different now, in words; empty if nothing is. Raises `SiteError`."""
        started_at = now_ms()
        difference = await self._find_replacement() or await self._find_difference()
        if not difference:
            self.looked_at = started_at
        return difference

    async def _find_difference(self) -> str:
        for happened in await self.database.note_unseen(self.catalogue):
            hint = "no action is needed: consumers receive a gap, and read the type again"
            log.warning("changes_not_captured", happened=happened, hint=hint)
        stamp = await self.database.schema_stamp()
        if stamp is not None and stamp == self._stamp:
            return ""
        started_at = time.monotonic()
        tables = await self.database.tables()
        difference = "; ".join(differences(self.catalogue, self.tables, tables))
        if not difference:
            wanted = self.database.wanted_triggers(self.catalogue, tables)
            missing = missing_triggers(await self.database.our_triggers(), wanted)
            difference = f"triggers are missing or outdated: {', '.join(missing)}" if missing else ""
        # The quickest reading tells how large the database is. A slower one may have met a busy moment.
        self._reading_seconds = min(self._reading_seconds, time.monotonic() - started_at)
        slow_pause = min(max(READ_SECONDS, self._reading_seconds * TIME_SHARE), LONGEST_SECONDS)
        self.pause = LOOK_SECONDS if stamp is not None else slow_pause
        if not difference:
            self._stamp = stamp
        return difference

    async def _find_replacement(self) -> str:
        """Whether the database was replaced by another one. On a server, only its contents tell."""
        known = self.claimed()
        identity = await self.database.identity()
        if identity is None:
            return "streamd's tables are gone from the site's database"
        if identity.site != self.site:
            return f"the site's database belongs to another site now ({identity.name or identity.site})"
        if known is None:
            return ""
        async with self.database.snapshot() as reader:
            return RESTORED if went_back(known, await reader.last_claim()) else ""


def differences(catalogue: Catalogue, before: Mapping[str, Table], after: Mapping[str, Table]) -> Iterator[str]:
    """How the tables of the document types differ from what they were, in words.

    Of the user's own triggers, only whether a table has any matters: its rows are then read back more thoroughly.
    """
    used = {name for doctype in catalogue.doctypes.values() for name in tables_of(doctype)}
    for name in sorted(used & before.keys()):
        one, other = before[name], after.get(name)
        if other is None:
            yield f"the table {name} is gone"
        elif one.columns != other.columns:
            yield _columns(name, one.columns, other.columns)
        elif (one.primary_key, one.uniques, one.foreign_keys) != (other.primary_key, other.uniques, other.foreign_keys):
            yield f"the keys of {name} were changed"
        elif bool(one.triggers) != bool(other.triggers):
            yield f"{name} has triggers of the user now" if other.triggers else f"{name} has no triggers any more"


def columns_added(
    catalogue: Catalogue, before: Mapping[str, Table], after: Mapping[str, Table]
) -> dict[str, dict[str, Column]]:
    """The columns of each document type that are new since, or of another type, by `column`, or `child field/column`.

    Types without new columns are left out.
    """
    found: dict[str, dict[str, Column]] = {}
    for doctype in catalogue.doctypes.values():
        owners: tuple[DocumentType | ChildTable, ...] = (doctype, *doctype.children)
        for owner in owners:
            prefix = f"{owner.field}/" if isinstance(owner, ChildTable) else ""
            old, new = before.get(owner.table), after.get(owner.table)
            for column in new.columns if old is not None and new is not None else ():
                if old is not None and column.name not in owner.excluded and _is_new(old.column(column.name), column):
                    found.setdefault(doctype.name, {})[prefix + column.name] = column
    return found


def _is_new(before: Column | None, column: Column) -> bool:
    """Whether the column was not there, or had another type: then the database converted what it held."""
    return before is None or before.declared != column.declared


def _columns(table: str, before: Iterable[Column], after: Iterable[Column]) -> str:
    old, new = {column.name: column for column in before}, {column.name: column for column in after}
    parts = [
        (", ".join(name for name in new if name not in old), "added"),
        (", ".join(name for name in old if name not in new), "removed"),
        (", ".join(name for name in old if name in new and old[name] != new[name]), "changed"),
    ]
    changes = "; ".join(f"{what}: {names}" for names, what in parts if names)
    return f"columns of {table} ({changes or 'their order'})"
