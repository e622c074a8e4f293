"""Authentication and rate limits."""

from __future__ import annotations

import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

import structlog
from aiohttp import web

from streamd.common.addresses import client_network
from streamd.errors import InvalidRequest
from streamd.serve.services import Caller, unauthorized
from streamd.store.keys import NO_HASH, hash_secret
from streamd.store.peers import Peers

log = structlog.get_logger("streamd.serve")

UNAUTHENTICATED_DIVISOR = 10
"""A client address without a valid key gets the request rate of a key, divided by this."""

MAX_BUCKETS = 10_000
"""Keys or addresses that a limiter tracks. The least recently used one is dropped first."""

HASH_CACHE_SECONDS = 5.0
"""How long key hashes are cached to check the keys from an address that sends many wrong ones."""

MAX_CREDENTIAL_LENGTH = 400
"""Characters."""


class Limiter:
    """Token buckets: each owner may send `per_minute` requests at once, and then `per_minute` each minute."""

    def __init__(
        self, per_minute: int, *, max_buckets: int = MAX_BUCKETS, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._max_buckets = max_buckets
        self._now = now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens left, and when that was counted

    def __len__(self) -> int:
        return len(self._buckets)

    def seconds_until_allowed(self, owner: str) -> float:
        """Seconds until the owner may send its next request; 0 if it may send one now."""
        tokens = self._count_tokens(owner)
        return 0.0 if tokens >= 1 else (1 - tokens) / self._per_second

    def take(self, owner: str) -> None:
        """Count one request. Raises `InvalidRequest` (429) if the owner is over its limit."""
        wait = self.seconds_until_allowed(owner)
        if wait:
            raise InvalidRequest(
                "too many requests",
                hint="wait for the number of seconds in Retry-After",
                status=429,
                code="too_many_requests",
                retry_after=math.ceil(wait),
            )
        self._buckets[owner] = (self._count_tokens(owner) - 1, self._now())
        self._buckets.move_to_end(owner)
        if len(self._buckets) > self._max_buckets:
            self._buckets.popitem(last=False)

    def _count_tokens(self, owner: str) -> float:
        tokens, counted_at = self._buckets.get(owner, (self._capacity, 0.0))
        return min(self._capacity, tokens + (self._now() - counted_at) * self._per_second)


class Authentication:
    """Identifies the consumer that sent a request, from its credential only. The request's body is never trusted."""

    def __init__(self, peers: Peers, requests_per_minute: int) -> None:
        self._peers = peers
        self._key_limiter = Limiter(requests_per_minute)
        self._address_limiter = Limiter(max(1, requests_per_minute // UNAUTHENTICATED_DIVISOR))
        # One log line per address and minute: otherwise anyone could fill the log.
        self._log_limiter = Limiter(1)
        self._secret_hashes: Mapping[str, str] = {}
        self._hashes_read_at = -HASH_CACHE_SECONDS

    def admit_unauthenticated(self, request: web.Request) -> None:
        """Count a request that needs no key. Raises `InvalidRequest` (429)."""
        self._address_limiter.take(_client_address(request))

    async def identify_caller(self, request: web.Request) -> Caller:
        """Who sent the request. Raises `InvalidRequest`: 401, or 429 for too many requests.

        Only wrong credentials count against an address. A valid key works even if others guess from the same address.
        """
        credential = _read_credential(request)
        address = _client_address(request)
        # Stop guessing before it costs a query.
        if self._address_limiter.seconds_until_allowed(address) and not (
            credential and await self._matches_cached_hash(*credential)
        ):
            self._address_limiter.take(address)
        consumer = await self._peers.authenticate(*credential) if credential else None
        if credential is None or consumer is None:
            self._address_limiter.take(address)
            if not self._log_limiter.seconds_until_allowed(address):
                self._log_limiter.take(address)
                log.warning("key_refused", address=address)
            raise unauthorized()
        self._key_limiter.take(credential[0])
        return Caller(credential[0], consumer)

    async def _matches_cached_hash(self, api_key: str, secret: str) -> bool:
        """Whether the secret belongs to the key, according to hashes that are at most a few seconds old."""
        if time.monotonic() - self._hashes_read_at >= HASH_CACHE_SECONDS:
            self._hashes_read_at = time.monotonic()
            self._secret_hashes = await self._peers.secret_hashes()
        return hmac.compare_digest(self._secret_hashes.get(api_key, NO_HASH), hash_secret(secret))


def _read_credential(request: web.Request) -> tuple[str, str] | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    key, colon, secret = token.strip().partition(":")
    if scheme.lower() != "bearer" or not (key and colon and secret) or len(token) > MAX_CREDENTIAL_LENGTH:
        return None
    return (key, secret) if token.isascii() else None


def _client_address(request: web.Request) -> str:
    return client_network(request.remote or "")
