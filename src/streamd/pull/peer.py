"""Speaks the protocol with one producer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import structlog

from streamd import __version__
from streamd.common.clock import is_reading
from streamd.errors import PeerRefused, TransferBroken, TransferStalled
from streamd.model import Cursor, Event, Name, Operation
from streamd.pull.connection import TOO_LARGE, ProducerConnection
from streamd.settings import MappingSettings, ProducerSettings, lookup_doctypes, remote_doctype, toml_key
from streamd.wire import (
    PROTOCOL,
    UNREADABLE,
    Documents,
    DocumentsRequest,
    EventsRequest,
    FindRequest,
    HandshakeAnswer,
    HandshakeRequest,
    Message,
    NamesAnswer,
    NamesRequest,
    Page,
    WantedDoctype,
    WantedDocument,
    write_cursor,
)

log = structlog.get_logger("streamd.pull")

MAX_DOCUMENTS = 400
MAX_NAMES = 5000

PAGE_BYTES = 4 << 20
"""The page size to shrink from after a broken transfer. Before that, the producer chooses the size."""

MIN_STREAK = 4
"""Complete answers in a row before the size grows again."""

MAX_STREAK = 64

_OPERATIONS = frozenset(operation.value for operation in Operation)

Answer = TypeVar("Answer")


def wanted_doctypes(settings: ProducerSettings, mappings: Mapping[str, MappingSettings]) -> list[WantedDoctype]:
    """The types to subscribe to, under the producer's names, with conditions and the lookups of mappings."""
    return [
        WantedDoctype(
            doctype=remote_doctype(entry, mappings),
            use_same_name=bool(settings.same_name(entry)),
            unsubscribe=entry.unsubscribe,
            condition=entry.condition or "",
            lookups=lookup_doctypes(entry, mappings),
        )
        for entry in settings.doctypes
    ]


