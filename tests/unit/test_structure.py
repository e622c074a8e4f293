"""The house stays in order: imports point one way, modules stay small, migrations and tables agree."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from streamd.db.engines import ENGINES, SHORT_NAMES
from streamd.store.migrate import HEAD, migrate, migrations_folder
from streamd.store.schema import metadata
from tests.data import REPOSITORY

SOURCE = REPOSITORY / "src" / "streamd"
TESTS = REPOSITORY / "tests"
MOST_LINES = 400
MOST_FILES = 15
"""In a folder of tests, beside its `__init__.py` and `conftest.py`."""

NAMING_DIALECTS = {Path("store/schema.py")}
"""It says which type of SQLAlchemy a column has in which database: a table of types, in which nothing is chosen."""


def test_imports_point_one_way_and_stages_do_not_know_each_other() -> None:
    linted = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as lint; lint()",
            "--no-cache",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_no_module_is_so_long_that_it_wants_to_be_two() -> None:
    sizes = {
        str(path.relative_to(REPOSITORY)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in (REPOSITORY / "src", TESTS)
        for path in folder.rglob("*.py")
    }
    too_long = {path: lines for path, lines in sizes.items() if lines > MOST_LINES}
    assert not too_long, f"more than {MOST_LINES} lines: {too_long}"


def test_no_folder_of_tests_has_so_many_files_that_nobody_sees_what_is_there() -> None:
    files = [path for path in TESTS.rglob("*.py") if path.name not in ("__init__.py", "conftest.py")]
    too_many = {
        str(folder.relative_to(REPOSITORY)): count
        for folder, count in Counter(path.parent for path in files).items()
        if count > MOST_FILES
    }
    assert not too_many, f"more than {MOST_FILES} files, which a sub-folder by subject would part: {too_many}"


def test_nobody_but_db_asks_which_kind_a_database_is_of() -> None:
    """Whoever asks has to name one, as a URL or a dialect does."""
    names = {*ENGINES, *SHORT_NAMES}
    asking = [
        f"{path.relative_to(SOURCE)}:{node.lineno}: {node.value!r}"
        for path in sorted(SOURCE.rglob("*.py"))
        if path.relative_to(SOURCE) not in NAMING_DIALECTS and SOURCE / "db" not in path.parents
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if node.value.lower().rstrip(":/") in names
    ]
    assert not asking, "say in db/ what differs between databases"


@pytest.fixture
def migrated(tmp_path: Path) -> str:
    """The URL of a state database that the migrations made."""
    url = f"sqlite:///{tmp_path / 'state.db'}"
    migrate(url)
    return url


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection", "ignore:autogenerate skipping")
def test_the_migrations_make_the_tables_that_the_code_expects(migrated: str) -> None:
    engine = create_engine(migrated)
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert not differences, "write a migration: the tables in store/schema.py are others"


def test_the_code_asks_for_the_newest_migration() -> None:
    assert ScriptDirectory(str(migrations_folder())).get_heads() == [HEAD]


def test_migrating_twice_changes_nothing(migrated: str) -> None:
    before = _schema(migrated)
    migrate(migrated)
    assert _schema(migrated) == before


def _schema(url: str) -> list[tuple[str, ...]]:
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT type, name, sql FROM sqlite_master ORDER BY name").all()
    engine.dispose()
    return [tuple(row) for row in rows]
