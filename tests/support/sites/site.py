"""One site for tests: a folder with a TOML file, a database of any engine, and `streamd run` as a real process."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from tests.support.access import Connection
from tests.support.database_url import DatabaseUrl, Engine
from tests.support.engines import make_site_database
from tests.support.polling import eventually, patience
from tests.support.processes.forked import Forked
from tests.support.processes.ports import free_port
from tests.support.sites.wanted import Wanted, wanted

START_SECONDS = 15.0
STOP_SECONDS = 5.0
"""The promise: the daemon ends within this time after a SIGTERM."""
LOG_LINES = 40
"""Lines of a daemon's log that a failed test shows."""


@dataclass
class Producer:
    """A producer as it stands in a site's TOML file."""

    site: Site
    api_key: str
    api_secret: str
    doctypes: tuple[str | Wanted, ...]
    unsubscribed: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)

    def toml(self) -> str:
        every = [wanted(doctype) for doctype in self.doctypes]
        wanting = [each.toml() for each in every if each.doctype not in self.unsubscribed]
        unwanted = [f'{{ doctype = "{doctype}", unsubscribe = true }}' for doctype in self.unsubscribed]
        lines = [
            f"[producers.{self.site.name}]",
            f'url = "{self.site.url}"',
            f'api_key = "{self.api_key}"',
            f'api_secret = "{self.api_secret}"',
            f"doctypes = [{', '.join([*wanting, *unwanted])}]",
            *(
                f"{key} = {json.dumps(value)}"
                for key, value in ({"retry_seconds": 0.2, "use_same_name": True} | self.settings).items()
            ),
        ]
        return "\n".join(lines)


@dataclass
class Finished:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


