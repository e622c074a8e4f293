"""What streamd asks of a site's database. One file per engine implements it; nothing else knows an engine.

Rows travel through this interface as JSON text (`bytes`), made inside the database by the same expressions
in triggers and in reads, so that one row looks the same however it was obtained.
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import msgspec

from streamd.db.books.bookkeeping import BookReader
from streamd.db.books.converting import ConvertingTransaction
from streamd.db.books.given_keys import TakenKeys
from streamd.db.keys import sought
from streamd.db.moves import ForeignKeys
from streamd.db.parts import OUR_SERIES as OUR_SERIES
from streamd.db.parts import REMOTE_COLUMNS as REMOTE_COLUMNS
from streamd.db.parts import SITE_SCHEMA as SITE_SCHEMA
from streamd.db.parts import Changes as Changes
from streamd.db.parts import RawDocument as RawDocument
from streamd.db.parts import SeriesBook as SeriesBook
from streamd.db.parts import SiteIdentity as SiteIdentity
from streamd.db.parts import TableWrite as TableWrite
from streamd.db.parts import WriteKind as WriteKind
from streamd.db.sqltext import quote
from streamd.db.statements import some_of
from streamd.errors import NotInstalled, Problem, RowRefused, SiteError
from streamd.model import Catalogue, Change, ChildTable, Claim, Column, DocumentType, Name, Row, Scalar, Table

FORGET_AT_ONCE = 1000
"""Tombstones removed in one transaction, at most."""


class Reader(BookReader):
    """One consistent view of the site's database."""

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """A scope after whose failure this view can still be read. Errors leave it in plain words."""
        yield

    async def read_documents(self, doctype: DocumentType, names: Iterable[Name]) -> dict[Name, RawDocument]:
        """The documents of these names that exist, by their exact names."""
        found: dict[Name, RawDocument] = {}
        for some in some_of(names):
            wanted = set(some)
            for name, row in await self._parent_rows(doctype, some):
                # A collation may find another name than the one that was asked for.
                if name in wanted:
                    found[name] = RawDocument(name, row, {child.field: [] for child in doctype.children})
            for child in doctype.children if found else ():
                order = [*([child.order_by] if child.order_by else []), *child.key]
                for name, row in await self._rows(child, child.parent_key, some, child.where, order):
                    if (document := found.get(name)) is not None:
                        document.children[child.field].append(row)
        return found

    async def _parent_rows(self, doctype: DocumentType, names: Sequence[Name]) -> Iterable[tuple[Name, bytes]]:
        if not doctype.single:
            return await self._rows(doctype, doctype.key, names)
        # Its one document always exists, and has no row of its own.
        row = msgspec.json.encode(dict(zip(doctype.key, doctype.only_name, strict=True)))
        return [(doctype.only_name, row)]

    @abstractmethod
    async def _rows(
        self,
        owner: DocumentType | ChildTable,
        key: Sequence[str],
        names: Sequence[Name],
        where: Sequence[tuple[str, Scalar]] = (),
        order: Sequence[str] = (),
    ) -> Iterable[tuple[Name, bytes]]:
        """The rows of a table whose `key` columns hold one of the names, as JSON, each with what these columns hold.

        `where` are further columns with the values that they hold; `order` are the columns to sort by.
        """

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

    async def alike(self, doctype: DocumentType, names: Iterable[Name]) -> set[Name]:
        """The names of documents that the table holds equal to one of these: perhaps in another case."""
        if doctype.single:
            return {doctype.only_name} & set(names)
        found: set[Name] = set()
        for some in some_of(names):
            found |= set(await self._select_names(doctype, *self._with_names(doctype, some)))
        return found

    async def list_names(self, doctype: DocumentType, after: Name | None, limit: int) -> list[Name]:
        """The names that follow `after` in the key's order, `limit` at most."""
        if doctype.single:
            return [doctype.only_name] if after is None else []
        where, values = self._following(doctype, after)
        order = ", ".join(f"t.{quote(column)}" for column in doctype.key)
        return await self._select_names(doctype, where, values, f" ORDER BY {order} LIMIT {int(limit)}")

    async def find_documents(self, doctype: DocumentType, values: Mapping[str, Any], limit: int) -> list[Name]:
        """Names of documents whose columns hold exactly these values, `limit` at most."""
        wanted = None if doctype.single else sought(doctype, values)
        if wanted is None:
            return []
        try:
            where, bound = self._holding(doctype, wanted)
        except RowRefused:
            return []  # no such column can hold such a value
        return await self._select_names(doctype, where, bound, f" LIMIT {int(limit)}")

    # Conditions, with the values for them

    @abstractmethod
    def _with_names(self, doctype: DocumentType, names: Sequence[Name]) -> tuple[str, list[Any]]:
        """Rows (`t`) whose keys the table holds equal to one of these names."""

    @abstractmethod
    def _following(self, doctype: DocumentType, after: Name | None) -> tuple[str, list[Any]]:
        """Rows (`t`) whose keys come after this name in the key's order; all rows that have a name, for None."""

    @abstractmethod
    def _holding(self, doctype: DocumentType, wanted: Sequence[tuple[Column, Any]]) -> tuple[str, list[Any]]:
        """Rows (`t`) whose columns hold exactly these values. Raises `RowRefused` for what a column cannot hold."""

    @abstractmethod
    async def _select_names(
        self, doctype: DocumentType, where: str, values: Sequence[Any], further: str = ""
    ) -> list[Name]:
        """The names in the rows (`t`) of a type's table that meet a condition; `further` follows in the statement."""


