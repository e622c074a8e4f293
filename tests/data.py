"""Where the real databases for tests are, and what to do when they are not there.

The folder is `$STREAMD_TEST_DATA`, or `shared/data` beside the repository. Without it the tests that need it
are skipped and say so; in CI (`CI=true`) they fail, so that they cannot go missing there unseen.
"""

from __future__ import annotations

import os
import sqlite3
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


def chinook_script() -> str:
    """The Chinook sample database, as one SQL script for SQLite."""
    return data_file("chinook", "Chinook_Sqlite.sql").read_text(encoding="utf-8-sig")


def make_chinook(path: Path) -> None:
    """Write the full Chinook database to a new file, in WAL mode."""
    _run(path, chinook_script())


def make_empty_chinook(path: Path) -> None:
    """Write Chinook's tables, without a row, to a new file, in WAL mode."""
    memory = sqlite3.connect(":memory:")
    try:
        memory.executescript(chinook_script())
        statements = [
            sql for (sql,) in memory.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
        ]
    finally:
        memory.close()
    _run(path, ";\n".join(statements) + ";")


def _run(path: Path, script: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # One transaction: row by row, each would be a transaction of its own.
        connection.executescript(f"BEGIN;\n{script}\nCOMMIT;")
    finally:
        connection.close()
