"""URLs of databases, as they stand in the configuration: which ones may, and how one is shown without its password."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from streamd.db.engines import ENGINES, SHORT_NAMES, SQLITE, Engine


def database_url(text: str) -> URL:
    """The URL of a site's database, without a driver: which one is our business. Raises `ValueError`."""
    return _known(text, ENGINES.values())


def state_url(text: str) -> URL:
    """The URL of a state database, without a driver. Raises `ValueError`."""
    return _known(text, [engine for engine in ENGINES.values() if engine.state])


def canonical(text: str) -> str:
    """The same URL, with `postgres://`, which many tools write, as `postgresql://`."""
    scheme, separator, rest = text.partition("://")
    return SHORT_NAMES.get(scheme, scheme) + separator + rest


def shown_url(text: str) -> str:
    """The URL for messages and logs: without the password, and without options, which may hold one too."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        return "a database URL that cannot be read"
    return url.set(password=None, query={}).render_as_string(hide_password=True)


def engine_of(url: str | URL) -> Engine:
    """The kind of database at a URL that may stand in the configuration. Raises `ValueError` for any other."""
    scheme = make_url(url).get_backend_name()
    try:
        return ENGINES[SHORT_NAMES.get(scheme, scheme)]
    except KeyError:
        raise ValueError(f"{scheme} is no database that streamd knows") from None


def same_database(one: str, other: str) -> bool:
    """Whether two URLs certainly name one database that is for one purpose only, as a file is."""
    places = [engine_of(text).place(make_url(text)) for text in (one, other)]
    return places[0] is not None and places[0] == places[1]


def file_url(path: Path) -> str:
    """The URL of a database that is a file."""
    return SQLITE.prefix + str(path)


def anchored(text: str, folder: Path) -> str:
    """The URL with a file's relative path taken as relative to a folder; any other text as it is."""
    engine = ENGINES.get(text.partition("://")[0])
    return text if engine is None else engine.anchored(text, folder)


def loosened(text: str, folder: Path) -> str:
    """The opposite: the URL with the path of a file in this folder, or below, relative to it."""
    return engine_of(text).loosened(text, folder)


def _known(text: str, engines: Collection[Engine]) -> URL:
    usable = " or ".join(engine.example for engine in engines if not engine.alias)
    try:
        url = make_url(canonical(text))
    except ArgumentError:
        raise ValueError(f"is no database URL: write {usable}") from None
    except ValueError:  # of the port; its words would show a part of the URL
        raise ValueError(
            "is no database URL: its port is no number (is a @ : or / in the password %-encoded?)"
        ) from None
    if "@" in (url.host or ""):
        # The host would be all that follows the first @ of the password.
        raise ValueError("has a second @: write a @ in the password as %40")
    scheme = url.get_backend_name()
    if "+" in url.drivername:
        raise ValueError(f"names a driver: write {scheme}:// and leave the driver to streamd")
    engine = ENGINES.get(scheme)
    if engine is None:
        raise ValueError(f"{scheme} is no database that streamd knows: use {usable}")
    if engine not in engines:
        raise ValueError(f"{engine.title} cannot keep the state: use {usable}")
    engine.judge(url)
    return url
