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
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import psutil

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from bench import shop
from bench.engines import Shop, make_shop, open_shop
from tests.support import servers
from tests.support.database_url import Engine
from tests.support.sites.site import Site
from tests.support.sites.world import Link, World

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

    def __init__(self, folder: Path, engines: tuple[Engine, Engine], lines: int, say: Callable[[str], None]) -> None:
        """`engines`: the producer's and the consumer's, whose servers are there."""
        self.folder = folder
        self.lines = lines
        self.say = say
        self.world = World(folder)
        self.producer = self._site("producer", engines[0])
        self.consumer = self._site("consumer", engines[1])
        self.bare = servers.fresh_database(engines[0])
        make_shop(self.bare)
        self._shop = open_shop(self.producer.access.database)
        self._other = open_shop(self.consumer.access.database)
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
        documents = list(shop.invoices(self.written, count, self.lines))
        blocks = [documents[start : start + BLOCK] for start in range(0, count, BLOCK)]
        seconds = self._alternate([lambda side, block=block: side.write(block) for block in blocks])
        self.written += count
        return seconds

    def change_both(self, count: int) -> tuple[float, float]:
        """The user's updates of single rows, without and with triggers, alternating: the seconds of each.

        Both daemons are stopped for it, and the two databases have the same invoices to be changed.
        """
        self.say(f"changing {count} invoices twice, without and with triggers")
        self._stop(self.consumer)
        self._stop(self.producer)
        blocks = [range(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]
        return self._alternate([lambda side, block=block: side.change(block, "paid") for block in blocks])

    def _alternate(self, work: Sequence[Callable[[Shop], None]]) -> tuple[float, float]:
        """Do each piece of work at the database without triggers and at the producer's; which is first alternates."""
        bare = open_shop(self.bare)
        sides = (bare, self._shop)
        seconds = [0.0, 0.0]
        for index, do in enumerate(work):
            for side in (0, 1) if index % 2 else (1, 0):
                began = time.perf_counter()
                do(sides[side])
                seconds[side] += time.perf_counter() - began
        bare.close()
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
        self._shop.write(list(shop.invoices(self.written, count, self.lines)))
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
            watching = open_shop(self.consumer.access.database)
            deadline = time.monotonic() + seconds + 30
            newest = first - 1
            while newest < first + count - 1 and time.monotonic() < deadline:
                now = watching.newest()
                moment = time.perf_counter()
                for number in range(newest + 1, now + 1):
                    seen[number] = moment
                newest = max(newest, now)
                time.sleep(0.001)
            watching.close()

        watcher = threading.Thread(target=look)
        watcher.start()
        chance = random.Random(7)
        began = time.perf_counter()
        for index in range(count):
            # Not in step with anything that polls.
            due = began + (index + chance.random() * 0.5) / RATE
            time.sleep(max(due - time.perf_counter(), 0))
            self._shop.write([shop.invoice(first + index, self.lines)])
            committed[first + index] = time.perf_counter()
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

    def plain(self, count: int) -> float:
        """The same rows into the same tables of the consumer's engine at once: what the engine can do."""
        database = servers.fresh_database(self.consumer.engine)
        make_shop(database)
        documents = list(shop.invoices(0, count, self.lines))
        loading = open_shop(database)
        began = time.perf_counter()
        loading.load(documents)
        seconds = time.perf_counter() - began
        loading.close()
        return seconds

    def close(self) -> None:
        self.world.close()
        self._shop.close()
        self._other.close()

    def _site(self, name: str, engine: Engine) -> Site:
        site = self.world.site(name, shop.CATALOGUE, engine=engine)
        make_shop(site.access.database)
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
        return self._other.newest() == self.written - 1 and self._other.lines() == self.written * self.lines

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


def _peak_megabytes(process: int) -> float:
    """The most that a process has held so far: what the kernel noted, else what it holds now."""
    try:
        for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / MEGABYTE
    except FileNotFoundError:
        pass
    return psutil.Process(process).memory_info().rss / MEGABYTE
