"""What the database here does to other documents by itself while events are applied. Pure.

Foreign keys with an action are known before anything is written: `reaches` says what to look for, and `refused` whether
the producer did the same. What triggers did is seen among the changes of the transaction afterwards: `unmeant`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import msgspec

from streamd.apply.decide.values import shown
from streamd.apply.source import Ref
from streamd.apply.write.ordering import Planned
from streamd.apply.write.rowwrite import DELETE, INSERT, UPDATE, RowWrite
from streamd.apply.write.writer import Columns
from streamd.db.base import TableWrite, WriteKind
from streamd.doctypes import ChildTable, DocumentType, Reference
from streamd.model import Change, Name, Row, name_label
from streamd.rows import Binding, name_in, read_name
from streamd.wire import read_json

CASCADE = "CASCADE"
ACTIONS = (CASCADE, "SET NULL", "SET DEFAULT")
_SCALARS = (str, int, float, Decimal)


# What foreign keys will do


@dataclass(frozen=True, slots=True)
class Reach:
    """A foreign key whose action runs, and for which documents of the group: by the values that are referred to.

    `through` are the rows of tables without documents by which it is reached.
    """

    reference: Reference
    event: str
    action: str
    causes: dict[Name, Planned] = field(default_factory=dict)
    through: frozenset[tuple[str, Name | None]] = frozenset()

    @property
    def rule(self) -> str:
        """As a person would write it."""
        key = self.reference.key
        return f"ON {self.event} {self.action} of {self.reference.rows.table}.{', '.join(key.columns)}"


def reaches(planned: Iterable[Planned], references: Iterable[Reference]) -> list[Reach]:
    """The foreign keys whose actions these writes cause."""
    by_table: dict[str, list[Reference]] = {}
    for reference in references:
        by_table.setdefault(reference.key.table, []).append(reference)
    found: dict[tuple[int, str], Reach] = {}
    for each in planned if by_table else ():
        for write in each.writes:
            for reference in by_table.get(write.table, ()):
                event, action = _action(reference, each, write)
                value = name_in(_row_here(each, write), reference.key.referred) if action in ACTIONS else None
                if value is not None:
                    reach = found.setdefault((id(reference), event), Reach(reference, event, action))
                    reach.causes.setdefault(value, each)
    return list(found.values())


def _action(reference: Reference, planned: Planned, write: RowWrite) -> tuple[str, str]:
    """(DELETE or UPDATE, what the database does then to rows that refer to this one); empty where nothing happens."""
    key = reference.key
    if write.kind == DELETE:
        # A document's child rows go with it, and stand among its writes.
        return "DELETE", "" if _leads_home(reference, planned) else key.on_delete
    if write.kind == INSERT or not set(key.referred) & set(write.columns) or _follows(write):
        return "UPDATE", ""
    if planned.renamed_from is not None and set(key.referred) <= {*planned.doctype.key}:
        # A rename takes along what refers to the document.
        return "UPDATE", ""
    return "UPDATE", key.on_update


def _leads_home(reference: Reference, planned: Planned) -> bool:
    rows, key = reference.rows, reference.key
    pairs = set(zip(rows.parent_key, planned.doctype.key, strict=False))
    return (
        bool(rows.field)
        and reference.doctype == planned.doctype.name
        and key.table == planned.doctype.table
        and set(zip(key.columns, key.referred, strict=True)) == pairs
    )


def _follows(write: RowWrite) -> bool:
    """Whether a write lets rows follow a document that is renamed (`RowWrite.follow`)."""
    return write.kind == UPDATE and not write.exactly and set(write.columns) <= set(write.where)


def _row_here(planned: Planned, write: RowWrite) -> Row:
    """The row that a write changes, as it was."""
    if planned.here is None:
        return {}
    if write.table == planned.doctype.table:
        return planned.here.fields
    wanted = dict(zip(write.where, write.values[len(write.columns) :], strict=True))
    for child in planned.doctype.children:
        if child.table == write.table:
            for row in planned.here.children.get(child.field, ()):
                if all(row.get(column) == wanted.get(column) for column in child.key):
                    return row
    return {}


class Accounted:
    """Which rows a group of documents deletes or points elsewhere by its own writes."""

    def __init__(self, planned: Iterable[Planned]) -> None:
        self._deleted: dict[str, dict[tuple[str, ...], set[tuple[Any, ...]]]] = {}
        self._changed: dict[str, dict[tuple[tuple[str, ...], tuple[str, ...]], set[tuple[Any, ...]]]] = {}
        for each in planned:
            for write in each.writes:
                values = write.values[len(write.columns) :]
                if write.kind == DELETE:
                    self._deleted.setdefault(write.table, {}).setdefault(write.where, set()).add(values)
                elif write.kind == UPDATE and not _follows(write):
                    shape = (write.columns, write.where)
                    self._changed.setdefault(write.table, {}).setdefault(shape, set()).add(values)

    def has(self, reference: Reference, row: Row) -> bool:
        """Whether the group says itself what becomes of a row that refers to something of the group."""
        for where, values in self._deleted.get(reference.rows.table, {}).items():
            if tuple(row.get(column) for column in where) in values:
                return True
        for (columns, where), values in self._changed.get(reference.rows.table, {}).items():
            moved = not set(columns).isdisjoint(reference.key.columns)
            if moved and tuple(row.get(column) for column in where) in values:
                return True
        return False


def caused(reach: Reach, row: Row) -> Planned | None:
    """The document of the group that a row refers to; some databases find it in another case as well."""
    value = name_in(row, reach.reference.key.columns)
    # A table may hold rows of several types.
    if value is None or any(row.get(column) != meant for column, meant in reach.reference.rows.where):
        return None
    return reach.causes.get(value) or next(iter(reach.causes.values()))


def beyond(reach: Reach, rows: Iterable[tuple[Row, Planned]], references: Iterable[Reference]) -> list[Reach]:
    """What the action reaches in turn through rows that are no document's, each with the document that it refers to."""
    if reach.event != "DELETE" or reach.action != CASCADE:
        return []
    table, key = reach.reference.rows.table, reach.reference.rows.key
    new = [(row, cause) for row, cause in rows if (table, name_in(row, key)) not in reach.through]
    through = reach.through | {(table, name_in(row, key)) for row, _ in new}
    found = []
    for reference in references:
        if reference.key.table == table and reference.key.on_delete in ACTIONS:
            values = ((name_in(row, reference.key.referred), cause) for row, cause in new)
            causes = {value: cause for value, cause in values if value is not None}
            if causes:
                found.append(Reach(reference, "DELETE", reference.key.on_delete, causes, through))
    return found


