"""Faults to plant: each switches one part of streamd off, or lets it do something wrong that tests should not miss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from streamd.apply import Applier, segment
from streamd.apply.effects import Effects
from streamd.apply.write.rowwrite import RowWrite
from streamd.capture import tail
from streamd.db.base import TableWrite, WriteKind
from streamd.db.books.bookkeeping import BookTransaction
from streamd.db.mariadb.session import MariadbTransaction
from streamd.db.postgresql.session import PostgresqlTransaction
from streamd.db.sqlite.session import SqliteTransaction
from streamd.model import Event, Operation, Record

Patch = pytest.MonkeyPatch
Fault = Callable[[Patch], None]
"""Plants something; it is taken out with the patch."""

_TRANSACTIONS = (SqliteTransaction, PostgresqlTransaction, MariadbTransaction)


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    """While this lasts, streamd has the fault."""
    with pytest.MonkeyPatch.context() as patch:
        fault(patch)
        yield


# What is sent and taken


def _events(patch: Patch, change: Callable[[list[Event]], list[Event]]) -> None:
    apply = Applier.apply

    async def applying(self: Applier, source: Any, events: Sequence[Event], *rest: Any) -> None:
        await apply(self, source, change(list(events)), *rest)

    patch.setattr(Applier, "apply", applying)


def an_event_is_skipped(patch: Patch) -> None:
    _events(patch, lambda events: events[:1] + events[2:])


def deletions_are_not_applied(patch: Patch) -> None:
    _events(patch, lambda events: [event for event in events if event.operation != Operation.DELETE])


def a_change_is_not_captured(patch: Patch) -> None:
    form = tail.form

    def forming(changes: Sequence[Any], *rest: Any, **more: Any) -> Any:
        return form([change for change in changes if change.id % 5], *rest, **more)

    patch.setattr(tail, "form", forming)


def what_was_applied_is_taken_for_an_edit(patch: Patch) -> None:
    """Capture takes what streamd itself wrote for an edit of this site's users, and sends it back."""
    for transaction in (BookTransaction, MariadbTransaction):
        patch.setattr(transaction, "mark", _no_marks)


async def _no_marks(self: object, marks: object) -> None:
    return


# What is written. Read back, each of these would be refused: so nothing is.


def _unread(patch: Patch) -> None:
    async def verified(*_: object) -> dict[object, str]:
        return {}

    patch.setattr(segment, "verify", verified)


def nobody_sees_that_a_trigger_swallowed_a_row(patch: Patch) -> None:
    _unread(patch)


def what_the_database_does_besides_is_not_looked_for(patch: Patch) -> None:
    """A cascade of the consumer's database goes on to other documents, and is sent back as an edit."""

    async def nothing(self: Effects) -> list[str]:
        return []

    patch.setattr(Effects, "foresee", nothing)
    patch.setattr(Effects, "seen", nothing)


def _writes(patch: Patch, change: Callable[[TableWrite], TableWrite]) -> None:
    _unread(patch)
    for transaction in _TRANSACTIONS:
        write = transaction.write

        async def writing(self: Any, writes: Sequence[TableWrite], write: Any = write) -> None:
            await write(self, [change(each) for each in writes])

        patch.setattr(transaction, "write", writing)


def a_child_row_is_dropped(patch: Patch) -> None:
    def change(write: TableWrite) -> TableWrite:
        child = write.table.endswith(" Line") and write.kind == WriteKind.INSERT
        return replace(write, rows=write.rows[1:]) if child else write

    _writes(patch, change)


def _values(patch: Patch, change: Callable[[Any], Any]) -> None:
    def changed(write: TableWrite) -> TableWrite:
        columns = len(write.columns)
        return replace(write, rows=[[*map(change, row[:columns]), *row[columns:]] for row in write.rows])

    _writes(patch, changed)


def decimals_are_cut_off(patch: Patch) -> None:
    _values(patch, lambda value: int(value) if isinstance(value, float | Decimal) else value)


def null_becomes_an_empty_text(patch: Patch) -> None:
    _values(patch, lambda value: "" if value is None else value)


def a_rename_loses_its_links(patch: Patch) -> None:
    _unread(patch)
    follow = RowWrite.follow.__func__

    def following(cls: Any, table: str, columns: Sequence[str], old: tuple[Any, ...], *rest: Any) -> RowWrite:
        nowhere = tuple(-12345 if isinstance(part, int) else "nowhere" for part in old)
        made: RowWrite = follow(cls, table, columns, nowhere, *rest)
        return made

    patch.setattr(RowWrite, "follow", classmethod(following))


# What is remembered


def refused_events_are_forgotten(patch: Patch) -> None:
    patch.setattr(BookTransaction, "enqueue", _forget)


async def _forget(self: object, events: object) -> None:
    return


def local_edits_have_no_clock(patch: Patch) -> None:
    """Of two edits of one field, the other site's always wins: at either site another one."""
    patch.setattr(Record, "clock_of", lambda self, fieldname: "")
