"""Sees to it that this process is the only one that works on the site's database, whichever daemon runs in it."""

from __future__ import annotations

from streamd.db import open_hold
from streamd.db.alone import Hold
from streamd.errors import Fenced, SiteHeld

LOOK_SECONDS = 3.0
"""How often it is looked whether we still hold it."""


class Holding:
    """Holds one database at a time, from one daemon over to the next one."""

    def __init__(self) -> None:
        self._url = ""
        self._hold: Hold | None = None

    async def begin(self, url: str) -> None:
        """Hold this database, and no other one. Raises `SiteHeld` where another daemon does, and `SiteError`."""
        if self._hold is None or url != self._url:
            await self.end()
            self._url, self._hold = url, open_hold(url)
        await self._hold.take()

    async def turn(self) -> float:
        """See that we still hold it. Raises `Fenced` where another daemon does by now, and `SiteError`."""
        try:
            await self.begin(self._url)
        except SiteHeld as error:
            raise Fenced(f"{error.message} since our lock was lost", hint=error.hint) from error
        return LOOK_SECONDS

    async def end(self) -> None:
        """Let it go."""
        hold, self._hold = self._hold, None
        if hold is not None:
            await hold.close()
