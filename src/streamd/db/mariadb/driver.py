"""Connections to MariaDB, through SQLAlchemy's pool and asyncmy, as our statements use them.

Values never become part of a statement's text: they travel in the binary protocol, as parameters of prepared
statements. asyncmy's own escaping is not safe where `NO_BACKSLASH_ESCAPES` is set (it escapes bytes with backslashes
all the same), so nothing here uses it.

Whoever is cancelled waits for the statement that is under way; if the server does not answer for long, the connection
is given up. So no connection goes back to the pool in the middle of something.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Collection, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, TypeVar

import asyncmy
from asyncmy.errors import Error, OperationalError
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from streamd.common.endpoint import Endpoint
from streamd.common.instrumentation import record_progress
from streamd.db.mariadb.errors import NO_CONNECTION, is_broken, number_of
from streamd.db.sockets import keep_alive
from streamd.errors import SiteBusy, SiteError

T = TypeVar("T")

SQL_MODE = (
    "PIPES_AS_CONCAT,ANSI_QUOTES,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO"
)
"""The mode of our sessions: a row keeps the number 0 that it comes with."""

TRIGGER_MODE = "PIPES_AS_CONCAT,ANSI_QUOTES,NO_BACKSLASH_ESCAPES,NO_ENGINE_SUBSTITUTION"
"""The mode of our triggers, in the order in which the server names its parts.

It is not strict: then a row that is too large for JSON would refuse the user's write.
"""

LOCK_SECONDS = 5
"""How long we wait for a user's lock before we say that the site is busy."""

CONNECT_SECONDS = 10
GREETING_SECONDS = 20
"""How long a server may take to let us in. One of another kind may wait for us to speak first."""

LAST_WORDS_SECONDS = 10.0
"""How long one who was cancelled waits for the statement that is under way, before the connection is given up."""

CONNECTIONS = 8
"""Connections at once, at most: the writing one, the capture's, and readers."""

STATEMENTS = 128
"""Prepared statements that a connection keeps."""

AT_ONCE_BYTES = 4 << 20
"""Values that are sent in one packet, roughly; the server's `max_allowed_packet` is 16 MiB by default."""

AT_ONCE_ROWS = 5000

_SESSION = (
    "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    f"SET time_zone = '+00:00', sql_mode = '{SQL_MODE}', autocommit = 1, innodb_lock_wait_timeout = {LOCK_SECONDS}, "
    f"lock_wait_timeout = {LOCK_SECONDS}, foreign_key_checks = 1, unique_checks = 1, max_statement_time = 0",
)


class Session:
    """One connection to the server. Statements have `?` for their values."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._prepared: dict[str, Any] = {}
        self.number: int = driver.thread_id()

    async def fetch(self, statement: str, values: Sequence[Any] = ()) -> Sequence[tuple[Any, ...]]:
        """The rows that a statement gives."""
        if values:
            return (await self._ended(self._execute(statement, values))).rows or ()
        return await self._ended(self._query(statement)) or ()

    async def run(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run a statement. Returns how many rows it found."""
        if values:
            return int((await self._ended(self._execute(statement, values))).affected_rows)
        return int(await self._ended(self._driver.query(statement)))

    async def run_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> int:
        """Run a statement for each of these rows. Returns how many rows of the table they found."""
        return int(await self._ended(self._many(statement, rows))) if rows else 0

    def close(self) -> None:
        """Give the connection up, without a word to the server."""
        self._driver.close()

    @property
    def is_open(self) -> bool:
        return bool(self._driver.connected)

    @property
    def in_step(self) -> bool:
        """Whether the connection is open, and in no transaction."""
        return bool(self._driver.connected) and not self._driver.get_transaction_status()

    async def _query(self, statement: str) -> Sequence[tuple[Any, ...]] | None:
        await self._driver.query(statement)
        rows: Sequence[tuple[Any, ...]] | None = self._driver._result.rows
        return rows

    async def _execute(self, statement: str, values: Sequence[Any]) -> Any:
        return await (await self._prepare(statement)).execute(tuple(values))

    async def _prepare(self, statement: str) -> Any:
        found = self._prepared.pop(statement, None)
        if found is None:
            found = await self._driver.prepare(statement)
            if len(self._prepared) >= STATEMENTS:
                await self._prepared.pop(next(iter(self._prepared))).close()
        self._prepared[statement] = found
        return found

    async def _many(self, statement: str, rows: Sequence[Sequence[Any]]) -> int:
        found = 0
        for some in packets(rows):
            one, uniform = _uniform(statement, some)
            prepared = await self._prepare(one)
            if len(uniform) > 1 and uniform[0] and self._driver._bulk_supported:
                found += (await prepared.execute_bulk(uniform)).affected_rows
                record_progress()
            else:
                for row in uniform:
                    found += (await prepared.execute(tuple(row))).affected_rows
                    record_progress()
        return found

    async def _ended(self, work: Awaitable[T]) -> T:
        task = asyncio.ensure_future(work)
        try:
            result = await asyncio.shield(task)
            record_progress()
            return result
        except asyncio.CancelledError:
            await asyncio.wait({task}, timeout=LAST_WORDS_SECONDS)
            if not task.done():
                self.close()
                task.cancel()
                await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # nobody else asks for it any more
            raise
        except (Error, UnicodeEncodeError):
            raise
        except BaseException:
            # The driver failed in the midst of something: what the server sends next is anybody's guess.
            self.close()
            raise


