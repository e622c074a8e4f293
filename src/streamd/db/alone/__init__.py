"""One daemon beside one database: whoever works on a site's database holds it, whichever state database it has.

What holds it is a lock that ends with the process, however that ends: on a server one of a connection of its own, of a
file one of the operating system. It is nothing that is written, so nothing has to be cleaned up.
"""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod

from streamd.errors import SiteHeld

ANSWER_SECONDS = 10.0
"""How long a server may take to answer, before the connection that holds the lock is given up."""

SILENT_SECONDS = 30
"""A server ends a holder's connection from which it heard nothing for so long. Daemons say something far more often."""


def ourselves() -> str:
    """How we name ourselves to others who want to hold the same."""
    return f"streamd {os.getpid()}@{socket.gethostname()}"


class Hold(ABC):
    """Holds one site's database for this process, from `take` on until `close`."""

    @abstractmethod
    async def take(self) -> None:
        """Hold it; or see that we still do, and hold it again if the lock was lost. To be called every few seconds.

        Raises `SiteHeld` where somebody else has it, and `SiteBusy` where that cannot be told now.
        """

    @abstractmethod
    async def holder(self) -> str | None:
        """Who holds it now, empty where nobody knows who; None where nobody does. Takes nothing. Raises `SiteError`."""

    @abstractmethod
    async def close(self) -> None:
        """Let it go. Never raises."""


def held_by(who: str) -> SiteHeld:
    """The error where `who` holds it; empty where nobody knows."""
    return SiteHeld(
        f"another streamd daemon works on this database{f' ({who})' if who else ''}",
        hint="stop one of the two: a database has one daemon. A daemon that starts waits until the other one has ended",
    )
