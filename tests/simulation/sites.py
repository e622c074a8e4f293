"""Two or more sites in one process, over real databases: all of streamd but HTTP, one step at a time."""

from __future__ import annotations

import functools
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from streamd.apply import Applier, Healer, Route, Source, WholeResync, columns_left_out, columns_there
from streamd.capture import Capture
from streamd.catalog import build, read_metadata
from streamd.db import open_site
from streamd.db.base import Reader, SiteDatabase
from streamd.errors import ResyncRequired, StateBusy
from streamd.model import Catalogue, Cursor, DocumentId, Event, LinkId, LogEntry, Name, Origin, SaidRows, name_from_text
from streamd.rows import written_fields
from streamd.serve.documents import add_former_names, build_fetched_document, linked_documents
from streamd.serve.identities import Births, Given, say_births, say_ids
from streamd.settings import Settings
from streamd.store.engine import State
from streamd.store.migrate import migrate
from streamd.store.sync_log import SyncLog
from streamd.store.unread_columns import UnreadColumns
from streamd.update_log import UpdateLog
from streamd.wire import Documents, NamesAnswer, WantedDocument, describe, write_cursor
from tests.support.database_url import Engine
from tests.support.engines import make_site_database

SCHEMA = """
CREATE TABLE "Customer" ("Id" INTEGER PRIMARY KEY, "Name" TEXT NOT NULL, "City" TEXT,
    "Manager" INTEGER REFERENCES "Customer" ("Id"));
CREATE TABLE "Item" ("Code" VARCHAR(40) PRIMARY KEY, "Label" VARCHAR(100) UNIQUE,
    "Price" NUMERIC(10,2) CHECK ("Price" >= 0), "Stock" INTEGER);
CREATE TABLE "Invoice" ("Id" INTEGER PRIMARY KEY, "Customer" INTEGER NOT NULL REFERENCES "Customer" ("Id"),
    "Note" TEXT);
CREATE TABLE "Line" (
    "Id" INTEGER PRIMARY KEY, "Invoice" INTEGER NOT NULL REFERENCES "Invoice" ("Id"),
    "Item" VARCHAR(40) NOT NULL REFERENCES "Item" ("Code"), "Quantity" INTEGER NOT NULL
);
"""

DOCTYPES = {
    "Customer": {},
    "Item": {},
    "Invoice": {"children": {"lines": {"table": "Line", "key": "Id", "parent_key": "Invoice"}}},
}

TABLES = ("Customer", "Item", "Invoice", "Line")


