"""Named places at which a test may kill the process, to prove that nothing is lost there.

`STREAMD_CRASH_AT=capture.claimed` makes the daemon end itself with SIGKILL when it gets to that place for
the first time; `capture.claimed:3` at the third; of several, with commas between them, at the one that comes first.
It says on stderr at which. Without the variable a crash point costs one look into an empty table.
The test suite reads the names out of the source, so a new one is tested from the day on which it is written.
"""

from __future__ import annotations

import os
import signal


def _wanted(text: str) -> dict[str, int]:
    """Place → how often it is still to be passed, this time included."""
    places = (each.partition(":") for each in text.split(",") if each)
    return {place: int(nth or "1") for place, _, nth in places}


_left = _wanted(os.environ.get("STREAMD_CRASH_AT", ""))


def crash_point(name: str) -> None:
    """End this process at once, without any clean-up, if it was started with this crash point set."""
    if name not in _left:
        return
    _left[name] -= 1
    if _left[name] <= 0:
        os.write(2, f"killed at {name}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)
