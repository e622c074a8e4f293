"""Runs the programs of another folder against this tree's `streamd`: `python -m tests.cases [NUMBER…]`.

Each program is one kind of trouble that real databases make, with daemons of its own, and ends with 0 where all was
right. They mostly wait, so several run at once. The folder is `$STREAMD_CASES`, or `shared/cases` beside the
repository; where it is not there, nothing is done. Their servers are those at `$PGURL` and `$MYURL` (`user@host:port`,
no password), or, where none answers there, private ones that are started for them.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
import pymysql

from tests.support.database_url import DatabaseUrl
from tests.support.processes.mariadb_server import MariaDbServer
from tests.support.processes.postgresql_server import PostgreSqlServer

HERE = Path(__file__).resolve().parents[1]
WORKERS = int(os.environ.get("CASE_WORKERS") or 4)
LONGEST_SECONDS = 600.0
"""A program that has not ended by then hangs; the longest takes a few minutes on a busy machine."""
ENDING_SECONDS = 30.0
PORTS_EACH = 20
FIRST_PORT, LAST_PORT = 20_000, 32_000
"""Below the ports that the kernel gives to outgoing connections."""


OTHERWISE = {
    "10-pg-rows-that-come-and-go-without-triggers": ("ATTACH PARTITION", "DETACH PARTITION"),
}
"""What programs expect that cannot be, by program. Rows of a partition that the consumer has not got are parked there:
streamd makes no partitions. `tests/contract/capture/test_unseen_rows.py` shows the same where both sites have them."""


class Outcome(NamedTuple):
    """How one program ended. `code` is None where it did not end in time."""

    name: str
    code: int | None
    seconds: float
    said: str

    @property
    def is_right(self) -> bool:
        """Whether all was right, but for what cannot be."""
        otherwise = OTHERWISE.get(self.name, ())
        wrong = [line for line in self.said.splitlines() if line.startswith("WRONG ")]
        known = bool(wrong) and all(line.removeprefix("WRONG ").startswith(otherwise) for line in wrong)
        return self.code == 0 or (self.code == 1 and bool(otherwise) and known)


def folder() -> Path:
    """Where the programs are, or would be."""
    named = os.environ.get("STREAMD_CASES")
    return Path(named) if named else HERE.parent / "shared" / "cases"


def main(wanted: Sequence[str]) -> int:
    """Run all programs, or those whose names begin with one of `wanted`; 1 where one went wrong."""
    programs = [each for each in sorted(folder().glob("[0-9]*.py")) if each.name.startswith(tuple(wanted) or "")]
    if not programs:
        print(f"There are no such cases in {folder()}: nothing was run.")
        return 0
    with ExitStack() as stack:
        environment = {
            **os.environ,
            "STREAMD": str(Path(sys.executable).with_name("streamd")),
            "PYTHONDONTWRITEBYTECODE": "1",  # the folder is not ours
            "PGURL": stack.enter_context(_postgresql()),
            "MYURL": stack.enter_context(_mariadb()),
        }
        outcomes = _run_all(programs, environment, WORKERS)
        # They wait for a fixed time. A machine that is too slow for several at once may be quick enough for one.
        late = [each for each, outcome in zip(programs, outcomes, strict=True) if not outcome.is_right]
        if late:
            print(f"{len(late)} again, one at a time:", flush=True)
            again = {outcome.name: outcome for outcome in _run_all(late, environment, 1)}
            outcomes = [again.get(outcome.name, outcome) for outcome in outcomes]
    for outcome in outcomes:
        if not outcome.is_right:
            print(f"\n--- {outcome.name}\n{outcome.said.rstrip()}")
    print(f"\n{'case':<52} {'result':<16} seconds")
    for outcome in outcomes:
        print(f"{outcome.name:<52} {_result(outcome):<16} {outcome.seconds:7.0f}")
    wrong = [outcome.name for outcome in outcomes if not outcome.is_right]
    print(f"\n{len(outcomes) - len(wrong)} of {len(outcomes)} cases are right." + _listed(wrong))
    return 1 if wrong else 0


def _run_all(programs: Sequence[Path], environment: dict[str, str], workers: int) -> list[Outcome]:
    bases = random.sample(range(FIRST_PORT, LAST_PORT, PORTS_EACH), (LAST_PORT - FIRST_PORT) // PORTS_EACH)
    free = (base for base in bases if _is_free(base))
    outcomes = []
    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(_run, each, {**environment, "PORT0": str(next(free))}) for each in programs]
        for done in as_completed(running):
            outcome = done.result()
            outcomes.append(outcome)
            print(f"{_result(outcome):<16} {outcome.seconds:5.0f} s  {outcome.name}", flush=True)
    return sorted(outcomes)


def _run(program: Path, environment: dict[str, str]) -> Outcome:
    """Run one program to its end; what it started ends with it."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, str(program)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    code: int | None
    try:
        said, _ = process.communicate(timeout=LONGEST_SECONDS)
        code = process.returncode
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # so that it takes its daemons and databases away
        try:
            said, _ = process.communicate(timeout=ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
        code = None
    return Outcome(program.stem, code, time.monotonic() - began, said)


def _result(outcome: Outcome) -> str:
    if outcome.code is None:
        return "did not end"
    if outcome.code == 0:
        return "right"
    return "right, otherwise" if outcome.is_right else f"WRONG (exit {outcome.code})"


def _listed(wrong: Sequence[str]) -> str:
    return f" Wrong: {', '.join(wrong)}" if wrong else ""


def _is_free(base: int) -> bool:
    """Whether nobody listens on a program's ports."""
    for port in range(base, base + PORTS_EACH):
        with closing(socket.socket()) as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


# Servers


@contextmanager
def _postgresql() -> Iterator[str]:
    """`user@host:port` of a PostgreSQL server that takes this user without a password."""
    there = _address("postgresql", os.environ.get("PGURL") or "postgres@127.0.0.1:5432", "postgres")
    try:
        psycopg.connect(there.url, connect_timeout=5).close()
    except psycopg.OperationalError:
        server = PostgreSqlServer.private()
        if server is None:
            sys.exit("no PostgreSQL server answers, and none is installed: apt install postgresql")
        try:
            yield _short(server.administrator("postgres"))
        finally:
            server.stop()
    else:
        yield _short(there)


@contextmanager
def _mariadb() -> Iterator[str]:
    """The same of a MariaDB server."""
    there = _address("mariadb", os.environ.get("MYURL") or "root@127.0.0.1:3306", "mysql")
    try:
        pymysql.connect(host=there.host, port=there.port, user=there.user, connect_timeout=5).close()
    except pymysql.OperationalError:
        server = MariaDbServer.private()
        if server is None:
            sys.exit("no MariaDB server answers, and none is installed: apt install mariadb-server")
        try:
            yield _short(server.administrator("mysql"))
        finally:
            server.stop()
    else:
        yield _short(there)


def _address(engine: str, text: str, database: str) -> DatabaseUrl:
    user, _, place = text.partition("@")
    host, _, port = place.partition(":")
    return DatabaseUrl(engine, database, user, host=host, port=int(port))  # type: ignore[arg-type]  # one of the two


def _short(url: DatabaseUrl) -> str:
    return f"{url.user}@{url.host}:{url.port}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
