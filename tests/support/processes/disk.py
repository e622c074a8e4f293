"""A folder on a small disk of its own, which a test fills and frees: what "no space left on device" does for real.

Mounting needs root. `may_mount` says whether this process may.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

MIB = 1 << 20


class SmallDisk:
    """`folder`, moved with all that is in it onto a disk of `size` bytes; `close` moves it back.

    Nobody may have a file of the folder open while it is moved.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self._balloon = folder / "balloon"
        before = _moved_aside(folder)
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
        _move_into(before, folder)

    @property
    def full(self) -> bool:
        return self._balloon.exists()

    def fill(self) -> None:
        """Take all the space that is left."""
        with self._balloon.open("ab") as balloon, suppress(OSError):
            while True:
                left = os.statvfs(self.folder)
                size = max(left.f_bavail * left.f_frsize, left.f_frsize)
                os.posix_fallocate(balloon.fileno(), os.fstat(balloon.fileno()).st_size, size)

    def free(self) -> None:
        """Give back what `fill` took."""
        self._balloon.unlink(missing_ok=True)

    def close(self) -> None:
        """Move the folder back to where it was."""
        self.free()
        saved = self.folder.with_name(f"{self.folder.name}.saved")
        saved.mkdir()
        _copy(self.folder, saved)
        subprocess.run(["umount", str(self.folder)], check=True)
        self.folder.rmdir()
        saved.rename(self.folder)


def may_mount() -> bool:
    """Whether this process may mount a disk."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


def _moved_aside(folder: Path) -> Path:
    before = folder.with_name(f"{folder.name}.before")
    return folder.rename(before)


def _move_into(source: Path, target: Path) -> None:
    _copy(source, target)
    shutil.rmtree(source)


def _copy(source: Path, target: Path) -> None:
    """All that is in a folder, and whose the folder is."""
    subprocess.run(["cp", "-a", f"{source}/.", str(target)], check=True)
