"""Connections to servers that go away without a word."""

from __future__ import annotations

import socket
from typing import Any

SILENT_SECONDS = 30
"""A machine that does not answer for so long, on the level of TCP, is taken to be gone."""


def keep_alive(raw: Any) -> None:
    """Notice a machine that went away without a word, instead of waiting for it for hours. `raw`: a socket, or None."""
    if raw is None or raw.family not in (socket.AF_INET, socket.AF_INET6):
        return
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", SILENT_SECONDS // 3),
        ("TCP_KEEPINTVL", SILENT_SECONDS // 6),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", SILENT_SECONDS * 1000),
    ):
        if hasattr(socket, name):
            raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
