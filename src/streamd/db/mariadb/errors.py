"""What MariaDB refuses, in plain words, and where it belongs.

Which of our errors it is depends on the server's error number, and on the names of tables in its words; never on the
words, which come in many languages. Listed is what is *not* a document's; all else that a statement of one raises is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from asyncmy.errors import Error, InterfaceError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from streamd.db.engines import ENCODED
from streamd.errors import (
    NotInstalled,
    RowRefused,
    SchemaChanged,
    SiteBusy,
    SiteError,
    StreamdError,
    TypeRefused,
    ValueTaken,
)

WAITED_TOO_LONG = 1205
DEADLOCK = 1213
NO_SUCH_TABLE = 1146
NO_CONNECTION = (2002, 2003)
TRIGGER_ELSEWHERE = 1360
"""A trigger is to be replaced, and the one of its name is on another table."""

_PASSING = frozenset(
    {
        WAITED_TOO_LONG,
        DEADLOCK,
        1020,  # the row changed since it was read (a snapshot that forbids it)
        1040,  # too many connections
        1053,  # the server is shutting down
        1077,
        1079,
        1080,
        1152,  # the connection was aborted
        1158,  # …1161: packets that were not read or written
        1159,
        1160,
        1161,
        1203,  # too many connections of this user
        1226,  # …in this hour
        1317,  # the query was interrupted
        1637,  # too many transactions
        1927,  # the connection was killed
        1969,  # max_statement_time
        2002,
        2003,  # no connection
        2006,
        2013,  # lost
        2014,  # out of step; the connection is replaced
        4031,
    }
)
"""After these the same may succeed by itself."""

_BROKEN = frozenset({1053, 1077, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1927, 2002, 2003, 2006, 2013, 2014, 4031})
"""After these the connection is of no use any more."""

_ROLLED_BACK = frozenset({DEADLOCK, 1020, *_BROKEN})
"""After these the transaction is gone with its savepoints."""

_DATA = frozenset({1048, 1264, 1265, 1292, 1366, 1406, 1451, 1452})
"""What is refused as data, also outside of a document's statement: a claim that does not fit, say."""

_TAKEN = frozenset({1022, 1062, 1169, 1557, 1586, 1761, 1762, 1859})
"""Duplicate keys, as the server words them in several places."""

_TABLE = frozenset({1034, 1035, 1142, 1143, 1194, 1195, 1712, 1877, 1932})
"""A right on a table is missing, or the table is damaged: whatever the document is, unless it is a trigger's table."""

_SERVER = {
    1016: "a file of the server cannot be opened",
    1021: "the disk of the server is full",
    1030: "the server's storage cannot be read or written: look at its disk",
    1037: "the server has no memory left",
    1038: "the server has no memory left",
    1041: "the server has no memory left",
    1114: "the table or the disk is full",
    1290: "the server runs with an option that forbids this (read_only?): write to the primary",
    1665: "set binlog_format = ROW or MIXED: streamd works in READ COMMITTED",
    1836: "the server is read-only: streamd has to stand beside the primary",
    1792: "the transaction is read-only",
}
_ACCESS = {
    1044: "fix the name in site.database, create that database, or GRANT this user its privileges",
    1045: f"look at site.database: user and password ({ENCODED})",
    1049: "look at site.database: the server has no such database; create it first",
    1129: "the server blocks this host after many errors: FLUSH HOSTS fixes it",
    1130: "the server lets nobody in from this host",
    1142: "grant the privilege to the user of site.database",
    1143: "grant the privilege to the user of site.database",
    1227: "grant the privilege to the user of site.database",
    1419: "grant SUPER to the user who installs, or SET GLOBAL log_bin_trust_function_creators = 1",
    1698: f"look at site.database: user and password ({ENCODED})",
}


def number_of(error: BaseException | None) -> int:
    """The server's number for an error, or 0."""
    error = getattr(error, "orig", None) or error
    args = getattr(error, "args", ())
    number = args[0] if args else 0
    return number if isinstance(number, int) else 0


def is_broken(error: BaseException) -> bool:
    """Whether the connection is of no use after this."""
    original = getattr(error, "orig", None) or error
    # The driver's own words have no number, or 0: it lost step, or the connection is closed.
    return isinstance(original, Error) and number_of(original) in (0, *_BROKEN)


def has_rolled_back(error: BaseException) -> bool:
    """Whether the whole transaction is gone after this, with its savepoints."""
    cause: BaseException | None = error
    while cause is not None:
        if number_of(cause) in _ROLLED_BACK or is_broken(cause):
            return True
        cause = cause.__cause__
    return False


@contextmanager
def plain_errors(where: str, *, of_documents: bool = False, table: str = "") -> Iterator[None]:
    """Say in plain words what the server or the driver raises.

    `of_documents`: what is run here are statements of documents, whose is all that is not listed above as something
    else. They write to `table`, if that is given.
    """
    try:
        yield
    except (Error, DBAPIError, PoolTimeout) as error:
        raise _plain(where, error, of_documents, table) from error
    except (OSError, EOFError) as error:
        raise SiteBusy(f"{where}: the connection was lost", hint=_AWAY) from error


_KEY = re.compile(r"'(?:[^'.]+\.)?([^'.]+)'$")

_OURS = re.compile(r"(?:\.`?|')streamd_\w+['`]")
"""A table of ours in the server's words; the database's name stands before it, or is left out."""

_AWAY = "the server is busy or away; it is tried again"


def _plain(where: str, error: BaseException, of_documents: bool, table: str) -> StreamdError:
    original: BaseException = getattr(error, "orig", None) or error
    number = number_of(original)
    words = " ".join(str(each) for each in original.args[1:]) or str(original) or type(original).__name__
    text = f"{where}: {words}"
    if number in _PASSING or not isinstance(original, Error) or isinstance(original, InterfaceError) or not number:
        return SiteBusy(text, hint=_AWAY)
    if number in _SERVER:
        return SiteBusy(text, hint=f"{_SERVER[number]}; it is tried again")
    if number in _TAKEN:
        # A key of one column has mostly that column's name.
        named = _KEY.search(words)
        return ValueTaken(words, columns=() if named is None else (named[1],))
    ours = _OURS.search(words) is not None
    if number == NO_SUCH_TABLE and ours:
        return NotInstalled(f"{where} has none of streamd's tables", hint="run `streamd install`")
    if of_documents and not ours:
        return _documents(number, words, table)
    if number in _ACCESS:
        return SiteError(text, hint=_ACCESS[number])
    return RowRefused(words) if of_documents or number in _DATA else SiteError(text)


def _documents(number: int, words: str, table: str) -> SiteError:
    """Whose an error of a document's statement is. What a trigger of the user's lacks is about another table."""
    own = not table or any(f"{quote}{table}{quote}" in words for quote in "'`\"") or f".{table}'" in words
    if number in _TABLE and own:
        hint = _ACCESS.get(number, "")
        if hint and table:
            hint = f"GRANT SELECT, INSERT, UPDATE, DELETE ON `{table}` TO the user of site.database"
        return TypeRefused(words, hint=f"{hint} (`streamd check` says which)" if hint else "", table=table)
    if number == NO_SUCH_TABLE and own:
        return SchemaChanged(
            f"the tables are not what they were: {words}",
            hint="the daemon reads them again; is the configuration right?",
        )
    return RowRefused(words)
