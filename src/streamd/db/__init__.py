"""The site's database: `base` says what is asked of it, one file per engine answers."""

from __future__ import annotations

from streamd.db.base import SiteDatabase


def open_site(url: str) -> SiteDatabase:
    """The database at a URL as it stands in the configuration. Raises `SiteError` when it is used, not here."""
    from streamd.db.sqlite import SqliteSite

    return SqliteSite(url)
