"""Brings the state database to this release's schema with Alembic.

Alembic is imported here only, and the daemon runs this module as a process of its own
(`python -m streamd.store.migrate`), so that its memory is given back before the work begins. The URL is its
argument; without one it is taken from the environment, where it is not shown to everybody who lists processes.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from streamd.db import open_state
from streamd.db.state import FAULTS
from streamd.errors import StreamdError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0007"
"""The newest revision; a test holds it against `migrations/versions`."""

URL_VARIABLE = "STREAMD_STATE__DATABASE"
"""The variable by which the configuration, too, takes this URL from the environment."""


def migrations_folder() -> Path:
    """Where the migrations are: inside the installed package, or at the top of the repository."""
    package = Path(__file__).resolve().parent.parent
    shipped = package / "migrations"
    return shipped if shipped.is_dir() else package.parent.parent / "migrations"


def migrate(url: str) -> None:
    """Create or upgrade the state database at `url` (without a driver, as in the configuration). Blocks.

    Must not be called where an event loop runs. Raises `StateError`, and what Alembic raises.
    """
    from alembic import command

    database = open_state(url)
    try:
        command.upgrade(alembic_config(url), "head")
    except FAULTS as error:
        raise database.in_plain_words(error) from error


def alembic_config(url: str) -> Config:
    """What Alembic's own commands take, for the state database at `url`."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def main() -> int:
    """Migrate; what went wrong is said in one line. Returns the exit code."""
    url = sys.argv[1] if len(sys.argv) > 1 else os.environ.get(URL_VARIABLE, "")
    try:
        migrate(url)
    except StreamdError as error:
        print(error, file=sys.stderr)  # noqa: T201  # this is a program of its own
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
