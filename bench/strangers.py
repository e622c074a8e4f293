"""Half-open requests of a stranger's while honest consumers are served: memory, descriptors, and latency.

    python -m bench.strangers --strangers 5000 --consumers 300

A real daemon beside an empty SQLite site. Each consumer has a key of its own and asks for events, over and over; the
stranger, in a process of its own, opens connections from the same address, sends half a head over each, and opens
another one soon after one ended.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import multiprocessing.process
import os
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import aiohttp

from streamd.store.engine import State
from streamd.store.peers import Peers

HALF_A_HEAD = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: "
AGAIN_SECONDS = 5.0
"""How soon a stranger's connection that was ended is opened again."""

CONFIG = """
[site]
name = "hq"
database = "sqlite:///site.db"
[state]
database = "sqlite:///state.db"
[server]
port = {port}
[doctypes.note]
"""


def main() -> None:
    """Run, and print a line for each phase."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--strangers", type=int, default=5000)
    parser.add_argument("--consumers", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--port", type=int, default=8190)
    asked = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    with tempfile.TemporaryDirectory() as folder:
        daemon = begin(Path(folder), asked.port)
        try:
            asyncio.run(measure(Path(folder), asked, daemon))
        finally:
            daemon.terminate()
            daemon.wait()


def begin(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """A daemon beside a new site, with as many descriptors as processes usually get."""
    with sqlite3.connect(folder / "site.db") as site:
        site.execute("PRAGMA journal_mode = WAL")
        site.execute("CREATE TABLE note (id INTEGER PRIMARY KEY, text TEXT)")
    (folder / "streamd.toml").write_text(CONFIG.format(port=port))
    command = [sys.executable, "-m", "streamd"]
    options = ["--config", "streamd.toml"]
    subprocess.run([*command, "install", *options], cwd=folder, check=True, stdout=subprocess.DEVNULL)  # noqa: S603  # ours
    limited = ["sh", "-c", 'ulimit -n 1024; exec "$@"', "sh", *command, "run", *options]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(limited, cwd=folder, stdout=log, stderr=log)  # noqa: S603  # ours


async def measure(folder: Path, asked: argparse.Namespace, daemon: subprocess.Popen[bytes]) -> None:
    url = f"http://127.0.0.1:{asked.port}/v1"
    crowd: multiprocessing.process.BaseProcess | None = None
    try:
        await _answers(url)
        keys = await _keys(folder, asked.consumers)
        await _phase("alone", daemon.pid, url, keys, asked.seconds)
        crowd = multiprocessing.get_context("spawn").Process(target=strangers, args=(asked.port, asked.strangers))
        crowd.start()
        await asyncio.sleep(5)
        await _phase(f"beside {asked.strangers} strangers", daemon.pid, url, keys, asked.seconds)
        print("the daemon", "runs" if daemon.poll() is None else f"ended with {daemon.returncode}")
    finally:
        if crowd is not None:
            crowd.terminate()
            crowd.join()


async def _answers(url: str) -> None:
    async with aiohttp.ClientSession() as http:
        for _ in range(600):
            with suppress(aiohttp.ClientError):
                async with http.get(f"{url}/health"):
                    return
            await asyncio.sleep(0.1)
    raise SystemExit("the daemon does not answer")


async def _keys(folder: Path, count: int) -> list[str]:
    with sqlite3.connect(folder / "site.db") as site:
        ((uuid,),) = site.execute("SELECT site FROM streamd_site")
    state = State(f"sqlite:///{folder / 'state.db'}", uuid)
    peers = Peers(state)
    try:
        return [":".join(await peers.create_key(f"store{number}")) for number in range(count)]
    finally:
        await state.close()


def strangers(port: int, count: int) -> None:
    """So many connections, until this process is ended."""

    async def all_of_them() -> None:
        await asyncio.gather(*(_stranger(port) for _ in range(count)))

    asyncio.run(all_of_them())


async def _stranger(port: int) -> None:
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HALF_A_HEAD)
            await reader.read()
            writer.close()
        except OSError:
            pass  # it was sent away, or not let in
        await asyncio.sleep(AGAIN_SECONDS)


async def _phase(name: str, pid: int, url: str, keys: list[str], seconds: float) -> None:
    """All consumers ask, over connections that they keep and over new ones, and say how long it took."""
    until = time.monotonic() + seconds
    took: list[float] = []
    failed: Counter[str] = Counter()

    async def ask(http: aiohttp.ClientSession, key: str) -> None:
        began = time.monotonic()
        try:
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
            async with http.post(f"{url}/events", data=b"{}", headers=headers) as answer:
                await answer.read()
                if answer.status not in (200, 409):
                    failed[str(answer.status)] += 1
        except aiohttp.ClientError as error:
            failed[type(error).__name__] += 1
        took.append(time.monotonic() - began)

    async def consumer(key: str) -> None:
        while time.monotonic() < until:
            async with aiohttp.ClientSession() as http:
                for _ in range(3):
                    await ask(http, key)
                    await asyncio.sleep(1)

    await asyncio.gather(*(consumer(key) for key in keys))
    took.sort()
    of_what = f" ({', '.join(f'{kind} {count}' for kind, count in failed.items())})" if failed else ""
    print(
        f"{name:28} {len(took)} requests, {failed.total()} failed{of_what}; "
        f"median {statistics.median(took) * 1000:.0f} ms, "
        f"99 % {took[len(took) * 99 // 100] * 1000:.0f} ms; {_cost(pid)}",
        flush=True,
    )


def _cost(pid: int) -> str:
    status = Path(f"/proc/{pid}/status").read_text()
    memory = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) // 1024
    return f"{memory} MB, {len(os.listdir(f'/proc/{pid}/fd'))} descriptors"


if __name__ == "__main__":
    main()
