"""Databases: a site's (`base` says what is asked of it) and the state's (`state`); one file per engine answers each.

`engines` says which engines there are, `urls` how the configuration names a database.
"""

from __future__ import annotations

from typing import cast

from streamd.db.base import SiteDatabase
from streamd.db.state import StateDatabase
from streamd.db.urls import engine_of, state_url
from streamd.errors import ConfigurationError, Problem, SiteError


def open_site(url: str) -> SiteDatabase:
    """The database at a URL as it stands in the configuration.

    Raises `SiteError` where the driver of its engine is not installed; what else is wrong is raised when it is used.
    """
    engine = engine_of(url)
    try:
        make = engine.load(engine.site)
    except ImportError as error:
        what, hint = engine.missing(error)
        raise SiteError(what, hint=hint) from error
    return cast(SiteDatabase, make(url))


def open_state(url: str) -> StateDatabase:
    """The state database at a URL as it stands in the configuration. Raises `ConfigurationError` without its driver."""
    parsed = state_url(url)
    engine = engine_of(parsed)
    try:
        make = engine.load(engine.state)
    except ImportError as error:
        raise ConfigurationError(Problem("state.database", *engine.missing(error))) from error
    return cast(StateDatabase, make(parsed))