@functools.cache
def _migrated() -> bytes:
    """An empty state database: migrating takes longer than all the rest of a small test."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "state.db"
        migrate(f"sqlite:///{file}")
        return file.read_bytes()


def _new_state(file: Path) -> None:
    file.write_bytes(_migrated())


class Site:
    """One site with everything but the network. `open` it, use it, `close` it; open it again after a crash."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        schema: str = SCHEMA,
        engine: Engine = "sqlite",
        doctypes: Mapping[str, Any] = DOCTYPES,
        catalog: str = "tables",
        offers: Sequence[str] | None = None,
        renamed: Sequence[str] = (),
    ) -> None:
        """`renamed` are the types whose documents get names of this site's own, from whomever they come."""
        self.folder = folder / name
        self.name = name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.renamed = frozenset(renamed)
        self.access = make_site_database(engine, self.folder, None)
        self.file = Path(self.access.database.name)
        self.state_file = self.folder / "state.db"
        url = f"sqlite:///{self.file}" if engine == "sqlite" else self.access.configured
        self.settings = Settings.model_validate(
            {
                "site": {"name": name, "database": url, "catalog": catalog, "offers": offers},
                "state": {"database": f"sqlite:///{self.state_file}"},
                "doctypes": doctypes,
            }
        )
        with self.access.connection() as connection:
            if engine == "sqlite":
                connection.execute("PRAGMA journal_mode = WAL")
            for statement in schema.split(";"):
                if statement.strip():
                    connection.execute(statement)
        _new_state(self.state_file)
        self._remembered: frozenset[str] | None = None

    def remembers(self, *doctypes: str) -> None:
        """Edits of these types alone are remembered, as where the site does not get the others from anybody."""
        self._remembered = frozenset(doctypes)
        self.capture._remembered = self._remembered

    async def open(self, *, logged: Sequence[str] | None = None) -> None:
        self.database: SiteDatabase = open_site(self.settings.site.database)
        tables = await self.database.tables()
        metadata = await read_metadata(self.settings, tables, self.database.table_rows)
        self.catalogue: Catalogue = build(self.settings, tables, metadata)
        self.types = tuple(self.settings.site.offers or self.settings.doctypes)
        await self.database.run_script(self.database.install_script(self.catalogue, tables))
        identity = await self.database.identity()
        assert identity is not None
        self.site = identity.site
        self.state = State(self.settings.state.database, self.site)
        self.update_log = UpdateLog(self.state)
        self.sync_log = SyncLog(self.state)
        self.unread = UnreadColumns(self.state)

        types = self.types if logged is None else tuple(logged)
        remembered = frozenset(types) if self._remembered is None else self._remembered

        async def approved() -> set[str]:
            return set(types)

        self.capture = Capture(
            self.database,
            self.update_log,
            self.catalogue,
            site=self.site,
            logged=approved,
            remembered=remembered,
            batch=50,
        )
        self.began_anew = await self.capture.recover()
        self.applier = Applier(self.database, self.sync_log, self.catalogue, site=self.site, drain=self.capture.drain)
        await self.applier.recover()
        self.healer = Healer(self.applier, self.database, self.catalogue, self.sync_log)

    async def close(self) -> None:
        await self.database.close()
        await self.state.close()

    async def lose_log(self) -> None:
        """The state database is lost, and the daemon begins again with a new log."""
        await self.close()
        _new_state(self.state_file)
        await self.open()

    async def crash_between_claim_and_append(self) -> None:
        """The daemon takes a batch, and is gone before the batch is in the log; then it begins again."""

        class Crashing(UpdateLog):
            async def append(self, *_: object, **__: object) -> NoReturn:
                raise StateBusy("crashed here")

        self.capture._update_log = Crashing(self.state)
        with suppress(StateBusy):
            await self.capture.run_once()
        await self.close()
        await self.open()

    def write(self, *statements: str) -> None:
        """What the site's own users do: each call is one transaction."""
        with self.access.write(deferred=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        return self.access.rows(query)

    def everything(self) -> dict[str, list[tuple[object, ...]]]:
        """All rows of all tables, in the order of their keys; a number is the same on every engine."""
        return {
            table: [tuple(map(_value, row)) for row in self.rows(f'SELECT * FROM "{table}" ORDER BY 1')]
            for table in TABLES
        }

    async def queue(self) -> list[tuple[str, str]]:
        async with self.database.snapshot() as reader:
            return [(each.state, each.error) for each in await reader.queue()]

    def fetcher(self, consumer: Site | None = None) -> LocalFetcher:
        return LocalFetcher(self, consumer)

    async def pull_from(self, producer: Site, *, limit: int = 20) -> int:
        """One page from another site, as the daemon would pull it. Returns how many events there were."""
        await producer.capture.drain()
        async with self.database.snapshot() as reader:
            place = await reader.checkpoint(producer.site)
        head = await producer.update_log.head()
        assert head is not None
        cursor = Cursor(*place) if place else Cursor(head.log, 0, "")
        types = frozenset(self.types)
        intervals = dict.fromkeys(types, 0)
        entries, end, _ = await producer.update_log.read(
            cursor, intervals, not_through=self.site, limit=limit, max_bytes=1 << 20
        )
        events = [event(entry) for entry in entries]
        async with producer.database.snapshot() as reader:
            await self.say_births(reader, producer, events)
        await self.applier.apply(self.source(producer), events, end, types, producer.fetcher(self))
        return len(entries)

    async def say_births(self, reader: Reader, producer: Site, given: Sequence[Given]) -> None:
        """What the producer says of where documents were made, as it names our documents and we its."""
        births = Births(producer.site, elsewhere=bool(self.renamed), here=producer.renamed)
        if births.elsewhere or births.here:
            await say_births(reader, producer.catalogue, given, births)

    async def pull_all(self, producer: Site) -> int:
        total = 0
        while got := await self.pull_from(producer):
            total += got
        await self.heal(producer)
        return total

    async def pass_over(self, producer: Site) -> None:
        """Go on behind all that the other site has logged so far: its documents were there before we subscribed."""
        await producer.capture.drain()
        head = await producer.update_log.head()
        assert head is not None
        async with self.database.transaction() as transaction:
            await transaction.put_checkpoint(producer.site, head.log, head.sequence, head.nonce)

    async def read_whole(self, producer: Site, *doctypes: str, repair: bool = False) -> str:
        """All documents of these types as the producer has them, as `resync --whole` asks for them, or a gap does."""
        unread = await self.unread.of_producer(producer.name)
        whole = WholeResync(self.applier, self.database, self.catalogue, self.site, repair=repair, unread=unread)
        done = await whole.run(self.source(producer), producer.fetcher(self), doctypes, restart=False)
        async with self.database.snapshot() as reader:
            waiting = {each.doctype for each in await reader.queue() if each.producer == producer.site}
        for doctype in set(doctypes) - waiting:
            await self.unread.settle(producer.name, doctype, written_fields(self.catalogue[doctype]))
        return done

    async def greet(self, producer: Site) -> None:
        """Note the columns of the producer's that are not here, as the daemon does at each handshake."""
        await self.unread.add(producer.name, columns_left_out(self.source(producer).columns, self.catalogue))

    async def heal(self, *producers: Site, everything: bool = True) -> int:
        routes = {each.site: Route(self.source(each), each.fetcher(self)) for each in producers}
        return await self.healer.run_once(routes, everything=everything)

    def source(self, producer: Site) -> Source:
        return Source(
            producer.name,
            producer.site,
            50_000,
            1000,
            frozenset(self.types),
            url=f"https://{producer.name}.example",
            renamed=self.renamed,
            columns=columns_there(map(describe, producer.catalogue.doctypes.values()), {}),
            here=self.site,
        )


def _value(value: object) -> object:
    return float(value) if isinstance(value, Decimal) else value


def event(entry: LogEntry) -> Event:
    """A log entry as it comes out of the wire."""
    made = Event(
        entry.sequence,
        entry.nonce,
        entry.tx,
        entry.doctype,
        name_from_text(entry.name),
        entry.operation,
        entry.clock,
        entry.at,
        msgspec.Raw(entry.data.encode()),
        entry.last_in_tx,
        None if entry.renamed_from is None else name_from_text(entry.renamed_from),
        None if entry.origin is None else msgspec.json.decode(entry.origin, type=Origin),
        id=None if entry.id is None else msgspec.json.decode(entry.id, type=DocumentId),
        links=() if entry.links is None else msgspec.json.decode(entry.links, type=tuple[LinkId, ...]),
        rows={} if entry.rows is None else msgspec.json.decode(entry.rows, type=SaidRows),
    )
    return msgspec.json.decode(msgspec.json.encode(made), type=Event)


class LocalFetcher:
    """Answers as the producer's daemon would, without approvals."""

    def __init__(self, producer: Site, consumer: Site | None = None) -> None:
        self._producer = producer
        self._consumer = consumer
        self.asked: list[WantedDocument] = []
        self.requests = 0

    async def fetch(self, wanted: Sequence[WantedDocument], follow: int = 0) -> Documents:
        self.asked += wanted
        self.requests += 1
        producer = self._producer
        await producer.capture.drain()
        head = await producer.update_log.head()
        if head is None:
            raise ResyncRequired("no log")
        found = []
        subscribed = {} if self._consumer is None else {self._consumer.name: producer.types}
        unread = await producer.unread.of_producers(subscribed)
        unreadable: dict[str, list[tuple[Name, str]]] = {}
        async with producer.database.snapshot() as reader:
            claim = await reader.last_claim()
            waiting = deque((want.doctype, tuple(want.name)) for want in wanted)
            most, seen = len(waiting) + follow, set(waiting)
            while waiting and len(found) < most:
                key = waiting.popleft()
                documents = await reader.read_documents(producer.catalogue[key[0]], [key[1]])
                if key[1] not in documents:
                    continue
                record = (await reader.records(key[0], [key[1]])).get(key[1])
                document = documents[key[1]]
                if not document.readable():
                    unreadable.setdefault(key[0], []).append((key[1], document.problem()))
                    continue
                new = unread.get(key[0], ())
                clock = claim.clock if claim else ""
                found.append(build_fetched_document(key, document, clock, record, unfilled=new, site=producer.site))
                if follow:
                    links = linked_documents(producer.catalogue[key[0]], document) - seen
                    seen |= links
                    waiting += links
            await say_ids(reader, producer.catalogue, found, producer.site)
            if self._consumer is not None:
                await self._consumer.say_births(reader, producer, found)
        await add_former_names(producer.update_log, found, producer.types)
        given = {(each.doctype, each.name) for each in found}
        gone: dict[str, list[Name]] = {}
        for each in wanted:
            problems = dict(unreadable.get(each.doctype, ()))
            if (each.doctype, tuple(each.name)) not in given and tuple(each.name) not in problems:
                gone.setdefault(each.doctype, []).append(tuple(each.name))
        return Documents(found, write_cursor(head.cursor), gone, unreadable)

    async def names(self, doctype: str, after: Name | None, limit: int) -> NamesAnswer:
        await self._producer.capture.drain()
        head = await self._producer.update_log.head()
        assert head is not None
        async with self._producer.database.snapshot() as reader:
            names = await reader.list_names(self._producer.catalogue[doctype], after, limit + 1)
        return NamesAnswer(names=names[:limit], more=len(names) > limit, as_of=write_cursor(head.cursor))


async def write(site: Site, *transactions: str | list[str]) -> None:
    """What the site's users do, each transaction captured by itself."""
    for each in transactions:
        site.write(*([each] if isinstance(each, str) else each))
        await site.capture.drain()


async def settle(*sites: Site, hub: bool = False) -> None:
    """Each asks all others (with `hub`, only the first one and the others each other) until nothing moves any more."""
    for _ in range(15):
        moved = [
            await one.pull_all(other)
            for one in sites
            for other in sites
            if one is not other and (not hub or sites[0] in (one, other))
        ]
        if not any(moved):
            return
    raise AssertionError("the sites never come to rest")
