"""What streamd asks of a site's database. One file per engine implements it; nothing else knows an engine.

Rows travel through this interface as JSON text (`bytes`), made inside the database by the same expressions
in triggers and in reads, so that one row looks the same however it was obtained.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

from streamd.db.parts import OUR_SERIES as OUR_SERIES
from streamd.db.parts import REMOTE_COLUMNS as REMOTE_COLUMNS
from streamd.db.parts import SITE_SCHEMA as SITE_SCHEMA
from streamd.db.parts import Changes as Changes
from streamd.db.parts import IdentityReader, IdentityTransaction
from streamd.db.parts import RawDocument as RawDocument
from streamd.db.parts import SeriesBook as SeriesBook
from streamd.db.parts import SiteIdentity as SiteIdentity
from streamd.db.parts import TableWrite as TableWrite
from streamd.db.parts import WriteKind as WriteKind
from streamd.errors import Problem, SiteError
from streamd.model import (
    Catalogue,
    Change,
    Claim,
    Column,
    DocumentType,
    Name,
    QueuedEvent,
    Record,
    Row,
    Scalar,
    Table,
)


class Reader(IdentityReader):
    """One consistent view of the site's database."""

    @abstractmethod
    async def read_documents(self, doctype: DocumentType, names: Iterable[Name]) -> dict[Name, RawDocument]:
        """The documents of these names that exist, by their exact names."""

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """A scope after whose failure this view can still be read. Errors leave it in plain words."""
        yield

    @abstractmethod
    async def read_rows(
        self, table: str, columns: Sequence[Column], key: Sequence[Column], keys: Iterable[Name]
    ) -> list[Row]:
        """These columns of rows whose `key` columns hold one of `keys`; if too large, a row is `{"$unreadable": …}`."""

    @abstractmethod
    async def not_as_written(
        self, table: str, columns: Sequence[Column], key: Sequence[int], rows: Sequence[tuple[Any, ...]]
    ) -> set[int]:
        """The places of rows that the table does not hold exactly so. `key`: the places of the key's columns."""

    async def as_kept(self, column: Column, text: str) -> str:
        """How a column of this type, of any length, writes a text that it took."""
        return text

    async def existing(self, doctype: DocumentType, names: Iterable[Name]) -> set[Name]:
        """Which of these names exist, compared exactly."""
        wanted = set(names)
        return wanted & await self.alike(doctype, wanted)

    async def taken(self, doctype: DocumentType, names: Collection[Name]) -> set[Name]:
        """Which of these names no new document can have, as the table itself compares names."""
        alike = await self.alike(doctype, names)
        return alike if alike <= set(names) else {name for name in names if await self.alike(doctype, [name])}

    @abstractmethod
    async def alike(self, doctype: DocumentType, names: Iterable[Name]) -> set[Name]:
        """The names of documents that the table holds equal to one of these: perhaps in another case."""

    @abstractmethod
    async def list_names(self, doctype: DocumentType, after: Name | None, limit: int) -> list[Name]:
        """The names that follow `after` in the key's order, `limit` at most."""

    @abstractmethod
    async def records(self, doctype: str, names: Iterable[Name]) -> dict[Name, Record]:
        """What is remembered of these documents."""

    @abstractmethod
    async def find_documents(self, doctype: DocumentType, values: Mapping[str, Any], limit: int) -> list[Name]:
        """Names of documents whose columns hold exactly these values, `limit` at most."""

    @abstractmethod
    async def last_change(self) -> int:
        """The highest id of a change that is there; 0 if there are none."""

    @abstractmethod
    async def unclaimed(self, claim: Claim | None, *, marked: bool = False) -> list[Change]:
        """The local changes that `claim` and those before it did not take; `marked`: also those with an origin mark."""

    @abstractmethod
    async def waiting_changes(self, claim: Claim | None) -> int:
        """How many changes this view can see that `claim` and those before it did not take."""

    @abstractmethod
    async def last_claim(self) -> Claim | None:
        """The claim that was committed last, or None if there was none."""

    @abstractmethod
    async def checkpoint(self, producer: str) -> tuple[str, int, str] | None:
        """(log, sequence, nonce) up to which the producer (a site's UUID) was applied."""

    @abstractmethod
    async def queued_documents(self, producer: str) -> set[tuple[str, Name]]:
        """The documents of a producer (doctype, its name for them) that have parked or held events."""

    @abstractmethod
    async def queue(self, doctype: str | None = None, name: Name | None = None) -> list[QueuedEvent]:
        """Parked and held events in the order in which they came, without limits."""


