"""HTTP requests to one producer, with errors in plain words."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass

import aiohttp
from pydantic import BaseModel, ValidationError

from streamd.common.progress import resting
from streamd.errors import (
    PeerError,
    PeerRefused,
    PeerUnreachable,
    ResyncRequired,
    TransferBroken,
    TransferStalled,
)
from streamd.settings import ProducerSettings, toml_key
from streamd.wire import API, ErrorAnswer

MAX_ANSWER_BYTES = 64 << 20
"""A larger answer (after decompression) is refused."""

READ_BYTES = 1 << 16

MIN_BYTES_PER_SECOND = 100
"""A slower answer counts as stalled."""

TOO_LARGE = "too_large"
"""The error code of a request that the producer would accept if it asked for less."""


def localize_hint(hint: str, name: str) -> str:
    """A producer's hint, with the table name that the consumer's own file uses. The producer cannot know it."""
    return hint.replace("[producers.NAME]", f"[producers.{toml_key(name)}]")


def tls_hint(error: Exception) -> str:
    """A hint if a TLS connection failed because the other end does not use TLS; otherwise empty."""
    # The name of the error depends on the version of OpenSSL.
    is_plain = any(words in str(error) for words in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"))
    return "there is no TLS at that address: write http://, or give the site a certificate" if is_plain else ""


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
        self._pool: _Pool | None = None

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.session.close()

    async def request(self, endpoint: str, message: BaseModel, wait: float = 0) -> bytes:
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

    async def _send(self, session: aiohttp.ClientSession, endpoint: str, message: BaseModel, wait: float) -> bytes:
        timeout_seconds = self._settings.timeout_seconds
        timeout = aiohttp.ClientTimeout(total=None, connect=timeout_seconds, sock_read=timeout_seconds + wait)
        url = f"{self._settings.url}{API}/{endpoint}"
        body = message.model_dump_json(exclude_none=True).encode()
        try:
            # A redirect could send the credentials to another server.
            async with session.post(
                url, data=body, headers=self._headers, timeout=timeout, allow_redirects=False
            ) as response:
                content = await self._read(response)
                if response.status != 200:
                    raise self._error_from(response, content)
                return content
        except aiohttp.ClientConnectorCertificateError as error:
            raise PeerRefused(
                f"the certificate of {self._name} is not trusted: {error}",
                hint=f"set producers.{self._name}.certificate_authority",
            ) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            is_refused = isinstance(getattr(error, "os_error", error), ConnectionRefusedError)
            raise PeerUnreachable(
                f"{self._name} ({self._settings.url}) does not answer: "
                f"{'nothing listens there' if is_refused else error or type(error).__name__}",
                hint=tls_hint(error) or "check that its daemon runs and that the address is right; streamd retries",
            ) from error

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
                f"the connection to {self._name} ({self._settings.url}) broke after {len(content)} bytes of an answer: "
                f"{error or type(error).__name__}",
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
                    raise PeerRefused(
                        f"{self._settings.certificate_authority} cannot be used: {error}",
                        hint=f"set producers.{self._name}.certificate_authority to a PEM file that this user can read",
                    ) from error
            connector = aiohttp.TCPConnector(ssl=context, force_close=self.is_unstable)
            session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
            self._pool = _Pool(session, self.is_unstable)
        return self._pool

    def _error_from(self, response: aiohttp.ClientResponse, content: bytes) -> PeerError:
        try:
            detail = ErrorAnswer.model_validate_json(content).error
            code, message, hint = detail.code, detail.message, localize_hint(detail.hint, self._name)
        except ValidationError:
            code, message = "", f"HTTP {response.status} without an explanation"
            hint = "is this the URL of a streamd site?"
        message = f"{self._name}: {message}"
        if code == "resync_required":
            return ResyncRequired(message, hint=hint, code=code)
        if response.status == 429 or response.status >= 500:
            retry_after = response.headers.get("Retry-After", "")
            seconds = min(float(retry_after), 300.0) if retry_after.isdecimal() else 0.0
            return PeerUnreachable(message, hint=hint, code=code, retry_after=seconds)
        return PeerRefused(message, hint=hint, code=code)
