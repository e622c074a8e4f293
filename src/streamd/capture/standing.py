"""What stands in the site's database beside what its changes tell: orphans, and child rows that no change tells of.

A child row without a document is told to nobody: its changes are no events. When its document is made, or gets the
name that the row holds, the row is there already, and no change says so; nor where a document was deleted in one batch
and made again in the next, and its rows never went; nor where a document was renamed, and its rows kept the old name.
Then the document's event says it (`untold.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from streamd.capture.untold import NOTHING, Field, Naming, Place, Ref, RowChange, Rows, Standing, Untold, untold_rows
from streamd.common.values import names_by_type, write_json
from streamd.db.base import Reader
from streamd.model import Change, ChangeOp, ChildTable, Claim, DocumentType, Name
from streamd.rows import Binding, may_match, name_in, read_name

Bound = Mapping[str, Sequence[Binding]]


@dataclass(slots=True)
class Touched:
    """What some changes touch: documents by their own rows (`namings`: those that get names, or give them up), by child
    rows alone, and child rows."""

    own: set[Ref] = field(default_factory=set)
    namings: list[Naming] = field(default_factory=list)
    by_rows: set[Ref] = field(default_factory=set)
    rows: dict[Field, list[RowChange]] = field(default_factory=dict)

    @property
    def named(self) -> list[Naming]:
        """Those by which documents get names."""
        return [each for each in self.namings if each.new is not None]

    @property
    def in_doubt(self) -> bool:
        """Whether anything has to be looked for in the database."""
        return bool(self.named or self.by_rows - self.own)

    @property
    def existed(self) -> dict[Ref, bool]:
        """Whether documents existed before these changes, as far as they tell."""
        found: dict[Ref, bool] = {}
        for each in self.namings:
            if each.old is not None:
                found.setdefault((each.doctype, each.old), True)
            if each.new is not None:
                found.setdefault((each.doctype, each.new), False)
        return dict.fromkeys(self.own, True) | found


def touched(changes: Iterable[Change], bound: Bound) -> Touched:
    """What the changes, which are whole transactions, touch, as far as they can be read. Pure."""
    found = Touched()
    for _, transaction in groupby(changes, key=lambda change: change.tx):
        some = list(transaction)
        for change in some:
            for binding in bound.get(change.table, ()):
                _touch(found, change, binding, (some[0].id, some[-1].id))
    return found


def _touch(found: Touched, change: Change, binding: Binding, transaction: tuple[int, int]) -> None:
    before, after = _place(binding, change.before), _place(binding, change.after)
    doctype = binding.doctype.name
    refs = {(doctype, place[0]) for place in (before, after) if place is not None}
    if binding.child is not None:
        found.by_rows |= refs
        row = RowChange(change.id, before, after, change.before)
        found.rows.setdefault((doctype, binding.child.field), []).append(row)
        return
    found.own |= refs
    old, new = (None if place is None else place[0] for place in (before, after))
    if binding.doctype.children and change.op != ChangeOp.TRUNCATE and old != new:
        found.namings.append(Naming(change.id, *transaction, doctype, old, new))


def _place(binding: Binding, row: bytes | None) -> Place | None:
    """The name that a row says its document has, and its own key; where that cannot be read, it is empty."""
    name = read_name(binding.name_of, row) if row is not None and may_match(binding, row) else None
    return None if name is None else (name, read_name(binding.row_key_of, row) or ())


async def look(
    reader: Reader,
    claim: Claim | None,
    here: Touched,
    taken: Collection[int],
    bound: Bound,
    doctypes: Mapping[str, DocumentType],
    most: int,
) -> Standing:
    """What stands there after the changes `taken`, which come next after `claim`, or were taken by it.

    `here` is what they touch. What later changes may have done is not held against these; where there are more than
    `most`, nobody looks for it.
    """
    doubted = {ref for ref in here.by_rows - here.own if not doctypes[ref[0]].single}
    there = await _taken(reader, doubted, doctypes)
    standing = await _Standing.read(reader, here, bound)
    absent = frozenset(ref for ref, was in here.existed.items() if not was)
    renamed = {(each.doctype, each.new) for each in here.named if each.old is not None and each.new is not None}
    if not (doubted or renamed or standing.untold(here, Touched())):
        return NOTHING
    if await reader.waiting_changes(claim) > most:
        come = {each.ref for each in standing.untold(here, Touched()) if each.comes}
        return Standing(incomplete=frozenset(come | renamed))
    waiting = await reader.unclaimed(claim, marked=True)
    later = touched((change for change in waiting if change.id not in taken), bound)
    existed = later.existed
    missing = frozenset(ref for ref in doubted if not existed.get(ref, ref[1] in there[ref[0]]))
    rows, unknown = await standing.filled(reader, standing.untold(here, later))
    return Standing(missing, absent, rows, unknown)


async def _taken(reader: Reader, refs: Collection[Ref], doctypes: Mapping[str, DocumentType]) -> dict[str, set[Name]]:
    """Which of these documents exist, as the table compares names: a row that says `K1` may be a row of `k1`."""
    return {doctype: await reader.taken(doctypes[doctype], names) for doctype, names in names_by_type(refs).items()}


@dataclass(slots=True)
class _Standing:
    """The child rows that stand under the names of documents that got names, or gave them up."""

    places: dict[Field, list[Place]]
    tables: dict[Field, ChildTable]
    follow: frozenset[Field]

    @classmethod
    async def read(cls, reader: Reader, here: Touched, bound: Bound) -> _Standing:
        by_type: dict[str, set[Name]] = {}
        for each in here.named:
            by_type.setdefault(each.doctype, set()).update(name for name in (each.old, each.new) if name is not None)
        found = cls({}, {}, frozenset())
        for binding in (each for some in bound.values() for each in some) if by_type else ():
            child, doctype = binding.child, binding.doctype.name
            if child is not None and doctype in by_type:
                of = (doctype, child.field)
                found.places[of] = await _places(reader, child, by_type[doctype])
                found.tables[of] = child
                found.follow |= {of} if binding.follows_unseen else frozenset()
        return found

    def untold(self, here: Touched, later: Touched) -> list[Untold]:
        rows = {
            of: Rows([*here.rows.get(of, ()), *later.rows.get(of, ())], places) for of, places in self.places.items()
        }
        return list(untold_rows(here.namings, rows, self.follow))

    async def filled(self, reader: Reader, some: Iterable[Untold]) -> tuple[list[Untold], frozenset[Ref]]:
        """These with their rows; and the documents of rows that come and cannot be read."""
        found: list[Untold] = []
        unread: dict[Field, list[Untold]] = {}
        for each in some:
            if each.row is None:
                unread.setdefault(each.of, []).append(each)
            else:
                found.append(each)
        unknown = set()
        for of, waiting in unread.items():
            child = self.tables[of]
            rows = await _whole(reader, child, {each.place[1] for each in waiting})
            for each in waiting:
                row = rows.get(each.place[1])
                if row is not None:
                    found.append(replace(each, row=row))
                elif each.comes:
                    unknown.add(each.ref)
                else:
                    keys = zip((*child.parent_key, *child.key), (*each.place[0], *each.place[1]), strict=True)
                    found.append(replace(each, row=write_json(dict(child.where) | dict(keys))))
        return found, frozenset(unknown)


async def _places(reader: Reader, child: ChildTable, names: set[Name]) -> list[Place]:
    """Where the child rows of these documents are."""
    wanted = {*child.parent_key, *child.key, *(column for column, _ in child.where)}
    columns = [column for column in child.columns if column.name in wanted]
    parents = [column for name in child.parent_key for column in columns if column.name == name]
    rows = await reader.read_rows(child.table, columns, parents, names)
    found = []
    for row in rows:
        name, key = name_in(row, child.parent_key), name_in(row, child.key)
        if name in names and key is not None and all(row.get(column) == value for column, value in child.where):
            found.append((name, key))
    return found


async def _whole(reader: Reader, child: ChildTable, keys: set[Name]) -> dict[Name, bytes]:
    """These child rows as JSON, by their keys, as far as they can be read."""
    columns = [column for name in child.key for column in child.columns if column.name == name]
    rows = await reader.read_rows(child.table, child.columns, columns, keys)
    return {key: write_json(row) for row in rows if (key := name_in(row, child.key)) is not None}