def packets(rows: Sequence[Sequence[Any]], most: int = AT_ONCE_ROWS) -> list[Sequence[Sequence[Any]]]:
    """These rows in parts of `most` rows at most that fit into the server's packets."""
    found: list[Sequence[Sequence[Any]]] = []
    start = size = 0
    for index, row in enumerate(rows):
        more = sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)
        if index > start and (size + more > AT_ONCE_BYTES or index - start >= most):
            found.append(rows[start:index])
            start, size = index, 0
        size += more
    found.append(rows[start:])
    return found


def _uniform(statement: str, rows: Sequence[Sequence[Any]]) -> tuple[str, Sequence[Sequence[Any]]]:
    """The rows with one type of value in each column, as the server wants many at once, and their statement.

    A column without any value has no type, so its NULL becomes part of the statement. Where types are mixed, values
    are sent as text, which the server reads exactly.
    """
    nothing: set[int] = set()
    mixed: list[int] = []
    for index in range(len(rows[0])):
        types = {type(row[index]) for row in rows}
        types.discard(type(None))
        if not types:
            nothing.add(index)
        elif len(types) > 1:
            mixed.append(index)
    if mixed:
        found = [list(row) for row in rows]
        for row in found:
            for index in mixed:
                row[index] = _as_text(row[index])
        rows = found
    if nothing:
        statement = _with_nulls(statement, nothing)
        rows = [[value for index, value in enumerate(row) if index not in nothing] for row in rows]
    return statement, rows


def _as_text(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        raise TypeError("bytes and other values in one column")
    return repr(value) if isinstance(value, float) else str(value)


def _with_nulls(statement: str, places: Collection[int]) -> str:
    """The statement with NULL for some of its values."""
    parts = split_at_values(statement)
    found = [parts[0]]
    for index, part in enumerate(parts[1:]):
        found += ["NULL" if index in places else "?", part]
    return "".join(found)


@lru_cache(maxsize=512)
def split_at_values(statement: str) -> tuple[str, ...]:
    """What stands between the `?` of a statement; one in a quoted name or text is none."""
    parts, start, quote = [], 0, ""
    for index, character in enumerate(statement):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "?":
            parts.append(statement[start:index])
            start = index + 1
    return (*parts, statement[start:])


class Sessions:
    """The connections to one database."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url).set(drivername="mariadb+asyncmy")
        self.where = shown(self.url)
        self._engine = _engine(self.url)
        self.broken = 0
        """How many connections were given up: each time the server may have been another one, or an older state."""

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A connection of its own for a while. Errors come as SQLAlchemy or the driver raise them."""
        async with self._engine.connect() as connection:
            raw = await connection.get_raw_connection()
            driver = raw.driver_connection
            info = connection.sync_connection.info if connection.sync_connection is not None else {}
            session: Session | None = info.get("streamd")
            if session is None or session._driver is not driver:
                session = info["streamd"] = Session(driver)
            try:
                yield session
            except BaseException as error:
                if is_broken(error):
                    session.close()
                raise
            finally:
                if not session.in_step:
                    self.broken += 1
                    session.close()
                    await connection.invalidate()

    async def close(self) -> None:
        await self._engine.dispose()


def shown(url: URL) -> str:
    """A database's URL as it may be shown: nobody learns a password from it."""
    return url.set(drivername="mariadb", password=None, query={}).render_as_string()


async def _connect(**options: Any) -> Any:
    """What SQLAlchemy calls for a new connection."""
    where = Endpoint(str(options.get("host") or "localhost"), options.get("port"), "site.database", "MariaDB")
    try:
        async with asyncio.timeout(GREETING_SECONDS):
            connection: Any = await asyncmy.connect(**options)
    except TimeoutError as error:
        raise SiteBusy(
            f"what listens at {where} does not greet as a MariaDB server does",
            hint="look at the port in site.database (MariaDB's is 3306); a server that is very busy is tried again",
        ) from error
    except (OperationalError, OSError) as error:
        if number_of(error) not in NO_CONNECTION and not isinstance(error, OSError):
            raise
        what, hint = where.why(error)
        raise SiteBusy(what, hint=f"{hint}. A daemon retries by itself") from error
    try:
        if "mariadb" not in connection.get_server_info().lower():
            raise SiteError(
                f"the server is MySQL {connection.get_server_info()}, and not MariaDB",
                hint="streamd works with MariaDB 10.6 and newer",
            )
        keep_alive(connection._transport.get_extra_info("socket"))
        for statement in _SESSION:
            await connection.query(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def _engine(url: URL) -> AsyncEngine:
    engine = create_async_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=CONNECTIONS,
        max_overflow=CONNECTIONS,
        pool_timeout=LOCK_SECONDS,
        pool_reset_on_return=None,
        connect_args={"async_creator_fn": _connect, "connect_timeout": CONNECT_SECONDS, "autocommit": True},
    )

    @event.listens_for(engine.sync_engine.pool, "checkout")
    def _checked_out(connection: Any, record: Any, proxy: Any) -> None:
        """A connection that the server closed while nobody used it is replaced."""
        driver = connection.driver_connection
        if driver._stream_broken or driver.get_transaction_status():
            raise DisconnectionError("the server closed the connection")

    return engine
