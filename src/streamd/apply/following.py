"""What follows a document that its producer renamed: links of other documents to it.

The producer sends what became of the links of its own documents, as events of these. So of those, no link follows by
itself. A foreign key of this database may demand that it does; then this is no edit of this site, and does not travel
back. Links of documents that the producer does not know, or does not tell us of any more, follow here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from streamd.apply.batch import Uncaptured
from streamd.apply.source import Ref, Source
from streamd.apply.write.attempts import Group, write_group
from streamd.apply.write.effects import changed_columns, is_move, moves_of, sides_of
from streamd.apply.write.ordering import Planned
from streamd.apply.write.rowwrite import RowWrite, links_to
from streamd.common.clock import made_at
from streamd.common.values import names_by_type
from streamd.db.base import Reader, Transaction
from streamd.model import Catalogue, Change, ChildTable, DocumentType, Link, Mark, Name, Record, Row
from streamd.rows import bindings, linked, name_in, names_touched


class _Again(Exception):  # leaves a savepoint, so that it is rolled back
    """Documents of the producer's followed, and were not marked."""


class Following:
    """The links that follow one group of documents."""

    def __init__(self, transaction: Transaction, catalogue: Catalogue, source: Source, log: str, site: str) -> None:
        """`log` is the producer's log that the group comes from, and `site` is this one."""
        self._transaction = transaction
        self._catalogue = catalogue
        self._source = source
        self._log = log
        self._site = site
        self._renames: dict[Ref, Mark] = {}

    async def planned(
        self,
        planned: Sequence[Planned],
        marks: Mapping[Ref, str],
        renames: Mapping[Ref, Mark],
        began: int | None,
    ) -> tuple[Sequence[Planned], Mapping[Ref, str]]:
        """The group with the links that follow its renamed documents, and the marks of all that is written then.

        `renames` are the marks of what was renamed, whether this site offers it or not. `began` is the last change
        before this transaction wrote anything; None where it did not yet. Raises `Uncaptured`.
        """
        self._renames = dict(renames)
        if not renames:
            return planned, marks
        group = {(each.doctype.name, name) for each in planned for name in (each.name, each.renamed_from) if name}
        pending = await self._uncaptured(began)
        result, marked = [], dict(marks)
        for each in planned:
            writes = list(each.writes)
            for owner, child, link in links_to(each.doctype.name, self._catalogue) if each.renamed_from else ():
                found = await linking(self._transaction, each.renamed_from or each.name, owner, child, link)
                rows = [(ref, row) for ref, row in found if ref not in group]
                told, not_told = await self._known(rows, child, link.columns)
                if not pending.isdisjoint(told):
                    raise Uncaptured("changes of documents that link to a renamed one are not captured yet")
                writes += [_follow(each, child or owner, link, row) for ref, row in rows if ref not in told]
                mark = renames[(each.doctype.name, each.name)]
                marked |= {ref: _marked(mark, record, self._log) for ref, record in not_told.items()}
            result.append(replace(each, writes=writes))
        return result, marked

    async def _uncaptured(self, began: int | None) -> set[Ref]:
        """The documents with local changes that capture has not seen: whose value a link has cannot be told."""
        if not self._catalogue.offers:
            return set()
        pending = await self._transaction.unclaimed(await self._transaction.last_claim())
        return names_touched(
            (change for change in pending if began is None or change.id <= began), bindings(self._catalogue)
        )

    async def _known(
        self, rows: Iterable[tuple[Ref, Row]], child: ChildTable | None, columns: Sequence[str]
    ) -> tuple[dict[Ref, Record], dict[Ref, Record]]:
        """The documents of which the producer has the word: those it tells us of, and those it does not any more."""
        told: dict[Ref, Record] = {}
        not_told: dict[Ref, Record] = {}
        for ref, record in (await self._records({ref for ref, _ in rows})).items():
            if child is None and self._is_set_here(record, columns):
                continue
            # What left the condition may be kept here, and nothing of it comes any more.
            is_told = ref[0] in self._source.subscribed and self._source.on_leave.get(ref[0]) != "keep"
            (told if is_told else not_told)[ref] = record
        return told, not_told

    async def _records(self, refs: Iterable[Ref]) -> dict[Ref, Record]:
        return {
            (doctype, name): record
            for doctype, some in names_by_type(refs).items()
            for name, record in (await self._transaction.records(doctype, some)).items()
            if record.deleted_at is None and self._log in record.seen
        }

    def _is_set_here(self, record: Record, columns: Iterable[str]) -> bool:
        """Whether users of this site gave one of these columns its value."""
        return any(made_at(record.field_clocks.get(column, ""), self._site) for column in columns)

    async def write(self, group: Group, after: int) -> None:
        """Write the group; documents of the producer's that a foreign key lets follow are marked as it is.

        `after` is the last change before. Which follow is seen once it is written: then that is undone, and written
        again with their marks.
        """
        if not self._catalogue.offers or all(each.renamed_from is None for each in group.planned):
            await write_group(self._transaction, group)
            return
        marks: dict[Ref, str] = {}
        try:
            async with self._transaction.savepoint():
                await write_group(self._transaction, group)
                marks = await self._unmarked(group, await self._transaction.own_changes(after, marked=False))
                if marks:
                    raise _Again
        except _Again:
            await write_group(self._transaction, replace(group, marks={**marks, **group.marks}))

    async def _unmarked(self, group: Group, changes: Iterable[Change]) -> dict[Ref, str]:
        """The marks of the producer's documents that followed without one."""
        moves = moves_of(group.planned)
        bound = bindings(self._catalogue)
        followed: dict[Ref, tuple[set[Ref], set[str]]] = {}
        for change in changes:
            if is_move(change.before, change.after, moves):
                sides = [each for each, _ in sides_of(change, bound)]
                columns = {column for each in sides if each.child is None for column in changed_columns(change)}
                for each in sides:
                    if each.ref not in group.marks:
                        refs, moved = followed.setdefault(each.ref, (set(), set()))
                        refs |= {side.ref for side in sides if side.doctype is each.doctype}
                        moved |= columns
        mark = max(self._renames.values(), key=lambda each: each.clock)
        found: dict[Ref, str] = {}
        for ref, record in (await self._records(followed)).items():
            refs, moved = followed[ref]
            if not self._is_set_here(record, moved):
                found |= dict.fromkeys(refs, _marked(mark, record, self._log))
        return found


