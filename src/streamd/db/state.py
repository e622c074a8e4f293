"""What is asked of the database that the state is kept in. One file per engine answers (`…_state.py`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from streamd.errors import StateError

BUSY_SECONDS = 10.0
"""How long a writer waits for another one, and a daemon for a server that has gone away."""

FAULTS = (DBAPIError, NoConnectionFree, OSError)
"""What a driver, or the pool of connections, raises."""

DOCUMENTED = "see docs/how-to/state-database.md"


class StateDatabase(ABC):
    """A database that the state can be kept in. Nothing is opened before it is used."""

    engine: AsyncEngine
    where: str
    """Which one it is, for people: never with a password."""

    def may_exist(self) -> bool:
        """False where it is certainly not there, so that looking at it would make one."""
        return True

    async def settle(self) -> None:
        """Bring what was written to where a copy of the database finds it, as far as that can be."""
        return

    @abstractmethod
    def version(self) -> object:
        """Something that differs from the last one whenever somebody, in whatever process, may have written."""

    @abstractmethod
    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection for reading; one consistent view of the database while it is open."""

    @abstractmethod
    def writing(self, site: str) -> AbstractAsyncContextManager[AsyncConnection]:
        """A transaction, durable when it ends, during which nobody else writes what belongs to this site.

        What it reads is what the writer before it left.
        """

    @abstractmethod
    def upgrade(self, run: Callable[[Connection], None]) -> None:
        """Call `run`, which brings the tables to this release's schema, while nobody else does the same.

        The database, and what the tables are to stand in, is made where that is possible. Blocks.
        """

    @abstractmethod
    def no_tables(self, error: DBAPIError) -> bool:
        """Whether this error says that there are no tables of ours."""

    @abstractmethod
    def in_plain_words(self, error: BaseException) -> StateError:
        """One of `FAULTS` in words; `StateBusy` if the same may succeed later by itself."""
