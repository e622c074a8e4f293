"""The two sites of `streamd demo`: a small shop's headquarters and its store, each with its daemon."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamd.errors import StreamdError

COMMAND_SECONDS = 600
"""A command that has not ended by then hangs; on a very busy machine it takes a minute."""
STOP_SECONDS = 10
BUSY_SECONDS = 600
"""How long the shop's own program waits for its database. It is locked for moments only, also on a busy machine."""
PORTS = range(61_000, 65_536)
"""Linux gives none of these to outgoing connections, unless it was told to: one of them would take a daemon's port."""

SCHEMA = """
CREATE TABLE Category (
    Code TEXT NOT NULL PRIMARY KEY,
    Title TEXT NOT NULL,
    Parent TEXT REFERENCES Category (Code)
);
CREATE TABLE Item (
    Code TEXT NOT NULL PRIMARY KEY,
    Title TEXT NOT NULL,
    Category TEXT NOT NULL REFERENCES Category (Code)
);
CREATE TABLE Price (
    Item TEXT NOT NULL REFERENCES Item (Code),
    Currency TEXT NOT NULL,
    Amount DECIMAL(10, 2) NOT NULL,
    PRIMARY KEY (Item, Currency)
);
CREATE TABLE Customer (
    Code TEXT NOT NULL PRIMARY KEY,
    Name TEXT NOT NULL,
    City TEXT,
    Email TEXT
);
CREATE TABLE Invoice (
    Number TEXT NOT NULL PRIMARY KEY,
    Customer TEXT NOT NULL REFERENCES Customer (Code),
    Day DATE NOT NULL,
    Total DECIMAL(10, 2) NOT NULL
);
CREATE TABLE InvoiceLine (
    Id INTEGER PRIMARY KEY,
    Invoice TEXT NOT NULL REFERENCES Invoice (Number),
    Item TEXT NOT NULL REFERENCES Item (Code),
    Quantity INTEGER NOT NULL,
    Amount DECIMAL(10, 2) NOT NULL
);
"""

TABLES = ("Category", "Item", "Price", "Customer", "Invoice", "InvoiceLine")

DOCTYPES = """
# What a document is: a row of a table, with the rows of its child tables. Keys and links follow from the
# primary and foreign keys.
[doctypes.Category]
[doctypes.Item]
[doctypes.Item.children.prices]
table = "Price"
parent_key = "Item"
[doctypes.Customer]
[doctypes.Invoice]
[doctypes.Invoice.children.lines]
table = "InvoiceLine"
parent_key = "Invoice"
"""


class DemoFailed(StreamdError):
    """The demo could not show what it promises."""