def effect_of(reach: Reach, row: Row) -> str:
    """What a foreign key's action does to a row, in words."""
    rows, key = reach.reference.rows, reach.reference.key
    name = tuple(row.get(column, "") for column in rows.parent_key)
    whose = f"{reach.reference.doctype} {name_label(name)}"
    if reach.event == "DELETE" and reach.action == CASCADE:
        return f"delete {f'a row of {rows.table} of {whose}' if rows.field else whose}"
    return f"change {', '.join(key.columns)} of {f'a row of {rows.table} of {whose}' if rows.field else whose}"


def refused(reach: Reach, row: Row, cause: Planned) -> str:
    """Why an event is not applied, whose document is `cause`."""
    doing = "deleting" if reach.event == "DELETE" and cause.writes[-1].table == cause.doctype.table else "changing"
    return (
        f"{doing} {_label(cause)} would also {effect_of(reach, row)} here ({reach.rule}), which the producer did not "
        f'do. It is tried again; point that elsewhere or remove it, or set side_effects = "local" for '
        f"{reach.reference.doctype}"
    )


# What has happened


@dataclass(frozen=True, slots=True)
class Effect:
    """What the database did to one row that the group does not write: the row before and after, as JSON.

    `child` says which of its rows it is; None for the document's own. `marked`: the document is of the group, so that
    other sites take the change for the producer's.
    """

    ref: Ref
    doctype: DocumentType
    child: ChildTable | None
    before: bytes | None
    after: bytes | None
    marked: bool = False

    @property
    def text(self) -> str:
        """In words."""
        label = f"{self.ref[0]} {name_label(self.ref[1])}"
        if self.before is None or self.after is None:
            what = label if self.child is None else f"a row of {self.child.table} of {label}"
            return f"{'made' if self.before is None else 'deleted'} {what}"
        before, after = _row(self.before), _row(self.after)
        parts = [f"{column}: {shown(before.get(column))}, now {shown(after[column])}" for column in self._changed()]
        return f"changed {label} ({'; '.join(parts)})"

    def _changed(self) -> list[str]:
        before, after = _row(self.before or b"{}"), _row(self.after or b"{}")
        return [column for column in after if before.get(column) != after[column]]

    def undone(self, columns: Columns) -> TableWrite:
        """The write that gives a changed row the values back that it had."""
        before, after, owner = _row(self.before or b"{}"), _row(self.after or b"{}"), self.child or self.doctype
        parent = () if self.child is None else self.child.parent_key
        where, changed, known = dict.fromkeys((*owner.key, *parent)), self._changed(), columns[owner.table]
        values = [*(before.get(column) for column in changed), *(after.get(column) for column in where)]
        written, place = tuple(known[name] for name in changed), tuple(known[name] for name in where)
        return TableWrite(WriteKind.UPDATE, owner.table, written, place, [values])


def unmeant(
    changes: Iterable[Change], bound: Mapping[str, Sequence[Binding]], planned: Sequence[Planned]
) -> list[Effect]:
    """What changes did to rows that the group does not write, row by row; nothing where it cancels out.

    That whatever names a document follows it when it is renamed is meant, and so is all that becomes of its own rows.
    """
    moves = moves_of(planned)
    written = _Written(planned)
    found: dict[tuple[Ref, str, Name | None], Effect] = {}
    for change in changes:
        if not is_move(change.before, change.after, moves):
            for each, key in sides_of(change, bound):
                place = (each.ref, change.table, key)
                found[place] = replace(each, before=found[place].before) if place in found else each
    return [
        replace(each, marked=each.ref in written.group)
        for (_, _, key), each in found.items()
        if each.before != each.after and not written.has(each, key) and not is_move(each.before, each.after, moves)
    ]


