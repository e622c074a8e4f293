"""The site's database: `base` says what is asked of it, one file per engine answers."""

from __future__ import annotations

from sqlalchemy.engine import make_url

from streamd.db.base import SiteDatabase
from streamd.errors import SiteError


def open_site(url: str) -> SiteDatabase:
    """The database at a URL as it stands in the configuration.

    Raises `SiteError` where the driver of its engine is not installed; what else is wrong is raised when it is used.
    """
    backend = make_url(url).get_backend_name()
    try:
        if backend in ("postgresql", "postgres"):
            from streamd.db.postgresql import PostgresqlSite

            return PostgresqlSite(url)
        if backend in ("mariadb", "mysql"):
            from streamd.db.mariadb import MariadbSite

            return MariadbSite(url)
    except ImportError as error:
        extra = "postgresql" if backend.startswith("postgres") else "mariadb"
        raise SiteError(f"the driver for {backend} is not installed", hint=f"pip install 'streamd[{extra}]'") from error
    from streamd.db.sqlite import SqliteSite

    return SqliteSite(url)
