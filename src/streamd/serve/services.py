"""What the handlers share: the site, its log and database, and what a caller may read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from streamd.db.base import Reader, SiteDatabase, SiteIdentity
from streamd.errors import InvalidRequest, StateBusy, StreamdError
from streamd.model import Catalogue, Cursor
from streamd.serve.conditions import Condition, compile_condition
from streamd.settings import ServerSettings
from streamd.store.peers import Approval, Peers, Standing
from streamd.update_log import Head, UpdateLog
from streamd.wire import write_cursor

DRAIN_ATTEMPTS = 5
"""How often to drain capture and try for a snapshot without uncaptured changes."""

Columns = Mapping[str, frozenset[str]]
"""Columns by type: `column`, or `child field/column`."""


async def no_columns() -> Columns:
    """An empty mapping."""
    return {}


async def no_types(_: str) -> frozenset[str]:
    """An empty set."""
    return frozenset()


@dataclass(frozen=True, slots=True)
class Caller:
    """The consumer that sent a request, as identified by its credential."""

    api_key: str
    consumer: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of the site. It contains every log entry up to the cursor `as_of`. `clock` is the last claim's."""

    reader: Reader
    as_of: str
    clock: str


@dataclass(frozen=True, slots=True)
class Services:
    """The site whose log is served. `drain_capture` brings the log up to date with the site's database.

    `tracked_doctypes` are the types whose local edits this site records.
    """

    identity: SiteIdentity
    settings: ServerSettings
    catalogue: Catalogue
    peers: Peers
    log: UpdateLog
    database: SiteDatabase
    drain_capture: Callable[[], Awaitable[None]]
    tracked_doctypes: frozenset[str] = frozenset()
    watermark_at: Callable[[Cursor], int | None] = lambda _: None
    """The watermark of a cursor: everything committed at this site before this moment (ms since 1970) is in the log
    up to the cursor. None if unknown."""
    problem: Callable[[], str] = lambda: ""
    """What is wrong with the daemon now; empty if nothing is."""
    unfilled_columns: Callable[[], Awaitable[Columns]] = no_columns
    """New columns of this site whose values are not backfilled from the producer yet."""
    named_here: Callable[[str], Awaitable[frozenset[str]]] = no_types
    """The types of which this site names the documents itself that come from another site (its UUID)."""

    async def require_standing(self, caller: Caller) -> Standing:
        """What the caller may read now. Raises `InvalidRequest` (401) if its key was revoked since the request."""
        standing = await self.peers.standing(caller.api_key)
        if standing is None:
            raise unauthorized()
        return standing

    async def require_registration(self, caller: Caller) -> tuple[Standing, str]:
        """What the caller may read now, and its site's UUID. Raises `InvalidRequest` (401; 409 before a handshake)."""
        standing = await self.require_standing(caller)
        if standing.site is None:
            raise InvalidRequest(
                f"{caller.consumer} has not sent a handshake",
                hint="send POST /v1/handshake first",
                status=409,
                code="handshake_required",
            )
        return standing, standing.site

    async def require_head(self) -> Head:
        """The end of the log. Raises `StateBusy` if the site has no log yet."""
        head = await self.log.head()
        if head is None:
            raise StateBusy("this site has no log yet", hint="its daemon is starting; try again in a moment")
        return head

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[Snapshot]:
        """A snapshot that contains exactly the changes in the log up to its cursor.

        If the site is written to all the time, no such moment may exist. Then the cursor is an earlier one: the
        snapshot contains all entries up to it, and possibly some newer changes.
        """
        for attempt in range(1, DRAIN_ATTEMPTS + 1):
            await self.drain_capture()
            head = await self.require_head()
            async with self.database.snapshot() as reader:
                claim = await reader.last_claim()
                is_exact = claim is not None and not await reader.waiting_changes(claim)
                if is_exact and claim is not None and (claim.log, claim.batch) != (head.log, head.batch):
                    new_head = await self.require_head()
                    is_exact = (claim.log, claim.batch) == (new_head.log, new_head.batch)
                    head = new_head if is_exact else head
                if is_exact or attempt == DRAIN_ATTEMPTS:
                    yield Snapshot(reader, write_cursor(head.cursor), claim.clock if claim else "")
                    return

    def resolve_grants(self, standing: Standing) -> Grants:
        """What these approvals grant, given the document types as they are now."""
        grants = Grants()
        for row in standing.approved:
            if row.doctype not in self.catalogue.offers or row.doctype not in self.catalogue:
                continue
            if row.condition:
                try:
                    grants.conditions[row.doctype] = compile_condition(row.condition, self.catalogue[row.doctype])
                except StreamdError as error:
                    grants.broken[row.doctype] = row, error.message
                    continue
            grants.starts[row.doctype] = row.from_sequence or 0
            grants.opens[row.doctype] = frozenset(row.opens)
            grants.lookups |= {name for name in row.lookups if self.allows_lookup(name)}
        return grants

    def allows_lookup(self, doctype: str) -> bool:
        """Whether an approval may allow lookups by value in a type. Guarded types must also be offered."""
        return doctype in self.catalogue and (doctype not in self.catalogue.guarded or doctype in self.catalogue.offers)


@dataclass(slots=True)
class Grants:
    """What a caller may read, of the types that are approved and that this site still offers.

    `starts`: by type, the sequence after which its entries may be read. `opens`: by type, the further types that it
    opens through links. `conditions`: by type, the condition of its approval, if there is one. `lookups`: types whose
    documents may be looked up by value. `broken`: by type, the approval whose condition no longer compiles, and why;
    nothing of these types is served.
    """

    starts: dict[str, int] = field(default_factory=dict)
    opens: dict[str, frozenset[str]] = field(default_factory=dict)
    conditions: dict[str, Condition] = field(default_factory=dict)
    lookups: set[str] = field(default_factory=set)
    broken: dict[str, tuple[Approval, str]] = field(default_factory=dict)


def unauthorized() -> InvalidRequest:
    """The same answer for every wrong credential: it does not tell a guesser which part is wrong."""
    return InvalidRequest(
        "this needs a valid API key and secret",
        hint="put a new api_key and api_secret into [producers.NAME] of the consumer's file, and restart its daemon; "
        "`streamd keys create` at the producer makes them",
        status=401,
        code="unauthorized",
    )