class _Written:
    """The rows that a group writes."""

    def __init__(self, planned: Iterable[Planned]) -> None:
        self.group: set[Ref] = set()
        self._renamed: set[Ref] = set()
        self._parents: set[Ref] = set()
        self._rows: set[tuple[Ref, str, Name]] = set()
        self._added: dict[tuple[Ref, str], int] = {}
        for each in planned:
            refs = [(each.doctype.name, name) for name in (each.name, each.renamed_from) if name is not None]
            self.group.update(refs)
            if each.renamed_from is not None:
                self._renamed.update(refs)
            for write in each.writes:
                self._add(refs[0], each, write)

    def _add(self, ref: Ref, planned: Planned, write: RowWrite) -> None:
        if write.table == planned.doctype.table:
            self._parents.add(ref)
        elif write.kind == INSERT:
            self._added[ref, write.table] = self._added.get((ref, write.table), 0) + 1
        else:
            where = dict(zip(write.where, write.values[len(write.columns) :], strict=True))
            for child in planned.doctype.children:
                if child.table == write.table:
                    self._rows.add((ref, write.table, tuple(where.get(column, "") for column in child.key)))

    def has(self, effect: Effect, key: Name | None) -> bool:
        """Whether the group writes this row itself. New rows are counted: a column may keep a key in its own way."""
        ref, table = effect.ref, "" if effect.child is None else effect.child.table
        if ref not in self.group:
            return False
        if ref in self._renamed:
            return True
        if not table:
            return ref in self._parents
        if effect.before is not None:
            return key is not None and (ref, table, key) in self._rows
        left = self._added.get((ref, table), 0)
        self._added[ref, table] = left - 1
        return left > 0


def sides_of(change: Change, bound: Mapping[str, Sequence[Binding]]) -> Iterator[tuple[Effect, Name | None]]:
    """What a change takes away from a document, and what it gives to one, with the row's key."""
    for row, is_new in ((change.before, False), (change.after, True)):
        for binding in bound.get(change.table, ()) if row is not None else ():
            name = read_name(binding.name_of, row)
            if row is not None and name is not None and binding.matches(row):
                ref, old, new = (binding.doctype.name, name), None if is_new else row, row if is_new else None
                yield Effect(ref, binding.doctype, binding.child, old, new), read_name(binding.row_key_of, row)


def moves_of(planned: Iterable[Planned]) -> set[tuple[Any, Any]]:
    """What parts of names were, and are now."""
    renames = ((each.renamed_from, each.name) for each in planned if each.renamed_from is not None)
    return {pair for old, new in renames for pair in zip(old, new, strict=True) if pair[0] != pair[1]}


def is_move(old: bytes | None, new: bytes | None, moves: Set[tuple[Any, Any]]) -> bool:
    """Whether nothing but parts of a name that was changed differ in a row."""
    if not moves or old is None or new is None:
        return False
    before, after = _row(old), _row(new)
    changed = [(before.get(column), after[column]) for column in after if before.get(column) != after[column]]
    return all(isinstance(value, _SCALARS) for pair in changed for value in pair) and moves >= {*changed}


def changed_columns(change: Change) -> list[str]:
    """The columns in which an updated row differs from what it was."""
    before, after = _row(change.before or b"{}"), _row(change.after or b"{}")
    return [column for column in after if before.get(column) != after[column]]


def happened(effects: Sequence[Effect], planned: Sequence[Planned]) -> str:
    """Why events are not applied whose documents are `planned`."""
    what = ", ".join(_label(each) for each in planned[:3]) + (", …" if len(planned) > 3 else "")
    types = sorted({effect.ref[0] for effect in effects})
    return (
        f"writing {what} {_listed(effects)} here (a trigger or foreign key of this database), which the producer did "
        "not do. Let that trigger leave out what streamd writes, or set side_effects = "
        f'"local" for {", ".join(types)}'
    )


def allowed(effects: Sequence[Effect]) -> list[str]:
    """What is said in the sync log of effects that a type's settings allow."""
    ours, accepted = [each for each in effects if not each.marked], [each for each in effects if each.marked]
    said = [f"this database {_listed(ours)} by itself: an edit of this site"] if ours else []
    return said + ([f"this database {_listed(accepted)}, which is accepted (accept_changes)"] if accepted else [])


def put_back(effects: Sequence[Effect]) -> str:
    """What is said of effects that were undone."""
    return f"this database {_listed(effects)} by itself; put back, since the producer says what stands there"


def _listed(effects: Sequence[Effect]) -> str:
    more = f" and {len(effects) - 3} more rows" if len(effects) > 3 else ""
    return ", ".join(effect.text for effect in effects[:3]) + more


def _label(planned: Planned) -> str:
    return f"{planned.doctype.name} {name_label(planned.renamed_from or planned.name)}"


def _row(text: bytes) -> Row:
    try:
        row: Row = read_json(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {"": text}
    return row
