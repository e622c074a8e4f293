"""Being here makes the repository importable from every test, as `tests.…`."""

from __future__ import annotations

import os
import sys
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings

from streamd import logs
from tests.support import servers
from tests.support.processes.forked import PROGRAMS_VARIABLE
from tests.support.sites.site import Site

# How many examples a property is tried with, and whether they are the same each time. Properties say nothing about it,
# but for those in which one example takes long (`support/examples.py`).
settings.register_profile(
    "quick", max_examples=50, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "soak", max_examples=10_000, print_blob=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("STREAMD_TEST_EXAMPLES", "quick"))


@pytest.fixture(autouse=True)
def _log_apart_from_what_commands_print() -> None:
    """Where a daemon's parts run in the test's own process, they log as a daemon does: to standard error."""
    logs.configure("info", "json", stream=sys.__stderr__)


def pytest_configure() -> None:
    Site.programs = os.environ.get(PROGRAMS_VARIABLE) == "1"


def pytest_sessionfinish() -> None:
    servers.stop_servers()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was not tested, for want of which server."""
    missing: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        _, found, what = reason.partition(servers.MISSING)
        if found:
            missing[what] += 1
    for what, count in missing.items():
        terminalreporter.write_line(f"WARNING: {count} tests were skipped, there is no server of {what}", red=True)
