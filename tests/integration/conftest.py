"""What several integration tests stand on."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.sites.serving import ProducerSite, producer


@pytest.fixture(scope="session")
def state_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the migrated, empty state database is kept, once it was made."""
    return tmp_path_factory.mktemp("template") / "state.db"


@pytest.fixture
async def hq(tmp_path: Path, state_template: Path) -> AsyncIterator[ProducerSite]:
    """A producer that runs."""
    async with producer(tmp_path, state_template) as site:
        yield site


@pytest.fixture
async def start(tmp_path: Path, state_template: Path) -> AsyncIterator[Callable[..., Any]]:
    """Starts a producer with other settings: `await start(requests_per_minute=10)`."""
    async with AsyncExitStack() as stack:

        async def begin(**server: Any) -> ProducerSite:
            return await stack.enter_async_context(producer(tmp_path, state_template, **server))

        yield begin


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    key, pem = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", key, "-out", pem, "-days", "2", "-subj", "/CN=hq"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    return pem, key
