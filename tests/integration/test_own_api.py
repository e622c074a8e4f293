"""The daemon asks its own API whether it answers."""

from __future__ import annotations

import asyncio
import socket

import pytest

from streamd.errors import StreamdError
from streamd.serve.probe import probe
from tests.support.serving import ProducerSite


async def test_an_api_that_answers_is_well(hq: ProducerSite) -> None:
    await probe("127.0.0.1", hq.server.port, encrypted=False)


async def test_one_that_accepts_and_says_nothing_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamd.serve.probe.ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(StreamdError, match="does not answer"):
        await probe("127.0.0.1", listener.getsockname()[1], encrypted=False)


async def test_one_that_is_not_there_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with asyncio.timeout(30):
        with pytest.raises(StreamdError, match="does not answer"):
            await probe("127.0.0.1", port, encrypted=False)
