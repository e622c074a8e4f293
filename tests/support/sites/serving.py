"""A producer in the test process: real databases, real capture, and a real server on a free port."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from streamd.capture.tail import Capture
from streamd.catalog import build
from streamd.db import open_site
from streamd.model import LogEntry
from streamd.serve import Server, Services
from streamd.settings import Settings
from streamd.store.engine import State
from streamd.store.migrate import migrate
from streamd.store.peers import Peers
from streamd.update_log import UpdateLog

SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE Employee (id INTEGER PRIMARY KEY, name TEXT NOT NULL, reports_to INTEGER REFERENCES Employee);
CREATE TABLE Customer (id INTEGER PRIMARY KEY, name TEXT NOT NULL, support INTEGER REFERENCES Employee);
CREATE TABLE Track (id INTEGER PRIMARY KEY, title TEXT NOT NULL);
CREATE TABLE Invoice (id INTEGER PRIMARY KEY, customer INTEGER REFERENCES Customer, total TEXT);
CREATE TABLE Line (
    id INTEGER PRIMARY KEY, invoice INTEGER NOT NULL REFERENCES Invoice, track INTEGER REFERENCES Track
);
CREATE TABLE Note (id INTEGER PRIMARY KEY, about TEXT, about_id INTEGER, text TEXT);
CREATE TABLE Secret (id INTEGER PRIMARY KEY, text TEXT);
INSERT INTO Employee VALUES (1, 'Andrew', NULL), (2, 'Nancy', 1), (3, 'Jane', 2), (9, 'Unrelated', NULL);
INSERT INTO Customer VALUES (1, 'Luis', 3), (2, 'Leonie', NULL);
INSERT INTO Track VALUES (1, 'For Those About To Rock'), (2, 'Balls to the Wall');
INSERT INTO Invoice VALUES (1, 1, '1.98'), (2, 2, '3.96');
INSERT INTO Line VALUES (1, 1, 1), (2, 2, 2);
INSERT INTO Note VALUES (1, 'Employee', 9, 'of somebody'), (2, 'Secret', 1, 'of a type that is there');
INSERT INTO Secret VALUES (1, 'never to be seen');
"""

DOCTYPES: dict[str, Any] = {
    "Invoice": {"children": {"lines": {"table": "Line", "parent_key": "invoice"}}},
    "Customer": {},
    "Employee": {},
    "Track": {},
    "Note": {"dynamic_links": {"about_id": "about"}},
    "Secret": {},
}
OFFERS = ["Invoice", "Customer", "Employee", "Track", "Note"]

CONSUMER = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"
DEADLINE_SECONDS = 10.0


async def until(condition: Callable[[], bool], what: str, seconds: float = DEADLINE_SECONDS) -> None:
    """Wait until the condition holds. Fails with `what` after the deadline."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"still not: {what}") from None


class WatchedLog(UpdateLog):
    """The real log, with a count of the long polls that wait for it."""

    waiting = 0

    async def wait(self, after_sequence: int, timeout: float) -> None:
        self.waiting += 1
        try:
            await super().wait(after_sequence, timeout)
        finally:
            self.waiting -= 1


@dataclass
class Answer:
    """An answer of the server."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


class Client:
    """A consumer at the level of HTTP: sends requests with its credential."""

    def __init__(self, http: aiohttp.ClientSession, url: str, credential: str) -> None:
        self._http = http
        self._url = url
        self.credential = credential

    async def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        sent = {"Content-Type": "application/json", "Authorization": f"Bearer {self.credential}", **headers}
        return await self.send("POST", path, data=data, headers=sent)

    async def send(self, method: str, path: str, **options: Any) -> Answer:
        async with self._http.request(method, f"{self._url}/v1/{path}", **options) as response:
            return Answer(response.status, dict(response.headers), await response.text())

    async def shake_hands(
        self, *doctypes: str | dict[str, Any], site: str = CONSUMER, unsubscribe: Sequence[str] = ()
    ) -> Answer:
        """Send a handshake for these types. A type with a condition or lookups is given as the dictionary to send."""
        wanted = [{"doctype": each} if isinstance(each, str) else each for each in doctypes]
        wanted += [{"doctype": each, "unsubscribe": True} for each in unsubscribe]
        return await self.post("handshake", {"protocols": [1], "site": site, "name": "store", "doctypes": wanted})

    async def events(self, **asked: Any) -> Answer:
        return await self.post("events", asked)

    async def documents(self, *wanted: dict[str, Any]) -> Answer:
        return await self.post("documents", {"documents": list(wanted)})


