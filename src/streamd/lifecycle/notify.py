"""Tells systemd how the daemon is: `sd_notify`, over the socket that it names. Without one nothing is said."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

log = structlog.get_logger("streamd.daemon")

EXTENDED_SECONDS = 30
"""How much more time to start is asked for at once."""


class Notifier:
    """Speaks to the service manager that started us, if it listens (`Type=notify`)."""

    def __init__(self, address: str | None = None) -> None:
        """`address`: the socket; by default what the environment variable `NOTIFY_SOCKET` says."""
        found = os.environ.get("NOTIFY_SOCKET", "") if address is None else address
        # An abstract socket is written with @ for the NUL that its name begins with.
        self._address = "\0" + found[1:] if found.startswith("@") else found
        self._failed = False
        self._status = ""

    @asynccontextmanager
    async def starting(self) -> AsyncIterator[None]:
        """Ask for more time to start, again and again, while what is inside is under way.

        Waiting for another daemon, and migrating a large log, take longer than a service manager waits by default.
        """

        async def extend() -> None:
            while True:
                self._send(f"EXTEND_TIMEOUT_USEC={EXTENDED_SECONDS * 1_000_000}")
                await asyncio.sleep(EXTENDED_SECONDS / 3)

        extending = asyncio.create_task(extend())
        try:
            yield
        finally:
            extending.cancel()

    def ready(self) -> None:
        """The daemon has begun."""
        self._send("READY=1")

    def alive(self) -> None:
        """All loops come further, or have nothing to do."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """How it goes, in one line; said once while it is the same."""
        if text != self._status:
            self._status = text
            self._send("STATUS=" + " ".join(text.split()))

    def stopping(self) -> None:
        """The daemon ends."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.connect(self._address)
                sender.sendall(message.encode())
        except OSError as error:
            if not self._failed:
                log.warning("service_manager_unreachable", error=str(error))
            self._failed = True
