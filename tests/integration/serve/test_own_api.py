"""The daemon checks that its own API answers."""

from __future__ import annotations

import asyncio
import socket

import pytest

from streamd.errors import StreamdError
from streamd.serve.connections.probe import probe
from tests.support.sites.serving import ProducerSite


async def test_an_answering_api_passes_the_probe(hq: ProducerSite) -> None:
    await probe("127.0.0.1", hq.server.port, encrypted=False)


async def test_an_api_that_accepts_but_does_not_answer_fails_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamd.serve.connections.probe.ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(StreamdError, match="does not answer"):
        await probe("127.0.0.1", listener.getsockname()[1], encrypted=False)


async def test_an_api_that_does_not_listen_fails_the_probe() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with asyncio.timeout(30):
        with pytest.raises(StreamdError, match="does not answer"):
            await probe("127.0.0.1", port, encrypted=False)
