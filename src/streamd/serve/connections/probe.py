"""Checks that this site's own API answers, over the network as a peer would."""

from __future__ import annotations

import aiohttp

from streamd.common.endpoint import Endpoint
from streamd.errors import StreamdError

ANSWER_SECONDS = 20.0

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  # not bound here, only looked up


async def probe(host: str, port: int, *, encrypted: bool) -> None:
    """Raises `StreamdError` if no answer arrives. Any answer will do."""
    host = _LOOPBACK.get(host, host)
    url = f"{'https' if encrypted else 'http'}://{f'[{host}]' if ':' in host else host}:{port}/v1/health"
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    try:
        async with aiohttp.request("GET", url, ssl=False, timeout=timeout):  # the server is this process
            return
    except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
        reason, _ = Endpoint(host, port, "[server]", "streamd").why(error)
        raise StreamdError(
            f"this site's own API does not answer on port {port}: {reason}",
            hint="consumers cannot reach this site; check for too many connections, or too few file descriptors",
        ) from error
