"""What PostgreSQL raises, in plain words, and where it belongs.

Which error it is depends on its SQLSTATE and on the place where the server raised it, never on its words: those come in
many languages. Listed is what is *not* a document's; all else that a statement of a document raises is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import asyncpg
from sqlalchemy.exc import DBAPIError

from streamd.common.endpoint import Endpoint
from streamd.db.engines import ENCODED
from streamd.errors import (
    NotInstalled,
    PartialView,
    RowRefused,
    SchemaChanged,
    SiteBusy,
    SiteError,
    TypeRefused,
    ValueTaken,
)

_PASSING = (
    "08",  # the connection broke
    "25",  # the transaction: the server is a standby now, or ended one of ours
    "26",  # a prepared statement is gone, as behind a pooler
    "40",  # a serialization failure, a deadlock
    "53",  # no memory, disk or connection left
    "55P03",  # a lock
    "57",  # the server stops, starts, or somebody cancelled the statement
    "58",  # the system below the server
    "F0",  # its configuration
)
"""SQLSTATEs, or the beginnings of some, after which the same may succeed by itself."""

_ACCESS = ("28", "3D")
"""Who may not come in at all."""

_DAMAGED = ("XX001", "XX002")
"""Files of the server that are damaged."""

_DATA = ("22", "23", "44", "54", "P0")
"""What is refused as data, also outside of a document's statement: a claim that does not fit, say."""

_GONE = ("42P01", "3F000", "42703")
"""A table, a schema, a column."""

_NO_RIGHT = "42501"
_JUDGES_POLICIES = "check_enable_rls"
"""The function of the server that refuses what policies would cut short: its words depend on the language."""

SEES_ALL = "give the daemon's role BYPASSRLS, or let it own the table, and take FORCE ROW LEVEL SECURITY from that"
_TAKEN = ("23505", "23P01")
"""A unique constraint or index, and an exclusion constraint."""

_KEY = re.compile(r"\(([^()]+)\)=\(")
"""The columns of the value that another row has, in whatever language the rest is."""

_ROW_SECURITY = "ExecWithCheckOptions"
"""The server's function that refuses one row for a policy; it has the same SQLSTATE as a right that is missing."""

_RAISE = "exec_stmt_raise"
"""The server's function that raises what a function of the user's says: whatever it says, it is about the row."""


@contextmanager
def plain_errors(*, of_documents: bool = False, table: str = "") -> Iterator[None]:
    """Says in plain words what the driver raises inside. `of_documents`: what is run there are statements of documents.

    Then it is a document's, unless it is listed above as something else. They write to `table`, if that is given.
    """
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _translated(error, of_documents, table) from error
    except (DBAPIError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
        # The driver says so of a connection that was closed under its hands.
        raise SiteBusy(
            "the connection to the site's database was lost", hint="is PostgreSQL running? It is tried again"
        ) from error


async def connected(**options: Any) -> asyncpg.Connection:
    """A connection to the site's database; what SQLAlchemy calls for a new one. Raises `SiteError`."""
    where = Endpoint(str(options.get("host") or "the socket"), options.get("port"), "site.database", "PostgreSQL")
    try:
        return await asyncpg.connect(**options)
    except asyncpg.PostgresError as error:
        raise _translated(error, of_documents=False, where=f"PostgreSQL at {where}") from error
    except FAILED as error:
        what, hint = why_not(where, error)
        raise SiteBusy(what, hint=f"{hint}. A daemon retries by itself") from error


FAILED = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What the driver raises where it gets no connection, but for what the server says."""


def why_not(where: Endpoint, error: BaseException) -> tuple[str, str]:
    """Why there is no connection, and how to fix it."""
    if "rejected SSL upgrade" in str(error):  # the driver's own words for an answer that is not PostgreSQL's
        return (
            f"what answers at {where} is no PostgreSQL server, or one without TLS",
            f"fix the port in {where.setting} (mostly 5432), or its sslmode",
        )
    return where.why(error)


def access_hint(state: str, setting: str) -> str:
    """How to fix what the server said to somebody who wanted to come in."""
    if state == "28P01":
        return f"fix user and password in {setting} ({ENCODED})"
    if state.startswith("28"):
        return f"fix the user in {setting}; or create that role, and let it in with a line in the server's pg_hba.conf"
    return f"fix the database's name in {setting}, or create that database"


def _translated(
    error: asyncpg.PostgresError, of_documents: bool, table: str = "", where: str = "the site's database"
) -> SiteError:
    state = getattr(error, "sqlstate", None) or ""
    words = str(error).replace("\nDETAIL:  ", ": ").replace("\nHINT:  ", "; ")
    said = f"{where}: {words}"
    if error.server_source_function == _JUDGES_POLICIES:
        return PartialView(words, hint=SEES_ALL, table=table)
    if error.server_source_function == _RAISE:
        return RowRefused(words)
    if state.startswith(_PASSING) or isinstance(error, asyncpg.InvalidCachedStatementError):
        return SiteBusy(said, hint="it is tried again")
    if state.startswith(_ACCESS):
        return SiteError(said, hint=access_hint(state, "site.database"))
    if state in _DAMAGED:
        return SiteError(said, hint="restore the database from a backup")
    # Within a function of the user's the server says in which one; what stands in our own statement has a place there.
    ours = error.context is None
    if ours and state in _GONE and (error.position is not None or "streamd" in words):
        return _gone(words)
    if ours and state == _NO_RIGHT and error.server_source_function != _ROW_SECURITY:
        if of_documents and "streamd" not in words:
            what = f'GRANT SELECT, INSERT, UPDATE, DELETE ON "{table}" TO' if table else "grant the right to"
            return TypeRefused(
                words, hint=f"{what} the role of site.database (`streamd check` says which)", table=table
            )
        return SiteError(
            said,
            hint="run `streamd install` as a role that may, and `streamd install --grant ROLE` for the one that runs",
        )
    if state in _TAKEN:
        named = _KEY.search(words)
        return ValueTaken(words, columns=() if named is None else tuple(re.findall(r'[^,\s"]+', named[1])))
    return RowRefused(words) if of_documents or state.startswith(_DATA) else SiteError(said)


def _gone(words: str) -> SiteError:
    if "streamd" in words:
        return NotInstalled("the site's database has none of streamd's tables", hint="run `streamd install`")
    return SchemaChanged(
        f"the tables are not what they were: {words}", hint="the daemon reads them again; is the configuration right?"
    )
