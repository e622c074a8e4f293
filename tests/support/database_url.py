"""Where a database is, and as whom one goes there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, unquote, urlsplit

Engine = Literal["sqlite", "postgresql", "mariadb"]

PORTS = {"postgresql": 5432, "mariadb": 3306}


@dataclass(frozen=True)
class DatabaseUrl:
    """One database. With SQLite `name` is the file's path, and the rest is empty."""

    engine: Engine
    name: str
    user: str = ""
    password: str = ""
    host: str = ""
    port: int = 0

    @property
    def url(self) -> str:
        """As it stands in a site's configuration."""
        if not self.host:
            return f"{self.engine}:///{self.name}"
        password = f":{quote(self.password, safe='')}" if self.password else ""
        return f"{self.engine}://{quote(self.user, safe='')}{password}@{self.host}:{self.port}/{quote(self.name)}"

    @classmethod
    def parse(cls, engine: Engine, url: str) -> DatabaseUrl:
        """The database of a server that a URL names."""
        parts = urlsplit(url)
        return cls(
            engine,
            unquote(parts.path.lstrip("/")),
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            parts.hostname or "127.0.0.1",
            parts.port or PORTS[engine],
        )
