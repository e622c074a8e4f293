"""Databases: a site's (`base` says what is asked of it) and the state's (`state`); one file per engine answers each.

`engines` says which engines there are, `urls` how the configuration names a database.
"""

from __future__ import annotations

from typing import Any, cast

from streamd.db.alone import Hold
from streamd.db.base import SiteDatabase
from streamd.db.state import StateDatabase
from streamd.db.urls import engine_of, state_url
from streamd.errors import ConfigurationError, Problem, SiteError


def open_site(url: str) -> SiteDatabase:
    """The database at a URL as it stands in the configuration.

    Raises `SiteError` where the driver of its engine is not installed; what else is wrong is raised when it is used.
    """
    return cast(SiteDatabase, _loaded(url, "site")(url))


def open_hold(url: str) -> Hold:
    """What holds the site's database at a URL for this process; it does not yet. Raises as `open_site` does."""
    return cast(Hold, _loaded(url, "hold")(url))


def _loaded(url: str, which: str) -> Any:
    engine = engine_of(url)
    try:
        return engine.load(getattr(engine, which))
    except ImportError as error:
        what, hint = engine.missing(error)
        raise SiteError(what, hint=hint) from error


def open_state(url: str) -> StateDatabase:
    """The state database at a URL as it stands in the configuration. Raises `ConfigurationError` without its driver."""
    parsed = state_url(url)
    engine = engine_of(parsed)
    try:
        return cast(StateDatabase, engine.load(engine.state)(parsed))
    except ImportError as error:
        raise ConfigurationError(Problem("state.database", *engine.missing(error))) from error
