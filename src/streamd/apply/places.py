"""Where in each producer's log the site stands while a page is under way: a checkpoint that went back is noticed."""

from __future__ import annotations

from streamd.db.base import SiteDatabase, Transaction
from streamd.errors import SiteReplaced
from streamd.model import Cursor


class Places:
    """The checkpoint of each producer of which a page is under way, as it was seen or written last."""

    def __init__(self, database: SiteDatabase) -> None:
        self._database = database
        self._last: dict[str, Cursor | None] = {}

    async def read(self, producer: str) -> Cursor | None:
        """The checkpoint from which the next page has to go on."""
        async with self._database.snapshot() as reader:
            checkpoint = await reader.checkpoint(producer)
        place = self._last[producer] = None if checkpoint is None else Cursor(*checkpoint)
        return place

    async def move(self, transaction: Transaction, producer: str, to: Cursor) -> None:
        """Set the checkpoint. Raises `SiteReplaced` where it is not where it was left.

        From a checkpoint that went back, with its database, what is between would never be asked for again.
        """
        if producer in self._last:
            found = await transaction.checkpoint(producer)
            if (None if found is None else Cursor(*found)) != self._last[producer]:
                raise SiteReplaced(
                    "the site's database does not have the checkpoint that was read last: it was restored or replaced, "
                    "or another daemon applies events to it",
                    hint="the daemon begins again from the checkpoint that is there",
                )
        await transaction.put_checkpoint(producer, to.log, to.sequence, to.nonce)

    def committed(self, producer: str, place: Cursor) -> None:
        """The transaction that moved the checkpoint there is committed."""
        self._last[producer] = place

    def forget(self, producer: str) -> None:
        """The page is over: only the database knows what was committed of it."""
        self._last.pop(producer, None)
