"""Which connections stay open, and for how long.

A connection is unauthenticated until a request with a valid key arrives over it. Unauthenticated connections have few
places. When these are full, a new connection evicts the oldest one. So a client that sends a valid request at once
always gets in, and no flood of other connections can exhaust file descriptors or lock out consumers.

This module only keeps the books; `listener.py` owns the sockets.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

HEAD_SECONDS = 10.0
"""How long an unauthenticated client may take to send a request's head, or stay idle between two requests."""

REQUEST_SECONDS = 60.0
"""How long a request of an unauthenticated client may take, until the client has read the answer."""

IDLE_SECONDS = 120.0
"""How long a consumer's connection may stay idle, or take to send a request's head."""

UNREAD_SECONDS = 60.0
"""A connection is closed if its client reads nothing of an answer for this long."""

MAX_KEY_CONNECTIONS = 64
"""Connections per key."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """How many connections may be open: in total, unauthenticated, and unauthenticated from one address."""

    total: int
    unauthenticated: int
    per_address: int


@dataclass(eq=False, slots=True)
class Connection:
    """One connection. `close` closes it at once; `unsent_bytes` counts the bytes of answers that are not sent yet.

    `deadline`, in the clock of `Admission`, is when the connection is overdue. `key` is empty until the client
    authenticates.
    """

    address: str
    close: Callable[[], object]
    unsent_bytes: Callable[[], int] = lambda: 0
    deadline: float = 0.0
    key: str = ""
    open_requests: int = 0
    last_unsent: int = 0
    progress_at: float = 0.0


class Admission:
    """All connections of a server."""

    def __init__(self, limits: ConnectionLimits, now: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._now = now
        self._unauthenticated: dict[Connection, None] = {}
        self._authenticated: dict[Connection, None] = {}
        self._by_address: Counter[str] = Counter()
        self._by_key: Counter[str] = Counter()
        self.evicted_count = 0
        """Connections that were closed because they were overdue, or to make room for others."""

    def __len__(self) -> int:
        return len(self._unauthenticated) + len(self._authenticated)

    def admit(self, connection: Connection) -> bool:
        """Register a new connection, and evict an unauthenticated one if necessary. Returns whether there was room."""
        limits = self._limits
        if self._by_address[connection.address] >= limits.per_address:
            self._evict_from(connection.address)
        elif len(self._unauthenticated) >= limits.unauthenticated or (
            len(self) >= limits.total and self._unauthenticated
        ):
            (busiest_address, _), *_ = self._by_address.most_common(1)
            self._evict_from(busiest_address)
        elif len(self) >= limits.total:
            return False
        connection.deadline = self._now() + HEAD_SECONDS
        self._unauthenticated[connection] = None
        self._by_address[connection.address] += 1
        return True

    def evict_oldest(self) -> None:
        """Free a file descriptor: close the oldest unauthenticated connection."""
        if self._unauthenticated:
            self._evict(next(iter(self._unauthenticated)))

    def begin_request(self, connection: Connection) -> None:
        """A request's head is complete."""
        connection.open_requests += 1
        connection.deadline = float("inf") if connection.key else self._now() + REQUEST_SECONDS

    def authenticate(self, connection: Connection, key: str) -> None:
        """A request with this valid key arrived over the connection."""
        if connection.key == key or not (connection in self._unauthenticated or connection in self._authenticated):
            return
        if self._by_key[key] >= MAX_KEY_CONNECTIONS:
            self._evict(next(other for other in self._authenticated if other.key == key))
        self.remove(connection)
        connection.key = key
        connection.deadline = float("inf")
        self._authenticated[connection] = None
        self._by_key[key] += 1

    def end_request(self, connection: Connection) -> None:
        """A request is answered; part of the answer may still be unsent."""
        connection.open_requests -= 1
        if not connection.open_requests:
            connection.deadline = self._now() + (IDLE_SECONDS if connection.key else HEAD_SECONDS)

    def remove(self, connection: Connection) -> None:
        """The connection is closed."""
        if connection in self._unauthenticated:
            del self._unauthenticated[connection]
            _decrement(self._by_address, connection.address)
        elif connection in self._authenticated:
            del self._authenticated[connection]
            _decrement(self._by_key, connection.key)

    def close_overdue(self) -> None:
        """Close the connections that are overdue. Call this about once a second."""
        now = self._now()
        for connection in [*self._unauthenticated, *self._authenticated]:
            if self._is_overdue(connection, now):
                self._evict(connection)

    def close_all(self) -> None:
        for connection in [*self._unauthenticated, *self._authenticated]:
            connection.close()

    def _is_overdue(self, connection: Connection, now: float) -> bool:
        unsent = connection.unsent_bytes()
        if unsent and (not connection.last_unsent or unsent < connection.last_unsent):
            connection.progress_at = now
        connection.last_unsent = unsent
        if unsent and now - connection.progress_at > UNREAD_SECONDS:
            return True
        if unsent and connection.key:
            connection.deadline = max(connection.deadline, now + 1)  # a slow network, but data is flowing
        return now > connection.deadline

    def _evict_from(self, address: str) -> None:
        """Evict the oldest unauthenticated connection of this address, preferably one without a complete head."""
        candidates = (connection for connection in self._unauthenticated if connection.address == address)
        oldest = next(candidates)
        if oldest.open_requests:
            oldest = next((connection for connection in candidates if not connection.open_requests), oldest)
        self._evict(oldest)

    def _evict(self, connection: Connection) -> None:
        self.evicted_count += 1
        self.remove(connection)
        connection.close()


def _decrement(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]


def limits_for(descriptors: int) -> ConnectionLimits:
    """The limits for a process that may open this many file descriptors.

    Some stay reserved for databases, files and outgoing requests. Otherwise a flood of connections would look like a
    broken database.
    """
    total = max(32, descriptors - max(128, descriptors // 4))
    # Consumers are unauthenticated until their first request: hundreds behind one address may reconnect at once.
    unauthenticated = min(2048, total // 2)
    return ConnectionLimits(total, unauthenticated, unauthenticated * 7 // 8)
