"""In which order the documents of a segment are written. Pure.

Some databases look at foreign keys at each statement, and an event stands in the log where its document's last
change stood. So what is linked to is written before what links to it, and deleted after what linked to it. Otherwise
the log's order holds; only what is alike is brought together, because statements of many rows are much quicker.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from streamd.apply.source import Ref
from streamd.apply.write.graph import depth_first, in_one_cycle
from streamd.apply.write.rowwrite import DELETE, INSERT, UPDATE, RowWrite
from streamd.model import ChildTable, Document, DocumentType, Link, Name, Row
from streamd.rows import linked


@dataclass(frozen=True, slots=True)
class Planned:
    """The writes of one event of a document. `here` is the document as it was before them, if it was here."""

    doctype: DocumentType
    operation: str
    name: Name
    renamed_from: Name | None
    writes: Sequence[RowWrite]
    here: Document | None = None

    @property
    def kind(self) -> tuple[str, str]:
        """What can be written together: documents of one type, with one operation."""
        return self.doctype.name, self.operation


@dataclass(frozen=True, slots=True)
class Order:
    """Documents in runs that are written together, one run after the other; `first` before all, `last` after all.

    Within a run documents stand in an order in which their rows can be written one by one. `reordered` is False
    where this is the log's own order.
    """

    runs: list[list[Planned]]
    first: list[RowWrite] = field(default_factory=list)
    last: list[RowWrite] = field(default_factory=list)
    reordered: bool = False


@dataclass(frozen=True, slots=True)
class _Loose:
    """A link that can be NULL for a while: columns of one write of one document."""

    owner: int
    write: int
    columns: tuple[str, ...]


@dataclass(slots=True)
class _Need:
    """Why a document comes after another one. `loose` is empty where that cannot be helped (`hard`).

    `beside`: their rows may stand in one run, in this order.
    """

    hard: bool = False
    beside: bool = True
    loose: set[_Loose] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Taken:
    """Which documents of the segment (by their places) get these names, go with them, or give them up.

    `freed`: which one lets go of a child row, by its table and key.
    """

    made: dict[Ref, int] = field(default_factory=dict)
    gone: dict[Ref, int] = field(default_factory=dict)
    away: dict[Ref, int] = field(default_factory=dict)
    freed: dict[tuple[str, tuple[object, ...]], int] = field(default_factory=dict)


_Needs = list[dict[int, _Need]]
"""For each document (by its place in the log's order) those that come before it, and why."""


def in_log_order(planned: Iterable[Planned]) -> Order:
    """The documents as the log has them; neighbours that are alike are written together."""
    return Order(_runs((each, each.kind) for each in planned))


def in_dependency_order(planned: Sequence[Planned]) -> Order:
    """The documents so that each link leads to what is there already.

    Where links go round in a circle, those that may be NULL are NULL at first (for a deletion: before it). Circles
    without such a link are left as they are: the database will say.
    """
    needs, loose = _needs(planned)
    order, levels = list(range(len(planned))), [0] * len(planned)
    if any(needs):
        order, cut = _untangled(needs)
        loose |= cut
        levels = _levels(order, needs)
    appeared: dict[tuple[str, str], int] = {}
    for index, each in enumerate(planned):
        appeared.setdefault(each.kind, index)
    order.sort(key=lambda index: (levels[index], appeared[planned[index].kind]))
    first, last, changed = _loosened(planned, loose)
    runs = _runs((changed.get(index, planned[index]), (levels[index], planned[index].kind)) for index in order)
    return Order(runs, first, last, reordered=bool(loose) or order != sorted(order))


def _runs(documents: Iterable[tuple[Planned, object]]) -> list[list[Planned]]:
    """Neighbours with equal keys together. A rename stands alone: its writes build on each other."""
    found: list[list[Planned]] = []
    before: object = None
    for each, key in documents:
        if found and key == before and each.renamed_from is None and found[-1][-1].renamed_from is None:
            found[-1].append(each)
        else:
            found.append([each])
        before = key
    return found


# Who needs whom


def _needs(planned: Sequence[Planned]) -> tuple[_Needs, set[_Loose]]:
    """Who comes after whom; and links of deleted documents to themselves, which some databases hold against it."""
    needs: _Needs = [{} for _ in planned]
    own: set[_Loose] = set()
    taken = _taken(planned)
    targets = {doctype for doctype, _ in (*taken.made, *taken.gone)}
    for index, each in enumerate(planned):
        _add_former_bearer(needs, planned, index, taken)
        links = _links(each.doctype, targets)
        for position, write in enumerate(each.writes):
            _add_former_parent(needs, planned, index, write, taken)
            if write.table in links:
                own |= _add_links(needs, planned, index, position, links[write.table], taken)
    return needs, own


def _taken(planned: Sequence[Planned]) -> _Taken:
    found = _Taken()
    for index, each in enumerate(planned):
        if each.renamed_from is not None or _is_made(each):
            found.made[(each.doctype.name, each.name)] = index
        if each.renamed_from is not None:
            found.away[(each.doctype.name, each.renamed_from)] = index
        for write in each.writes:
            if write.kind == DELETE and write.table == each.doctype.table:
                found.gone[(each.doctype.name, each.name)] = index
            elif write.kind == DELETE:
                found.freed[(write.table, _child_key(each.doctype, write))] = index
    return found


def _add_former_bearer(needs: _Needs, planned: Sequence[Planned], index: int, taken: _Taken) -> None:
    """A document that takes a name comes after the one that gives it up."""
    each = planned[index]
    other = taken.away.get((each.doctype.name, each.name)) if taken.away else None
    if other is not None and other != index and (each.doctype.name, each.name) in taken.made:
        _add(needs, index, other, None, beside=False)


def _add_former_parent(needs: _Needs, planned: Sequence[Planned], index: int, write: RowWrite, taken: _Taken) -> None:
    """A document that takes a child row comes after the one that lets go of it."""
    each = planned[index]
    if taken.freed and write.kind == INSERT and write.table != each.doctype.table:
        other = taken.freed.get((write.table, _child_key(each.doctype, write)))
        if other is not None and other != index:
            _add(needs, index, other, None, beside=planned[other].kind == each.kind)


def _is_made(planned: Planned) -> bool:
    return (
        bool(planned.writes) and planned.writes[0].kind == INSERT and planned.writes[0].table == planned.doctype.table
    )


def _links(doctype: DocumentType, targets: set[str]) -> dict[str, list[Link]]:
    """The links of each table that lead to one of these types. No foreign key stands behind a dynamic link."""
    found: dict[str, list[Link]] = {}
    if targets:
        for table, links in (
            (doctype.table, doctype.links),
            *((child.table, child.links) for child in doctype.children),
        ):
            for link in links:
                if link.doctype in targets:
                    found.setdefault(table, []).append(link)
    return found


def _add_links(
    needs: _Needs,
    planned: Sequence[Planned],
    index: int,
    position: int,
    links: Sequence[Link],
    taken: _Taken,
) -> set[_Loose]:
    """What one write needs to stand before it, and what has to wait for it. Returns its links to its own document."""
    each = planned[index]
    write = each.writes[position]
    own: set[_Loose] = set()
    if write.kind == UPDATE and (not write.exactly or not any(_touches(write, link) for link in links)):
        return own
    old: Row = {} if write.kind == INSERT else _row_here(each, write)
    new: Row = {} if write.kind == DELETE else old | dict(zip(write.columns, write.values, strict=False))
    after = {(target, name) for target, name, _ in linked(links, new)}
    for target, name, link in linked(links, new):
        before = taken.away.get((target, name))
        if before is not None and before != index:
            # Another document has this name afterwards; the one that has it now takes its links along.
            _add(needs, index, before, None, beside=False)
        other = taken.made.get((target, name))
        if other is not None and other != index:
            columns = _nullable(each.doctype, write, link) if write.kind == INSERT else ()
            _add(needs, index, other, _Loose(index, position, columns), beside=_alike(each, planned[other]))
    for target, name, link in linked(links, old):
        other = taken.gone.get((target, name))
        if other is None or (target, name) in after:
            continue
        loose = _Loose(index, position, _nullable(each.doctype, write, link) if write.kind == DELETE else ())
        if other != index:
            _add(needs, other, index, loose, beside=False)
        elif loose.columns and write.table == each.doctype.table:
            own.add(loose)
    return own


def _add(needs: _Needs, index: int, other: int, loose: _Loose | None, *, beside: bool) -> None:
    need = needs[index].setdefault(other, _Need())
    need.beside = need.beside and beside
    if loose is not None and loose.columns:
        need.loose.add(loose)
    else:
        need.hard = True


def _alike(one: Planned, other: Planned) -> bool:
    """Whether two new documents' rows stand in one statement, in their order, when they are written together."""
    return (
        one.kind == other.kind
        and _is_made(one)
        and _is_made(other)
        and one.writes[0].columns == other.writes[0].columns
    )


def _touches(write: RowWrite, link: Link) -> bool:
    return any(column in write.columns for column in link.columns)


def _row_here(planned: Planned, write: RowWrite) -> Row:
    """The row that a write is about, as it was."""
    if planned.here is None:
        return {}
    if write.table == planned.doctype.table:
        return planned.here.fields
    meant = _where(write)
    for child in planned.doctype.children:
        if child.table == write.table:
            for row in planned.here.children.get(child.field, ()):
                if all(row.get(column) == meant.get(column) for column in child.key):
                    return row
    return {}


def _where(write: RowWrite) -> Row:
    return dict(zip(write.where, write.values[len(write.columns) :], strict=True))


def _child_key(doctype: DocumentType, write: RowWrite) -> tuple[object, ...]:
    row = dict(zip(write.columns, write.values, strict=True)) if write.kind == INSERT else _where(write)
    return tuple(row.get(column) for column in child_of(doctype, write.table, row).key)


def child_of(doctype: DocumentType, table: str, row: Row) -> ChildTable:
    """The child table that a row of this table is in; several may share the table by their conditions."""
    children = [child for child in doctype.children if child.table == table]
    return next(
        (child for child in children if all(row.get(column) == value for column, value in child.where)), children[0]
    )


def _nullable(doctype: DocumentType, write: RowWrite, link: Link) -> tuple[str, ...]:
    """The columns of a link that can be NULL for a while."""
    if write.table == doctype.table:
        columns, fixed = doctype.columns, set(doctype.key)
    else:
        child = child_of(doctype, write.table, dict(zip(write.columns, write.values, strict=False)))
        columns, fixed = child.columns, {*child.key, *child.parent_key, *(column for column, _ in child.where)}
    free = {column.name for column in columns if column.nullable and not column.generated} - fixed
    return tuple(column for column in link.columns if column in free)


# The order, and how circles are cut


def _untangled(needs: _Needs) -> tuple[list[int], set[_Loose]]:
    """An order in which needs come first, and the links that have to be loosened for it."""
    circle = in_one_cycle([list(each) for each in needs])

    def cut(index: int, other: int) -> bool:
        return circle[index] == circle[other] and not needs[index][other].hard

    order = depth_first(
        [[other for other in sorted(each) if not cut(index, other)] for index, each in enumerate(needs)]
    )
    place = {index: position for position, index in enumerate(order)}
    loose: set[_Loose] = set()
    for index, each in enumerate(needs):
        for other, need in each.items():
            if cut(index, other) and place[other] > place[index]:
                loose |= need.loose
    return order, loose


def _levels(order: Sequence[int], needs: _Needs) -> list[int]:
    """How deep each document stands: one deeper than what it needs, unless their rows may stand side by side."""
    levels = [0] * len(needs)
    done: set[int] = set()
    for index in order:
        done.add(index)
        levels[index] = max(
            (levels[other] + (not need.beside) for other, need in needs[index].items() if other in done), default=0
        )
    return levels


def _loosened(
    planned: Sequence[Planned], loose: Iterable[_Loose]
) -> tuple[list[RowWrite], list[RowWrite], dict[int, Planned]]:
    """What is written before all and after all for the links that are loosened, and the documents changed for it."""
    first: list[RowWrite] = []
    last: list[RowWrite] = []
    writes: dict[int, list[RowWrite]] = {}
    for each in sorted(loose, key=lambda each: (each.owner, each.write, each.columns)):
        owner = planned[each.owner]
        write = owner.writes[each.write]
        if write.kind == DELETE:
            nothing = dict.fromkeys(each.columns)
            first.append(RowWrite.update(write.table, nothing, write.where, write.values))
            continue
        row = dict(zip(write.columns, write.values, strict=True))
        last += _patch(owner, write.table, row, each.columns)
        changed = writes.setdefault(each.owner, list(owner.writes))
        emptied = dict(zip(changed[each.write].columns, changed[each.write].values, strict=True))
        changed[each.write] = RowWrite.insert(write.table, emptied | dict.fromkeys(each.columns))
    return first, last, {index: replace(planned[index], writes=changed) for index, changed in writes.items()}


def _patch(owner: Planned, table: str, row: Row, columns: Iterable[str]) -> Iterator[RowWrite]:
    values = {column: row[column] for column in columns}
    if table == owner.doctype.table:
        yield RowWrite.update(table, values, owner.doctype.key, owner.name)
        return
    child = child_of(owner.doctype, table, row)
    yield from RowWrite.update_child(child, owner.name, tuple(row[column] for column in child.key), values)
