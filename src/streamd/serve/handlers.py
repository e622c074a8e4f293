"""The endpoints' handlers: read the request, ask the part that knows, write the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import msgspec
import structlog
from aiohttp import web

from streamd import __version__
from streamd.errors import InvalidRequest, StreamdError
from streamd.model import ApprovalStatus
from streamd.serve import openapi
from streamd.serve.answers import answer, is_gone, read_body
from streamd.serve.conditions import condition_of, readable_condition
from streamd.serve.connections.authentication import Authentication
from streamd.serve.connections.listener import known
from streamd.serve.descriptors import describe
from streamd.serve.documents import Desk
from streamd.serve.events import Feed
from streamd.serve.listing import Listing
from streamd.serve.services import Caller, Services
from streamd.store.engine import now_ms
from streamd.store.peers import Approval
from streamd.wire import (
    PROTOCOL,
    DocumentsRequest,
    EventsRequest,
    FindRequest,
    HandshakeAnswer,
    HandshakeRequest,
    HealthAnswer,
    NamesRequest,
    SubscriptionState,
    WantedDoctype,
)

log = structlog.get_logger("streamd.serve")

PROTOCOLS = frozenset({PROTOCOL})
"""The versions that this site can speak."""

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]
HandleCaller = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]


class Handlers:
    """One handler per endpoint, by its name."""

    def __init__(self, services: Services, feed: Feed) -> None:
        self._services = services
        self._authentication = Authentication(services.peers, services.settings.requests_per_minute)
        self._feed = feed
        self._desk = Desk(services)
        self._listing = Listing(services)
        self._waiting: dict[str, list[str]] = {}
        self._openapi = msgspec.json.encode(openapi.document())

    def by_name(self) -> dict[str, Handle]:
        return {
            "health": self._open(self._health),
            "openapi.json": self._open(self._describe_api),
            "handshake": self._for_callers(self._handshake),
            "events": self._for_callers(self._events),
            "documents": self._for_callers(self._documents),
            "names": self._for_callers(self._names),
            "find": self._for_callers(self._find),
        }

    def _open(self, handle: Handle) -> Handle:
        async def handler(request: web.Request) -> web.StreamResponse:
            self._authentication.admit_stranger(request)
            return await handle(request)

        return handler

    def _for_callers(self, handle: HandleCaller) -> Handle:
        async def handler(request: web.Request) -> web.StreamResponse:
            caller = await self._authentication.caller(request)
            known(request, caller.api_key)
            return await handle(request, caller)

        return handler

    async def _health(self, request: web.Request) -> web.StreamResponse:
        # What it is stands in `streamd status`: it is no stranger's.
        said = HealthAnswer(status="troubled" if self._services.problem() else "ok")
        return await answer(request, said.model_dump_json().encode())

    async def _describe_api(self, request: web.Request) -> web.StreamResponse:
        return await answer(request, self._openapi)

    async def _handshake(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        asked = await read_body(request, HandshakeRequest)
        common = PROTOCOLS & set(asked.protocols)
        if not common:
            raise InvalidRequest(
                f"this site speaks protocol {', '.join(map(str, sorted(PROTOCOLS)))}, and the consumer does not",
                hint="upgrade the site with the older release",
                code="unsupported_protocol",
            )
        if asked.site == self._services.identity.site:
            raise InvalidRequest(
                "the consumer says that it is this site itself",
                hint="a cloned site needs an identity of its own: `streamd init --new-identity`",
                status=409,
                code="duplicate_site",
            )
        await self._refuse_what_cannot_be_judged(asked.doctypes)
        catalogue = self._services.catalogue
        opens = {
            each.doctype: catalogue.opened_by(each.doctype)
            for each in asked.doctypes
            if each.doctype in catalogue.offers
        }
        rows = await self._services.peers.register(caller.consumer, asked, opens)
        if not asked.trial:
            self._say_what_waits(caller.consumer, {row.doctype: row.status for row in rows})
        head = await self._services.log.head()
        said = HandshakeAnswer(
            protocol=max(common),
            site=self._services.identity.site,
            name=self._services.identity.name,
            version=__version__,
            log=head.log if head is not None else "",
            clock_ms=now_ms(),
            subscriptions=[_state(row) for row in rows],
            doctypes=[describe(catalogue[name]) for name in self._visible(rows)],
        )
        return await answer(request, said.model_dump_json().encode())

    async def _refuse_what_cannot_be_judged(self, wanted: list[WantedDoctype]) -> None:
        """Raises `InvalidRequest` for the first condition that could not be judged.

        Of a type that is not offered nothing is said but whether the condition can be read.
        """
        catalogue = self._services.catalogue
        for each in wanted:
            text = each.condition.strip()
            if not text or each.unsubscribe:
                continue
            await asyncio.sleep(0)  # others are served between two of them
            try:
                if each.doctype in catalogue.offers and each.doctype in catalogue:
                    condition_of(text, catalogue[each.doctype])
                else:
                    readable_condition(text, each.doctype)
            except StreamdError as error:
                raise InvalidRequest(error.message, hint=error.hint) from error

    def _say_what_waits(self, consumer: str, statuses: Mapping[str, str]) -> None:
        """Log once what a person here has to decide about, and what was approved of that."""
        before = self._waiting.get(consumer, [])
        pending = [doctype for doctype, status in statuses.items() if status == ApprovalStatus.PENDING]
        if pending and before != pending:
            log.info("approval_wanted", consumer=consumer, doctypes=pending, hint="streamd consumers approve")
        approved = [doctype for doctype in before if statuses.get(doctype) == ApprovalStatus.APPROVED]
        if approved:
            log.info("approved", consumer=consumer, doctypes=approved)
        self._waiting[consumer] = pending

    def _visible(self, rows: list[Approval]) -> list[str]:
        """The approved types that are offered, those that they open, and those that may be looked into."""
        approved = [row for row in rows if row.status == "Approved" and row.doctype in self._services.catalogue.offers]
        names = {row.doctype for row in approved}.union(*(row.opens for row in approved))
        names |= {name for row in approved for name in row.lookups if self._services.may_be_found(name)}
        return sorted(name for name in names if name in self._services.catalogue)

    async def _events(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        asked = await read_body(request, EventsRequest)
        page = await self._feed.page(caller, asked, partial(is_gone, request))
        return await answer(request, msgspec.json.encode(page))

    async def _documents(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        asked = await read_body(request, DocumentsRequest)
        return await answer(request, msgspec.json.encode(await self._desk.documents(caller, asked)))

    async def _names(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        asked = await read_body(request, NamesRequest)
        return await answer(request, msgspec.json.encode(await self._listing.names(caller, asked)))

    async def _find(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        asked = await read_body(request, FindRequest)
        return await answer(request, msgspec.json.encode(await self._desk.find(caller, asked)))


def _state(row: Approval) -> SubscriptionState:
    # What a type would open is the operator's to see; the consumer learns it with the approval.
    if row.status != ApprovalStatus.APPROVED:
        return SubscriptionState(doctype=row.doctype, status=ApprovalStatus(row.status).value)
    return SubscriptionState(
        doctype=row.doctype,
        status="Approved",
        opens=list(row.opens),
        approved_at=row.decided_at,
        resumed=row.resumed,
    )
