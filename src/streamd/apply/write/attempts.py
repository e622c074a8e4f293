"""Writes a group of documents in whatever order the database takes them.

A group is written at once, in the order of its links. What is refused then is mostly a matter of values that must be
unique, and that one row takes over from another one. A chain that ends at a free value has an order, a circle has none.
Nobody asks which constraint it is (an index over columns or expressions, a partial one, a generated column, an
exclusion constraint). What can be done is tried, each time within a savepoint, from the cheapest means on:

1. all at once, in the order of the links; then as the log has it; then with deferrable constraints put off;
2. row by row, forth and back, as long as rows go through;
3. the rows that are left are removed, and inserted again as they are to be;
4. where others refer to them, they get values for the time being (`standins`), then those that are meant.

A document that changes its name is one step with all that names it: what depends on the name waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from streamd.apply.source import Ref
from streamd.apply.write.ordering import Planned, in_dependency_order, in_log_order
from streamd.apply.write.rowwrite import DELETE, INSERT
from streamd.apply.write.standins import stand_ins
from streamd.apply.write.writer import (
    Columns,
    Step,
    in_common,
    step_of_rename,
    steps_of,
    table_writes,
)
from streamd.db.base import TableWrite, Transaction, WriteKind
from streamd.errors import RowRefused, ValueTaken
from streamd.model import Column, Name

MOST_TRIES = 12
"""Values for the time being that are tried for one row, with one choice of columns."""


@dataclass(frozen=True, slots=True)
class Group:
    """Documents that are written together, each there once. `marks` are the origins of their changes, by name."""

    planned: Sequence[Planned]
    marks: Mapping[Ref, str]
    columns: Columns


async def write_group(transaction: Transaction, group: Group) -> None:
    """Write these documents, all or nothing of them. Raises `RowRefused`, in the words in which the log's order was."""
    await transaction.mark(group.marks)
    orders = [in_dependency_order(group.planned)]
    if orders[0].reordered:
        orders.append(in_log_order(group.planned))
    if len(orders) == 1 and not _may_clash(group.planned):
        await transaction.write(table_writes(orders[0], group.columns))
        return
    refused: list[RowRefused] = []
    for order in orders:
        error = await _tried(transaction, table_writes(order, group.columns))
        if error is None:
            return
        refused.append(error)
    if any(isinstance(error, ValueTaken) for error in refused) and await _by_other_means(transaction, group):
        return
    raise refused[-1]


def _may_clash(planned: Sequence[Planned]) -> bool:
    """Whether one row may need what another one gives up: not if all are new or go, and not if it is one row."""
    kinds = {write.kind for each in planned for write in each.writes}
    return kinds not in ({INSERT}, {DELETE}) and sum(len(each.writes) for each in planned) > 1


async def _tried(transaction: Transaction, writes: Sequence[TableWrite]) -> RowRefused | None:
    """Write these within a savepoint; returns why they were refused, if they were."""
    try:
        async with transaction.savepoint():
            await transaction.write(writes)
    except RowRefused as error:
        return error
    return None


class _Left(Exception):  # undoes what was tried
    """Rows are left that no means could write."""


async def _by_other_means(transaction: Transaction, group: Group) -> bool:
    """Whether everything could be written after all."""
    order = in_dependency_order(group.planned)
    try:
        async with transaction.savepoint(), transaction.deferred() as waiting:
            if not waiting:
                raise _Left
            await transaction.write(table_writes(order, group.columns))
    except (RowRefused, _Left):
        pass
    else:
        return True
    try:
        async with transaction.savepoint():
            await _Steps(transaction, group, steps_of(order, group.columns)).write()
    except _Left:
        return False
    return True


