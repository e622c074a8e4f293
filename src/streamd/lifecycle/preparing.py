"""Reads what a daemon needs before it runs: secrets and files of the configuration, and the document types."""

from __future__ import annotations

from collections.abc import Mapping

from streamd.apply import naming_problems
from streamd.catalog import build, read_metadata
from streamd.catalog.naming import path
from streamd.db.base import SiteDatabase
from streamd.errors import ConfigurationError, Problem
from streamd.model import Catalogue, Table
from streamd.settings import Settings, secret_of


def require_usable(settings: Settings) -> None:
    """Raises `ConfigurationError` with each secret and file that the configuration needs and that is missing."""
    problems: list[Problem] = []
    for name, producer in settings.producers.items():
        try:
            secret_of(producer, name)
        except ConfigurationError as error:
            problems += error.problems
    files = {
        "server.certificate": settings.server.certificate,
        "server.certificate_key": settings.server.certificate_key,
    }
    for name, producer in settings.producers.items():
        files[path("producers", name, "certificate_authority")] = producer.certificate_authority
    problems += [
        Problem(where, f"there is no file {file}", "fix the path: it is relative to the configuration file")
        for where, file in files.items()
        if file is not None and not file.is_file()
    ]
    if problems:
        raise ConfigurationError(*problems)


async def catalogue_of(settings: Settings, site: SiteDatabase) -> tuple[Catalogue, Mapping[str, Table]]:
    """The site's document types, and the tables of its database. Raises `ConfigurationError`, `SiteError`."""
    tables = await site.tables()
    return await catalogue_with(settings, site, tables), tables


async def catalogue_with(settings: Settings, site: SiteDatabase, tables: Mapping[str, Table]) -> Catalogue:
    """The site's document types, if its tables were these. Raises `ConfigurationError`, `SiteError`."""
    catalogue = build(settings, tables, await read_metadata(settings, tables, site.table_rows))
    problems = [each for each in naming_problems(settings, catalogue) if each.fatal]
    if problems:
        raise ConfigurationError(*problems)
    return catalogue
