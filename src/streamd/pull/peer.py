"""Speaks the protocol with one producer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import structlog
from pydantic import BaseModel, ValidationError

from streamd import __version__
from streamd.common.clock import MAX_AHEAD_MS, is_reading
from streamd.errors import PeerRefused, TransferBroken, TransferStalled
from streamd.model import Cursor, Event, Name, Operation
from streamd.pull.line import TOO_LARGE, Line
from streamd.pull.portion import Portion
from streamd.settings import MappingSettings, ProducerSettings, lookups, remote_doctype
from streamd.wire import (
    PROTOCOL,
    Documents,
    DocumentsRequest,
    EventsRequest,
    FindRequest,
    HandshakeAnswer,
    HandshakeRequest,
    NamesAnswer,
    NamesRequest,
    Page,
    WantedDoctype,
    WantedDocument,
    write_cursor,
)

log = structlog.get_logger("streamd.pull")

DOCUMENTS_AT_ONCE = 400
NAMES_AT_ONCE = 5000

PAGE_BYTES = 4 << 20
"""From here on pages shrink, where the line breaks. Until then the producer says how large they are."""

_PAGE = msgspec.json.Decoder(Page)
_DOCUMENTS = msgspec.json.Decoder(Documents)
_KNOWN = frozenset(operation.value for operation in Operation)

Answer = TypeVar("Answer", bound=BaseModel)


def wanted_doctypes(settings: ProducerSettings, mappings: Mapping[str, MappingSettings]) -> list[WantedDoctype]:
    """The types that we ask of a producer, as it calls them, with the conditions and what mappings look for."""
    return [
        WantedDoctype(
            doctype=remote_doctype(entry, mappings),
            use_same_name=bool(settings.same_name(entry)),
            unsubscribe=entry.unsubscribe,
            condition=entry.condition or "",
            lookups=lookups(entry, mappings),
        )
        for entry in settings.doctypes
    ]


class Peer:
    """One producer, spoken to over HTTP. Every call raises `PeerError` and nothing else."""

    def __init__(
        self, name: str, settings: ProducerSettings, credentials: tuple[str, str], wanted: Sequence[WantedDoctype]
    ) -> None:
        """`wanted` are the types that we ask for, as the producer calls them (`wanted_doctypes`)."""
        self.name = name
        self._settings = settings
        self._wanted = list(wanted)
        self._own_names = not all(settings.same_name(entry) for entry in settings.doctypes)
        self._line = Line(name, settings, credentials)
        self._page_bytes = Portion(PAGE_BYTES)
        self._documents = Portion(DOCUMENTS_AT_ONCE)
        self._names = Portion(NAMES_AT_ONCE)

    async def close(self) -> None:
        await self._line.close()

    @property
    def heard_at(self) -> float:
        """When the last bytes came from it (`time.monotonic`); 0 before the first."""
        return self._line.heard_at

    async def handshake(self, site: str, site_name: str) -> HandshakeAnswer:
        """Register our subscriptions. Raises `PeerRefused` where the producer says no."""
        request = HandshakeRequest(
            protocols=[PROTOCOL],
            site=site,
            name=site_name,
            version=__version__,
            clock_ms=time.time_ns() // 1_000_000,
            doctypes=self._wanted,
        )
        answer = self._model(HandshakeAnswer, await self._line.call("handshake", request))
        if answer.protocol != PROTOCOL:
            raise PeerRefused(
                f"{self.name} speaks protocol {answer.protocol}, and this site {PROTOCOL}", hint="upgrade the older one"
            )
        if answer.site == site:
            raise PeerRefused(
                f"{self.name} has this site's own UUID",
                hint="one is a copy of the other: run `streamd init --new-identity` at the copy",
            )
        ahead = answer.clock_ms - time.time_ns() // 1_000_000
        if abs(ahead) > MAX_AHEAD_MS:
            log.warning("clocks_differ", producer=self.name, seconds=round(ahead / 1000))
        return answer

    async def events(
        self, cursor: Cursor | None, acknowledged: Cursor | None, wait: float, known: Mapping[str, str]
    ) -> Page:
        """A page of the log behind the cursor, waited for while what is `known` of the subscriptions is so.

        Raises `ResyncRequired`.
        """
        page: Page = self._decode(
            _PAGE,
            await self._in_portions(
                "events",
                self._page_bytes,
                lambda size: EventsRequest(
                    cursor=None if cursor is None else write_cursor(cursor),
                    acknowledged=None if acknowledged is None else write_cursor(acknowledged),
                    limit=self._settings.page_events,
                    max_bytes=None if self._page_bytes.is_whole else size,
                    wait_seconds=wait,
                    subscriptions=dict(known),
                    own_names=self._own_names,
                ),
                wait,
            ),
        )
        for event in page.events:
            self._check(event)
        return page

    async def fetch(self, wanted: Sequence[WantedDocument], follow: int = 0) -> Documents:
        """These documents as they are now, in as many requests as it takes.

        `follow` of those that they link to, in turn, may come along with each request.
        """
        found: list[Any] = []
        gone: dict[str, list[Name]] = {}
        as_of = ""
        waiting = deque(wanted)
        while waiting:
            some = [waiting.popleft() for _ in range(min(self._documents.size, len(waiting)))]
            request = DocumentsRequest(documents=some, own_names=self._own_names, follow=follow)
            try:
                answer = self._decode(_DOCUMENTS, await self._line.call("documents", request))
            except (TransferBroken, PeerRefused) as error:
                # The producer gives fewer at once, or these are large, or the line breaks before they are here.
                too_much = isinstance(error, TransferBroken) or error.code == TOO_LARGE
                smaller = too_much and (follow > 0 or self._documents.broke(len(some)))
                if not smaller or isinstance(error, TransferStalled):
                    raise
                follow //= 2
                waiting.extendleft(reversed(some))
                continue
            self._came_whole(self._documents)
            # The earliest of several views: what it does not contain comes again as events.
            as_of = as_of or answer.as_of
            found += answer.documents
            for doctype, names in answer.gone.items():
                gone.setdefault(doctype, []).extend(names)
        return Documents(found, as_of, gone)

    async def find(self, doctype: str, filters: Mapping[str, Any]) -> Documents:
        """Documents of a type whose columns hold these values, two at the most."""
        try:
            request = FindRequest(doctype=doctype, filters=dict(filters), own_names=self._own_names)
        except ValidationError as error:
            raise PeerRefused(
                f"what is looked for cannot be asked of {self.name}: {error.errors()[0]['msg']}"
            ) from error
        found: Documents = self._decode(_DOCUMENTS, await self._line.call("find", request))
        return found

    async def names(self, doctype: str, after: Name | None, limit: int) -> NamesAnswer:
        """Names of a type's documents, a page at a time: `limit` at most, fewer on a line that breaks."""
        content = await self._in_portions(
            "names",
            self._names,
            lambda size: NamesRequest(
                doctype=doctype, after=None if after is None else list(after), limit=min(limit, size)
            ),
        )
        return self._model(NamesAnswer, content)

    async def _in_portions(
        self, what: str, portion: Portion, ask: Callable[[int], BaseModel], wait: float = 0
    ) -> bytes:
        """Ask for as much as the line lets pass: where it breaks, at once for less, until no less can be asked for."""
        while True:
            size = portion.size
            try:
                content = await self._line.call(what, ask(size), wait)
            except TransferBroken as error:
                arrived = error.received if portion is self._page_bytes else 0
                if portion.is_whole:
                    log.info("asks_for_less_at_once", producer=self.name, what=what, because=error.message)
                if not portion.broke(size, arrived) or isinstance(error, TransferStalled):
                    raise
                continue
            self._came_whole(portion)
            return content

    def _came_whole(self, portion: Portion) -> None:
        portion.passed()
        self._line.breaks = not all(each.is_whole for each in (self._page_bytes, self._documents, self._names))

    def _check(self, event: Event) -> None:
        if event.operation not in _KNOWN:
            raise PeerRefused(
                f"{self.name} sent the operation “{event.operation}”, which this version does not know",
                hint="upgrade this site",
            )
        if not is_reading(event.clock):
            raise PeerRefused(f"{self.name} sent an event without a clock", hint="upgrade the older site")
        ids = (event.id, *(link.id for link in event.links))
        if any(id is not None and id.clock and not is_reading(id.clock) for id in ids):
            raise PeerRefused(f"{self.name} sent an event with an id whose clock is no reading of one")

    def _decode(self, decoder: Any, content: bytes) -> Any:
        try:
            return decoder.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PeerRefused(
                f"{self.name} answered what cannot be read: {error}", hint="do both sites speak the same version?"
            ) from error

    def _model(self, model: type[Answer], content: bytes) -> Answer:
        try:
            return model.model_validate_json(content)
        except ValidationError as error:
            raise PeerRefused(
                f"{self.name} answered what cannot be read: {error.errors()[0]['msg']}",
                hint="do both sites speak the same version?",
            ) from error
