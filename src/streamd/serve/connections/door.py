"""Who may be connected, and for how long: so that a stranger takes neither the descriptors nor the consumers' turns.

A connection is a stranger's until a request with a valid key comes over it. Strangers have few places: where one comes
too many, the one that has been there for longest goes, so that whoever sends a valid request at once always finds a
place, whatever else knocks. Pure bookkeeping: `listener.py` acts on it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

HEAD_SECONDS = 10.0
"""A stranger's connection is ended after this long without a request's complete head, or between two requests."""

REQUEST_SECONDS = 60.0
"""So long a stranger's request may take, until the answer has been read."""

IDLE_SECONDS = 120.0
"""The same for a consumer's connection without a request, or in the middle of one's head."""

UNREAD_SECONDS = 60.0
"""An answer of which nobody reads anything for so long is given up."""

KEY_CONNECTIONS = 64
"""Connections over which requests of one key come, at most."""


@dataclass(frozen=True, slots=True)
class Places:
    """How many connections there may be: all, strangers' among them, and strangers' from one address."""

    all: int
    strangers: int
    address: int


@dataclass(eq=False, slots=True)
class Visitor:
    """One connection. `end` ends it at once; `unread` says how many bytes of answers are not sent yet.

    `due`: when it is overdue, in the door's time. `key` is empty for a stranger.
    """

    address: str
    end: Callable[[], object]
    unread: Callable[[], int] = lambda: 0
    due: float = 0.0
    key: str = ""
    requests: int = 0
    left: int = 0
    left_at: float = 0.0


class Door:
    """All connections of a server."""

    def __init__(self, places: Places, now: Callable[[], float] = time.monotonic) -> None:
        self._places = places
        self._now = now
        self._strangers: dict[Visitor, None] = {}
        self._known: dict[Visitor, None] = {}
        self._addresses: Counter[str] = Counter()
        self._keys: Counter[str] = Counter()
        self.turned_away = 0
        """Connections that had to go for others, or were overdue."""

    def __len__(self) -> int:
        return len(self._strangers) + len(self._known)

    def arrived(self, visitor: Visitor) -> bool:
        """Let a connection in; another stranger may have to go for it. Returns whether there is a place."""
        places = self._places
        if self._addresses[visitor.address] >= places.address:
            self._give_way(visitor.address)
        elif len(self._strangers) >= places.strangers or (len(self) >= places.all and self._strangers):
            (crowd, _), *_ = self._addresses.most_common(1)
            self._give_way(crowd)
        elif len(self) >= places.all:
            return False
        visitor.due = self._now() + HEAD_SECONDS
        self._strangers[visitor] = None
        self._addresses[visitor.address] += 1
        return True

    def make_room(self) -> None:
        """The system gave no descriptor: the stranger that has been here for longest goes."""
        if self._strangers:
            self._send_away(next(iter(self._strangers)))

    def began(self, visitor: Visitor) -> None:
        """A request's head is complete."""
        visitor.requests += 1
        visitor.due = float("inf") if visitor.key else self._now() + REQUEST_SECONDS

    def is_known(self, visitor: Visitor, key: str) -> None:
        """A request with this valid key came over the connection."""
        if visitor.key == key or not (visitor in self._strangers or visitor in self._known):
            return
        if self._keys[key] >= KEY_CONNECTIONS:
            self._send_away(next(each for each in self._known if each.key == key))
        self.gone(visitor)
        visitor.key = key
        visitor.due = float("inf")
        self._known[visitor] = None
        self._keys[key] += 1

    def ended(self, visitor: Visitor) -> None:
        """A request was answered, but for what is not sent yet."""
        visitor.requests -= 1
        if not visitor.requests:
            visitor.due = self._now() + (IDLE_SECONDS if visitor.key else HEAD_SECONDS)

    def gone(self, visitor: Visitor) -> None:
        """The connection is closed."""
        if visitor in self._strangers:
            del self._strangers[visitor]
            _count_down(self._addresses, visitor.address)
        elif visitor in self._known:
            del self._known[visitor]
            _count_down(self._keys, visitor.key)

    def sweep(self) -> None:
        """End what is overdue. To be called about once a second."""
        now = self._now()
        for visitor in [*self._strangers, *self._known]:
            if self._is_overdue(visitor, now):
                self._send_away(visitor)

    def end_all(self) -> None:
        for visitor in [*self._strangers, *self._known]:
            visitor.end()

    def _is_overdue(self, visitor: Visitor, now: float) -> bool:
        left = visitor.unread()
        if left and (not visitor.left or left < visitor.left):
            visitor.left_at = now
        visitor.left = left
        if left and now - visitor.left_at > UNREAD_SECONDS:
            return True
        if left and visitor.key:
            visitor.due = max(visitor.due, now + 1)  # a slow line, on which something moves
        return now > visitor.due

    def _give_way(self, address: str) -> None:
        """Of this address the stranger goes that has been here for longest; rather one whose head is not complete."""
        there = (each for each in self._strangers if each.address == address)
        oldest = next(there)
        self._send_away(oldest if not oldest.requests else next((each for each in there if not each.requests), oldest))

    def _send_away(self, visitor: Visitor) -> None:
        self.turned_away += 1
        self.gone(visitor)
        visitor.end()


def _count_down(counter: Counter[str], of: str) -> None:
    counter[of] -= 1
    if counter[of] <= 0:
        del counter[of]


def places_for(descriptors: int) -> Places:
    """How many connections there may be where the process may have so many descriptors.

    What databases, files and our own requests need is kept free: else a crowd looks like a broken database.
    """
    every = max(32, descriptors - max(128, descriptors // 4))
    # Consumers are strangers until their first request is read: hundreds behind one address may come back at once.
    strangers = min(2048, every // 2)
    return Places(every, strangers, strangers * 7 // 8)
