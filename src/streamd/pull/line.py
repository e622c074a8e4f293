"""The line to one producer: HTTP requests, one answer each, and in plain words what went wrong."""

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
"""An answer larger than this, after decompression, is refused."""

READ_BYTES = 1 << 16

SLOWEST = 100
"""Bytes per second: an answer that comes slower than this is taken for one that does not come."""

TOO_LARGE = "too_large"
"""The code of a refusal that smaller requests do not meet."""


def as_here(hint: str, name: str) -> str:
    """A producer's hint, with the table as our file calls it: the producer cannot know that."""
    return hint.replace("[producers.NAME]", f"[producers.{toml_key(name)}]")


def tls_hint(error: Exception) -> str:
    """What to fix where a connection with TLS cannot be made because there is none at the other end; else nothing."""
    # Older and newer OpenSSL call it differently.
    plain = any(words in str(error) for words in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"))
    return "there is no TLS at that address: write http://, or give the site a certificate" if plain else ""


@dataclass(slots=True)
class _Pool:
    """Connections to the producer, and how many requests use them."""

    session: aiohttp.ClientSession
    each_once: bool
    users: int = 0


class Line:
    """Requests to one producer. Every call raises `PeerError` and nothing else.

    `breaks`: answers were cut off lately, so each request gets a connection of its own.
    """

    def __init__(self, name: str, settings: ProducerSettings, credentials: tuple[str, str]) -> None:
        self.breaks = False
        self.heard_at = 0.0
        self._name = name
        self._settings = settings
        key, secret = credentials
        self._headers = {"Authorization": f"Bearer {key}:{secret}", "Content-Type": "application/json"}
        self._pool: _Pool | None = None

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.session.close()

    async def call(self, what: str, request: BaseModel, wait: float = 0) -> bytes:
        """The answer to one request, which the producer may let `wait` (seconds) before it answers."""
        pool = await self._connected()
        pool.users += 1
        try:
            with resting():  # its time-outs bound it
                return await self._ask(pool.session, what, request, wait)
        except PeerUnreachable as error:
            self.breaks = self.breaks or isinstance(error, TransferBroken)
            if error.__cause__ is not None and pool is self._pool:
                # Other connections of that time may be dead as well, and would be found out one by one.
                self._pool = None
            raise
        finally:
            pool.users -= 1
            if pool is not self._pool and not pool.users:
                await pool.session.close()

    async def _ask(self, session: aiohttp.ClientSession, what: str, request: BaseModel, wait: float) -> bytes:
        patience = self._settings.timeout_seconds
        timeout = aiohttp.ClientTimeout(total=None, connect=patience, sock_read=patience + wait)
        url = f"{self._settings.url}{API}/{what}"
        body = request.model_dump_json(exclude_none=True).encode()
        try:
            # A redirect could send our credentials to somebody else's server.
            async with session.post(
                url, data=body, headers=self._headers, timeout=timeout, allow_redirects=False
            ) as response:
                self.heard_at = time.monotonic()
                content = await self._read(response)
                if response.status != 200:
                    raise self._refusal(response, content)
                return content
        except aiohttp.ClientConnectorCertificateError as error:
            raise PeerRefused(
                f"the certificate of {self._name} is not trusted: {error}",
                hint=f"set producers.{self._name}.certificate_authority",
            ) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            refused = isinstance(getattr(error, "os_error", error), ConnectionRefusedError)
            raise PeerUnreachable(
                f"{self._name} ({self._settings.url}) does not answer: "
                f"{'nothing listens there' if refused else error or type(error).__name__}",
                hint=tls_hint(error) or "is its daemon running, and the address right? It is tried again",
            ) from error

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """The answer's body. Raises `TransferBroken` where it does not come whole, or comes too slowly."""
        parts = bytearray()
        began = time.monotonic()
        try:
            async for part in response.content.iter_chunked(READ_BYTES):
                self.heard_at = time.monotonic()
                parts += part
                if len(parts) > MAX_ANSWER_BYTES:
                    raise PeerRefused(
                        f"{self._name} answered with more than {MAX_ANSWER_BYTES >> 20} MiB",
                        hint="lower page_events",
                        code=TOO_LARGE,
                    )
                took = self.heard_at - began
                if took > self._settings.timeout_seconds and len(parts) < took * SLOWEST:
                    raise TimeoutError(f"less than {SLOWEST} bytes per second arrive")
        except (aiohttp.ClientError, OSError) as error:  # a timeout is an OSError
            kind = TransferStalled if isinstance(error, TimeoutError) else TransferBroken
            raise kind(
                f"the line to {self._name} ({self._settings.url}) broke after {len(parts)} bytes of an answer: "
                f"{error or type(error).__name__}",
                received=len(parts),
            ) from error
        return bytes(parts)

    async def _connected(self) -> _Pool:
        if self._pool is not None and self._pool.each_once != self.breaks:
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
                        hint="fix certificate_authority",
                    ) from error
            connector = aiohttp.TCPConnector(ssl=context, force_close=self.breaks)
            session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
            self._pool = _Pool(session, self.breaks)
        return self._pool

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
        hint = as_here(hint, self._name)
        words = f"{self._name}: {message}"
        if code == "resync_required":
            return ResyncRequired(words, hint=hint, code=code)
        if response.status == 429 or response.status >= 500:
            after = response.headers.get("Retry-After", "")
            return PeerUnreachable(
                words, hint=hint, code=code, retry_after=min(float(after), 300.0) if after.isdecimal() else 0.0
            )
        return PeerRefused(words, hint=hint, code=code)