class Site:
    """A site in a folder of its own. Its daemon is started and ended by the test."""

    programs = True
    """Whether commands and daemons begin as new interpreters, or, sooner, as forks (`forked.py`)."""

    def __init__(
        self,
        folder: Path,
        name: str,
        catalogue: str,
        template: DatabaseUrl | None = None,
        *,
        engine: Engine = "sqlite",
    ) -> None:
        """`template` is a database of the same engine that this site's is a copy of; without it, it is empty."""
        self.folder = folder
        self.name = name
        self.catalogue = catalogue
        self.port = free_port()
        self.offers: tuple[str, ...] | None = None
        self.producers: dict[str, Producer] = {}
        self.state_url = "sqlite:///state.db"
        self.daemons_role: DatabaseUrl | None = None
        """Who the daemon and the commands are in the site's database, where they are not its user."""
        self.extra = ""
        """More TOML, as it is."""
        self.process: subprocess.Popen[bytes] | Forked | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.access = make_site_database(engine, folder, template)

    # Files

    @property
    def engine(self) -> Engine:
        return self.access.engine

    @property
    def database(self) -> Path:
        """The file of an SQLite site."""
        assert self.engine == "sqlite", f"{self.name} has no file: it is a database of {self.engine}"
        return Path(self.access.database.name)

    @property
    def state(self) -> Path:
        """The file of the state database, where `state_url` names one."""
        return self.folder / self.state_url.removeprefix("sqlite:///")

    @property
    def config(self) -> Path:
        return self.folder / "streamd.toml"

    @property
    def log(self) -> Path:
        return self.folder / "daemon.log"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def write_config(self) -> None:
        """Write the TOML file anew from what this object says."""
        database = self.access.configured if self.daemons_role is None else self.daemons_role.url
        offers = "" if self.offers is None else f"offers = {json.dumps(list(self.offers))}\n"
        parts = [
            f'[site]\nname = "{self.name}"\ndatabase = "{database}"\n{offers}',
            f'[state]\ndatabase = "{self.state_url}"\n',
            f'[server]\nhost = "127.0.0.1"\nport = {self.port}\n',
            '[log]\nformat = "json"\n',
            self.catalogue,
            *(producer.toml() for producer in self.producers.values()),
            self.extra,
        ]
        self.config.write_text("\n".join(parts), encoding="utf-8")

    @property
    def installed(self) -> bool:
        """Whether `streamd install` was run here, as far as a file shows it; it makes the state database."""
        return self.state.exists()

    # The user's own writes and reads

    def connection(self) -> AbstractContextManager[Connection]:
        """The user's own connection to the site's database: autocommit, foreign keys on."""
        return self.access.connection()

    def write(self, *, deferred: bool = False) -> AbstractContextManager[Connection]:
        """One transaction of the user's; `deferred`: foreign keys may be broken until it ends."""
        return self.access.write(deferred=deferred)

    def execute(self, sql: str, *values: Any) -> None:
        """One statement of the user's, as a transaction of its own."""
        self.access.execute(sql, *values)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query on the site's database gives."""
        return self.access.rows(sql, *values)

    def value(self, sql: str, *values: Any) -> Any:
        """The first column of the first row, or None."""
        return self.access.value(sql, *values)

    def state_rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query on the daemon's state database gives."""
        if self.state_url.startswith("postgresql://"):
            with psycopg.connect(self.state_url, options="-c search_path=streamd_state") as server:
                return server.execute(sql.replace("?", "%s").encode(), values).fetchall()
        with _opened(self.state) as connection:
            return connection.execute(sql, values).fetchall()

    def save(self, which: Path) -> Path:
        """A consistent copy of an SQLite database (`site.database` or `site.state`), as a backup makes it."""
        target = self.folder / f"{which.name}.{time.monotonic_ns()}.saved"
        with _opened(which) as source, _opened(target) as copy:
            source.backup(copy)
        return target

    def restore(self, which: Path, saved: Path) -> None:
        """Put a saved copy in the place of a database. The daemon must not run."""
        assert not self.running, f"stop {self.name} before its database is exchanged"
        for suffix in ("", "-wal", "-shm"):
            which.with_name(which.name + suffix).unlink(missing_ok=True)
        shutil.copy(saved, which)
        with _opened(which) as connection:
            connection.execute("PRAGMA journal_mode = WAL")

    # Commands

    def run(self, *arguments: str, environment: dict[str, str] | None = None, timeout: float = 60) -> Finished:
        """Run a `streamd` command in this site's folder, whatever it ends with."""
        printed = self.folder / f"{time.monotonic_ns()}.printed"
        said = printed.with_suffix(".said")
        process = self._begin(arguments, environment or {}, printed, said)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        out, err = (path.read_text(encoding="utf-8") for path in (printed, said))
        printed.unlink()
        said.unlink()
        return Finished(code, out, err)

    def cli(self, *arguments: str) -> str:
        """Run a `streamd` command that has to end with 0, and return what it printed."""
        done = self.run(*arguments)
        assert done.code == 0, f"{self.name}: streamd {' '.join(arguments)}: {done.text}"
        return done.out

    def json(self, *arguments: str) -> Any:
        """Run a `streamd` command with `--json`, and return what it printed, parsed."""
        printed = self.cli(*arguments, "--json")
        try:
            return json.loads(printed)
        except ValueError:
            raise AssertionError(f"streamd {' '.join(arguments)} --json printed no JSON:\n{printed}") from None

    # The daemon

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, *, wait: bool = True, **environment: str) -> None:
        """Start the daemon; with `wait`, return when it answers."""
        assert not self.running, f"{self.name} runs already"
        self.write_config()
        self.process = self._begin(["run"], environment, self.log, self.log)
        if wait:
            self.wait_until_up()

    def wait_until_up(self) -> None:
        """Wait until the daemon answers; fails at once if it ended."""
        eventually(self._answers, f"{self.name} answers", timeout=START_SECONDS, report=self.log_tail)

    def stop(self) -> None:
        """End the daemon with SIGTERM, and assert that it ends in time and with 0."""
        if self.process is None:
            return
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_SECONDS * patience())
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {STOP_SECONDS:g} s\n{self.log_tail()}") from None
        self.process = None
        took = time.monotonic() - started
        assert code == 0, f"{self.name} ended with {code} after {took:.1f} s\n{self.log_tail()}"

    def kill(self) -> None:
        """End the daemon with SIGKILL: as a crash does."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.process = None

    def restart(self, **environment: str) -> None:
        self.stop()
        self.start(**environment)

    def died(self) -> bool:
        """Whether the daemon was ended by SIGKILL; fails if it ended in another way."""
        if self.process is None:
            return True
        code = self.process.poll()
        if code is None:
            return False
        assert code == -signal.SIGKILL, f"{self.name} ended by itself with {code}\n{self.log_tail()}"
        self.process = None
        return True

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}\n{self.log_tail()}")
        try:
            return self.request("GET", "/v1/health")[0] == 200
        except OSError:
            return False

    def request(self, method: str, path: str, body: Any = None, credential: str | None = None) -> tuple[int, str]:
        """One request to this site's API: status and text of the answer."""
        headers = {"Content-Type": "application/json"}
        if credential is not None:
            headers["Authorization"] = f"Bearer {credential}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def _begin(
        self, arguments: Sequence[str], environment: dict[str, str], out: Path, err: Path
    ) -> subprocess.Popen[bytes] | Forked:
        """Start `streamd` in this site's folder. What it prints is added to the files."""
        environment = self._environment(environment)
        if not self.programs:
            return Forked(arguments, self.folder, environment, out, err)
        with out.open("ab") as printed, err.open("ab") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "streamd", *arguments],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=said,
            )

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("STREAMD_")}
        # Wide, so that a table that people read does not cut what a test looks for.
        return {**kept, "STREAMD_CONFIG": str(self.config), "COLUMNS": "200", "PYTHONUNBUFFERED": "1", **more}

    # What it says

    def log_lines(self) -> list[dict[str, Any]]:
        """What the daemon said, one JSON object per line; other lines under `text`."""
        if not self.log.exists():
            return []
        lines = []
        for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                parsed = json.loads(line)
            except ValueError:
                parsed = None
            lines.append(parsed if isinstance(parsed, dict) else {"text": line})
        return lines

    def log_tail(self) -> str:
        if not self.log.exists():
            return f"--- {self.name}: no log"
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return f"--- {self.name}: the end of its log\n" + "\n".join(lines[-LOG_LINES:])

    def report(self) -> str:
        """Status, parked events and the end of the log, for the message of a failed test."""
        parts = [f"=== {self.name} ({self.folder}, {'running' if self.running else 'not running'})"]
        try:
            done = self.run("status", "--json", timeout=20)
            parts.append(done.out if done.code == 0 else done.text)
        except (OSError, subprocess.SubprocessError) as error:
            parts.append(f"no status: {error}")
        try:
            parked = self.rows("SELECT * FROM streamd_parked")
            parts.append("parked and held:\n" + "\n".join(f"  {row!r}" for row in parked))
        except self.access.errors as error:
            parts.append(f"parked and held: {error}")
        parts.append(self.log_tail())
        return "\n".join(parts)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        yield connection
    finally:
        connection.close()


def install_all(sites: Sequence[Site]) -> None:
    """Write each site's TOML file, and run `streamd install` there."""
    for site in sites:
        site.write_config()
        site.cli("install")
