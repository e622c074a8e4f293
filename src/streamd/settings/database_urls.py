"""URLs of databases: which ones streamd knows, and how one is shown without its password."""

from __future__ import annotations

import os
from collections.abc import Collection

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

SQLITE = "sqlite"
SERVERS = {"postgresql": "PostgreSQL", "mariadb": "MariaDB", "mysql": "MySQL"}
"""Databases that a server keeps, as a URL names them and as people do."""

SITES = (SQLITE, *SERVERS)
STATES = (SQLITE, "postgresql")


def database_url(text: str) -> URL:
    """The URL of a site's database, without a driver: which one is our business. Raises `ValueError`."""
    return _known(text, SITES)


def state_url(text: str) -> URL:
    """The URL of a state database, without a driver. Raises `ValueError`."""
    return _known(text, STATES)


def canonical(text: str) -> str:
    """The same URL, with `postgres://`, which many tools write, as `postgresql://`."""
    return text.replace("postgres://", "postgresql://", 1) if text.startswith("postgres://") else text


def shown_url(text: str) -> str:
    """The URL for messages and logs: without the password, and without options, which may hold one too."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        return "a database URL that cannot be read"
    return url.set(password=None, query={}).render_as_string(hide_password=True)


def same_file(one: str, other: str) -> bool:
    """Whether two URLs name one SQLite file."""
    urls = (make_url(one), make_url(other))
    if any(url.get_backend_name() != SQLITE for url in urls):
        return False
    first, second = (os.path.realpath(url.database or "") for url in urls)
    return first == second


def _known(text: str, backends: Collection[str]) -> URL:
    usable = " or ".join(_example(backend) for backend in backends if backend != "mysql")
    try:
        url = make_url(canonical(text))
    except ArgumentError:
        raise ValueError(f"is no database URL: write {usable}") from None
    except ValueError:  # of the port; its words would show a part of the URL
        raise ValueError(
            "is no database URL: its port is no number (is a @ : or / in the password %-encoded?)"
        ) from None
    backend = url.get_backend_name()
    if "+" in url.drivername:
        raise ValueError(f"names a driver: write {backend}:// and leave the driver to streamd")
    if backend not in backends:
        if backend in SERVERS:
            raise ValueError(f"{SERVERS[backend]} cannot keep the state: use {usable}")
        raise ValueError(f"{backend} is no database that streamd knows: use {usable}")
    if backend == SQLITE:
        if url.database in (None, "", ":memory:"):
            raise ValueError(f"names no file: write {_example(SQLITE)}")
    elif not url.database:
        raise ValueError(f"names no database on its server: write {_example(backend)}")
    return url


def _example(backend: str) -> str:
    return "sqlite:///file.db" if backend == SQLITE else f"{backend}://user:password@host/database"
