"""The first thing that a new user tries works, ends, and leaves nothing behind that runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.support.polling import eventually

DEMO = [sys.executable, "-m", "streamd", "demo"]
SECONDS = 150.0


def start(folder: Path, **environment: str) -> subprocess.Popen[str]:
    kept = {key: value for key, value in os.environ.items() if key != "CI" and not key.startswith("STREAMD_")}
    return subprocess.Popen(
        DEMO,
        cwd=folder,
        env={**kept, "COLUMNS": "200", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def daemons_below(folder: Path) -> list[int]:
    """The processes that work for sites of this folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "streamd.process" in words and any(word.startswith(str(folder)) for word in words):
            found.append(process.pid)
    return found


def test_the_demo_ends_by_itself_in_ci_with_everything_arrived(tmp_path: Path) -> None:
    demo = start(tmp_path, CI="true")
    said, _ = demo.communicate(timeout=SECONDS)
    assert demo.returncode == 0, said
    assert "Everything arrived" in said
    assert daemons_below(tmp_path) == []


def test_a_demo_that_is_terminated_takes_its_daemons_along(tmp_path: Path) -> None:
    demo = start(tmp_path)
    try:
        eventually(lambda: len(daemons_below(tmp_path)) == 2, "both daemons run", timeout=SECONDS)
        demo.send_signal(signal.SIGTERM)
        demo.communicate(timeout=SECONDS)
        assert daemons_below(tmp_path) == []
    finally:
        demo.kill()
