"""The state in a PostgreSQL database, which several daemons may share.

Our tables stand in a schema of their own, so that they may share a database with others', the site's among them.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import URL, Connection, Executable, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay, wait_exponential, wait_random

from streamd.common.endpoint import Endpoint
from streamd.db.postgresql.errors import access_hint, why_not
from streamd.db.state import BUSY_SECONDS, DOCUMENTED, FAULTS, StateDatabase
from streamd.db.urls import shown_url
from streamd.errors import StateBusy, StateError

SCHEMA = "streamd_state"

STATEMENT_SECONDS = 120
"""The longest that a statement may take: beginning a log anew deletes the old one at once."""

FORSAKEN_SECONDS = 60
"""After this long the server ends a transaction whose daemon says nothing any more, so that its lock is free."""

_SETTINGS = f"""
SET search_path = {SCHEMA};
SET standard_conforming_strings = on;
SET default_transaction_read_only = off;
SET default_transaction_isolation = 'read committed';
SET lock_timeout = '{BUSY_SECONDS:g}s';
SET statement_timeout = '{STATEMENT_SECONDS}s';
SET idle_in_transaction_session_timeout = '{FORSAKEN_SECONDS}s';
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
"""
"""For each new connection. Whoever made commits more durable than `on` knows why; `off` would lose what was served."""

_VIEW = text("SELECT 1")
_TURN = text("SELECT pg_advisory_xact_lock(:key)")
_UPGRADE_LOCK = text("SELECT set_config('lock_timeout', '0', false), pg_advisory_lock(:key)")

LOCK_TIMEOUT = "55P03"
PASSING = (
    "08",  # the connection broke
    "40",  # a serialization failure, a deadlock
    "53",  # no memory, disk or connection left
    "57P01",  # the server stops,
    "57P02",  # has crashed,
    "57P03",  # starts,
    "57P05",  # or ended an idle session
    "57014",  # a statement was cancelled, as by a time-out of the administrator's
    "25P03",  # we were silent for too long
    "25006",  # the server became a standby
    "0A000",  # a prepared statement is from before a migration; it is prepared again
    LOCK_TIMEOUT,
)
"""SQLSTATEs, or the beginnings of some, after which the same may succeed by itself."""

_HINTS = {
    "28P01": access_hint("28P01", "state.database"),
    "28": access_hint("28", "state.database"),
    "3D": access_hint("3D", "state.database"),
    "42501": "an administrator has to let the user of state.database do it: see docs/how-to/state-database.md",
    "42P01": "run `streamd install`",
    "3F": "run `streamd install`",
}


class PostgresqlState(StateDatabase):
    """A database of a PostgreSQL server. Writers take turns per site."""

    def __init__(self, url: URL) -> None:
        self.where = shown_url(url.render_as_string())
        self._url = url
        self._versions = itertools.count()
        # One connection at most waits for the site's lock on the server; the others are for readers.
        self._turn = asyncio.Lock()
        self._met = False
        # The site of a write whose connection was lost, or which was cancelled. The server may still be about to commit
        # it, and who looks for what became of it must not look too early.
        self._unsettled: str | None = None
        self.engine = create_async_engine(
            URL.create("postgresql+asyncpg"),
            module=_driver(),
            connect_args={"async_creator_fn": _connector(url)},
            pool_size=4,
            max_overflow=4,
            pool_use_lifo=True,
            pool_recycle=600,
        )

    def version(self) -> object:
        # The server would have to be asked, and then one may ask for the thing itself.
        return next(self._versions)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        def begun() -> AbstractAsyncContextManager[AsyncConnection]:
            return self._begun(_VIEW, {}, isolation_level="REPEATABLE READ", postgresql_readonly=True)

        if self._unsettled is not None:
            async with self.writing(self._unsettled):
                pass  # whoever has the lock knows that the write before has ended
        async with AsyncExitStack() as stack:
            yield await self._entered(stack, begun)

    @asynccontextmanager
    async def writing(self, site: str) -> AsyncIterator[AsyncConnection]:
        # What is read after the lock was taken has to be what the last writer left, hence READ COMMITTED.
        def begun() -> AbstractAsyncContextManager[AsyncConnection]:
            return self._begun(_TURN, {"key": _lock_key(site)}, isolation_level="READ COMMITTED")

        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self._turn)
                connection = await self._entered(stack, begun)
                self._unsettled = None
                yield connection
        except (*FAULTS, asyncio.CancelledError):
            self._unsettled = site
            raise

    async def _entered(
        self, stack: AsyncExitStack, begun: Callable[[], AbstractAsyncContextManager[AsyncConnection]]
    ) -> AsyncConnection:
        """A transaction that has begun; waits a while for a server that was there before, and restarts."""
        async for attempt in _while_it_restarts(self._restarts):
            with attempt:
                connection = await stack.enter_async_context(begun())
        self._met = True
        return connection

    @asynccontextmanager
    async def _begun(self, first: Executable, values: dict[str, Any], **options: Any) -> AsyncIterator[AsyncConnection]:
        async with self.engine.connect() as connection:
            await connection.execution_options(**options)
            try:
                async with connection.begin():
                    # Begins on the server too; shows whether the connection, which may have been idle, is alive.
                    await connection.execute(first, values)
                    yield connection
            except TimeoutError:
                await connection.invalidate()
                raise

    def _restarts(self, error: BaseException) -> bool:
        """Whether it failed because the server, which we have met before, is not there at the moment."""
        if not self._met or not isinstance(error, FAULTS) or _sqlstate(error) == LOCK_TIMEOUT:
            return False
        return self.in_plain_words(error).retryable

    def upgrade(self, run: Callable[[Connection], None]) -> None:
        asyncio.run(self._upgrade(run))

    async def _upgrade(self, run: Callable[[Connection], None]) -> None:
        try:
            async with self.engine.connect() as connection:
                # Until the connection is closed: daemons that share the state may all migrate it when they start.
                await connection.execute(_UPGRADE_LOCK, {"key": _lock_key("upgrade")})
                encoding = await connection.scalar(text("SHOW server_encoding"))
                if encoding != "UTF8":
                    raise StateError(
                        f"the state database {self.where} keeps text as {encoding}, which cannot hold every document",
                        hint="make one with the encoding UTF8: `CREATE DATABASE … TEMPLATE template0 ENCODING 'UTF8'`",
                    )
                there = await connection.scalar(text("SELECT to_regnamespace(:name)::text"), {"name": SCHEMA})
                if there is None:
                    await connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
                await connection.commit()
                await connection.run_sync(run)
        finally:
            await self.engine.dispose()

    def no_tables(self, error: DBAPIError) -> bool:
        return _sqlstate(error) in ("42P01", "3F000")

    def in_plain_words(self, error: BaseException) -> StateError:
        state = _sqlstate(error)
        where = Endpoint(self._url.host or "the socket", self._url.port or 5432, "state.database", "PostgreSQL")
        if isinstance(error, NoConnectionFree):
            return StateBusy(
                f"the state database {self.where}: all connections to it are in use", hint="it is tried again"
            )
        if not isinstance(error, DBAPIError):
            what, hint = why_not(where, error)
            said = f"the state database {self.where}: {what}"
            if isinstance(error, ssl.SSLCertVerificationError):
                return StateError(said, hint=f"{hint}: the options sslmode and sslrootcert of state.database")
            return StateBusy(said, hint=f"{hint}. A daemon retries by itself")
        said = f"the state database {self.where}: {_words(error)}"
        if not error.connection_invalidated and not state.startswith(PASSING):
            hint = next((hint for begin, hint in _HINTS.items() if state.startswith(begin)), DOCUMENTED)
            return StateError(said, hint=hint)
        if state == LOCK_TIMEOUT:
            return StateBusy(said, hint="another program holds it; it is tried again")
        return StateBusy(said, hint="is the server there, and reachable from here? A daemon tries again by itself")


def _while_it_restarts(restarts: Callable[[BaseException], bool]) -> AsyncRetrying:
    return AsyncRetrying(
        retry=retry_if_exception(restarts),
        wait=wait_exponential(multiplier=0.05, max=1) + wait_random(0, 0.1),
        stop=stop_after_delay(BUSY_SECONDS),
        reraise=True,
    )


def _driver() -> Any:
    """What SQLAlchemy makes of asyncpg."""
    from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

    return PGDialect_asyncpg.import_dbapi()  # type: ignore[no-untyped-call]  # SQLAlchemy leaves this one untyped


def _connector(url: URL) -> Callable[..., Any]:
    """What SQLAlchemy calls for a new connection. The options in the URL are those of every PostgreSQL client."""
    plain = url.render_as_string(hide_password=False)
    name = {} if "application_name" in url.query else {"application_name": "streamd"}

    async def connect() -> Any:
        connection = await asyncpg.connect(
            plain, timeout=BUSY_SECONDS, command_timeout=STATEMENT_SECONDS + BUSY_SECONDS, server_settings=name
        )
        try:
            await connection.execute(_SETTINGS)
        except BaseException:
            connection.terminate()
            raise
        return connection

    return connect


def _lock_key(what: str) -> int:
    """A number for an advisory lock; nobody else's are like it, except by a chance of one in 2⁶⁴."""
    return int.from_bytes(hashlib.sha256(f"streamd state {what}".encode()).digest()[:8], "big", signed=True)


def _sqlstate(error: BaseException) -> str:
    return str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")


def _words(error: DBAPIError) -> str:
    """What the server said, without the names of classes."""
    cause = error if error.orig is None else error.orig.__cause__ or error.orig
    return str(cause).strip().partition("\n")[0] or "the connection was lost"
