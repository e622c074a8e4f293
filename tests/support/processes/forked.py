"""Processes of streamd that begin with everything imported: forks of one that has done nothing else.

Importing costs each new interpreter more than most commands do, a second of work in all for a daemon, and the tests
start more than a thousand. What is forked is a process of its own like any other, with its own environment and
folder: it can be killed, and says with which code it ended. Real programs are started instead, by `subprocess`, where a
test says so, and everywhere with `STREAMD_TEST_PROGRAMS=1`, as `make soak` has it.
"""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import NoReturn

PROGRAMS_VARIABLE = "STREAMD_TEST_PROGRAMS"

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.support.processes.forked_imports"])


class Forked:
    """One process, with the part of `subprocess.Popen` that tests use."""

    def __init__(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], out: Path, err: Path
    ) -> None:
        """Run `streamd` with these arguments. What it prints is added to the two files, which may be one."""
        self._arguments = arguments
        self._process: ForkServerProcess = _context.Process(
            target=_streamd, args=(list(arguments), str(folder), dict(environment), str(out), str(err)), daemon=True
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, or the negative number of the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        code = self.returncode
        if code is None:
            raise subprocess.TimeoutExpired(list(self._arguments), timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _streamd(arguments: list[str], folder: str, environment: dict[str, str], out: str, err: str) -> NoReturn:
    """What the fork does: become `streamd`, as if it had been started there in that way."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        with open(path, "ab") as file:
            os.dup2(file.fileno(), stream.fileno())
        stream.reconfigure(write_through=True)  # type: ignore[union-attr]
    # Both do only what streamd asks of them, and refuse everything else.
    os.execve = _become  # type: ignore[assignment]
    subprocess.run = _run  # type: ignore[assignment]
    sys.argv = ["streamd", *arguments]

    from streamd.cli.main import main
    from streamd.common import instrumentation

    importlib.reload(instrumentation)  # it looks into the environment when it is imported
    main()
    sys.exit(0)


def _become(program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """In the place of `os.execve`: `streamd run` becomes the daemon by it, which here is imported already."""
    assert list(arguments[1:3]) == ["-m", "streamd.process"], f"streamd becomes {arguments}: tell the tests how"
    sys.argv = list(arguments[2:])

    from streamd import process

    sys.exit(process.main())


def _run(command: Sequence[str], *, env: Mapping[str, str], **_: object) -> subprocess.CompletedProcess[str]:
    """In the place of `subprocess.run`: the migration of the state database is a fork, too."""
    assert list(command[1:]) == ["-m", "streamd.store.migrate"], f"streamd runs {command}: tell the tests how"
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writer, sys.stderr.fileno())
        os._exit(_migrate(env))
    os.close(writer)
    with open(reader, encoding="utf-8") as said:
        stderr = said.read()
    _, status = os.waitpid(child, 0)
    return subprocess.CompletedProcess(command, os.waitstatus_to_exitcode(status), "", stderr)


def _migrate(environment: Mapping[str, str]) -> int:
    """What the migrating fork does; returns its exit code."""
    try:
        os.environ.update(environment)
        sys.argv = ["streamd.store.migrate"]
        # The event loop that asked for this is the other process's.
        asyncio._set_running_loop(None)

        from streamd.store import migrate

        return migrate.main()
    except BaseException:  # noqa: BLE001  # nothing may go on from here: it would go on as the process that waits for it
        traceback.print_exc()
        return 1
