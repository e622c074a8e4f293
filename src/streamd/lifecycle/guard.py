"""Watches that the site's database still is what the daemon took it for: its tables, and our triggers on them.

Users change their schema while the daemon runs. What it knows is then wrong, and triggers may be gone, or may not see
a new column; so it has to be noticed soon, and everything has to be read again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import structlog

from streamd.db.base import SiteDatabase
from streamd.db.books.bookkeeping import RESTORED, went_back
from streamd.lifecycle.installing import missing_triggers
from streamd.model import Catalogue, ChildTable, Claim, Column, DocumentType, Table
from streamd.rows import tables_of
from streamd.store.engine import now_ms

log = structlog.get_logger("streamd.daemon")

LOOK_SECONDS = 2.0
"""How often the schema is looked at, where the engine tells cheaply whether anything changed."""

READ_SECONDS = 5.0
"""How often it is read, where only reading tells."""

SHARE = 20
"""Reading takes about this part of the time at most: a database with a thousand tables is read less often."""

LONGEST_SECONDS = 10.0
"""But so often at least: whoever changed the schema waits for it to be noticed."""


class Guard:
    """Compares tables and triggers with those that the daemon began with."""

    def __init__(
        self,
        database: SiteDatabase,
        catalogue: Catalogue,
        tables: Mapping[str, Table],
        *,
        site: str,
        claimed: Callable[[], Claim | None],
    ) -> None:
        """`claimed` gives the last claim that is known to be committed; None while that is not known."""
        self._database = database
        self._site = site
        self._claimed = claimed
        self._catalogue = catalogue
        self._tables = tables
        self._stamp: object = None
        self._took = math.inf
        self.pause = LOOK_SECONDS
        """Seconds until the next look."""
        self.looked_at: int | None = None
        """When the last look began that found all as it was (ms since 1970): until then triggers saw everything."""

    async def look(self) -> str:
        """What is different now, in words; nothing if all is as it was. Raises `SiteError`."""
        began_at = now_ms()
        different = await self._look()
        if not different:
            self.looked_at = began_at
        return different

    async def _look(self) -> str:
        replaced = await self._replaced()
        if replaced:
            return replaced
        for happened in await self._database.note_unseen(self._catalogue):
            log.warning(
                "changes_not_captured", happened=happened, hint="nothing: consumers are told, and read it again"
            )
        stamp = await self._database.schema_stamp()
        if stamp is not None and stamp == self._stamp:
            return ""
        began = time.monotonic()
        tables = await self._database.tables()
        different = "; ".join(differences(self._catalogue, self._tables, tables))
        if not different:
            wanted = self._database.wanted_triggers(self._catalogue, tables)
            missing = missing_triggers(await self._database.our_triggers(), wanted)
            if missing:
                different = f"triggers are missing, or not as they ought to be: {', '.join(missing)}"
        # The quickest reading tells how large the database is; another one may have met a busy moment.
        self._took = min(self._took, time.monotonic() - began)
        seldom = min(max(READ_SECONDS, self._took * SHARE), LONGEST_SECONDS)
        self.pause = LOOK_SECONDS if stamp is not None else seldom
        if not different:
            self._stamp = stamp
        return different

    async def _replaced(self) -> str:
        """How the database is another one than the daemon opened; on a server nothing but its contents tells."""
        known = self._claimed()
        identity = await self._database.identity()
        if identity is None:
            return "streamd's tables are gone from the site's database"
        if identity.site != self._site:
            return f"the site's database is another site's now ({identity.name or identity.site})"
        if known is None:
            return ""
        async with self._database.snapshot() as reader:
            return RESTORED if went_back(known, await reader.last_claim()) else ""


def differences(catalogue: Catalogue, before: Mapping[str, Table], after: Mapping[str, Table]) -> Iterator[str]:
    """How the tables of the document types differ from what they were, in words.

    What users' own triggers do is theirs; only whether there are some counts, since then more is looked at.
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
            yield f"{name} has triggers of its users now" if other.triggers else f"{name} has no more triggers"


def columns_added(
    catalogue: Catalogue, before: Mapping[str, Table], after: Mapping[str, Table]
) -> dict[str, dict[str, Column]]:
    """The columns of each document type that are new since, or of another type, by `column`, or `child field/column`.

    Types without such are left out.
    """
    found: dict[str, dict[str, Column]] = {}
    for doctype in catalogue.doctypes.values():
        owners: tuple[DocumentType | ChildTable, ...] = (doctype, *doctype.children)
        for owner in owners:
            name = owner.table
            if name in before and name in after:
                # What is excluded concerns nobody else.
                place = f"{owner.field}/" if isinstance(owner, ChildTable) else ""
                new = {
                    place + column.name: column
                    for column in after[name].columns
                    if column.name not in owner.excluded and _is_new(before[name].column(column.name), column)
                }
                if new:
                    found.setdefault(doctype.name, {}).update(new)
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
    said = "; ".join(f"{what}: {names}" for names, what in parts if names)
    return f"columns of {table} ({said or 'their order'})"
