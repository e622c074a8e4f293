"""Brings the state database to this release's schema with Alembic.

Alembic is imported here only, and the daemon runs this module as a process of its own
(`python -m streamd.store.migrate URL`), so that its memory is given back before the work begins.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sqlalchemy.engine import make_url

HEAD = "0001"
"""The newest revision; a test holds it against `migrations/versions`."""


def migrations_folder() -> Path:
    """Where the migrations are: inside the installed package, or at the top of the repository."""
    package = Path(__file__).resolve().parent.parent
    shipped = package / "migrations"
    return shipped if shipped.is_dir() else package.parent.parent / "migrations"


def migrate(url: str) -> None:
    """Create or upgrade the state database at `url` (without a driver, as in the configuration)."""
    from alembic import command
    from alembic.config import Config

    database = make_url(url)
    if database.get_backend_name() == "sqlite" and database.database:
        Path(database.database).parent.mkdir(parents=True, exist_ok=True)
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    command.upgrade(config, "head")


if __name__ == "__main__":
    migrate(sys.argv[1])
