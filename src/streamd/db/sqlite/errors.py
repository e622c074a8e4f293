"""What SQLite raises, in plain words, and where it belongs.

Which error it is depends on SQLite's code alone. Listed is what is *not* a document's; all else that a statement of a
document raises is.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from streamd.db.sqlite.driver import what_to_look_at
from streamd.errors import NotInstalled, RowRefused, SiteBusy, SiteError

_PASSING = {
    sqlite3.SQLITE_BUSY: "another program holds it; it is tried again",
    sqlite3.SQLITE_LOCKED: "another program holds it; it is tried again",
    sqlite3.SQLITE_PROTOCOL: "another program holds it; it is tried again",
    sqlite3.SQLITE_INTERRUPT: "it is tried again",
    sqlite3.SQLITE_SCHEMA: "the tables were changed meanwhile; it is tried again",
    sqlite3.SQLITE_FULL: "free some of the disk (or raise max_page_count); it is tried again",
    sqlite3.SQLITE_IOERR: "the disk cannot be read or written: look at its health and its space; it is tried again",
    sqlite3.SQLITE_NOMEM: "the machine has no memory left; it is tried again",
}
"""What may end by itself, and how."""

_THE_FILES = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_NOTADB,
    }
)
_OBJECTS = frozenset({sqlite3.SQLITE_CORRUPT_VTAB})
"""Not the file, but one object in it: a virtual table that a trigger of the user's writes to, as for a text search."""


def _code(error: BaseException) -> int:
    """SQLite's primary code; 0 for what the driver says by itself."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def passes(error: BaseException) -> str:
    """How an error ends that may end by itself, in words; nothing for any other."""
    return _PASSING.get(_code(error), "")


def is_documents(error: BaseException) -> bool:
    """Whether a document is to blame, where a statement of one raised this."""
    if getattr(error, "sqlite_errorcode", None) in _OBJECTS:
        return True
    return _code(error) not in _PASSING.keys() | _THE_FILES


class PlainErrors:
    """Says in plain words what SQLite raises. A class, because it has to work around `yield`s cheaply."""

    def __init__(self, path: Path, *, of_documents: bool = False) -> None:
        self._path = path
        self._of_documents = of_documents

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        error = getattr(error, "orig", None) or error
        if isinstance(error, sqlite3.Error):
            raise self._plain(error) from error

    def _plain(self, error: sqlite3.Error) -> SiteError:
        words = str(error)
        if passes(error):
            return SiteBusy(f"{self._path}: {words}", hint=passes(error))
        if "no such table: streamd_" in words:
            return NotInstalled(f"{self._path} has none of streamd's tables", hint="run `streamd install`")
        if _code(error) == sqlite3.SQLITE_CONSTRAINT or (self._of_documents and is_documents(error)):
            return RowRefused(words)
        return SiteError(f"{self._path}: {words}", hint=what_to_look_at(words, "site.database"))
