"""Named places at which a test may kill the process, to prove that nothing is lost there.

`STREAMD_CRASH_AT=capture.claimed` makes the daemon end itself with SIGKILL when it gets to that place for
the first time; `capture.claimed:3` at the third. Without the variable a crash point costs one comparison.
The test suite reads the names out of the source, so a new one is tested from the day on which it is written.
"""

from __future__ import annotations

import os
import signal

_place, _, _nth = os.environ.get("STREAMD_CRASH_AT", "").partition(":")
_left = int(_nth or "1") if _place else 0


def crash_point(name: str) -> None:
    """End this process at once, without any clean-up, if it was started with this crash point set."""
    global _left
    if name != _place:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
