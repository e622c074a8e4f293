"""Stage 4: pulls a producer's log, and fetches documents from it.

`Peer` speaks the protocol with one producer; `Pull` keeps asking from the checkpoint on and hands each page
over. The next page is asked for while one is applied; only what is applied is acknowledged.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
import msgspec
import structlog
from pydantic import BaseModel, ValidationError

from streamd import __version__
from streamd.clock import MAX_AHEAD_MS, is_reading
from streamd.errors import InvalidRequest, PeerError, PeerRefused, PeerUnreachable, ResyncRequired
from streamd.faults import crash_point
from streamd.model import Cursor, Event, Name, Operation
from streamd.settings import MappingSettings, ProducerSettings, lookups, remote_doctype, toml_key
from streamd.wire import (
    API,
    PROTOCOL,
    Documents,
    DocumentsRequest,
    ErrorAnswer,
    EventsRequest,
    FindRequest,
    HandshakeAnswer,
    HandshakeRequest,
    NamesAnswer,
    NamesRequest,
    Page,
    WantedDoctype,
    WantedDocument,
    read_cursor,
    write_cursor,
)

log = structlog.get_logger("streamd.pull")

MAX_ANSWER_BYTES = 64 << 20
"""An answer larger than this, after decompression, is refused."""

READ_BYTES = 1 << 16
WAIT_SECONDS = 25.0
DOCUMENTS_AT_ONCE = 400
TOO_LARGE = "too_large"
"""The code of a refusal that smaller requests do not meet."""

_PAGE = msgspec.json.Decoder(Page)
_DOCUMENTS = msgspec.json.Decoder(Documents)
_KNOWN = frozenset(operation.value for operation in Operation)

Answer = TypeVar("Answer", bound=BaseModel)


def as_here(hint: str, name: str) -> str:
    """A producer's hint, with the table as our file calls it: the producer cannot know that."""
    return hint.replace("[producers.NAME]", f"[producers.{toml_key(name)}]")


def tls_hint(error: Exception) -> str:
    """What to mend where a connection with TLS cannot be made because there is none at the other end; else nothing."""
    # Older and newer OpenSSL call it differently.
    plain = any(words in str(error) for words in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"))
    return "there is no TLS at that address: write http://, or give the site a certificate" if plain else ""


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
        key, secret = credentials
        self._headers = {"Authorization": f"Bearer {key}:{secret}", "Content-Type": "application/json"}
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

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
        answer = self._model(HandshakeAnswer, await self._call("handshake", request))
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
        request = EventsRequest(
            cursor=None if cursor is None else write_cursor(cursor),
            acknowledged=None if acknowledged is None else write_cursor(acknowledged),
            limit=self._settings.page_events,
            wait_seconds=wait,
            subscriptions=dict(known),
            own_names=self._own_names,
        )
        page: Page = self._decode(_PAGE, await self._call("events", request, wait))
        for event in page.events:
            self._check(event)
        return page

    async def fetch(self, wanted: Sequence[WantedDocument]) -> Documents:
        """These documents as they are now, in as many requests as it takes."""
        found: list[Any] = []
        gone: dict[str, list[Name]] = {}
        as_of = ""
        waiting = deque(
            list(wanted[start : start + DOCUMENTS_AT_ONCE]) for start in range(0, len(wanted), DOCUMENTS_AT_ONCE)
        )
        while waiting:
            some = waiting.popleft()
            try:
                answer = self._decode(
                    _DOCUMENTS,
                    await self._call("documents", DocumentsRequest(documents=some, own_names=self._own_names)),
                )
            except PeerRefused as error:
                if error.code != TOO_LARGE or len(some) == 1:
                    raise
                # The producer gives fewer at once, or these are large.
                middle = len(some) // 2
                waiting.extendleft((some[middle:], some[:middle]))
                continue
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
        found: Documents = self._decode(_DOCUMENTS, await self._call("find", request))
        return found

    async def names(self, doctype: str, after: Name | None, limit: int) -> NamesAnswer:
        """Names of a type's documents, a page at a time."""
        request = NamesRequest(doctype=doctype, after=None if after is None else list(after), limit=limit)
        return self._model(NamesAnswer, await self._call("names", request))

    async def _call(self, what: str, request: BaseModel, wait: float = 0) -> bytes:
        timeout = aiohttp.ClientTimeout(
            total=None, connect=self._settings.timeout_seconds, sock_read=self._settings.timeout_seconds + wait
        )
        url = f"{self._settings.url}{API}/{what}"
        body = request.model_dump_json(exclude_none=True).encode()
        try:
            # A redirect could send our credentials to somebody else's server.
            async with self._connected().post(
                url, data=body, headers=self._headers, timeout=timeout, allow_redirects=False
            ) as response:
                content = await self._read(response)
                if response.status != 200:
                    raise self._refusal(response, content)
                return content
        except aiohttp.ClientConnectorCertificateError as error:
            raise PeerRefused(
                f"the certificate of {self.name} is not trusted: {error}",
                hint=f"set producers.{self.name}.certificate_authority",
            ) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise PeerUnreachable(
                f"{self.name} ({self._settings.url}) does not answer: {error or type(error).__name__}",
                hint=tls_hint(error),
            ) from error

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            context: ssl.SSLContext | bool = True
            if self._settings.certificate_authority is not None:
                try:
                    context = ssl.create_default_context()
                    context.load_verify_locations(cafile=str(self._settings.certificate_authority))
                except OSError as error:
                    raise PeerRefused(
                        f"{self._settings.certificate_authority} cannot be used: {error}",
                        hint="mend certificate_authority",
                    ) from error
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=context), cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        parts = []
        size = 0
        async for part in response.content.iter_chunked(READ_BYTES):
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                raise PeerRefused(
                    f"{self.name} answered with more than {MAX_ANSWER_BYTES >> 20} MiB",
                    hint="lower page_events",
                    code=TOO_LARGE,
                )
            parts.append(part)
        return b"".join(parts)

    def _refusal(self, response: aiohttp.ClientResponse, content: bytes) -> PeerError:
        try:
            detail = ErrorAnswer.model_validate_json(content).error
            code, message, hint = detail.code, detail.message, detail.hint
        except ValidationError:
            code, message, hint = (
                "",
                f"HTTP {response.status} without an explanation",
                "is this the URL of a streamd site?",
            )
        hint = as_here(hint, self.name)
        words = f"{self.name}: {message}"
        if code == "resync_required":
            return ResyncRequired(words, hint=hint, code=code)
        if response.status == 429 or response.status >= 500:
            after = response.headers.get("Retry-After", "")
            return PeerUnreachable(
                words, hint=hint, code=code, retry_after=min(float(after), 300.0) if after.isdecimal() else 0.0
            )
        return PeerRefused(words, hint=hint, code=code)

    def _check(self, event: Event) -> None:
        if event.operation not in _KNOWN:
            raise PeerRefused(
                f"{self.name} sent the operation “{event.operation}”, which this version does not know",
                hint="upgrade this site",
            )
        if not is_reading(event.clock):
            raise PeerRefused(f"{self.name} sent an event without a clock", hint="upgrade the older site")
        if any(life and not is_reading(life) for life in (event.life, event.old_life)):
            raise PeerRefused(f"{self.name} sent an event with a life that is no reading of a clock")

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


