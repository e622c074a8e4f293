"""How what is shared by all engines talks to the database: by statements that every one of them takes.

They are written with `?` for values and double quotes around names; each engine's session says how it runs them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from streamd.errors import RowRefused, StreamdError
from streamd.model import Name

AT_ONCE = 400
"""Names in one query."""

MORE_AT_ONCE = 2048
"""The same, where names have one column, and nothing is read but rows that were just written."""


def some_of(names: Iterable[Name], most: int = AT_ONCE) -> Iterator[list[Name]]:
    """The names, each once, in parts that fit into one query."""
    every = list(dict.fromkeys(names))
    for start in range(0, len(every), most):
        yield every[start : start + most]


@contextmanager
def refused_if_unforeseen() -> Iterator[None]:
    """What is raised here, and is no error that streamd knows, is the document's whose statement is run here."""
    try:
        yield
    except StreamdError:
        raise
    except UnicodeError as error:
        raise RowRefused(f"a value is no valid text: {error}") from error
    except Exception as error:
        raise RowRefused(f"{type(error).__name__}: {error}") from error


class Fetching(ABC):
    """A view that can be asked."""

    @abstractmethod
    async def _fetch(self, statement: str, values: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        """The rows that a statement gives."""


class Running(Fetching):
    """A transaction that can be written in."""

    @abstractmethod
    async def _run(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run a statement. Returns how many rows it found."""

    @abstractmethod
    async def _run_many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for each of these rows."""

    @abstractmethod
    def _put(self, table: str, columns: str, key: str) -> str:
        """An insert into `columns` that replaces the row with the same `key` columns, if there is one."""

    @abstractmethod
    def _add(self, table: str, key: str, number: str) -> str:
        """An insert of `key` and `number` that adds to the number of the row with this key, if there is one.

        No other writer's row can come in between. Names are quoted already.
        """
