"""Holding a database of PostgreSQL: an advisory lock of a session.

Behind a pooler that gives each transaction another session (pgbouncer's `transaction` mode) there is no such thing; nor
would the rest of the daemon work there.
"""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from streamd.db.alone import SILENT_SECONDS, ourselves
from streamd.db.alone.server import Holder, ServerHold
from streamd.db.postgresql.errors import plain_errors
from streamd.db.postgresql.site import driver_of, open_engine

_KEY = (0x73747265, 0x616D64)
"""What is locked. Such locks are the database's own: another database has the same key."""

_SETTINGS = """
SELECT set_config(name, value, false)
FROM (VALUES ('application_name', $1), ('idle_session_timeout', $2)) AS s (name, value)
WHERE current_setting(name, true) IS NOT NULL
"""
"""`idle_session_timeout` is there from PostgreSQL 14 on."""

_HOLDER = f"""
SELECT pg_backend_pid(), l.pid, coalesce(a.application_name, '')
FROM (SELECT) AS one LEFT JOIN pg_locks l ON l.locktype = 'advisory' AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (l.classid, l.objid, l.objsubid) = ({_KEY[0]}, {_KEY[1]}, 2)
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
"""


class PostgresqlHold(ServerHold[AsyncConnection]):
    """Holds a PostgreSQL database."""

    async def _connect(self) -> AsyncConnection:
        with plain_errors():
            engine = open_engine(self._url)
            try:
                connection = await engine.connect()
                driver = await driver_of(connection)
                await driver.execute(_SETTINGS, ourselves().encode()[:63].decode(errors="ignore"), f"{SILENT_SECONDS}s")
            except BaseException:
                await engine.dispose()
                raise
            return connection

    async def _holder(self, connection: AsyncConnection) -> tuple[int, Holder]:
        with plain_errors():
            ((me, holder, who),) = await (await driver_of(connection)).fetch(_HOLDER)
        return me, Holder(holder, who)

    async def _try_lock(self, connection: AsyncConnection) -> None:
        with plain_errors():
            await (await driver_of(connection)).fetchval("SELECT pg_try_advisory_lock($1::int, $2::int)", *_KEY)

    async def _end(self, connection: AsyncConnection) -> None:
        with suppress(SQLAlchemyError, OSError):  # it may be broken already
            await connection.invalidate()
        await connection.engine.dispose()
