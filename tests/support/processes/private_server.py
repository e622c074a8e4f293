"""A database server of the tests' own: a process in a temporary folder that never outlives the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

KEEPER = Path(__file__).with_name("server_keeper.py")
START_SECONDS = 30.0
STOP_SECONDS = 60.0
INTERVAL_SECONDS = 0.02
UNPRIVILEGED = ("postgres", "mysql", "nobody")
"""Whom servers run as when the tests run as root: the first one that this machine knows."""


class ServerFailed(RuntimeError):
    """A server that is installed and does not start. The message ends with what it said."""


class PrivateServer:
    """The folder and the process of one server. `folder` is short, since paths of sockets have to be."""

    def __init__(self, kind: str) -> None:
        self.user = server_user()
        self.folder = Path(tempfile.mkdtemp(prefix=f"streamd-{kind}-"))
        if self.user:
            shutil.chown(self.folder, self.user)
        self._process: subprocess.Popen[bytes] | None = None
        self._command: tuple[Sequence[str], str, Callable[[], bool]] | None = None

    def prepare(self, command: Sequence[str]) -> None:
        """Run a command that makes the server's data. Raises `ServerFailed` with its output."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            user=self.user or None,
            extra_groups=[] if self.user else None,
        )
        if done.returncode:
            self.stop()
            raise ServerFailed(f"{command[0]} ended with {done.returncode}\n{done.stdout}")

    def start(self, command: Sequence[str], ending: str, answers: Callable[[], bool]) -> None:
        """Start the server, which the signal `ending` ends at once, and return when it answers."""
        self._command = (command, ending, answers)
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(KEEPER), str(self.folder), self.user, ending, *command],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        deadline = time.monotonic() + START_SECONDS
        while not answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                said = self._log()
                self.stop()
                raise ServerFailed(f"{command[0]} does not answer\n{said}")
            time.sleep(INTERVAL_SECONDS)

    def kill(self) -> None:
        """End the server and all its processes as a crash does. Its folder stays, for `start_again`."""
        assert self._process is not None
        for process in reversed(_below(self._process.pid)):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.wait(STOP_SECONDS)

    def start_again(self) -> None:
        """Start the server that was killed, on what it had."""
        assert self._command is not None
        self.start(*self._command)

    @property
    def running(self) -> bool:
        """Whether it was started, and has not ended, by itself or by `kill`."""
        return self._process is not None and self._process.poll() is None

    def assert_running(self) -> None:
        """Raise `ServerFailed` with the end of the server's log, if it has ended by itself."""
        if self._process is not None and (code := self._process.poll()) is not None:
            raise ServerFailed(f"the server in {self.folder} ended by itself, with {code}\n{self._log()}")

    def stop(self) -> None:
        """End the server and remove its folder; nothing if that has been done."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(STOP_SECONDS)
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _log(self) -> str:
        path = self.folder / "server.log"
        return path.read_text(encoding="utf-8", errors="replace")[-4000:] if path.exists() else "(no log)"


def _below(process: int) -> list[int]:
    """The processes that this one began, and those that they did."""
    found: list[int] = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *_below(child)]
    return found


def server_user() -> str:
    """Whom a server has to run as: "" for ourselves, and somebody without rights when we are root."""
    if os.geteuid() != 0:
        return ""
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in UNPRIVILEGED:
        if name in known:
            return name
    raise ServerFailed(f"database servers refuse to run as root, and there is no user {' or '.join(UNPRIVILEGED)}")


def find_program(names: Sequence[str], folders: Sequence[Path]) -> Path | None:
    """The first of these programs that is in the PATH, or else in one of these folders."""
    for name in names:
        found = shutil.which(name)
        if found:
            return Path(found)
    for folder in folders:
        for name in names:
            if os.access(folder / name, os.X_OK):
                return folder / name
    return None
