"""Crash points: named places at which a test can kill the process, to prove that nothing is lost there.

`STREAMD_CRASH_AT=capture.claimed` kills the daemon with SIGKILL when it first reaches that place, and
`capture.claimed:3` at the third time. Commas separate several places; the first one reached counts. The daemon prints
the place on stderr. Without the variable, a crash point costs one lookup in an empty dict. The tests find the names in
the source, so a new crash point is tested automatically.
"""

from __future__ import annotations

import os
import signal


def _parse(text: str) -> dict[str, int]:
    """Place → how many times it must be reached to kill the process."""
    places = (entry.partition(":") for entry in text.split(",") if entry)
    return {place: int(nth or "1") for place, _, nth in places}


_left = _parse(os.environ.get("STREAMD_CRASH_AT", ""))


def crash_point(name: str) -> None:
    """Kill this process at once, without any clean-up, if it was started with this crash point."""
    if name not in _left:
        return
    _left[name] -= 1
    if _left[name] <= 0:
        os.write(2, f"killed at {name}\n".encode())
        os.kill(os.getpid(), signal.SIGKILL)
