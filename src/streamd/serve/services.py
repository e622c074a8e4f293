"""What the handlers need, given to them at one place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from streamd.db.base import SiteDatabase, SiteIdentity
from streamd.errors import InvalidRequest, StateBusy
from streamd.model import Catalogue
from streamd.settings import ServerSettings
from streamd.store.peers import Peers, Standing
from streamd.update_log import Head, UpdateLog


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, as its credential says."""

    api_key: str
    consumer: str


@dataclass(frozen=True, slots=True)
class Services:
    """The site whose log is served. `drain_capture` brings the log up to date with the site's database."""

    identity: SiteIdentity
    settings: ServerSettings
    catalogue: Catalogue
    peers: Peers
    log: UpdateLog
    database: SiteDatabase
    drain_capture: Callable[[], Awaitable[None]]

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

    def offered(self, standing: Standing) -> dict[str, int]:
        """The approved types that this site still offers, with the sequence after which each may be read."""
        return {
            doctype: start
            for doctype, start in standing.intervals().items()
            if doctype in self.catalogue.offers and doctype in self.catalogue
        }


def unauthorized() -> InvalidRequest:
    """One answer for every wrong credential: it does not say what is wrong with it."""
    return InvalidRequest(
        "this needs a valid API key and secret",
        hint="put a new api_key and api_secret into [producers.NAME] of the consumer's file, and restart its daemon; "
        "`streamd keys create` at the producer makes them",
        status=401,
        code="unauthorized",
    )
