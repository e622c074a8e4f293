"""The stages that the benchmark measures, each as seconds for a number of invoices."""

from __future__ import annotations

import http.client
import json
import random
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from bench import shop
from tests.support.site import Site
from tests.support.world import Link, World

PATIENCE_SECONDS = 600.0
LOOK_SECONDS = 0.01
"""How often the end of a stage is looked for."""
BLOCK = 250
"""Transactions between two changes of side, while writing with and without triggers alternates."""
RATE = 10
"""Changes a second, while latency is measured."""
PAGE_EVENTS = 2000
MEGABYTE = 1 << 20


class Page(msgspec.Struct):
    """As much of a page as the reading client looks at."""

    events: list[msgspec.Raw]
    next: str


_PAGE = msgspec.json.Decoder(Page)


class Bench:
    """A producer and a consumer, with their daemons."""

    def __init__(self, folder: Path, lines: int, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.lines = lines
        self.say = say
        self.world = World(folder)
        self.producer = self._site("producer")
        self.consumer = self._site("consumer")
        # It passes nothing on, so it needs no triggers on what it gets.
        self.consumer.offers = ()
        self.written = 0
        self._peaks = {"producer": 0.0, "consumer": 0.0}
        self._reader: dict[str, str] = {}
        self._reader_cursor: str | None = None

    def connect(self) -> None:
        """Subscribe and approve: the consumer, and a client that only reads. Then stop both daemons."""
        self.say("connecting the two sites")
        self.world.connect(Link(self.consumer, self.producer, ("Invoice",)))
        self._reader = self.producer.json("keys", "create", "--for", "reader")
        self._post(
            "/v1/handshake",
            {
                "protocols": [1],
                "site": str(uuid.uuid4()),
                "name": "reader",
                "doctypes": [{"doctype": "Invoice"}],
            },
        )
        self.producer.cli("consumers", "approve", "reader")
        self._reader_cursor = _PAGE.decode(self._post("/v1/events", {"limit": 1})).next
        self._stop(self.consumer)
        self._stop(self.producer)

    def write_both(self, count: int) -> tuple[float, float]:
        """The user's writes, without and with triggers, alternating: the seconds of each."""
        self.say(f"writing {count} invoices twice, without and with triggers")
        bare = self.folder / "bare.db"
        shop.make(bare)
        sides = [shop.connect(bare), shop.connect(self.producer.database)]
        documents = list(shop.invoices(self.written, count, self.lines))
        seconds = [0.0, 0.0]
        for start in range(0, count, BLOCK):
            block = documents[start : start + BLOCK]
            order = (0, 1) if start // BLOCK % 2 else (1, 0)
            for side in order:
                began = time.perf_counter()
                shop.write(sides[side], block)
                seconds[side] += time.perf_counter() - began
        for connection in sides:
            connection.close()
        self.written += count
        return seconds[0], seconds[1]

    def capture(self, count: int) -> float:
        """Start the producer alone, and time the log from the first new entry to the last."""
        self.say("capturing")
        before = self._logged()
        self.producer.start(wait=False)
        first = self._when(lambda: self._logged() > before, self.producer)
        had = self._logged() - before
        last = self._when(lambda: self._logged() >= before + count, self.producer)
        self._remember_peaks()
        # What was there already at the first look is not counted: scale to the whole.
        return (last - first) * count / max(count - had, 1) if count > had else max(last - first, LOOK_SECONDS)

    def serve(self, count: int) -> float:
        """Read the whole backlog page by page, as fast as pages come."""
        self.say("serving")
        began = time.perf_counter()
        got = 0
        connection = self._http()
        while got < count:
            answer = self._post(
                "/v1/events",
                {"cursor": self._reader_cursor, "limit": PAGE_EVENTS, "wait_seconds": 5},
                connection,
            )
            page = _PAGE.decode(answer)
            got += len(page.events)
            self._reader_cursor = page.next
        connection.close()
        return time.perf_counter() - began

    def apply(self, count: int) -> float:
        """Start the consumer, and time from its first request until every row is there."""
        self.say("applying")
        seen = self._last_seen()
        self.consumer.start(wait=False)
        first = self._when(lambda: self._last_seen() != seen, self.consumer)
        last = self._when(self._all_there, self.consumer)
        self._remember_peaks()
        return last - first

    def catch_up(self, count: int) -> float:
        """Write while both daemons are halted, let both go at once, and time until every row is there."""
        self.say(f"writing {count} invoices more, while both daemons are halted; then catching up")
        processes = [psutil.Process(site.process.pid) for site in (self.producer, self.consumer) if site.process]
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        connection = shop.connect(self.producer.database)
        shop.write(connection, list(shop.invoices(self.written, count, self.lines)))
        connection.close()
        self.written += count
        began = time.perf_counter()
        for process in processes:
            process.send_signal(signal.SIGCONT)
        last = self._when(self._all_there, self.consumer)
        self._remember_peaks()
        return last - began

    def latency(self, seconds: float) -> list[float]:
        """Write invoices at a steady pace, and time each from its commit until another connection sees it."""
        self.say(f"measuring latency for {seconds:g} s")
        first = self.written
        count = max(int(seconds * RATE), 2)
        committed: dict[int, float] = {}
        seen: dict[int, float] = {}

        def look() -> None:
            connection = shop.connect(self.consumer.database)
            deadline = time.monotonic() + seconds + 30
            newest = first - 1
            while newest < first + count - 1 and time.monotonic() < deadline:
                (now,) = connection.execute("SELECT max(InvoiceId) FROM Invoice").fetchone()
                moment = time.perf_counter()
                for number in range(newest + 1, now + 1):
                    seen[number] = moment
                newest = max(newest, now)
                time.sleep(0.001)
            connection.close()

        watcher = threading.Thread(target=look)
        watcher.start()
        connection = shop.connect(self.producer.database)
        chance = random.Random(7)
        began = time.perf_counter()
        for index in range(count):
            # Not in step with anything that polls.
            due = began + (index + chance.random() * 0.5) / RATE
            time.sleep(max(due - time.perf_counter(), 0))
            shop.write(connection, [shop.invoice(first + index, self.lines)])
            committed[first + index] = time.perf_counter()
        connection.close()
        watcher.join()
        self.written += count
        self._remember_peaks()
        lost = len(committed) - len(seen)
        if lost:
            self.say(f"{lost} changes were not seen within half a minute")
        return [seen[number] - committed[number] for number in seen] or [float("inf")]

    def peaks(self) -> dict[str, float]:
        """The most memory that each daemon has held, in MB."""
        return self._peaks

    def close(self) -> None:
        self.world.close()

    def _site(self, name: str) -> Site:
        template = self.folder / f"{name}-template.db"
        shop.make(template)
        site = self.world.site(name, shop.CATALOGUE, template)
        with site.connection() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        return site

    def _stop(self, site: Site) -> None:
        self._remember_peaks()
        site.stop()

    def _remember_peaks(self) -> None:
        for site in (self.producer, self.consumer):
            if site.process is not None:
                self._peaks[site.name] = max(self._peaks[site.name], _peak_megabytes(site.process.pid))

    def _logged(self) -> int:
        rows = self.producer.state_rows("SELECT sequence FROM log_head")
        return int(rows[0][0]) if rows else 0

    def _last_seen(self) -> object:
        return self.producer.state_rows("SELECT last_seen_at FROM consumers WHERE name = 'consumer'")

    def _all_there(self) -> bool:
        newest = self.written - 1
        if self.consumer.value("SELECT max(InvoiceId) FROM Invoice") != newest:
            return False
        return bool(self.consumer.value("SELECT count(*) FROM InvoiceLine") == self.written * self.lines)

    def _when(self, condition: Callable[[], bool], site: Site) -> float:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > deadline or not site.running:
                raise RuntimeError(f"the stage did not end\n{site.report()}")
            time.sleep(LOOK_SECONDS)
        return time.perf_counter()

    def _http(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.producer.port, timeout=60)

    def _post(self, path: str, body: object, connection: http.client.HTTPConnection | None = None) -> bytes:
        used = connection or self._http()
        credential = f"{self._reader['api_key']}:{self._reader['api_secret']}"
        used.request(
            "POST",
            path,
            json.dumps(body),
            {
                "Content-Type": "application/json",
                "Accept-Encoding": "zstd",
                "Authorization": f"Bearer {credential}",
            },
        )
        response = used.getresponse()
        answer = response.read()
        if response.getheader("Content-Encoding") == "zstd":
            answer = zstd.decompress(answer)
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {answer.decode()}")
        if connection is None:
            used.close()
        return answer


def plain(path: Path, count: int, lines: int) -> float:
    """The same rows into the same tables with `executemany`, in one transaction: what the engine can do."""
    shop.make(path)
    documents = list(shop.invoices(0, count, lines))
    connection = shop.connect(path)
    began = time.perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(shop.INSERT_INVOICE, [row for row, _ in documents])
    connection.executemany(shop.INSERT_LINE, [item for _, items in documents for item in items])
    connection.execute("COMMIT")
    seconds = time.perf_counter() - began
    connection.close()
    return seconds


def _peak_megabytes(process: int) -> float:
    """The most that a process has held so far: what the kernel noted, else what it holds now."""
    try:
        for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / MEGABYTE
    except FileNotFoundError:
        pass
    return psutil.Process(process).memory_info().rss / MEGABYTE