async def linking(
    reader: Reader, name: Name, owner: DocumentType, child: ChildTable | None, link: Link
) -> list[tuple[Ref, Row]]:
    """The rows with this link to the document of this name, and whose they are."""
    table = child or owner
    if owner.single and child is None:
        return []
    columns = {column.name: column for column in table.columns}
    parent = owner.key if child is None else child.parent_key
    where = () if child is None else child.where
    wanted = dict.fromkeys((*table.identity, *parent, *link.columns, *(column for column, _ in (*link.where, *where))))
    if not wanted.keys() <= columns.keys():
        return []
    read = [columns[column] for column in wanted]
    found = []
    plain = replace(link, doctype=owner.name, type_column=None)
    for row in await reader.read_rows(table.table, read, [columns[each] for each in link.columns], [name]):
        ref = name_in(row, parent)
        is_link = any(there == name for _, there, _ in linked([plain], row))
        if ref is not None and is_link and all(row.get(column) == value for column, value in where):
            found.append(((owner.name, ref), row))
    return found


def _follow(renamed: Planned, table: DocumentType | ChildTable, link: Link, row: Row) -> RowWrite:
    """One row's link gets the new name."""
    old = renamed.renamed_from
    assert old is not None  # noqa: S101  # it is a rename
    place: dict[str, Any] = {column: row[column] for column in table.identity if column not in link.columns}
    return RowWrite.follow(table.table, link.columns, old, renamed.name, place.items())


def _marked(mark: Mark, record: Record, log: str) -> str:
    """The mark of a document that follows: it contains of its producer's log what it did before."""
    origin = mark.origin
    sequence = record.seen.get(origin.log, record.seen[log] if origin.log == log else 0)
    return msgspec.json.encode(Mark(msgspec.structs.replace(origin, sequence=sequence), mark.clock, record.id)).decode()