class Transaction(Reader, IdentityTransaction):
    """One write transaction at the site. It commits when its context ends, and rolls back on an error."""

    @abstractmethod
    async def lock_documents(self, doctype: DocumentType, names: Iterable[Name]) -> None:
        """From here to the end nobody else changes the rows of these documents. Raises `SiteBusy`."""

    @abstractmethod
    async def write(self, writes: Sequence[TableWrite]) -> None:
        """Do these in order. Raises `RowRefused` with the database's own words, `ValueTaken` for a unique value.

        A write that changes keys takes along what refers to them by foreign keys, of whatever table.
        """

    @abstractmethod
    async def put_again(self, write: TableWrite) -> None:
        """Do an update by removing its rows and inserting them again, all other columns as they were.

        So its rows can exchange unique values. Raises `RowRefused` where others refer to them in a way that does not
        outlast that. To be undone by a savepoint then.
        """

    @asynccontextmanager
    async def deferred(self) -> AsyncIterator[bool]:
        """Deferrable constraints are checked when this scope ends. Gives whether there are any.

        Raises `RowRefused` at the end.
        """
        yield False

    @abstractmethod
    async def mark(self, marks: Mapping[tuple[str, Name], str]) -> None:
        """From here on, changes of these documents (doctype, name) carry these origin marks; others are local.

        Each call replaces the marks of the one before; the transaction clears them before it commits.
        """

    @abstractmethod
    async def own_changes(self, after: int, *, marked: bool) -> list[Change]:
        """What this transaction itself changed since `last_change` gave `after`; `marked`: also what carries a mark."""

    async def fire_deferred(self) -> None:
        """Have users' triggers do now what they put off until the transaction ends: later nobody looks at it."""

    @abstractmethod
    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """A nested scope that is undone alone if an error leaves it."""

    @abstractmethod
    async def put_records(self, records: Sequence[Record]) -> None:
        """Remember these, replacing what was remembered under the same type and name."""

    def can_remember(self, name: Name) -> bool:
        """Whether a record of a document of this name can be put. Not every engine keeps names of any length."""
        return True

    @abstractmethod
    async def forget_record(self, doctype: str, name: Name) -> None: ...
    @abstractmethod
    async def next_keys(self, table: str, column: Column, count: int) -> list[Scalar]:
        """The next values that the database itself would give to an `automatic` column; nobody else gets them.

        Raises `SiteError` where it gives none.
        """

    @abstractmethod
    async def next_numbers(self, series: str, count: int, book: SeriesBook = OUR_SERIES) -> int:
        """The first of `count` numbers of a series, which are taken with it, and given back by a rollback."""

    @abstractmethod
    async def put_claim(self, previous: Claim | None, claim: Claim) -> None:
        """Write a claim by compare-and-set, and remove the changes that `previous` took.

        Raises `Fenced` if the last claim is not `previous`, `SiteReplaced` if it is older; for None it begins anew.
        """

    @abstractmethod
    async def put_checkpoint(self, producer: str, log: str, sequence: int, nonce: str) -> None: ...

    @abstractmethod
    async def enqueue(self, events: Sequence[QueuedEvent]) -> None:
        """Add parked or held events, in this order; their ids are given by the database."""

    @abstractmethod
    async def update_queue(self, events: Sequence[QueuedEvent]) -> None:
        """Write state, error, attempts, retry time, request and waits_for of these back."""

    @abstractmethod
    async def dequeue(self, ids: Iterable[int]) -> None: ...


