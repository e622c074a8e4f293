"""What stands in the site's database beside what its changes tell: orphans, and child rows older than their document.

A child row without a document is told to nobody: its changes are no events. When its document is made, the row is there
already, and no change says so; nor where a document was deleted in one batch and made again in the next, and its rows
never went. Then consumers take the document as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from streamd.db.base import Reader
from streamd.model import Change, ChangeOp, ChildTable, Claim, DocumentType, Name, name_text
from streamd.rows import Binding, may_match, name_in, read_name

Ref = tuple[str, Name]
RowRef = tuple[str, str, str]
"""A child row: its document's type, its field, and its key as text."""


@dataclass(frozen=True, slots=True)
class Standing:
    """`orphaned`: documents that do not exist, though child rows name them; `incomplete`: those that were made, and
    have rows that nobody was told of."""

    orphaned: frozenset[Ref] = frozenset()
    incomplete: frozenset[Ref] = frozenset()


@dataclass(slots=True)
class Touched:
    """What some changes touch: documents by their own rows (`made`: inserted), by child rows alone, and child rows."""

    own: set[Ref] = field(default_factory=set)
    made: set[Ref] = field(default_factory=set)
    by_rows: set[Ref] = field(default_factory=set)
    rows: set[RowRef] = field(default_factory=set)

    @property
    def in_doubt(self) -> bool:
        """Whether anything has to be looked for in the database."""
        return bool(self.made or self.by_rows - self.own)


def touched(changes: Iterable[Change], bound: Mapping[str, Sequence[Binding]]) -> Touched:
    """What the changes touch, as far as they can be read. Pure."""
    found = Touched()
    for change in changes:
        for binding in bound.get(change.table, ()):
            for row in (change.before, change.after):
                name = read_name(binding.name_of, row)
                if name is None or row is None or not may_match(binding, row):
                    continue
                ref = (binding.doctype.name, name)
                if binding.child is not None:
                    found.by_rows.add(ref)
                    key = read_name(binding.row_key_of, row)
                    if key is not None:
                        found.rows.add((ref[0], binding.child.field, name_text(key)))
                    continue
                found.own.add(ref)
                if change.op == ChangeOp.INSERT and binding.doctype.children:
                    found.made.add(ref)
    return found


async def look(
    reader: Reader,
    claim: Claim | None,
    here: Touched,
    taken: Collection[int],
    bound: Mapping[str, Sequence[Binding]],
    doctypes: Mapping[str, DocumentType],
    most: int,
) -> Standing:
    """What stands there after the changes `taken`, which come next after `claim`, or were taken by it.

    `here` is what they touch. What later changes may have done is not held against these; where there are more than
    `most`, nobody looks for it.
    """
    doubted = {ref for ref in here.by_rows - here.own if not doctypes[ref[0]].single}
    there = await _taken(reader, doubted, doctypes)
    missing = {ref for ref in doubted if ref[1] not in there[ref[0]]}
    older = await _rows_of(reader, here, doctypes)
    if not missing and not older:
        return Standing()
    if await reader.waiting_changes(claim) > most:
        return Standing(incomplete=frozenset(ref for ref, _ in older))
    waiting = await reader.unclaimed(claim, marked=True)
    later = touched((change for change in waiting if change.id not in taken), bound)
    return Standing(frozenset(missing - later.own), frozenset(ref for ref, row in older if row not in later.rows))


async def _taken(reader: Reader, refs: Collection[Ref], doctypes: Mapping[str, DocumentType]) -> dict[str, set[Name]]:
    """Which of these documents exist, as the table compares names: a row that says `K1` may be a row of `k1`."""
    by_type: dict[str, set[Name]] = {}
    for doctype, name in refs:
        by_type.setdefault(doctype, set()).add(name)
    return {doctype: await reader.taken(doctypes[doctype], names) for doctype, names in by_type.items()}


async def _rows_of(reader: Reader, here: Touched, doctypes: Mapping[str, DocumentType]) -> list[tuple[Ref, RowRef]]:
    """The child rows of the documents that were made, but for those that the changes tell of."""
    by_type: dict[str, set[Name]] = {}
    for doctype, name in here.made:
        by_type.setdefault(doctype, set()).add(name)
    found = []
    for doctype, names in by_type.items():
        for child in doctypes[doctype].children:
            for name, key in await _keys(reader, child, names):
                row = (doctype, child.field, name_text(key))
                if row not in here.rows and name in names:
                    found.append(((doctype, name), row))
    return found


async def _keys(reader: Reader, child: ChildTable, names: set[Name]) -> list[tuple[Name, Name]]:
    """The names of the documents of child rows, and the keys of these."""
    wanted = {*child.parent_key, *child.key, *(column for column, _ in child.where)}
    columns = [column for column in child.columns if column.name in wanted]
    parents = [column for name in child.parent_key for column in columns if column.name == name]
    rows = await reader.read_rows(child.table, columns, parents, names)
    found = []
    for row in rows:
        name, key = name_in(row, child.parent_key), name_in(row, child.key)
        if name is not None and key is not None and all(row.get(column) == value for column, value in child.where):
            found.append((name, key))
    return found