@dataclass
class ProducerSite:
    """A site whose log is served."""

    folder: Path
    site: str
    state: State
    peers: Peers
    log: WatchedLog
    capture: Capture
    server: Server
    http: aiohttp.ClientSession
    offers: Sequence[str]

    def client(self, credential: str = "") -> Client:
        return Client(self.http, self.server.url, credential)

    async def consumer(self, name: str = "store", site: str = CONSUMER, *doctypes: str | dict[str, Any]) -> Client:
        """A client with its own key, after a handshake for these types."""
        client = self.client(":".join(await self.peers.create_key(name)))
        answer = await client.shake_hands(*doctypes, site=site)
        assert answer.status == 200, answer.text
        return client

    async def approve(self, *doctypes: str, name: str = "store") -> None:
        await self.peers.approve(name, doctypes, offers=self.offers)

    async def append(self, *entries: LogEntry) -> None:
        """Append events as capture does, without changes in the database."""
        head = await self.log.head()
        assert head is not None
        await self.log.append(head.batch + 1, "", entries, log=head.log)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction of a user."""
        connection = sqlite3.connect(self.folder / "site.db")
        with connection:
            yield connection
        connection.close()


def entry(doctype: str, number: int, *, path: str = "", tx: int = 1, data: str = '{"n":1}') -> LogEntry:
    """A create entry of the log. `path` has the sites that it passed through."""
    return LogEntry(0, "", tx, True, doctype, f"[{number}]", "create", "", 0, data, None, None, None, None, path)


def state_database(template: Path, folder: Path) -> str:
    """The URL of a migrated state database. Migrations run once; then the file is copied."""
    if not template.exists():
        migrate(f"sqlite:///{template}")
    target = folder / "state.db"
    shutil.copy(template, target)
    return f"sqlite:///{target}"


@asynccontextmanager
async def producer(
    folder: Path, state_template: Path, *, offers: Sequence[str] = OFFERS, **server: Any
) -> AsyncIterator[ProducerSite]:
    """A site with a few documents, its capture and its server. `server` is the `[server]` section."""
    with sqlite3.connect(folder / "site.db") as connection:
        connection.executescript(SCHEMA)
    connection.close()
    url = f"sqlite:///{folder / 'site.db'}"
    settings = Settings(
        site={"name": "hq", "database": url, "offers": list(offers)},  # type: ignore[arg-type]  # as in the file
        server={"port": 0, **server},  # type: ignore[arg-type]
        doctypes=DOCTYPES,
    )
    database = open_site(url)
    tables = await database.tables()
    catalogue = build(settings, tables)
    await database.run_script(database.install_script(catalogue, tables))
    identity = await database.identity()
    assert identity is not None
    state = State(state_database(state_template, folder), identity.site)
    peers, log = Peers(state), WatchedLog(state)
    capture = Capture(
        database,
        log,
        catalogue,
        site=identity.site,
        logged=peers.approved_doctypes,
        remembered=frozenset(),
        batch=1000,
    )
    await capture.recover()
    serving = Server(Services(identity, settings.server, catalogue, peers, log, database, capture.drain))
    http = aiohttp.ClientSession()
    try:
        await serving.start()
        yield ProducerSite(folder, identity.site, state, peers, log, capture, serving, http, offers)
    finally:
        await http.close()
        await serving.stop()
        await database.close()
        await state.close()
