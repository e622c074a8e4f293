"""Checks that this site's own API answers, over the network as a peer would."""

from __future__ import annotations

import asyncio
import ssl

from streamd.common.endpoint import Endpoint
from streamd.errors import StreamdError

ANSWER_SECONDS = 20.0

_REQUEST = b"GET /v1/health HTTP/1.1\r\nHost: streamd\r\nConnection: close\r\n\r\n"
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  # not bound here, only looked up


async def probe(host: str, port: int, *, encrypted: bool) -> None:
    """Raises `StreamdError` if no answer arrives. Any answer will do."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(
                _LOOPBACK.get(host, host), port, ssl=_unverified_context() if encrypted else None
            )
            try:
                writer.write(_REQUEST)
                first_byte = await reader.read(1)
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError) as error:
        raise _no_answer(port, Endpoint(host, port, "[server]", "streamd").why(error)[0]) from error
    if not first_byte:
        raise _no_answer(port, "the connection was closed")


def _unverified_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False  # the server is this process
    context.verify_mode = ssl.CERT_NONE
    return context


def _no_answer(port: int, reason: str) -> StreamdError:
    return StreamdError(
        f"this site's own API does not answer on port {port}: {reason}",
        hint="consumers cannot reach this site; check for too many connections, or too few file descriptors",
    )