class RequestSize:
    """A size that is halved when a transfer breaks, and doubled after a streak of complete answers.

    Each broken transfer doubles the length of the streak that is needed, up to `MAX_STREAK`.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.current = maximum
        self._streak = 0
        self._needed_streak = MIN_STREAK

    @property
    def is_full(self) -> bool:
        """Whether the size is at its maximum."""
        return self.current >= self.maximum

    def shrink(self, requested: int, received: int = 0) -> bool:
        """A transfer of `requested` broke after `received` arrived. Returns whether a smaller request is possible."""
        before = min(self.current, requested)
        self.current = max(min(before, received or before) // 2, 1)
        self._streak = 0
        self._needed_streak = min(2 * self._needed_streak, MAX_STREAK)
        return self.current < before

    def count_success(self) -> None:
        """A complete answer arrived. Grows the size if the streak is long enough."""
        if self.is_full:
            return
        self._streak += 1
        if self._streak >= self._needed_streak:
            self._streak = 0
            self.current = min(2 * self.current, self.maximum)
            if self.is_full:
                self._needed_streak = MIN_STREAK


class Peer:
    """One producer, over HTTP. Every call raises `PeerError` and nothing else."""

    def __init__(
        self, name: str, settings: ProducerSettings, credentials: tuple[str, str], wanted: Sequence[WantedDoctype]
    ) -> None:
        """`wanted` are the types to subscribe to, under the producer's names (`wanted_doctypes`)."""
        self.name = name
        self._settings = settings
        self._wanted = list(wanted)
        self._own_names = not all(settings.same_name(entry) for entry in settings.doctypes)
        self._connection = ProducerConnection(name, settings, credentials)
        self._page_size = RequestSize(PAGE_BYTES)
        self._documents_size = RequestSize(MAX_DOCUMENTS)
        self._names_size = RequestSize(MAX_NAMES)

    async def close(self) -> None:
        await self._connection.close()

    async def handshake(self, site: str, site_name: str, *, trial: bool = False) -> HandshakeAnswer:
        """Register this site's subscriptions; a `trial` changes nothing. Raises `PeerRefused`."""
        self._connection.introduce(site)
        request = HandshakeRequest(
            protocols=[PROTOCOL],
            site=site,
            name=site_name,
            version=__version__,
            clock_ms=time.time_ns() // 1_000_000,
            doctypes=self._wanted,
            trial=trial,
        )
        content = await self._connection.request("handshake", request)
        answer = self._decode(HandshakeAnswer, content)
        if answer.protocol != PROTOCOL:
            raise PeerRefused(
                f"{self.name} speaks protocol {answer.protocol}; this site speaks {PROTOCOL}",
                hint="upgrade the older site",
            )
        return answer

    async def fetch_page(
        self, cursor: Cursor | None, acknowledged: Cursor | None, wait: float, known_statuses: Mapping[str, str]
    ) -> Page:
        """The page of the log after the cursor. Raises `ResyncRequired`.

        If there is none, waits up to `wait` seconds, as long as `known_statuses` of the subscriptions are current.
        """
        content = await self._request_sized(
            "events",
            self._page_size,
            lambda size: EventsRequest(
                cursor=None if cursor is None else write_cursor(cursor),
                acknowledged=None if acknowledged is None else write_cursor(acknowledged),
                limit=self._settings.page_events,
                max_bytes=None if self._page_size.is_full else size,
                wait_seconds=wait,
                subscriptions=dict(known_statuses),
                own_names=self._own_names,
            ),
            wait,
        )
        page = self._decode(Page, content)
        for event in page.events:
            self._check(event)
        return page

    async def fetch(self, wanted: Sequence[WantedDocument], follow: int = 0) -> Documents:
        """These documents as they are now, in as many requests as necessary.

        Each request may also return up to `follow` documents that they link to, directly or indirectly.
        """
        found = Documents([], "")
        waiting = deque(wanted)
        while waiting:
            batch = [waiting.popleft() for _ in range(min(self._documents_size.current, len(waiting)))]
            request = DocumentsRequest(documents=batch, own_names=self._own_names, follow=follow)
            try:
                answer = self._decode(Documents, await self._connection.request("documents", request))
            except (TransferBroken, PeerRefused) as error:
                # The producer's limit is lower, the documents are large, or the connection breaks: ask for less.
                is_too_much = isinstance(error, TransferBroken) or error.code == TOO_LARGE
                can_shrink = is_too_much and (follow > 0 or self._documents_size.shrink(len(batch)))
                if not can_shrink or isinstance(error, TransferStalled):
                    raise
                follow //= 2
                waiting.extendleft(reversed(batch))
                continue
            self._count_success(self._documents_size)
            # The earliest of several snapshots: anything newer arrives again as events.
            found.as_of = found.as_of or answer.as_of
            found.documents += answer.documents
            for doctype, names in answer.gone.items():
                found.gone.setdefault(doctype, []).extend(names)
            for doctype, problems in answer.unreadable.items():
                found.unreadable.setdefault(doctype, []).extend(problems)
        return found

    async def find(self, doctype: str, filters: Mapping[str, Any]) -> Documents:
        """Look up documents by the values of their columns. Returns at most two."""
        try:
            values = {"doctype": doctype, "filters": filters, "own_names": self._own_names}
            request = msgspec.convert(values, FindRequest)
        except msgspec.ValidationError as error:
            raise PeerRefused(f"the lookup at {self.name} is not valid: {error}") from error
        return self._decode(Documents, await self._connection.request("find", request))

    async def names(self, doctype: str, after: Name | None, limit: int) -> NamesAnswer:
        """A page of names of a type's documents: at most `limit`, fewer if the connection is unstable."""
        content = await self._request_sized(
            "names",
            self._names_size,
            lambda size: NamesRequest(doctype, after, min(limit, size)),
        )
        return self._decode(NamesAnswer, content)

    async def _request_sized(
        self, endpoint: str, size: RequestSize, build: Callable[[int], Message], wait: float = 0
    ) -> bytes:
        """Send a request of the adapted size. If the transfer breaks, retry at once with a smaller size."""
        while True:
            requested = size.current
            try:
                content = await self._connection.request(endpoint, build(requested), wait)
            except TransferBroken as error:
                received = error.received if size is self._page_size else 0
                if size.is_full:
                    log.info("page_size_reduced", producer=self.name, endpoint=endpoint, cause=error.message)
                if not size.shrink(requested, received) or isinstance(error, TransferStalled):
                    raise
                continue
            self._count_success(size)
            return content

    def _count_success(self, size: RequestSize) -> None:
        size.count_success()
        sizes = (self._page_size, self._documents_size, self._names_size)
        self._connection.is_unstable = not all(each.is_full for each in sizes)

    def _check(self, event: Event) -> None:
        """Raises `PeerRefused` for an event that this version cannot apply."""
        if event.operation not in _OPERATIONS:
            raise PeerRefused(
                f"{self.name} sent the operation “{event.operation}”, which this version does not know",
                hint="upgrade this site",
            )
        if not is_reading(event.clock):
            raise PeerRefused(f"{self.name} sent an event without a clock", hint="upgrade the older site")
        ids = (event.id, *(link.id for link in event.links))
        if any(id is not None and id.clock and not is_reading(id.clock) for id in ids):
            raise PeerRefused(f"{self.name} sent an event with an id whose clock is no reading of one")

    def _decode(self, kind: type[Answer], content: bytes) -> Answer:
        try:
            return msgspec.json.decode(content, type=kind)
        except UNREADABLE as error:
            raise PeerRefused(
                f"{self.name}: what {self._settings.url} answers is not what a streamd site of this release says",
                hint=f"is producers.{toml_key(self.name)}.url the address of a streamd site? Then run the same release "
                "at both sites",
            ) from error
