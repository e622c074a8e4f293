"""Opens the state database, for reading and for writing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Executable, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from streamd.common.instrumentation import record_progress
from streamd.db import open_state
from streamd.db.state import FAULTS
from streamd.errors import StateError
from streamd.store.migrate import HEAD


def now_ms() -> int:
    """The wall clock, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class State:
    """The state database. Every key in it begins with `site`, this site's UUID."""

    def __init__(self, url: str, site: str) -> None:
        self.site = site
        self._database = open_state(url)

    @property
    def engine(self) -> AsyncEngine:
        return self._database.engine

    async def close(self) -> None:
        await self._database.settle()
        await self.engine.dispose()

    def version(self) -> object:
        """A value that changes whenever any process may have written to the database."""
        return self._database.version()

    async def revision(self) -> str | None:
        """The schema revision of the tables; None if there are no tables. Raises `StateError`."""
        if not self._database.may_exist():
            return None
        async with self.read() as connection:
            try:
                return (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar()
            except DBAPIError as error:
                if not self._database.no_tables(error):
                    raise
                return None

    async def check_revision(self) -> None:
        """Raises `StateError` if the schema is not this release's."""
        revision = await self.revision()
        if revision != HEAD:
            raise StateError(
                f"the state database has schema {revision or 'none'}, but this release needs {HEAD}",
                hint="run `streamd install` or `streamd run`: both migrate it",
            )

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading, with one consistent view of the database. Raises `StateError`."""
        async with self._translated_errors(), self._database.reading() as connection:
            yield connection

    async def fetch(self, query: Executable) -> Sequence[Any]:
        """All rows of one query. Raises `StateError`."""
        async with self.read() as connection:
            return (await connection.execute(query)).all()

    async def execute(self, statement: Executable, rows: list[dict[str, Any]] | None = None) -> None:
        """Run one statement, for each of these rows if given, in a transaction of its own, as in `write`."""
        async with self.write() as connection:
            await connection.execute(statement, rows)

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A durable transaction. Until it ends, no other process writes rows of this site.

        Raises `StateError`. After `StateBusy` it may nevertheless be committed, if the connection was lost during the
        commit: the caller has to check.
        """
        async with self._translated_errors(), self._database.writing(self.site) as connection:
            yield connection

    @asynccontextmanager
    async def _translated_errors(self) -> AsyncIterator[None]:
        try:
            yield
        except FAULTS as error:
            raise self._database.in_plain_words(error) from error
        finally:
            record_progress()
