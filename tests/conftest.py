"""Being here makes the repository importable from every test, as `tests.…`."""

from __future__ import annotations

import sys

import pytest

from streamd import logs


@pytest.fixture(autouse=True)
def _log_apart_from_what_commands_print() -> None:
    """Where a daemon's parts run in the test's own process, they log as a daemon does: to standard error."""
    logs.configure("info", "json", stream=sys.__stderr__)
