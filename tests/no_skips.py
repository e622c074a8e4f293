"""A pytest plugin for CI: a skipped test fails the run (`pytest -p tests.no_skips`).

Some tests skip on a machine that lacks what they need, such as the folder with real databases. Where the
whole suite must run, a skip would be a hole that nobody sees.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

_skipped: list[str] = []


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _remember(report)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _remember(report)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    if _skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _skipped:
        terminalreporter.section("skipped, and so failed: CI must run every test", red=True)
        for line in _skipped:
            terminalreporter.write_line(line)


def _remember(report: pytest.CollectReport | pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        _skipped.append(f"{report.nodeid}: {reason}")
