"""Who is asking, and how often: credentials and rate limits."""

from __future__ import annotations

import hmac
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping

import structlog
from aiohttp import web

from streamd.errors import InvalidRequest
from streamd.serve.connections.address import network_of
from streamd.serve.services import Caller, unauthorized
from streamd.store.keys import NO_HASH, hash_secret
from streamd.store.peers import Peers

log = structlog.get_logger("streamd.serve")

STRANGERS_SHARE = 10
"""An address without a valid key gets this fraction of the requests that a key gets."""

BUCKETS = 10_000
"""Keys, or addresses, whose pace is remembered. The one that was quiet for longest is forgotten first."""

KNOWN_SECONDS = 5.0
"""How long it is remembered which keys there are, while an address sends many wrong ones."""

CREDENTIAL_LIMIT = 400
"""Characters in a credential, at most."""


class Limiter:
    """Token buckets: each owner may do `per_minute` requests at once, and then as many each minute."""

    def __init__(self, per_minute: int, *, buckets: int = BUCKETS, now: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._per_second = per_minute / 60
        self._buckets = buckets
        self._now = now
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._left)

    def wait(self, owner: str) -> float:
        """Seconds until the owner's next request is allowed; 0 if it is now."""
        left = self._now_left(owner)
        return 0.0 if left >= 1 else (1 - left) / self._per_second

    def take(self, owner: str) -> None:
        """Count one request. Raises `InvalidRequest` (429) where that is one too many."""
        wait = self.wait(owner)
        if wait:
            raise InvalidRequest(
                "too many requests",
                hint="wait as long as Retry-After says",
                status=429,
                code="too_many_requests",
                retry_after=math.ceil(wait),
            )
        self._left[owner] = (self._now_left(owner) - 1, self._now())
        self._left.move_to_end(owner)
        if len(self._left) > self._buckets:
            self._left.popitem(last=False)

    def _now_left(self, owner: str) -> float:
        left, at = self._left.get(owner, (self._capacity, 0.0))
        return min(self._capacity, left + (self._now() - at) * self._per_second)


class Authentication:
    """Finds the consumer behind a request. Nothing that the request claims in its body counts."""

    def __init__(self, peers: Peers, requests_per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self._peers = peers
        self._now = now
        self._keys = Limiter(requests_per_minute)
        self._strangers = Limiter(max(1, requests_per_minute // STRANGERS_SHARE))
        # One word a minute for each address: a log that a stranger can fill is no log.
        self._said = Limiter(1)
        self._hashes: Mapping[str, str] = {}
        self._read_at = -KNOWN_SECONDS

    def admit_stranger(self, request: web.Request) -> None:
        """Count a request that needs no key. Raises `InvalidRequest` (429)."""
        self._strangers.take(_address(request))

    async def caller(self, request: web.Request) -> Caller:
        """Who sent the request. Raises `InvalidRequest`: 401, or 429 for too many requests.

        Only what is wrong counts against an address: a right key passes, whatever its neighbours there do.
        """
        credential = _credential(request)
        address = _address(request)
        # Guessing is stopped before it costs a query.
        if self._strangers.wait(address) and not (credential and await self._may_be_right(*credential)):
            self._strangers.take(address)
        consumer = await self._peers.authenticate(*credential) if credential else None
        if credential is None or consumer is None:
            self._strangers.take(address)
            if not self._said.wait(address):
                self._said.take(address)
                log.warning("key_refused", address=address)
            raise unauthorized()
        self._keys.take(credential[0])
        return Caller(credential[0], consumer)

    async def _may_be_right(self, api_key: str, secret: str) -> bool:
        """Whether the secret is the key's, as far as was known a few seconds ago."""
        if self._now() - self._read_at >= KNOWN_SECONDS:
            self._read_at = self._now()
            self._hashes = await self._peers.secret_hashes()
        return hmac.compare_digest(self._hashes.get(api_key, NO_HASH), hash_secret(secret))


def _credential(request: web.Request) -> tuple[str, str] | None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    key, colon, secret = given.strip().partition(":")
    if scheme.lower() != "bearer" or not (key and colon and secret) or len(given) > CREDENTIAL_LIMIT:
        return None
    return (key, secret) if given.isascii() else None


def _address(request: web.Request) -> str:
    return network_of(request.remote or "")
