"""A daemon that takes long to start is not killed for it by its service manager."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from streamd.lifecycle import notify
from streamd.lifecycle.notify import Notifier


async def test_more_time_is_asked_for_again_and_again_while_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "EXTENDED_SECONDS", 0.01)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        loop = asyncio.get_running_loop()
        async with Notifier(str(tmp_path / "notify")).starting():
            told = [await loop.sock_recv(manager, 1000) for _ in range(3)]
        assert all(each.startswith(b"EXTEND_TIMEOUT_USEC=") for each in told)
