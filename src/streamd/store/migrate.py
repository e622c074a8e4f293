"""Migrates the state database to this release's schema with Alembic.

Only this module imports Alembic. The daemon runs it as a separate process (`python -m streamd.store.migrate`), so that
its memory is freed before the work begins. The URL is its argument, or else comes from the environment, where a list of
processes does not show it.
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

HEAD = "0009"
"""The newest revision. A test compares it with `migrations/versions`."""

URL_VARIABLE = "STREAMD_STATE__DATABASE"
"""The same variable sets `state.database` in the configuration."""


def migrations_folder() -> Path:
    """The folder of the migrations: in the installed package, or at the top of the repository."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent.parent / "migrations"


def migrate(url: str) -> None:
    """Create or upgrade the state database at `url` (as in the configuration, without a driver). Blocks.

    Must not be called while an event loop runs. Raises `StateError` and the errors of Alembic.
    """
    from alembic import command

    database = open_state(url)
    try:
        command.upgrade(alembic_config(url), "head")
    except FAULTS as error:
        raise database.in_plain_words(error) from error


def alembic_config(url: str) -> Config:
    """The configuration for Alembic's commands on the state database at `url`."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config


def main() -> int:
    """Migrate, and print an error without a traceback. Returns the exit code."""
    url = sys.argv[1] if len(sys.argv) > 1 else os.environ.get(URL_VARIABLE, "")
    try:
        migrate(url)
    except StreamdError as error:
        print(error, file=sys.stderr)  # noqa: T201  # this is a program of its own
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
