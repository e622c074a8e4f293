"""What the handlers need, given to them at one place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from streamd.db.base import SiteDatabase, SiteIdentity
from streamd.errors import InvalidRequest, StateBusy, StreamdError
from streamd.model import Catalogue, Cursor
from streamd.serve.conditions import Condition, condition_of
from streamd.settings import ServerSettings
from streamd.store.peers import Approval, Peers, Standing
from streamd.update_log import Head, UpdateLog

Unread = Mapping[str, frozenset[str]]
"""Columns by type: `column`, or `child field/column`."""


async def all_read() -> Unread:
    """There are none."""
    return {}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, as its credential says."""

    api_key: str
    consumer: str


@dataclass(frozen=True, slots=True)
class Services:
    """The site whose log is served. `drain_capture` brings the log up to date with the site's database.

    `remembered` are the types of which it is remembered what this site's users edit.
    """

    identity: SiteIdentity
    settings: ServerSettings
    catalogue: Catalogue
    peers: Peers
    log: UpdateLog
    database: SiteDatabase
    drain_capture: Callable[[], Awaitable[None]]
    remembered: frozenset[str] = frozenset()
    covered_by: Callable[[Cursor], int | None] = lambda _: None
    """The moment up to which everything that was committed here is at or before a place of the log."""
    problem: Callable[[], str] = lambda: ""
    """What is wrong with the daemon at the moment; nothing where all goes well."""
    unread: Callable[[], Awaitable[Unread]] = all_read
    """The columns of this site that have not been read yet from where their documents come from."""

    async def standing(self, caller: Caller) -> Standing:
        """What the caller may have now. Raises `InvalidRequest` where its key was revoked meanwhile."""
        found = await self.peers.standing(caller.api_key)
        if found is None:
            raise unauthorized()
        return found

    async def registered(self, caller: Caller) -> tuple[Standing, str]:
        """What the caller may have now, and its site's UUID. Raises `InvalidRequest` before a handshake."""
        found = await self.standing(caller)
        if found.site is None:
            raise InvalidRequest(
                f"{caller.consumer} has not introduced itself",
                hint="send POST /v1/handshake first",
                status=409,
                code="handshake_required",
            )
        return found, found.site

    async def head(self) -> Head:
        """The log's end. Raises `StateBusy` while no log has begun."""
        found = await self.log.head()
        if found is None:
            raise StateBusy("this site has no log yet", hint="its daemon is starting; try again in a moment")
        return found

    def allowed(self, standing: Standing) -> Allowed:
        """What these approvals allow with the types as they are now."""
        found = Allowed()
        for row in standing.approved:
            if row.doctype not in self.catalogue.offers or row.doctype not in self.catalogue:
                continue
            if row.condition:
                try:
                    found.conditions[row.doctype] = condition_of(row.condition, self.catalogue[row.doctype])
                except StreamdError as error:
                    found.broken[row.doctype] = row, error.message
                    continue
            found.starts[row.doctype] = row.from_sequence or 0
            found.opens[row.doctype] = frozenset(row.opens)
            found.lookups |= {name for name in row.lookups if self.may_be_found(name)}
        return found

    def may_be_found(self, doctype: str) -> bool:
        """Whether documents of a type may be found by value where an approval says so: not those that are guarded."""
        return doctype in self.catalogue and (doctype not in self.catalogue.guarded or doctype in self.catalogue.offers)


@dataclass(slots=True)
class Allowed:
    """What a caller may have, of the types that are approved and that this site still offers.

    `starts` has, by type, the sequence after which its entries may be read; `opens` the types that it opens through
    links; `conditions` what has to hold of its documents, where it is approved under a condition. `lookups` are the
    types of which documents may be found by their values. `broken` are the approvals whose condition cannot be judged,
    with the reason: nothing of their types is served.
    """

    starts: dict[str, int] = field(default_factory=dict)
    opens: dict[str, frozenset[str]] = field(default_factory=dict)
    conditions: dict[str, Condition] = field(default_factory=dict)
    lookups: set[str] = field(default_factory=set)
    broken: dict[str, tuple[Approval, str]] = field(default_factory=dict)


def unauthorized() -> InvalidRequest:
    """One answer for every wrong credential: it does not say what is wrong with it."""
    return InvalidRequest(
        "this needs a valid API key and secret",
        hint="put a new api_key and api_secret into [producers.NAME] of the consumer's file, and restart its daemon; "
        "`streamd keys create` at the producer makes them",
        status=401,
        code="unauthorized",
    )
