"""Holding a database of MariaDB: a named lock (`GET_LOCK`), which a server has and the others of its cluster do not."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import NamedTuple

from streamd.db.alone import SILENT_SECONDS
from streamd.db.alone.server import Holder, ServerHold
from streamd.db.mariadb.driver import Session, Sessions
from streamd.db.mariadb.errors import plain_errors

_NAME = "CONCAT('streamd ', MD5(DATABASE()))"
"""Such names are the whole server's, and have 64 characters at most."""

_HOLDER = f"""
SELECT CONNECTION_ID(), IS_USED_LOCK({_NAME}), (SELECT CONCAT('connection ', ID, ', ', USER, ' from ', HOST)
    FROM information_schema.PROCESSLIST WHERE ID = IS_USED_LOCK({_NAME}))
"""


class _Connection(NamedTuple):
    session: Session
    stack: AsyncExitStack


class MariadbHold(ServerHold[_Connection]):
    """Holds a MariaDB database."""

    async def _connect(self) -> _Connection:
        sessions = Sessions(self._url)
        with plain_errors(sessions.where):
            async with AsyncExitStack() as stack:
                stack.push_async_callback(sessions.close)
                session = await stack.enter_async_context(sessions.session())
                await session.run(f"SET SESSION wait_timeout = {SILENT_SECONDS}")
                return _Connection(session, stack.pop_all())
        raise AssertionError("not reached")

    async def _holder(self, connection: _Connection) -> tuple[int, Holder]:
        with plain_errors("the site's database"):
            ((me, holder, who),) = await connection.session.fetch(_HOLDER)
        return int(me), Holder(None if holder is None else int(holder), who or "")

    async def _try_lock(self, connection: _Connection) -> None:
        with plain_errors("the site's database"):
            await connection.session.fetch(f"SELECT GET_LOCK({_NAME}, 0)")

    async def _end(self, connection: _Connection) -> None:
        connection.session.close()
        await connection.stack.aclose()
