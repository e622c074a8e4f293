"""The one way in which tests wait: for a condition, with a deadline."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL_SECONDS = 0.05
PATIENCE_VARIABLE = "STREAMD_TEST_PATIENCE"
"""How many times as long to wait; else as many as processes share a core at the moment."""


def patience() -> float:
    """How many times as long everything takes here as on a machine with nothing else to do."""
    said = os.environ.get(PATIENCE_VARIABLE)
    return float(said) if said else max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def eventually(
    condition: Callable[[], T],
    what: str,
    *,
    timeout: float = 10.0,
    report: Callable[[], str] = lambda: "",
) -> T:
    """Ask `condition` until it holds, and return what it gave.

    An `AssertionError` counts as "not yet", and the last one is shown. After `timeout` seconds the test fails
    with `what` and the text of `report`. A condition that is costly to ask is asked less often: at least half of
    the time is left to what is waited for.
    """
    timeout *= patience()
    deadline = time.monotonic() + timeout
    while True:
        last = ""
        asked = time.monotonic()
        try:
            value = condition()
            if value:
                return value
        except AssertionError as error:
            last = str(error)
        took = time.monotonic() - asked
        if asked + took > deadline:
            raise AssertionError(
                f"after {timeout:g} s still not: {what}" + (f"\n{last}" if last else "") + f"\n{report()}"
            )
        time.sleep(max(INTERVAL_SECONDS, took))
