"""Holding a database on a server: a lock that lives as long as a connection of its own.

After such a connection broke, the server may think for a while that it still is there. So a lock that one of our own
former connections has is nobody else's: it is waited for.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import Generic, NamedTuple, TypeVar

from streamd.db.alone import ANSWER_SECONDS, Hold, held_by
from streamd.errors import SiteBusy

C = TypeVar("C")


class Holder(NamedTuple):
    """Who has the lock: the server's number for that connection (None: nobody), and in words, as far as is known."""

    number: int | None
    who: str = ""


class ServerHold(Hold, Generic[C]):
    """What is the same on all servers. `C` is a connection."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: C | None = None
        self._ours: set[int] = set()

    async def take(self) -> None:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if self._connection is None:
                    self._connection = await self._connect()
                me, holder = await self._holder(self._connection)
                if holder.number is None:
                    await self._try_lock(self._connection)
                    me, holder = await self._holder(self._connection)
        except BaseException as error:
            await self.close()
            if isinstance(error, TimeoutError):
                raise SiteBusy("the server of the site's database does not answer", hint="it is tried again") from error
            raise
        former = holder.number in self._ours
        self._ours.add(me)
        if holder.number == me:
            return
        if former or holder.number is None:
            raise SiteBusy("a connection of ours that broke is still there for the server", hint="it is tried again")
        raise held_by(holder.who)

    async def holder(self) -> str | None:
        async with asyncio.timeout(ANSWER_SECONDS):
            connection = await self._connect()
            try:
                _, holder = await self._holder(connection)
            finally:
                await self._end(connection)
        return None if holder.number is None else holder.who

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._end(connection)

    @abstractmethod
    async def _connect(self) -> C:
        """A connection of its own. Raises `SiteError`."""

    @abstractmethod
    async def _holder(self, connection: C) -> tuple[int, Holder]:
        """The connection's own number, and who has the lock. Raises `SiteError`."""

    @abstractmethod
    async def _try_lock(self, connection: C) -> None:
        """Take the lock if nobody has it. Raises `SiteError`."""

    @abstractmethod
    async def _end(self, connection: C) -> None:
        """Close it at once. Never raises."""
