"""Where the real databases for tests are, and what to do when they are not there.

The folder is `$STREAMD_TEST_DATA`, or `shared/data` beside the repository. Without it the tests that need it
are skipped and say so; in CI (`CI=true`) they fail, so that they cannot go missing there unseen.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER_VARIABLE = "STREAMD_TEST_DATA"
REPOSITORY = Path(__file__).resolve().parent.parent


def data_folder() -> Path:
    """The folder with the real databases, whether it exists or not."""
    return Path(os.environ.get(FOLDER_VARIABLE) or REPOSITORY.parent / "shared" / "data")


def data_file(*parts: str) -> Path:
    """One file of the data folder. Skips the test where it is missing; fails it in CI."""
    path = data_folder().joinpath(*parts)
    if not path.is_file():
        message = f"{path} is missing: set {FOLDER_VARIABLE} to the folder that holds {'/'.join(parts)}"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path


CHINOOK_SCRIPTS = {
    "sqlite": ("Chinook_Sqlite.sql", ""),
    "postgresql": ("Chinook_PostgreSql.sql", "\\c chinook;"),
    "mariadb": ("Chinook_MySql.sql", "USE `Chinook`;"),
}
"""By engine: the script, and the line with which it turns to the database that it has made for itself."""


def chinook_script(engine: str) -> str:
    """The Chinook sample database as a script that makes tables and rows in the database where it is run."""
    name, turn = CHINOOK_SCRIPTS[engine]
    script = data_file("chinook", name).read_text(encoding="utf-8-sig")
    return script.partition(turn)[2] if turn else script
