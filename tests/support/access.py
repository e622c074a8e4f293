"""A user's own access to a site's database, synchronous and the same on every engine.

Statements are written once: with `?` for values, and names bare (`InvoiceId`) or in double quotes. PostgreSQL
folds bare names to lower case, so there a word with capital and small letters is taken for a name and quoted:
keywords are written in one case. `raw` runs a statement as it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, Protocol

from streamd.common.values import ranges_of
from tests.support.database_url import DatabaseUrl, Engine

TypedRow = tuple[tuple[str, Any], ...]
"""Each value of a row with its type, as the engine gives it."""


class Cursor(Protocol):
    """What a statement gave."""

    def fetchall(self) -> list[tuple[Any, ...]]: ...

    def __iter__(self) -> Iterator[tuple[Any, ...]]: ...


class Connection(Protocol):
    """A connection in autocommit mode. `sqlite3` has these methods by itself."""

    def execute(self, statement: str, values: Sequence[Any] = ..., /) -> Cursor: ...

    def executemany(self, statement: str, rows: Sequence[Sequence[Any]], /) -> Cursor: ...


class Access(ABC):
    """The user's own access to one database."""

    errors: ClassVar[tuple[type[Exception], ...]]
    """What the driver raises."""
    begin: ClassVar[str] = "BEGIN"

    def __init__(self, database: DatabaseUrl) -> None:
        self.database = database
        self._kept: Connection | None = None

    @property
    def engine(self) -> Engine:
        return self.database.engine

    @property
    def configured(self) -> str:
        """The database as it stands in the site's TOML file."""
        return self.database.url

    def connection(self) -> AbstractContextManager[Connection]:
        """A connection as the user has it: autocommit, foreign keys on."""
        return self._connected()

    @contextmanager
    def write(self, *, deferred: bool = False) -> Iterator[Connection]:
        """One transaction; `deferred`: foreign keys may be broken until it ends."""
        with self.connection() as connection:
            if deferred:
                self._allow_deferring(connection)
            connection.execute(self.begin)
            try:
                if deferred:
                    self._defer(connection)
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def execute(self, statement: str, *values: Any) -> None:
        """One statement, as a transaction of its own."""
        with self.connection() as connection:
            connection.execute(statement, values)

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query gives. Our own tables are found by their bare names, wherever the engine has them."""
        with nullcontext(self._kept) if self._kept is not None else self._connected(ours=True) as connection:
            return list(connection.execute(statement, values).fetchall())

    @contextmanager
    def reading(self) -> Iterator[None]:
        """What this thread reads within is read over one connection: to connect costs more than most queries."""
        with self._connected(ours=True) as self._kept:
            try:
                yield
            finally:
                self._kept = None

    def value(self, statement: str, *values: Any) -> Any:
        """The first column of the first row, or None."""
        rows = self.rows(statement, *values)
        return rows[0][0] if rows else None

    def typed_rows(self, table: str, where: str = "true") -> list[TypedRow]:
        """All rows of a table, each value with its type, in a fixed order."""
        return in_fixed_order(self.plain_rows(table, self.columns(table), where))

    def plain_rows(self, table: str, columns: Sequence[str], where: str = "true") -> list[tuple[Any, ...]]:
        """All rows of a table, with these columns in this order."""
        chosen = ", ".join(f'"{column}"' for column in columns)
        return self.rows(f'SELECT {chosen} FROM "{table}" WHERE {where}')

    def waiting_changes(self) -> int:
        """How many committed changes capture has not taken yet."""
        taken = ranges_of(self.value("SELECT ids FROM streamd_capture") or "")
        return sum(
            not any(first <= change <= last for first, last in taken)
            for (change,) in self.rows("SELECT id FROM streamd_change")
        )

    @abstractmethod
    def _connected(self, *, ours: bool = False) -> AbstractContextManager[Connection]: ...

    @abstractmethod
    def raw(self, script: str) -> None:
        """Run a script of the engine's own as it is, with nothing translated."""

    @abstractmethod
    def columns(self, table: str) -> list[str]:
        """The columns of a table, in their order."""

    @abstractmethod
    def tables(self) -> list[str]:
        """The user's tables."""

    @abstractmethod
    def empty(self) -> None:
        """Remove every row of the user's tables."""

    @abstractmethod
    def _defer(self, connection: Connection) -> None:
        """Let foreign keys be broken until the running transaction ends."""

    def _allow_deferring(self, connection: Connection) -> None:
        """What has to be done to the tables first, for good."""
        return


def in_fixed_order(rows: Iterable[Sequence[Any]]) -> list[TypedRow]:
    """Rows as they are compared within one engine."""
    return sorted((tuple(_exact(value) for value in row) for row in rows), key=repr)


def _exact(value: Any) -> tuple[str, Any]:
    """A value with its type, to be compared and found in sets: no lists, and NaN is not equal to itself."""
    comparable = value == value and not isinstance(value, list | dict)
    return type(value).__name__, value if comparable else repr(value)