class Transaction(Reader, ConvertingTransaction):
    """One write transaction at the site. It commits when its context ends, and rolls back on an error."""

    def __init__(self, taken: TakenKeys) -> None:
        ConvertingTransaction.__init__(self, taken)
        self._foreign_keys: ForeignKeys | None = None

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

    async def foreign_keys(self) -> ForeignKeys:
        """The foreign keys of each table of the database that has some. They are read once in a transaction."""
        if self._foreign_keys is None:
            self._foreign_keys = await self._read_foreign_keys()
        return self._foreign_keys

    @abstractmethod
    async def _read_foreign_keys(self) -> ForeignKeys: ...

    @asynccontextmanager
    async def deferred(self) -> AsyncIterator[bool]:
        """Deferrable constraints are checked when this scope ends. Gives whether there are any.

        Raises `RowRefused` at the end.
        """
        yield False

    async def fire_deferred(self) -> None:
        """Have users' triggers do now what they put off until the transaction ends: later nobody looks at it."""

    def can_remember(self, name: Name) -> bool:
        """Whether a record of a document of this name can be put. Not every engine keeps names of any length."""
        return True


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
    async def _fetch(self, statement: str, values: Sequence[Any] = ()) -> Sequence[Any]:
        """The rows that a statement, with `?` for its values, gives outside of any transaction. Raises `SiteError`."""

    async def identity(self) -> SiteIdentity | None:
        """Who this site is, or None where nothing is installed."""
        try:
            rows = await self._fetch('SELECT site, name, "schema" FROM streamd_site')
        except NotInstalled:
            return None
        return SiteIdentity(*rows[0]) if rows else None

    async def new_identity(self) -> str:
        """Give a cloned site a UUID of its own, and forget the claims and checkpoints of the original."""
        site = str(uuid.uuid4())
        async with self.transaction() as transaction:
            await transaction.begin_as(site)
        return site

    async def set_name(self, name: str) -> None:
        """Record what people call the site."""
        async with self.transaction() as transaction:
            await transaction.put_site_name(name)

    async def table_rows(self, table: str, columns: Sequence[str]) -> list[Row]:
        """All rows of a small table, as plain values by column: what an application keeps about itself."""
        rows = await self._fetch(f"SELECT {', '.join(map(quote, columns))} FROM {quote(table)}")
        return [dict(zip(columns, row, strict=True)) for row in rows]

    async def forget_deleted(self, before: int) -> int:
        """Forget tombstones older than `before` (ms since 1970), a bounded number at a time. Returns how many."""
        async with self.transaction() as transaction:
            return await transaction.forget_deleted(before, FORGET_AT_ONCE)

    # Installing

    @abstractmethod
    def install_script(self, catalogue: Catalogue, tables: Mapping[str, Table]) -> list[str]:
        """The statements that make our tables and triggers, where they are not there yet."""

    @abstractmethod
    def uninstall_script(self, triggers: Iterable[str], *, keep_tables: bool) -> list[str]:
        """The statements that remove these triggers of ours, and unless `keep_tables` our tables."""

    def _site_statements(self, now: str, schema: str = "", one_row: str = "") -> list[str]:
        """The statements that make this a site, and its tables those of this release.

        `now` is the moment as an expression. `one_row` is a table of one row, where a SELECT needs one.
        """
        site = f"{schema}streamd_site"
        return [
            f"INSERT INTO {site} (id, site, name, \"schema\", installed_at) SELECT 1, '{uuid.uuid4()}', '', "
            f"{SITE_SCHEMA}, {now} {one_row}WHERE NOT EXISTS (SELECT 1 FROM {site})",
            f'UPDATE {site} SET "schema" = {SITE_SCHEMA} WHERE "schema" < {SITE_SCHEMA}',
        ]

    def remote_columns(self, table: Table) -> tuple[list[str], Table]:
        """The statements that give a table those of `REMOTE_COLUMNS` that it has not got, and the table after them."""
        there = {column.name.casefold() for column in table.columns}
        added = [replace(self.TEXT_COLUMN, name=name) for name in REMOTE_COLUMNS if name not in there]
        made = [f"ALTER TABLE {quote(table.name)} ADD COLUMN {quote(each.name)} {self.TEXT_TYPE}" for each in added]
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
