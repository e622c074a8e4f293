"""The kinds of databases that streamd knows: the one place that says which there are.

Nobody else asks which kind a database is of. What follows from it is asked of `Engine`, of the site's database
(`base.SiteDatabase`), or of the state's (`state.StateDatabase`).
"""

from __future__ import annotations

import importlib
import os
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

ENCODED = "in the password, @ is written %40, : %3A, / %2F and % %25"
"""How what would be a part of the URL is written."""


@dataclass(frozen=True, slots=True)
class Engine(ABC):
    """One kind, as a URL names it and as people do.

    `site`, `hold` and `state` name the classes of a site's database, of what holds it for one daemon, and of a state
    database; where there is no `state`, it cannot keep one. They are imported when they are used: each needs the
    package `driver`, which the extra installs.
    `alias` is another one's kind under another name, which needs no telling.
    """

    scheme: str
    title: str
    site: str
    hold: str
    state: str = ""
    extra: str = ""
    driver: str = ""
    alias: bool = False

    @property
    @abstractmethod
    def example(self) -> str:
        """A URL as one might write it."""

    @abstractmethod
    def judge(self, url: URL) -> None:
        """Raises `ValueError` where the URL does not say which database is meant."""

    def place(self, url: URL) -> str | None:
        """What is the same for two URLs of one database, however they are written; None where nobody can tell."""
        return None

    def anchored(self, text: str, folder: Path) -> str:
        """The URL with a relative path in it taken as relative to a folder."""
        return text

    def loosened(self, text: str, folder: Path) -> str:
        """The opposite: the URL with a path relative to a folder, where it leads into it."""
        return text

    def load(self, name: str) -> Any:
        """The class of this name. Raises `ImportError` where it, or anything that it needs, cannot be imported."""
        module, _, attribute = name.partition(":")
        return getattr(importlib.import_module(module), attribute)

    def missing(self, error: ImportError) -> tuple[str, str]:
        """Why `load` failed, in words, and the hint: the driver is only one of the packages that it may have been."""
        package = (error.name or "").partition(".")[0]
        if self.driver and isinstance(error, ModuleNotFoundError) and package == self.driver:
            # Into the environment of the very Python that runs us, which need not be the shell's.
            return f"the driver for {self.title} is not installed", f"{sys.executable} -m pip install {self.driver}"
        return (
            f"{self.title} cannot be used, because {error.name or 'a module'} cannot be imported: {error}",
            "the installation is incomplete or damaged: install streamd again, as its README says",
        )


@dataclass(frozen=True, slots=True)
class File(Engine):
    """A file, which whoever opens it reads and writes by itself."""

    @property
    def example(self) -> str:
        return f"{self.prefix}file.db"

    @property
    def prefix(self) -> str:
        """How its URLs begin; the file's path follows."""
        return f"{self.scheme}:///"

    def judge(self, url: URL) -> None:
        if url.database in (None, "", ":memory:"):
            raise ValueError(f"names no file: write {self.example}")

    def place(self, url: URL) -> str | None:
        return os.path.realpath(url.database or "")

    def anchored(self, text: str, folder: Path) -> str:
        file = text.removeprefix(self.prefix)
        if not file or file.startswith((":memory:", "file:")):
            return text
        return self.prefix + str(folder / file)

    def loosened(self, text: str, folder: Path) -> str:
        file = Path(text.removeprefix(self.prefix))
        return self.prefix + str(file.relative_to(folder) if file.is_relative_to(folder) else file)


@dataclass(frozen=True, slots=True)
class Server(Engine):
    """A database that a server keeps."""

    @property
    def example(self) -> str:
        return f"{self.scheme}://user:password@host/database"

    def judge(self, url: URL) -> None:
        if not url.database:
            raise ValueError(f"names no database on its server: write {self.example}")
        if "/" in url.database:
            raise ValueError(
                f"has a path where one name should be: write {self.example} (a / in the password is written %2F)"
            )
        if url.port is not None and not 0 < url.port < 65_536:
            raise ValueError("has a port that cannot be one: ports are 1 to 65535")


SQLITE = File(
    "sqlite",
    "SQLite",
    "streamd.db.sqlite.site:SqliteSite",
    "streamd.db.alone.file:FileHold",
    "streamd.db.sqlite.state:SqliteState",
)
POSTGRESQL = Server(
    "postgresql",
    "PostgreSQL",
    "streamd.db.postgresql.site:PostgresqlSite",
    "streamd.db.alone.postgresql:PostgresqlHold",
    "streamd.db.postgresql.state:PostgresqlState",
    extra="postgresql",
    driver="asyncpg",
)
MARIADB = Server(
    "mariadb",
    "MariaDB",
    "streamd.db.mariadb.site:MariadbSite",
    "streamd.db.alone.mariadb:MariadbHold",
    extra="mariadb",
    driver="asyncmy",
)
MYSQL = Server("mysql", "MySQL", MARIADB.site, MARIADB.hold, extra=MARIADB.extra, driver=MARIADB.driver, alias=True)

ENGINES = {engine.scheme: engine for engine in (SQLITE, POSTGRESQL, MARIADB, MYSQL)}
SHORT_NAMES = {"postgres": POSTGRESQL.scheme}
"""What many tools write instead."""
