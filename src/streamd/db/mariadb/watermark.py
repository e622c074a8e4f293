"""Knows below which id no change can appear any more, by watching which transactions write.

A look at `information_schema.INNODB_TRX` needs the PROCESS privilege. The server keeps what it shows for a while, and
for ever if others ask often enough; so a look counts only if it shows our own transaction with the query that asks.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from asyncmy.errors import Error

from streamd.db.mariadb.driver import Session
from streamd.db.mariadb.errors import number_of
from streamd.db.tail import LowWatermark
from streamd.model import Change, Claim

LOOK_SECONDS = 0.25
"""Between two looks; the server shows nothing new within 0.1 s."""

WHOLE_SECONDS = 60.0
"""So often the whole table is read, whatever we believe: against a database that went back in time unnoticed."""

READ_ONLY = 1 << 47
"""Transactions that have not written have no number: 0, or, by the server's release, one from here on."""

NOT_ALLOWED = (1142, 1227)
_NEVER = 1 << 62


class TransactionWatch:
    """The low watermark, for one claim and those after it."""

    def __init__(self) -> None:
        self._low_watermark = LowWatermark()
        self._place: tuple[str, int] = ("", 0)
        self._generation = 0
        self._looked = 0.0
        self._renewed = 0.0
        self._allowed = True
        self._fresh = False

    def low_watermark(self, claim: Claim | None, generation: int) -> int:
        """The id below which there is nothing that `claim` and those before it did not take.

        A claim that does not follow the one before, or a connection that broke (`generation`), may mean that the
        database went back in time: then nothing is known.
        """
        now = time.monotonic()
        place = (claim.log, claim.batch) if claim is not None else ("", 0)
        follows = place[0] == self._place[0] and place[1] >= self._place[1]
        if not follows or generation != self._generation or now - self._renewed > WHOLE_SECONDS:
            self._low_watermark = LowWatermark()
            self._renewed, self._generation, self._fresh = now, generation, False
        self._place = place
        return self._low_watermark.id

    async def look(self, session: Session, claim: Claim | None) -> None:
        """Find out which transactions write, if that is worth it. Where we may not, nothing is learnt."""
        self._fresh = False
        seen = claim.last_change if claim is not None else 0
        now = time.monotonic()
        if not self._allowed or now - self._looked < LOOK_SECONDS or not self._low_watermark.wants_look(seen):
            return
        self._looked = now
        token = secrets.token_hex(8)
        await session.run("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        try:
            rows = await session.fetch(
                f"SELECT /* {token} */ trx_id, trx_mysql_thread_id, trx_query FROM information_schema.INNODB_TRX"
            )
        except Error as error:
            if number_of(error) not in NOT_ALLOWED:
                raise
            self._allowed = False
            rows = ()
        await session.run("COMMIT")
        if any(thread == session.number and token in (query or "") for _, thread, query in rows):
            writing = [int(number) for number, _, _ in rows if 0 < int(number) < READ_ONLY]
            self._low_watermark.look(seen, min(writing, default=_NEVER), max(writing, default=0) + 1)
            self._fresh = True

    def saw(self, changes: Sequence[Change]) -> None:
        """Learn what a read gave that began after the last look."""
        if self._fresh:
            self._low_watermark.saw(changes[0].id if changes else None)