@dataclass
class DemoSite:
    """One site: its folder, its files, and its daemon while that runs."""

    name: str
    folder: Path
    port: int
    offers: tuple[str, ...]
    seed: str
    daemon: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    longest_command: float = 0.0
    """Seconds that the slowest of its commands took."""

    @property
    def database(self) -> Path:
        return self.folder / f"{self.name}.db"

    @property
    def config(self) -> Path:
        return self.folder / f"{self.name}.toml"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def make(self) -> None:
        """The database with a few rows, and the TOML file without producers."""
        connection = sqlite3.connect(self.database, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(f"BEGIN;{SCHEMA}{self.seed}COMMIT;")
        finally:
            connection.close()
        self.config.write_text(
            f'[site]\nname = "{self.name}"\ndatabase = "sqlite:///{self.database.name}"\n'
            f"offers = {json.dumps(list(self.offers))}\n\n"
            f'[state]\ndatabase = "sqlite:///{self.name}-state.db"\n\n'
            f'[server]\nhost = "127.0.0.1"\nport = {self.port}\n{DOCTYPES}',
            encoding="utf-8",
        )
        self.config.chmod(0o600)

    def subscribe(self, producer: DemoSite, doctypes: tuple[str, ...]) -> None:
        """Make a key at the producer, and name it in this site's TOML file."""
        key = producer.json("keys", "create", "--for", self.name)
        with self.config.open("a", encoding="utf-8") as file:
            file.write(
                f'\n[producers.{producer.name}]\nurl = "{producer.url}"\n'
                f'api_key = "{key["api_key"]}"\napi_secret = "{key["api_secret"]}"\n'
                f"use_same_name = true\ndoctypes = {json.dumps(list(doctypes))}\nretry_seconds = 2\n"
            )

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, as the shop's own program would make it: streamd has no part in it."""
        connection = sqlite3.connect(self.database, isolation_level=None, timeout=BUSY_SECONDS)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.database, isolation_level=None, timeout=BUSY_SECONDS)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    # The command line, as a user types it

    def streamd(self, *arguments: str) -> str:
        """Run a command at this site. Raises `DemoFailed` with its own words."""
        began = time.monotonic()
        try:
            done = subprocess.run(  # noqa: S603 - our own program
                [sys.executable, "-m", "streamd", *arguments, "--config", str(self.config)],
                env=_environment(),
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DemoFailed(
                f"`streamd {' '.join(arguments)}` at {self.name} did not end within {COMMAND_SECONDS} seconds"
            ) from None
        self.longest_command = max(self.longest_command, time.monotonic() - began)
        if done.returncode != 0:
            raise DemoFailed(f"`streamd {' '.join(arguments)}` at {self.name} failed: {done.stderr or done.stdout}")
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.streamd(*arguments, "--json"))

    # The daemon

    def start(self) -> None:
        """Start `streamd run` as a process of its own, which a Ctrl-C in the terminal does not reach."""
        with self.log.open("ab") as log:
            self.daemon = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "streamd", "run", "--config", str(self.config)],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def check_alive(self) -> None:
        """Raises `DemoFailed`, with the end of its log, if the daemon has ended."""
        if self.daemon is not None and self.daemon.poll() is not None:
            raise DemoFailed(
                f"the daemon at {self.name} ended by itself with {self.daemon.returncode}:\n{self.log_end()}"
            )

    def moved(self) -> object:
        """Differs from the last time where the daemon said something, or anybody wrote to the database.

        The state is no sign of progress: a daemon writes its sign of life there, whatever hangs.
        """
        files = [self.log, self.database, self.database.with_name(f"{self.database.name}-wal")]
        states = [path.stat() for path in files if path.exists()]
        return [(state.st_ino, state.st_size, state.st_mtime_ns) for state in states]

    def log_end(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-15:])

    def terminate(self) -> None:
        """Ask the daemon to end; `wait` waits for it."""
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Wait until the daemon has ended, and kill it if it takes too long."""
        if self.daemon is None:
            return
        try:
            self.daemon.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()


def two_sites(folder: Path) -> tuple[DemoSite, DemoSite]:
    """(headquarters, store) with their first rows, in a folder that must not be there yet; no daemon runs."""
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise StreamdError(
            f"the folder {folder} cannot be made: {error.strerror}",
            hint="go to a folder that you may write, or name one with --folder",
        ) from error
    first, second = _free_ports()
    hq = DemoSite(
        "hq",
        folder,
        first,
        offers=("Category", "Item", "Customer"),
        seed="""
        INSERT INTO Category VALUES
            ('DRINKS', 'Drinks', NULL), ('TEA', 'Tea', 'DRINKS'), ('COFFEE', 'Coffee', 'DRINKS');
        """,
    )
    store = DemoSite(
        "store",
        folder,
        second,
        offers=("Customer", "Invoice"),
        seed="""
        INSERT INTO Customer VALUES
            ('C-1', 'Walk-in customer', NULL, NULL), ('C-2', 'Corner Café', 'Ulm', NULL);
        """,
    )
    for site in (hq, store):
        site.make()
    return hq, store


def _environment() -> dict[str, str]:
    """Ours, without settings that would change what the TOML files of the demo say."""
    return {key: value for key, value in os.environ.items() if not key.startswith("STREAMD_")}


def _free_ports() -> tuple[int, int]:
    """Two ports that nobody listens on, above those that Linux gives to outgoing connections."""
    free: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
        free.append(port)
        if len(free) == 2:
            return free[0], free[1]
    raise StreamdError(
        f"all ports from {PORTS[0]} to {PORTS[-1]} are taken, and the demo needs two",
        hint="end what listens on them: `ss --listening --tcp` shows it",
    )
