"""Runs one database server for as long as a pipe is open: `server_keeper.py folder user signal command…`.

The tests hold the other end. However they end, even by SIGKILL, the pipe closes with them; then this process
ends the server and removes its folder. It is started in a session of its own, so that a Ctrl-C in a terminal
or a signal to the tests' process group reaches it in this way only.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PATIENCE_SECONDS = 5.0
LOOK_SECONDS = 0.5


def main(folder: str, user: str, ending: str, *command: str) -> int:
    """Start the command as `user` ("" for the own one), wait for the pipe or for its end, and clean up."""
    with (Path(folder) / "server.log").open("ab") as log:
        server = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=user or None,
            extra_groups=[] if user else None,
        )
    try:
        while server.poll() is None:
            readable, _, _ = select.select([sys.stdin], [], [], LOOK_SECONDS)
            if readable and not os.read(sys.stdin.fileno(), 1):
                break
        else:
            # It ended by itself: whoever started it reads its log, and then removes the folder.
            return server.returncode
    finally:
        if server.poll() is None:
            server.send_signal(signal.Signals[ending])
            try:
                server.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    shutil.rmtree(folder, ignore_errors=True)
    return server.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
