"""Plays a history at two sites of one schema, and judges what is there once all is quiet.

The promise: each document is equal at both sites, by what its values mean, or its queue says that it is not, and why;
what is said to be different is different; and at either site nothing changed that no user did at one of them.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from streamd.errors import ConfigurationError, SiteError, StreamdError
from streamd.model import QueueState
from tests.properties import ddl
from tests.properties.ledger import Key, Ledger, Place, Rows, document_of, shown
from tests.properties.schemas import Schema, Table
from tests.properties.workload import Step, Writer, beginning
from tests.simulation.sites import Site
from tests.support.access import Connection
from tests.support.database_url import Engine
from tests.support.meaning import meaning
from tests.support.servers import drop_database

NAMES = ("hq", "store")
ROUNDS = 15
"""How often two sites look at each other's news before they must be at rest."""

OWN_WILL = (
    *("swallows", "freezes", "keeps", "refuses", "changes", "counts", "removes", "stamp"),
    *("key ", "unique r", "unique i", "cascades at the second"),
)
"""Features by which a database may write something else than it is told, even where the other one is alike."""


class Impossible(Exception):  # not an error of the test
    """The engine, or streamd by its own words, does not take this schema: there is nothing to be judged."""


class Finding(NamedTuple):
    """Something that breaks the promise."""

    kind: str
    text: str


class Said(NamedTuple):
    """A queued event: the document that it is about, under its names, and why it is not applied."""

    places: list[Place]
    state: str
    error: str


@dataclass
class Played:
    """What was found, and all that is needed to see why."""

    findings: list[Finding] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    queues: list[str] = field(default_factory=list)

    def report(self) -> str:
        """For a person: what is wrong, the schema, what was done, both sites' tables, what is queued."""
        found = [f"{each.kind}: {each.text}" for each in self.findings]
        return "\n".join(["", *found, "", *self.story, "", *self.tables, "", *(self.queues or ["nothing is queued"])])


