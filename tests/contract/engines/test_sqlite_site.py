"""What only SQLite does."""

from __future__ import annotations

import pytest

from tests.contract.conftest import Installed
from tests.contract.site.writes import ADA, EVA
from tests.support.database_url import Engine


@pytest.fixture
def engine() -> Engine:
    return "sqlite"


async def test_a_commit_that_shows_in_no_file_is_found_soon(
    installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow disk: the file has its time when it is written, and the commit counts when the disk has it."""
    installed.write(ADA)
    await installed.database.wait_for_change(0.01, 30)
    claim = await installed.claim()
    before = len((await installed.database.read_changes(claim, 10)).rows)
    monkeypatch.setattr(installed.database, "_changed", lambda: False)
    for _ in range(2):
        await installed.database.wait_for_change(0.01, 0.1)
    installed.write(EVA)
    await installed.database.wait_for_change(0.01, 3600)
    assert len((await installed.database.read_changes(claim, 10)).rows) > before
