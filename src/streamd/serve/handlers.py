"""The endpoints: each handler reads a request, calls the module that answers it, and writes the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar

import structlog
from aiohttp import web

from streamd import __version__
from streamd.errors import InvalidRequest, StreamdError
from streamd.model import ApprovalStatus
from streamd.serve import openapi
from streamd.serve.answers import answer, is_client_gone, read_body
from streamd.serve.conditions import compile_condition, parse_condition
from streamd.serve.connections.authentication import Authentication
from streamd.serve.connections.listener import mark_authenticated
from streamd.serve.documents import DocumentReader
from streamd.serve.events import EventFeed
from streamd.serve.listing import NameListing
from streamd.serve.services import Caller, Services
from streamd.store.engine import now_ms
from streamd.store.peers import Approval
from streamd.wire import (
    PROTOCOL,
    SITE_HEADER,
    DocumentsRequest,
    EventsRequest,
    FindRequest,
    HandshakeAnswer,
    HandshakeRequest,
    HealthAnswer,
    Message,
    NamesRequest,
    SubscriptionState,
    WantedDoctype,
    describe,
)

log = structlog.get_logger("streamd.serve")

PROTOCOLS = frozenset({PROTOCOL})
"""The protocol versions that this site speaks."""

Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]
HandleCaller = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]
M = TypeVar("M", bound=Message)


class Handlers:
    """One handler per endpoint."""

    def __init__(self, services: Services, feed: EventFeed) -> None:
        self._services = services
        self._authentication = Authentication(services.peers, services.settings.requests_per_minute)
        self._feed = feed
        self._documents = DocumentReader(services)
        self._listing = NameListing(services)
        self._pending: dict[str, list[str]] = {}
        self._openapi = openapi.build_document()

    def by_endpoint(self) -> dict[str, Handle]:
        """The handlers by the name of their endpoint."""
        return {
            "health": self._without_key(self._health),
            "openapi.json": self._without_key(self._describe_api),
            "handshake": self._with_key(self._handshake),
            "events": self._with_key(self._events),
            "documents": self._with_key(partial(_reply, DocumentsRequest, self._documents.fetch)),
            "names": self._with_key(partial(_reply, NamesRequest, self._listing.list_names)),
            "find": self._with_key(partial(_reply, FindRequest, self._documents.find)),
        }

    def _without_key(self, handle: Handle) -> Handle:
        async def handler(request: web.Request) -> web.StreamResponse:
            self._authentication.admit_unauthenticated(request)
            return await handle(request)

        return handler

    def _with_key(self, handle: HandleCaller) -> Handle:
        async def handler(request: web.Request) -> web.StreamResponse:
            self._require_another_site(request.headers.get(SITE_HEADER, ""))
            caller = await self._authentication.identify_caller(request)
            mark_authenticated(request, caller.api_key)
            return await handle(request, caller)

        return handler

    def _require_another_site(self, site: str) -> None:
        """Raises `InvalidRequest` (409) where the consumer is this very site, or a copy of it."""
        if site == self._services.identity.site:
            raise InvalidRequest(
                "the url of [producers.NAME] leads to this very site, or to a copy of it",
                hint="write the other site's address; if that site is a copy of this one, run `streamd init "
                "--new-identity` at the copy",
                status=409,
                code="duplicate_site",
            )

    async def _health(self, request: web.Request) -> web.StreamResponse:
        # The problem itself is in `streamd status`: anyone may read this answer.
        return await answer(request, HealthAnswer(status="troubled" if self._services.problem() else "ok"))

    async def _describe_api(self, request: web.Request) -> web.StreamResponse:
        return await answer(request, self._openapi)

    async def _handshake(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        handshake = await read_body(request, HandshakeRequest)
        common = PROTOCOLS & set(handshake.protocols)
        if not common:
            raise InvalidRequest(
                f"this site speaks protocol {', '.join(map(str, sorted(PROTOCOLS)))}; the consumer does not",
                hint="upgrade the site that runs the older release",
                code="unsupported_protocol",
            )
        self._require_another_site(handshake.site)
        await self._check_conditions(handshake.doctypes)
        catalogue = self._services.catalogue
        opens = {
            wanted.doctype: catalogue.opened_by(wanted.doctype)
            for wanted in handshake.doctypes
            if wanted.doctype in catalogue.offers
        }
        approvals = await self._services.peers.register(caller.consumer, handshake, opens)
        if not handshake.trial:
            self._log_decisions(caller.consumer, {row.doctype: row.status for row in approvals})
        head = await self._services.log.head()
        reply = HandshakeAnswer(
            protocol=max(common),
            site=self._services.identity.site,
            name=self._services.identity.name,
            version=__version__,
            log=head.log if head is not None else "",
            clock_ms=now_ms(),
            subscriptions=[_subscription_state(row) for row in approvals],
            doctypes=[describe(catalogue[name]) for name in self._visible_doctypes(approvals)],
        )
        return await answer(request, reply)

    async def _check_conditions(self, doctypes: list[WantedDoctype]) -> None:
        """Raises `InvalidRequest` for the first condition that does not compile.

        The condition of a type that is not offered is only parsed: the answer must not reveal anything about the type.
        """
        catalogue = self._services.catalogue
        for wanted in doctypes:
            text = wanted.condition.strip()
            if not text or wanted.unsubscribe:
                continue
            await asyncio.sleep(0)  # let other requests run in between
            try:
                if wanted.doctype in catalogue.offers and wanted.doctype in catalogue:
                    compile_condition(text, catalogue[wanted.doctype])
                else:
                    parse_condition(text, wanted.doctype)
            except StreamdError as error:
                raise InvalidRequest(error.message, hint=error.hint) from error

    def _log_decisions(self, consumer: str, statuses: Mapping[str, str]) -> None:
        """Log, once each, which types need a decision, and which of these were approved since."""
        before = self._pending.get(consumer, [])
        pending = [doctype for doctype, status in statuses.items() if status == ApprovalStatus.PENDING]
        if pending and before != pending:
            log.info("approval_wanted", consumer=consumer, doctypes=pending, hint="streamd consumers approve")
        approved = [doctype for doctype in before if statuses.get(doctype) == ApprovalStatus.APPROVED]
        if approved:
            log.info("approved", consumer=consumer, doctypes=approved)
        self._pending[consumer] = pending

    def _visible_doctypes(self, approvals: list[Approval]) -> list[str]:
        """The types that a consumer may see: approved and offered ones, those that they open, and its lookups."""
        services = self._services
        approved = [
            row
            for row in approvals
            if row.status == ApprovalStatus.APPROVED and row.doctype in services.catalogue.offers
        ]
        names = {row.doctype for row in approved}.union(*(row.opens for row in approved))
        names |= {name for row in approved for name in row.lookups if services.allows_lookup(name)}
        return sorted(name for name in names if name in services.catalogue)

    async def _events(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        events_request = await read_body(request, EventsRequest)
        page = await self._feed.read_page(caller, events_request, partial(is_client_gone, request))
        return await answer(request, page)


async def _reply(
    model: type[M], respond: Callable[[Caller, M], Awaitable[object]], request: web.Request, caller: Caller
) -> web.StreamResponse:
    return await answer(request, await respond(caller, await read_body(request, model)))


def _subscription_state(row: Approval) -> SubscriptionState:
    # The consumer learns which types its approval opens only when it is approved.
    if row.status != ApprovalStatus.APPROVED:
        return SubscriptionState(doctype=row.doctype, status=ApprovalStatus(row.status).value)
    return SubscriptionState(
        doctype=row.doctype,
        status="Approved",
        opens=list(row.opens),
        approved_at=row.decided_at,
        resumed=row.resumed,
    )