def play(schema: Schema, engines: tuple[Engine, Engine], steps: Sequence[Step]) -> Played:
    """Raises `Impossible`."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_Play(Path(folder), schema, engines).run([*beginning(schema), *steps]))


class _Play:
    def __init__(self, folder: Path, schema: Schema, engines: tuple[Engine, Engine]) -> None:
        self.schema = schema
        self.engines = engines
        self.ledger = Ledger(schema)
        self.played = Played()
        self._folder = folder

    async def run(self, steps: Sequence[Step]) -> Played:
        self.sites = [
            Site(self._folder, name, schema="", engine=engine, doctypes=self.schema.doctypes())
            for name, engine in zip(NAMES, self.engines, strict=True)
        ]
        try:
            for side, site in enumerate(self.sites):
                self._make(side, site)
            async with AsyncExitStack() as stack:
                for site in self.sites:
                    await self._open(site)
                    stack.push_async_callback(site.close)
                self.rows = [self._read(side) for side in (0, 1)]
                try:
                    for step in steps:
                        await self._step(step)
                    await self._settle()
                except Exception as error:  # noqa: BLE001  # whatever comes out would end a daemon's turn
                    self._find("error", _described(error))
                else:
                    await self._judge()
                for site in self.sites:
                    self.played.queues += [f"{site.name}: {line}" for line in await _queue(site)]
        finally:
            for site in self.sites:
                if site.access.engine != "sqlite":
                    drop_database(site.access.database)
        return self.played

    def _find(self, kind: str, text: str) -> None:
        self.played.findings.append(Finding(kind, text))

    def _say(self, side: int, text: str) -> None:
        self.played.story.append(f"{NAMES[side]}: {text}")

    def _make(self, side: int, site: Site) -> None:
        with site.access.connection() as connection:
            for statement in ddl.statements(self.schema, side, self.engines[side]):
                self._say(side, f"{statement};")
                try:
                    connection.execute(statement)
                except site.access.errors as error:
                    raise Impossible(str(error)) from error

    async def _open(self, site: Site) -> None:
        try:
            await site.open()
            if site.access.engine == "sqlite":
                return
            if spots := await site.database.blind_spots(site.catalogue, await site.database.tables()):
                await site.close()
                raise Impossible(spots[0])
        except (ConfigurationError, SiteError) as error:
            raise Impossible(str(error)) from error

    def _read(self, side: int) -> Rows:
        site = self.sites[side]
        with site.access.reading():
            return {table.name: self._table(site, table) for table in self.schema.tables}

    def _table(self, site: Site, table: Table) -> dict[Key, dict[str, tuple[str, object]]]:
        columns = self.schema.compared(table)
        found = {}
        for values in site.access.plain_rows(table.name, [column.name for column in columns]):
            row = {column.name: column.kind.meant(value) for column, value in zip(columns, values, strict=True)}
            found[tuple(row[part] for part in table.key)] = row
        return found

    # What happens

    async def _step(self, step: Step) -> None:
        site, other = self.sites[step.side], self.sites[1 - step.side]
        if step.what == "write":
            self._write(step)
        else:
            self._say(step.side, step.what)
            if step.what == "pull":
                await self._pull(step.side, site, other)
            elif step.what == "whole":
                await self._read_whole(step.side, site, other)
            elif step.what == "crash":
                await site.crash_between_claim_and_append()
            else:
                await site.close()
                await site.open()

    def _write(self, step: Step) -> None:
        site = self.sites[step.side]
        writer = Writer(self.schema, step.side, self.engines[step.side])
        todo = [statement for do in step.work for statement in writer.statements(do)]
        before = self.rows[step.side]
        try:
            with site.access.connection() as connection, _transaction(site, connection):
                for statement, values in todo:
                    connection.execute(statement, values)
        except site.access.errors as error:
            # Where the site's own database says no, nothing happened.
            outcome = f"refused: {str(error).strip().splitlines()[0]}"
            if re.search(r"streamd(?!_test)", str(error)):
                self._find("user refused", f"{NAMES[step.side]}: {todo}: {error}")
        else:
            outcome = "done"
            self.rows[step.side] = self._read(step.side)
            self.ledger.users(step.side, before, self.rows[step.side])
        self._say(step.side, "; ".join(f"{statement} {values}" for statement, values in todo) + f"  -- {outcome}")

    async def _pull(self, side: int, site: Site, other: Site, *, everything: bool = False) -> int:
        await site.capture.drain()
        moved = await (site.pull_all(other) if everything else site.pull_from(other, limit=3))
        self._applied(side)
        return moved

    async def _read_whole(self, side: int, site: Site, other: Site) -> None:
        """As a person asks for it; where documents are edited at both sites, as a gap is closed."""
        await site.capture.drain()
        repair = side == 0 or self.ledger.worked(1)
        await site.read_whole(other, *site.types, repair=repair)
        self._applied(side)

    def _applied(self, side: int) -> None:
        before, self.rows[side] = self.rows[side], self._read(side)
        for text in self.ledger.unexplained(side, before, self.rows[side]):
            self._say(side, f"(nobody did) {text}")
            self._find("nobody did", f"{NAMES[side]}: {text}")

    async def _settle(self) -> None:
        for _ in range(ROUNDS):
            moved = 0
            for side in (1, 0):
                moved += await self._pull(side, self.sites[side], self.sites[1 - side], everything=True)
                moved += await self._close_gaps(side)
            if not moved:
                return
        self._find("no rest", "the two sites never come to rest")

    async def _close_gaps(self, side: int) -> int:
        """As the daemon does, where a producer says that changes are missing."""
        site, other = self.sites[side], self.sites[1 - side]
        gaps = await site.sync_log.open_gaps(other.name)
        for doctype in sorted(gaps):
            self._say(side, f"reads {doctype} again")
            await site.read_whole(other, doctype, repair=True)
            await site.sync_log.resolve_gaps(other.name, doctype, "read again")
            self._applied(side)
        return len(gaps)

    # What is there in the end

    async def _judge(self) -> None:
        said = [each for site in self.sites for each in await self._said(site)]
        first, second = (self._documents(rows) for rows in self.rows)
        different = {place for place in first.keys() | second.keys() if first.get(place) != second.get(place)}
        spoken_of = {place for each in said for place in each.places}
        for place in sorted(different - spoken_of, key=repr):
            one, other = first.get(place), second.get(place)
            self._find("different", f"{_named(place)}\n  hq:    {_plain(one)}\n  store: {_plain(other)}")
        for each in said:
            names = set(each.places).union(*(other.places for other in said if set(other.places) & set(each.places)))
            if each.state == QueueState.PARKED and different.isdisjoint(names):
                self._find("parked though equal", f"{_named(each.places[0])}: {each.error}")
        # A link that leads nowhere at the producer is waited for, also where no foreign key stands behind it.
        stuck = [each for each in said if each.state == QueueState.PARKED and "nor given" not in each.error]
        if stuck and not self._wilful():
            self._find(
                "stuck", f"the databases are alike, and yet {_named(stuck[0].places[0])} waits: {stuck[0].error}"
            )
        for side in (0, 1):
            for table, rows in self.rows[side].items():
                self.played.tables += [f"{NAMES[side]} {table}: {_plain(row)}" for row in rows.values()]

    async def _said(self, site: Site) -> list[Said]:
        """What this site says is not as it should be, with the reason."""
        async with site.database.snapshot() as reader:
            return [
                Said(
                    [
                        (each.doctype, tuple(map(meaning, name)))
                        for name in (each.event.name, each.event.renamed_from)
                        if name is not None
                    ],
                    each.state,
                    each.error,
                )
                for each in await reader.queue()
                if each.error
            ]

    def _wilful(self) -> bool:
        """Whether one of the databases may not be able to hold what the other one holds, or not want to."""
        return (
            self.engines[0] != self.engines[1]
            or any(self.schema.own)
            or any(each.what.startswith(OWN_WILL) for each in self.schema.shared)
            or self.ledger.worked(1)
        )

    def _documents(self, rows: Rows) -> dict[Place, list[object]]:
        """Each document with its child rows."""
        found: dict[Place, list[object]] = {}
        for table in self.schema.tables:
            for key, row in rows[table.name].items():
                place = document_of(self.schema, table, key, row)
                found.setdefault(place, []).append((table.name, tuple(sorted(row.items()))))
        return {place: sorted(parts, key=repr) for place, parts in found.items()}


@contextmanager
def _transaction(site: Site, connection: Connection) -> Iterator[None]:
    connection.execute(site.access.begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(*site.access.errors):
            connection.execute("ROLLBACK")
        raise


def _named(place: Place) -> str:
    return f'"{place[0]}" {shown(place[1])}'


def _plain(value: object) -> object:
    """Values without what they were read as, for people."""
    if isinstance(value, dict):
        return {name: each[1] for name, each in value.items()}
    if isinstance(value, list):
        return [(table, {name: each[1] for name, each in row}) for table, row in value]
    return value


async def _queue(site: Site) -> list[str]:
    async with site.database.snapshot() as reader:
        return [
            f"{each.doctype} {each.event.renamed_from or ''}→{each.event.name} {each.event.operation}"
            f" {each.state}: {each.error}"
            for each in await reader.queue()
        ]


def _described(error: Exception) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/streamd/" in frame.filename]
    place = " ← ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames[-6:]))
    kind = "streamd's " if isinstance(error, StreamdError) else ""
    return f"{kind}{type(error).__name__}: {error}\n  at {place}"