@dataclass(frozen=True, slots=True)
class Pulled:
    """What one `run_once` got: how many events, the cursor behind them, the log's head, each type's status."""

    events: int
    end: Cursor
    head: int
    subscriptions: dict[str, str]


class Pull:
    """Pulls one producer. `apply` makes a page durable, checkpoint included; `place` reads the checkpoint.

    `known` is the status of each type that we ask for, as the producer said it last.
    """

    def __init__(
        self,
        peer: Peer,
        *,
        place: Callable[[], Awaitable[Cursor | None]],
        apply: Callable[[Sequence[Event], Cursor], Awaitable[None]],
        known: Callable[[], Mapping[str, str]],
    ) -> None:
        self._peer = peer
        self._place = place
        self._apply = apply
        self._known = known
        self._ahead: tuple[Cursor | None, asyncio.Task[Page]] | None = None

    async def close(self) -> None:
        await self._forget()

    async def run_once(self, wait: float = WAIT_SECONDS) -> Pulled:
        """Get the page behind the checkpoint, and apply it. Raises `PeerError`, and what `apply` raises.

        Where there is none yet, the producer is asked to `wait` for it, in seconds.
        """
        # Read again each time: after an error only the site's database knows what was committed.
        cursor = await self._place()
        page = await self._page(cursor, wait)
        crash_point("pull.received")
        end = self._cursor(page.next)
        if page.events and end.sequence < page.head:
            self._ahead = end, asyncio.create_task(self._peer.events(end, cursor, 0, {}))
        try:
            if page.events or end != cursor:
                await self._apply(page.events, end)
        except BaseException:
            await self._forget()
            raise
        return Pulled(len(page.events), end, page.head, page.subscriptions)

    async def _page(self, cursor: Cursor | None, wait: float) -> Page:
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            position, task = ahead
            if position == cursor:
                return await task
            await _cancelled(task)
        return await self._peer.events(cursor, cursor, wait, self._known())

    def _cursor(self, text: str) -> Cursor:
        try:
            return read_cursor(text)
        except InvalidRequest as error:
            raise PeerRefused(
                f"{self._peer.name} sent a cursor that cannot be read", hint="upgrade the older site"
            ) from error

    async def _forget(self) -> None:
        if self._ahead is not None:
            _, task = self._ahead
            self._ahead = None
            await _cancelled(task)


async def _cancelled(task: asyncio.Task[Page]) -> None:
    """End a request whose answer nobody needs any more; how it fared does not matter."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
