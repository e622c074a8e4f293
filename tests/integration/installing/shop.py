"""A shop with a database and a configuration, and the commands that a person runs there."""

from __future__ import annotations

import json
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from streamd.cli.main import cli
from streamd.store.engine import State
from streamd.store.peers import Peers
from streamd.update_log import UpdateLog
from streamd.wire import HandshakeRequest, WantedDoctype

SCHEMA = """
CREATE TABLE Customer (id INTEGER PRIMARY KEY, name TEXT NOT NULL, boss INTEGER REFERENCES Customer (id));
CREATE TABLE Invoice (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES Customer (id));
CREATE TABLE InvoiceLine (id INTEGER PRIMARY KEY, invoice INTEGER NOT NULL REFERENCES Invoice (id));
CREATE TABLE "odd name, 'quoted'" ("the ""key""\" TEXT NOT NULL PRIMARY KEY, value);
CREATE TABLE Member (number TEXT NOT NULL UNIQUE, photo BLOB PRIMARY KEY);
CREATE TABLE Fee (id INTEGER PRIMARY KEY, member BLOB REFERENCES Member (photo));
CREATE TABLE Log (text TEXT);
"""


class Shop:
    """A folder with a database, in which commands run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "streamd.toml"
        with closing(self.connect()) as connection:
            connection.executescript(SCHEMA)

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.folder / "shop.db", isolation_level=None)

    def streamd(self, *arguments: str, code: int = 0) -> Result:
        done = CliRunner().invoke(cli, [*arguments, "--config", str(self.config)])
        assert done.exit_code == code, f"{arguments}: {done.output}"
        assert done.exception is None or isinstance(done.exception, SystemExit)
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.streamd(*arguments, "--json").stdout)

    def ours(self, kind: str) -> set[str]:
        with closing(self.connect()) as connection:
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type = ? AND name LIKE 'streamd%'", (kind,))
            return {name for (name,) in rows}

    def add(self, text: str) -> None:
        self.config.write_text(self.config.read_text(encoding="utf-8") + text, encoding="utf-8")


async def approve(shop: Shop, site: str, doctype: str) -> None:
    """A consumer that shook hands, and is approved for a type; and a log that has begun."""
    state = State(f"sqlite:///{shop.folder / 'streamd-state.db'}", site)
    request = HandshakeRequest(
        protocols=[1], site=str(uuid.uuid4()), name="store", doctypes=[WantedDoctype(doctype=doctype)]
    )
    await UpdateLog(state).begin()
    await Peers(state).register("store", request, {})
    await Peers(state).approve("store", [doctype], offers=[doctype])
    await state.close()