class _Steps:
    """Rows to be written one by one, or several at once by other means. `_left` are those that are not written yet."""

    def __init__(self, transaction: Transaction, group: Group, steps: Sequence[Step]) -> None:
        self._transaction = transaction
        self._group = group
        self._left = list(steps)
        self._marks = dict(group.marks)

    async def write(self) -> None:
        """Write them all. Raises `_Left`."""
        await self._forth_and_back()
        while self._left:
            # What waits for a name can be tried by every means once that is given.
            before = len(self._left)
            for means in (self._put_again, self._stand_in):
                if self._left:
                    await means()
                    await self._forth_and_back()
            if len(self._left) == before:
                raise _Left

    async def _forth_and_back(self) -> None:
        for backwards in (False, True):
            for step in sorted(self._left, key=lambda step: step.place, reverse=backwards):
                if self._waits(step):
                    continue
                if await _tried(self._transaction, step.writes) is None:
                    self._left.remove(step)

    def _waits(self, step: Step) -> bool:
        """Whether it comes after a document that has to get its name first. What only goes away does not."""
        if step.renamed is not None or step.kind == WriteKind.DELETE:
            return False
        return any(other.renamed is not None and other.place < step.place for other in self._left)

    def _updates(self) -> list[Step]:
        return [step for step in self._left if step.renamed is None and step.kind == WriteKind.UPDATE]

    async def _put_again(self) -> None:
        alike: dict[object, list[Step]] = {}
        for step in self._updates():
            if not self._waits(step) and _keeps_key(step):
                (write,) = step.writes
                alike.setdefault((write.table, write.where, write.exactly), []).append(step)
        for steps in alike.values():
            common, rest = in_common([step.writes[0] for step in steps])
            if common is not None and await self._are_put_again(common, rest):
                self._left = [step for step in self._left if step not in steps]

    async def _are_put_again(self, common: TableWrite, rest: Sequence[TableWrite]) -> bool:
        try:
            async with self._transaction.savepoint():
                await self._transaction.put_again(common)
                await self._transaction.write(rest)
        except RowRefused:
            return False
        return True

    async def _stand_in(self) -> None:
        for step in list(self._left):
            if step.renamed is not None:
                await self._rename_for_a_while(step, step.renamed)
            elif step.kind == WriteKind.UPDATE and not self._waits(step):
                await self._change_for_a_while(step.writes[0])

    async def _change_for_a_while(self, write: TableWrite) -> None:
        """Put other values where a row's own are to be, so that rows which want the old ones can have them."""
        size = len(write.columns)
        (row,) = write.rows
        for places in _choices(write.columns):
            columns = tuple(write.columns[place] for place in places)
            tried = zip(*(stand_ins(write.columns[place], row[place]) for place in places), strict=False)
            for values in islice(tried, MOST_TRIES):
                rows = [[*values, *row[size:]]]
                if await _tried(self._transaction, [replace(write, columns=columns, rows=rows)]) is None:
                    return

    async def _rename_for_a_while(self, step: Step, planned: Planned) -> None:
        """Give a document a name for the time being, since that of another one is to be its own."""
        doctype, old = planned.doctype, planned.renamed_from
        assert old is not None  # noqa: S101  # it is a rename's step
        known = self._group.columns[doctype.table]
        tried = zip(
            *(
                stand_ins(replace(known[name], nullable=False), part)
                for name, part in zip(doctype.key, old, strict=True)
            ),
            strict=False,
        )
        for name in islice(tried, MOST_TRIES):
            if await self._is_renamed(planned, old, name):
                writes = step_of_rename(planned, name, planned.name, self._group.columns)
                self._left[self._left.index(step)] = replace(step, writes=writes)
                return

    async def _is_renamed(self, planned: Planned, old: Name, new: Name) -> bool:
        mark = self._marks.get((planned.doctype.name, old))
        if mark is not None:
            self._marks[(planned.doctype.name, new)] = mark
            await self._transaction.mark(self._marks)
        writes = step_of_rename(planned, old, new, self._group.columns)
        return await _tried(self._transaction, writes) is None


def _keeps_key(step: Step) -> bool:
    """Whether it leaves the columns alone that say which row is meant."""
    (write,) = step.writes
    return {column.name for column in write.columns}.isdisjoint(column.name for column in write.where)


def _choices(columns: Sequence[Column]) -> Iterable[Sequence[int]]:
    """Which of these columns get values for the time being: those known as unique, all of them, or any single one."""
    unique = [place for place, column in enumerate(columns) if column.unique]
    every = list(range(len(columns)))
    singles = [[place] for place in every]
    found = [unique, every, *singles]
    return [some for number, some in enumerate(found) if some and some not in found[:number]]
