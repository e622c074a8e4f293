"""What the README and the tutorials tell people to type works as it stands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data import REPOSITORY
from tests.support.polling import eventually

INSTALL = "python3 -m venv"
"""The block that installs streamd: here it is installed already."""

APPROVE = re.compile(r"consumers approve \S+ (--config \S+)")


class Walk:
    """A user in a folder, with a terminal for each daemon."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: list[subprocess.Popen[bytes]] = []
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("STREAMD_")}
        self.environment = {**kept, "PATH": path, "HOME": str(folder), "COLUMNS": "200"}

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

    def see(self, block: str, shown: str) -> None:
        """Type a block that only looks, until it shows what the page shows."""

        def looks_alike() -> bool:
            said = self.type(block)
            assert said == shown, f"the page shows something else than what comes:\n{said}"
            return True

        eventually(looks_alike, block, timeout=20, report=self.logs)

    def approve(self, block: str, consumers: str) -> None:
        """Type an approval once there is something to approve: a person who types is slower than the daemons are."""
        asked = f"streamd consumers list --json {consumers}"
        eventually(lambda: "Pending" in self.type(asked), f"{block}: a consumer asks", timeout=20, report=self.logs)
        self.type(block)

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


def blocks(page: str) -> list[tuple[str, str]]:
    """(commands, what they show, or nothing) of each block of a page that people type, in order."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    following = [*found[1:], ("sh", "")]
    return [
        (block, shown if then == "" else "")
        for (language, block), (then, shown) in zip(found, following, strict=True)
        if language == "sh" and INSTALL not in block
    ]


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        pytest.param("docs/tutorials/store-and-headquarters.md", marks=pytest.mark.soak),
        pytest.param("docs/tutorials/companies.md", marks=pytest.mark.soak),
    ],
)
def test_what_a_page_tells_people_to_type_works(walk: Walk, page: str) -> None:
    typed = blocks(page)
    assert any(shown for _, shown in typed), "the page shows no result"
    for block, shown in typed:
        approval = APPROVE.search(block)
        if block.startswith("streamd run"):
            walk.start(block)
        elif approval is not None:
            walk.approve(block, approval[1])
        elif shown:
            walk.see(block, shown)
        else:
            walk.type(block)