class SiteDatabase(ABC):
    """The database of one site."""

    enforces_types = True
    """Whether it holds columns to the types that they are declared with."""

    transaction_seconds = 0.15
    """How long a transaction of ours should last at most. Users who want the same documents wait for it."""

    TEXT_COLUMN: Column
    """A column of text of any length, as `tables` describes it."""

    TEXT_TYPE: str
    """How such a column is declared, so that it holds all of Unicode."""

    @abstractmethod
    async def close(self) -> None: ...

    # What there is

    @abstractmethod
    async def tables(self) -> dict[str, Table]:
        """Every table of the user's (ours are left out), by name. Raises `SiteError`."""

    @abstractmethod
    async def identity(self) -> SiteIdentity | None:
        """Who this site is, or None where nothing is installed."""

    @abstractmethod
    async def new_identity(self) -> str:
        """Give a cloned site a UUID of its own, and forget the claims and checkpoints of the original."""

    @abstractmethod
    async def set_name(self, name: str) -> None: ...

    @abstractmethod
    async def table_rows(self, table: str, columns: Sequence[str]) -> list[Row]:
        """All rows of a small table, as plain values by column: what an application keeps about itself."""

    # Installing

    @abstractmethod
    def install_script(self, catalogue: Catalogue, tables: Mapping[str, Table]) -> list[str]:
        """The statements that make our tables and triggers, where they are not there yet."""

    @abstractmethod
    def uninstall_script(self, triggers: Iterable[str], *, keep_tables: bool) -> list[str]:
        """The statements that remove these triggers of ours, and unless `keep_tables` our tables."""

    def remote_columns(self, table: Table) -> tuple[list[str], Table]:
        """The statements that give a table those of `REMOTE_COLUMNS` that it has not got, and the table after them."""
        there = {column.name.casefold() for column in table.columns}
        added = [replace(self.TEXT_COLUMN, name=name) for name in REMOTE_COLUMNS if name not in there]
        name = table.name.replace('"', '""')
        made = [f'ALTER TABLE "{name}" ADD COLUMN "{each.name}" {self.TEXT_TYPE}' for each in added]
        return made, replace(table, columns=(*table.columns, *added))

    def script_text(self, statements: Sequence[str]) -> str:
        """Statements as a script that the database's own shell takes."""
        body = "\n".join(f"{statement.rstrip().rstrip(';')};" for statement in statements)
        return f"BEGIN;\n{body}\nCOMMIT;"

    def grant_script(self, role: str) -> list[str]:
        """The statements that give a role what the daemon needs of our tables. Raises `SiteError` where none do."""
        raise SiteError(
            "rights on streamd's tables cannot be granted by streamd on this engine",
            hint="leave --grant out; see docs/reference/engines.md for the rights that the daemon needs",
        )

    @abstractmethod
    async def run_script(self, statements: Sequence[str]) -> None:
        """Run them all in one transaction. Raises `SiteError`."""

    @abstractmethod
    async def our_triggers(self) -> dict[str, str]:
        """The triggers of ours that are there, and work: name → what it does, for comparing with the wanted one."""

    @abstractmethod
    def wanted_triggers(self, catalogue: Catalogue, tables: Mapping[str, Table]) -> dict[str, str]:
        """The triggers of ours that ought to be there: name → what it does."""

    def outgrown(
        self, ours: Mapping[str, str], catalogue: Catalogue, tables: Mapping[str, Table]
    ) -> dict[str, tuple[str, ...]]:
        """Those of our triggers that may not see everything, because the columns of their tables are others now.

        Maps each trigger's name to the columns that it does not see, as far as that can be told. An engine that
        cannot tell a change of columns names every trigger that is not as it ought to be: better a gap too many.
        """
        wanted = self.wanted_triggers(catalogue, tables)
        return {name: () for name, text in wanted.items() if ours.get(name, text) != text}

    async def schema_stamp(self) -> object:
        """A value that differs whenever tables or triggers may have been changed; None where it is not to be had."""
        return None

    async def note_unseen(self, catalogue: Catalogue) -> list[str]:
        """Put among the changes what no trigger of an offered type saw; returns it in words. Raises `SiteError`."""
        return []

    @abstractmethod
    async def forget_deleted(self, before: int) -> int:
        """Forget tombstones older than `before` (ms since 1970), a bounded number at a time. Returns how many."""

    def doctypes_behind(self, triggers: Iterable[str], catalogue: Catalogue, tables: Mapping[str, Table]) -> list[str]:
        """The offered types whose changes go unseen without these triggers."""
        gone = set(triggers)
        return sorted(
            name
            for name in catalogue.offers
            if gone & self.wanted_triggers(Catalogue({name: catalogue[name]}, frozenset({name})), tables).keys()
        )

    async def blind_spots(self, catalogue: Catalogue, tables: Mapping[str, Table]) -> list[str]:
        """Why changes of offered types would be lost, or come out of order, and the hint: nothing is installed then."""
        return []

    @abstractmethod
    async def warnings(self, catalogue: Catalogue) -> list[str]:
        """Settings of this database under which changes can go unseen, or users wait, in plain words."""

    @abstractmethod
    async def missing_rights(self, catalogue: Catalogue, written: Collection[str]) -> list[Problem]:
        """What the daemon may not do here, each with the mend: it reads all types, and writes the `written` ones."""

    async def partly_seen(self) -> set[str]:
        """The tables of which the database shows us some rows only: reading them raises `PartialView`."""
        return set()

    # Capture

    @abstractmethod
    async def wait_for_change(self, idle_seconds: float, timeout: float) -> None:
        """Return when the database was probably written to, or after `timeout` seconds."""

    @abstractmethod
    async def read_changes(self, claim: Claim, limit: int) -> Changes:
        """Changes that capture has to take after `claim`, in order, about `limit` at most.

        In order means: by the last id of their transactions, and within one by id; so the changes of one row stand in
        the order in which they were committed.
        """

    @abstractmethod
    async def read_claimed(self, claim: Claim) -> Sequence[Change]:
        """The changes that `claim` took, in the order in which `read_changes` gave them."""

    # Reading and applying

    @abstractmethod
    def snapshot(self) -> AbstractAsyncContextManager[Reader]:
        """A consistent read-only view."""

    @abstractmethod
    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """A write transaction, durable when it ends. Raises `SiteBusy` if it cannot begin."""
