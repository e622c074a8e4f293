"""Holding a database file: a lock of the operating system on a file beside it.

Not on the database itself: whoever closes that file would end SQLite's own locks of this process. The file stays when
the lock is let go, since to remove it is not safe while another one waits for it.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

from sqlalchemy.engine import make_url

from streamd.db.alone import Hold, held_by, ourselves
from streamd.errors import SiteBusy, SiteError

SUFFIX = "-streamd"
"""What the file's name has behind the database's."""


class FileHold(Hold):
    """Holds a SQLite file. Links to one file are the same file."""

    def __init__(self, url: str) -> None:
        self.path = os.path.realpath(make_url(url).database or "") + SUFFIX
        self._file: int | None = None

    async def take(self) -> None:
        if self._file is not None:
            if self._is_there(self._file):
                return
            await self.close()  # somebody removed it: others would lock another file
        try:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
        except OSError as error:
            raise SiteError(
                f"{self.path}, which tells others of this daemon, cannot be written: {error.strerror}",
                hint="let the user of streamd write to that file, and in its folder: SQLite needs that as well",
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self._is_there(file):
                raise SiteBusy(f"{self.path} was replaced at this moment", hint="it is tried again")
            os.ftruncate(file, 0)
            os.pwrite(file, ourselves().encode(), 0)
        except BlockingIOError:
            who = os.pread(file, 200, 0).decode(errors="replace")
            os.close(file)
            raise held_by(who) from None
        except BaseException:
            os.close(file)
            raise
        self._file = file

    async def holder(self) -> str | None:
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return os.pread(file, 200, 0).decode(errors="replace")
        finally:
            os.close(file)
        return None

    def _is_there(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path))
        except FileNotFoundError:
            return False

    async def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                os.close(file)
