"""HTTP requests to one producer, with errors in plain words."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp
import msgspec

from streamd.common.endpoint import Endpoint
from streamd.common.instrumentation import resting
from streamd.errors import (
    PeerError,
    PeerRefused,
    PeerUnreachable,
    ResyncRequired,
    TransferBroken,
    TransferStalled,
)
from streamd.settings import ProducerSettings, toml_key
from streamd.wire import API, SITE_HEADER, UNREADABLE, ErrorAnswer, Message

MAX_ANSWER_BYTES = 64 << 20
"""A larger answer (after decompression) is refused."""

READ_BYTES = 1 << 16

MIN_BYTES_PER_SECOND = 100
"""A slower answer counts as stalled."""

TOO_LARGE = "too_large"
"""The error code of a request that the producer would accept if it asked for less."""


@dataclass(slots=True)
class _Pool:
    """A pool of connections to the producer, and how many requests use it."""

    session: aiohttp.ClientSession
    one_request_each: bool
    users: int = 0


class ProducerConnection:
    """Requests to one producer. Every call raises `PeerError` and nothing else.

    `is_unstable`: answers were cut off recently, so each request uses a connection of its own.
    """

    def __init__(self, name: str, settings: ProducerSettings, credentials: tuple[str, str]) -> None:
        self.is_unstable = False
        self._name = name
        self._settings = settings
        key, secret = credentials
        self._headers = {"Authorization": f"Bearer {key}:{secret}", "Content-Type": "application/json"}
        table, parts = f"producers.{toml_key(name)}", urlsplit(settings.url)
        self._path = parts.path
        self._endpoint = Endpoint(
            parts.hostname or "",
            parts.port or (443 if parts.scheme == "https" else 80),
            f"{table}.url",
            "streamd",
            trust=f"set {table}.certificate_authority to the PEM file of the authority that signed it",
            mismatch=f"write http:// in {table}.url, or give that site a certificate"
            if parts.scheme == "https"
            else f"write https:// in {table}.url, if that site uses TLS",
        )
        self._pool: _Pool | None = None

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.session.close()

    def introduce(self, site: str) -> None:
        """Send this site's UUID with each request, so that a producer that is this very site notices it."""
        self._headers[SITE_HEADER] = site

    async def request(self, endpoint: str, message: Message, wait: float = 0) -> bytes:
        """The answer's body. The producer may take `wait` seconds longer to answer (long poll)."""
        pool = await self._get_pool()
        pool.users += 1
        try:
            with resting():  # bounded by its own time-outs
                return await self._send(pool.session, endpoint, message, wait)
        except PeerUnreachable as error:
            self.is_unstable = self.is_unstable or isinstance(error, TransferBroken)
            if error.__cause__ is not None and pool is self._pool:
                # The pool's other connections may be dead as well. Do not discover that one request at a time.
                self._pool = None
            raise
        finally:
            pool.users -= 1
            if pool is not self._pool and not pool.users:
                await pool.session.close()

    async def _send(self, session: aiohttp.ClientSession, endpoint: str, message: Message, wait: float) -> bytes:
        timeout_seconds = self._settings.timeout_seconds
        timeout = aiohttp.ClientTimeout(total=None, connect=timeout_seconds, sock_read=timeout_seconds + wait)
        url = f"{self._settings.url}{API}/{endpoint}"
        body = msgspec.json.encode(message)
        try:
            # A redirect could send the credentials to another server.
            async with session.post(
                url, data=body, headers=self._headers, timeout=timeout, allow_redirects=False
            ) as response:
                content = await self._read(response)
                if response.status != 200:
                    raise self._error_from(response, content)
                return content
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            what, hint = self._endpoint.why(error)
            if isinstance(error, aiohttp.ClientResponseError):
                what, hint = f"what answers at {self._endpoint} does not speak HTTP", f"fix {self._endpoint.setting}"
            untrusted = isinstance(error, aiohttp.ClientConnectorCertificateError)
            raise (PeerRefused if untrusted else PeerUnreachable)(f"{self._name}: {what}", hint=hint) from error

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """The answer's body. Raises `TransferBroken` if it is incomplete or too slow, `PeerRefused` if too large."""
        content = bytearray()
        started_at = time.monotonic()
        try:
            async for chunk in response.content.iter_chunked(READ_BYTES):
                content += chunk
                if len(content) > MAX_ANSWER_BYTES:
                    raise PeerRefused(
                        f"{self._name} answered with more than {MAX_ANSWER_BYTES >> 20} MiB",
                        hint="lower page_events",
                        code=TOO_LARGE,
                    )
                elapsed = time.monotonic() - started_at
                if elapsed > self._settings.timeout_seconds and len(content) < elapsed * MIN_BYTES_PER_SECOND:
                    raise TimeoutError(f"fewer than {MIN_BYTES_PER_SECOND} bytes per second arrive")
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            kind = TransferStalled if isinstance(error, TimeoutError) else TransferBroken
            raise kind(
                f"the connection to {self._name} ({self._settings.url}) broke after {len(content)} bytes of an answer"
                + (f": {error}" if isinstance(error, TimeoutError) and str(error) else ""),
                received=len(content),
            ) from error
        return bytes(content)

    async def _get_pool(self) -> _Pool:
        if self._pool is not None and self._pool.one_request_each != self.is_unstable:
            old, self._pool = self._pool, None
            if not old.users:
                await old.session.close()
        if self._pool is None:
            context: ssl.SSLContext | bool = True
            if self._settings.certificate_authority is not None:
                try:
                    context = ssl.create_default_context()
                    context.load_verify_locations(cafile=str(self._settings.certificate_authority))
                except OSError as error:
                    reason = "it is no PEM file" if isinstance(error, ssl.SSLError) else error.strerror
                    raise PeerRefused(
                        f"{self._settings.certificate_authority} cannot be used: {reason}",
                        hint=f"set producers.{self._name}.certificate_authority to a PEM file that this user can read",
                    ) from error
            connector = aiohttp.TCPConnector(ssl=context, force_close=self.is_unstable)
            session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
            self._pool = _Pool(session, self.is_unstable)
        return self._pool

    @property
    def _root(self) -> str:
        return self._settings.url.removesuffix(self._path)

    def _foreign(self, response: aiohttp.ClientResponse, content: bytes) -> tuple[str, str]:
        """What an answer that is not streamd's says, and how to fix it."""
        url, setting, status = self._settings.url, self._endpoint.setting, response.status
        if status in (502, 503, 504):
            return (
                f"a proxy at {url} does not reach the site (HTTP {status})",
                "start streamd behind it, or fix the proxy",
            )
        if 300 <= status < 400:
            target = response.headers.get("Location", "").removesuffix(f"{API}/handshake")
            return f"{url} redirects to {target or 'another address'}", f"write the site's own address in {setting}"
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return f"a proxy at {url} refuses the size of a request (HTTP 413)", "raise the proxy's limit"
        if status in (401, 403, 407):
            return (
                f"what stands in front of {url} asks for a login (HTTP {status})",
                "let it pass requests of streamd unchanged: they carry their own key",
            )
        if status == HTTPStatus.BAD_REQUEST and b"HTTPS" in content:
            return f"there is TLS at {self._endpoint}", f"write https:// in {setting}"
        return (
            f"what answers at {url} is not streamd (HTTP {status})",
            f"write the address of the other site's daemon in {setting}: its log says `serving`, with the port",
        )

    def _error_from(self, response: aiohttp.ClientResponse, content: bytes) -> PeerError:
        try:
            detail = msgspec.json.decode(content, type=ErrorAnswer).error
            # The table's name in this site's file: the producer cannot know it.
            table = f"[producers.{toml_key(self._name)}]"
            message, hint = (text.replace("[producers.NAME]", table) for text in (detail.message, detail.hint))
            code = detail.code
        except UNREADABLE:
            code = TOO_LARGE if response.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else ""
            message, hint = self._foreign(response, content)
        if response.status == HTTPStatus.NOT_FOUND and self._path:
            hint = f"write it without {self._path}, unless a proxy gives the site that path: {self._root}"
        message = f"{self._name}: {message}"
        if code == "resync_required":
            return ResyncRequired(message, hint=hint, code=code)
        if response.status == 429 or response.status >= 500:
            retry_after = response.headers.get("Retry-After", "")
            seconds = min(float(retry_after), 300.0) if retry_after.isdecimal() else 0.0
            return PeerUnreachable(message, hint=hint, code=code, retry_after=seconds)
        return PeerRefused(message, hint=hint, code=code)
