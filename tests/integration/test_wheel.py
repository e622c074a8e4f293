"""What users install: the wheel, alone in a clean environment, with its migrations inside."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from streamd import __version__
from streamd.store.migrate import HEAD
from tests.data import REPOSITORY


def run(*command: str | Path, cwd: Path) -> str:
    """Run a program away from the repository, and give what it printed."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("STREAMD_", "PYTHON"))}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        folder,
        REPOSITORY,
        cwd=folder,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a clean virtual environment with the wheel, and nothing else, installed."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", folder, cwd=folder)
    run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    return folder / "bin"


def test_the_wheel_carries_every_migration_and_the_mark_of_its_types(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    migrations = REPOSITORY / "migrations"
    wanted = {f"streamd/migrations/{file.relative_to(migrations)}" for file in migrations.rglob("*.py")}
    assert wanted | {"streamd/migrations/script.py.mako", "streamd/py.typed"} <= packed


@pytest.mark.matrix  # a clean environment gets every dependency installed
def test_the_installed_wheel_migrates_a_new_state_database(environment: Path, tmp_path: Path) -> None:
    folder = run(
        environment / "python",
        "-c",
        "from streamd.store.migrate import migrations_folder; print(migrations_folder())",
        cwd=tmp_path,
    ).strip()
    assert Path(folder).is_relative_to(environment.parent), "the migrations come from elsewhere"
    run(
        environment / "python",
        "-m",
        "streamd.store.migrate",
        f"sqlite:///{tmp_path / 'state.db'}",
        cwd=tmp_path,
    )
    with sqlite3.connect(tmp_path / "state.db") as state:
        assert state.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
    state.close()


@pytest.mark.matrix
def test_the_installed_command_says_its_version(environment: Path, tmp_path: Path) -> None:
    assert __version__ in run(environment / "streamd", "--version", cwd=tmp_path)
