"""What PostgreSQL raises, in plain words, and as the errors that streamd knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from sqlalchemy.exc import DBAPIError

from streamd.errors import NotInstalled, PartialView, RowRefused, SiteBusy, SiteError

_REFUSED = ("22", "23", "44", "P0", "54")
"""SQLSTATE classes: data, integrity, WITH CHECK OPTION, raised by a function of the user's, limits of the engine."""

_PASSING = ("40", "53", "57", "08", "55", "58")
"""Serialization and deadlock, no resources, shutdown, connection, locked, system: the same may work later."""

_UNDEFINED_TABLE, _UNDEFINED_SCHEMA, _UNDEFINED_COLUMN = "42P01", "3F000", "42703"
_NO_RIGHT = "42501"
_JUDGES_POLICIES = "check_enable_rls"
"""The function of the server that refuses what policies would cut short: its words depend on the language."""

SEES_ALL = "give the daemon's role BYPASSRLS, or let it own the table, and take FORCE ROW LEVEL SECURITY from that"


@contextmanager
def plain_errors() -> Iterator[None]:
    """Says in plain words what the driver raises inside."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise _translated(error) from error
    except DBAPIError as error:
        # What SQLAlchemy says where connecting failed.
        cause = error.orig.__cause__ if error.orig is not None else None
        if isinstance(cause, asyncpg.PostgresError):
            raise _translated(cause) from cause
        raise _unreachable(error.orig or error) from error
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError) as error:
        # The driver says so of a connection that was closed under its hands.
        raise _unreachable(error) from error


def _unreachable(error: BaseException) -> SiteBusy:
    words = str(error) or type(error).__name__
    return SiteBusy(f"the site's database cannot be reached: {words}", hint="is PostgreSQL running? It is tried again")


def _translated(error: asyncpg.PostgresError) -> SiteError:
    state = getattr(error, "sqlstate", None) or ""
    words = str(error).replace("\nDETAIL:  ", ": ").replace("\nHINT:  ", "; ")
    if state in (_UNDEFINED_TABLE, _UNDEFINED_SCHEMA) and "streamd" in words:
        return NotInstalled("the site's database has none of streamd's tables", hint="run `streamd install`")
    if getattr(error, "server_source_function", None) == _JUDGES_POLICIES:
        return PartialView(f"the site's database: {words}", hint=SEES_ALL)
    if state == _NO_RIGHT:
        return SiteError(
            f"the site's database: {words}",
            hint="run `streamd install` as a role that may, and `streamd install --grant ROLE` for the one that runs",
        )
    if state[:2] in _REFUSED:
        return RowRefused(words)
    if state[:2] in _PASSING:
        return SiteBusy(f"the site's database: {words}", hint="it is tried again")
    if state[:2] in ("28", "3D"):
        return SiteError(f"the site's database: {words}", hint="look at site.database: user, password and name")
    return SiteError(f"the site's database: {words}")
