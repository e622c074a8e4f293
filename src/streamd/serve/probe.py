"""Asks this site's own API whether it answers, as a peer would."""

from __future__ import annotations

import asyncio
import ssl

from streamd.errors import StreamdError

ANSWER_SECONDS = 20.0

_REQUEST = b"GET /v1/health HTTP/1.1\r\nHost: streamd\r\nConnection: close\r\n\r\n"
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  # what these listen on is asked here


async def probe(host: str, port: int, *, encrypted: bool) -> None:
    """Raises `StreamdError` where no answer comes, whatever it would say."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(
                _ANY.get(host, host), port, ssl=_unverified() if encrypted else None
            )
            try:
                writer.write(_REQUEST)
                answered = await reader.read(1)
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError) as error:
        raise _silent(port, str(error) or "no answer in time") from error
    if not answered:
        raise _silent(port, "the connection was closed")


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False  # it is ourselves whom we ask
    context.verify_mode = ssl.CERT_NONE
    return context


def _silent(port: int, why: str) -> StreamdError:
    return StreamdError(
        f"this site's own API does not answer on port {port}: {why}",
        hint="consumers see this site as away: are there too many connections, or too few file descriptors?",
    )
