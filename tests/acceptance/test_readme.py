"""The first walk through the README works when it is typed as it stands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.polling import eventually

README = Path(__file__).parents[2] / "README.md"
INSTALL = "python3 -m venv"
"""The block that installs streamd: here it is installed already."""


class Walk:
    """A user in a folder, with a terminal for each daemon."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: list[subprocess.Popen[bytes]] = []
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("STREAMD_")}
        self.environment = {**kept, "PATH": path, "COLUMNS": "200"}

    def type(self, block: str) -> str:
        """Type a block of commands: each has to work."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, command: str) -> None:
        """Type a command into a terminal of its own, and leave it running."""
        with (self.folder / f"daemon-{len(self.daemons)}.log").open("wb") as log:
            self.daemons.append(
                subprocess.Popen(command.split(), cwd=self.folder, env=self.environment, stdout=log, stderr=log)
            )

    def logs(self) -> str:
        return "\n".join(file.read_text(encoding="utf-8") for file in sorted(self.folder.glob("daemon-*.log")))


@pytest.fixture
def walk(tmp_path: Path) -> Iterator[Walk]:
    made = Walk(tmp_path)
    yield made
    for daemon in made.daemons:
        daemon.send_signal(signal.SIGTERM)
    for daemon in made.daemons:
        assert daemon.wait(10) == 0


def blocks() -> Iterator[tuple[str, str]]:
    """(language, text) of each block of the walk, in order."""
    text = README.read_text(encoding="utf-8")
    section = text[text.index("## A first walk") : text.index("## What you should know")]
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL):
        yield found[1], found[2]


def test_the_first_walk_works_as_it_is_typed(walk: Walk) -> None:
    said = ""
    shown = ""
    for language, block in blocks():
        if INSTALL in block:
            continue
        if language != "sh":
            shown = block
            assert said == shown, "the README shows something else than what comes"
        elif block.startswith("streamd run"):
            walk.start(block)
        elif "consumers approve" in block:
            # A person who types is slower than the daemons are.
            asked = "streamd consumers list --json --config store.toml"
            eventually(lambda: "Pending" in walk.type(asked), "headquarters asks", timeout=15, report=walk.logs)  # noqa: B023
            walk.type(block)
        else:
            said = walk.type(block)
    assert shown, "the README shows no result"
