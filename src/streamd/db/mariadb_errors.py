"""What MariaDB refuses, in plain words.

Which of our errors it is depends on the server's error number alone, never on its words: those come in many languages.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from asyncmy.errors import Error, InterfaceError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from streamd.errors import NotInstalled, RowRefused, SiteBusy, SiteError, StreamdError, ValueTaken

WAITED_TOO_LONG = 1205
DEADLOCK = 1213
NO_SUCH_TABLE = 1146

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
_BROKEN = frozenset({1053, 1077, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1927, 2002, 2003, 2006, 2013, 2014, 4031})
"""After these the connection is of no use any more."""

_ROLLED_BACK = frozenset({DEADLOCK, 1020, *_BROKEN})
"""After these the transaction is gone with its savepoints."""

_TAKEN = frozenset({1022, 1062, 1169, 1557, 1586, 1761, 1762, 1859})
"""Duplicate keys, as the server words them in several places."""

_REFUSED = frozenset(
    {
        1048,  # NULL
        1054,  # unknown column
        1138,
        1142,  # a privilege on the table
        1143,
        1146,  # no such table of the user's
        1216,
        1217,  # foreign keys
        1227,
        1242,
        1263,
        1264,  # out of range
        1265,  # truncated
        1292,  # a wrong value
        1348,  # a column that cannot be written
        1364,  # no default
        1366,  # a wrong value
        1367,
        1369,
        1406,  # too long
        1411,
        1416,  # geometry
        1441,
        1442,
        1451,
        1452,  # foreign keys
        1526,  # no partition
        1644,  # SIGNAL in a trigger of the user's
        1690,  # out of range
        1834,
        1838,
        1906,  # a generated column
        3819,
        4025,  # a CHECK
        4078,
        4161,
    }
)
_SERVER = {
    1021: "the disk of the server is full",
    1037: "the server has no memory left",
    1038: "the server has no memory left",
    1114: "the table or the disk is full",
    1153: "a row is larger than the server's max_allowed_packet: raise it there",
    1290: "the server runs with an option that forbids this (read_only?): write to the primary",
    1665: "set binlog_format = ROW or MIXED: streamd works in READ COMMITTED",
    1836: "the server is read-only: streamd has to stand beside the primary",
    1792: "the transaction is read-only",
}
_ACCESS = {
    1044: "look at site.database: this user may not use this database",
    1045: "look at site.database: user and password",
    1049: "look at site.database: the server has no such database; create it first",
    1129: "the server blocks this host after many errors: FLUSH HOSTS mends it",
    1130: "the server lets nobody in from this host",
    1142: "grant the privilege to the user of site.database",
    1143: "grant the privilege to the user of site.database",
    1227: "grant the privilege to the user of site.database",
    1419: "grant SUPER to the user who installs, or SET GLOBAL log_bin_trust_function_creators = 1",
    1698: "look at site.database: user and password",
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
def plain_errors(where: str, *, writing: bool = False) -> Iterator[None]:
    """Say in plain words what the server or the driver raises. `writing`: what is refused is a row of a document."""
    try:
        yield
    except (Error, DBAPIError, PoolTimeout) as error:
        raise _plain(where, error, writing) from error


def _plain(where: str, error: BaseException, writing: bool) -> StreamdError:
    original: BaseException = getattr(error, "orig", None) or error
    number = number_of(original)
    words = " ".join(str(each) for each in original.args[1:]) or str(original) or type(original).__name__
    text = f"{where}: {words}"
    if number in _PASSING or not isinstance(original, Error) or isinstance(original, InterfaceError) or not number:
        hint = "the server is busy or away; it is tried again"
        if number in (2002, 2003):
            hint = "is the server running, and are host and port of site.database right? It is tried again"
        return SiteBusy(text, hint=hint)
    if number == NO_SUCH_TABLE and ".streamd_" in words:
        return NotInstalled(f"{where} has none of streamd's tables", hint="run `streamd install`")
    if number in _SERVER:
        return SiteError(text, hint=_SERVER[number])
    if number in _TAKEN:
        return ValueTaken(words)
    if writing:
        return RowRefused(words)
    if number in _ACCESS:
        return SiteError(text, hint=_ACCESS[number])
    if number in _REFUSED:
        return RowRefused(words)
    return SiteError(text)
