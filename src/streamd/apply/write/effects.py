"""What the database here does to other documents by itself while events are applied. Pure.

Foreign keys with an action are known before anything is written: `reaches` says what to look for, and `refused` whether
the producer did the same. What triggers did is seen among the changes of the transaction afterwards: `unmeant`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from streamd.apply.source import Ref
from streamd.apply.values import shown
from streamd.apply.write.ordering import Planned
from streamd.apply.write.rowwrite import DELETE, INSERT, UPDATE, RowWrite
from streamd.doctypes import Reference
from streamd.model import Change, Name, Row, name_label
from streamd.rows import Binding, name_in, read_name
from streamd.wire import read_json

CASCADE = "CASCADE"
ACTIONS = (CASCADE, "SET NULL", "SET DEFAULT")


# What foreign keys will do


@dataclass(frozen=True, slots=True)
class Reach:
    """A foreign key whose action runs, and for which documents of the group: by the values that are referred to."""

    reference: Reference
    event: str
    action: str
    causes: dict[Name, Planned] = field(default_factory=dict)

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
    if key.on_update == CASCADE and planned.renamed_from is not None and set(key.referred) <= {*planned.doctype.key}:
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

    `table` is that of a child row; it is empty for the document's own row. `marked`: the document is of the group, so
    that other sites take the change for the producer's.
    """

    ref: Ref
    table: str
    before: bytes | None
    after: bytes | None
    marked: bool = False

    @property
    def text(self) -> str:
        """In words."""
        label = f"{self.ref[0]} {name_label(self.ref[1])}"
        if self.before is None or self.after is None:
            what = f"a row of {self.table} of {label}" if self.table else label
            return f"{'made' if self.before is None else 'deleted'} {what}"
        before, after = _row(self.before), _row(self.after)
        changed = [column for column in after if before.get(column) != after[column]]
        parts = [f"{column}: {shown(before.get(column))}, now {shown(after[column])}" for column in changed]
        return f"changed {label} ({'; '.join(parts)})"


def unmeant(
    changes: Iterable[Change],
    bound: Mapping[str, Sequence[Binding]],
    planned: Sequence[Planned],
    references: Iterable[Reference],
) -> list[Effect]:
    """What changes did to rows that the group does not write, row by row; nothing where it cancels out.

    That links follow a document which is renamed is meant, and so is whatever becomes of a renamed document's rows.
    """
    moves = _moves(planned, references)
    written = _Written(planned)
    found: dict[tuple[Ref, str, Name | None], Effect] = {}
    for change in changes:
        if not _is_move(change, moves):
            for each, key in _sides(change, bound):
                place = (each.ref, each.table, key)
                found[place] = replace(each, before=found[place].before) if place in found else each
    return [
        replace(each, marked=each.ref in written.group)
        for (_, _, key), each in found.items()
        if each.before != each.after and not written.has(each, key)
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
        ref, table = effect.ref, effect.table
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


def _sides(change: Change, bound: Mapping[str, Sequence[Binding]]) -> Iterator[tuple[Effect, Name | None]]:
    """What a change takes away from a document, and what it gives to one, with the row's key."""
    for row, is_new in ((change.before, False), (change.after, True)):
        for binding in bound.get(change.table, ()) if row is not None else ():
            name = read_name(binding.name_of, row)
            if row is not None and name is not None and binding.matches(row):
                table = "" if binding.child is None else change.table
                effect = Effect((binding.doctype.name, name), table, None if is_new else row, row if is_new else None)
                yield effect, read_name(binding.row_key_of, row)


@dataclass(frozen=True, slots=True)
class _Move:
    """Rows of a table that follow a renamed document: what these columns held, and hold now."""

    table: str
    columns: tuple[str, ...]
    old: tuple[Any, ...]
    new: tuple[Any, ...]


def _moves(planned: Iterable[Planned], references: Iterable[Reference]) -> list[_Move]:
    found = []
    for each in planned:
        if each.renamed_from is None:
            continue
        for write in each.writes:
            if _follows(write):
                size = len(write.columns)
                found.append(_Move(write.table, write.columns, write.values[size : size * 2], write.values[:size]))
        old = dict(zip(each.doctype.key, each.renamed_from, strict=True))
        new = dict(zip(each.doctype.key, each.name, strict=True))
        for reference in references:
            key = reference.key
            if key.table == each.doctype.table and key.on_update == CASCADE and set(key.referred) <= old.keys():
                before, after = (tuple(values[column] for column in key.referred) for values in (old, new))
                found.append(_Move(reference.rows.table, key.columns, before, after))
    return found


def _is_move(change: Change, moves: Sequence[_Move]) -> bool:
    if not moves or change.before is None or change.after is None:
        return False
    before, after = _row(change.before), _row(change.after)
    changed = {column for column in after if before.get(column) != after[column]}
    return any(
        move.table == change.table
        and changed <= set(move.columns)
        and tuple(before.get(column) for column in move.columns) == move.old
        and tuple(after.get(column) for column in move.columns) == move.new
        for move in moves
    )


def happened(effects: Sequence[Effect], planned: Sequence[Planned]) -> str:
    """Why events are not applied whose documents are `planned`."""
    what = ", ".join(_label(each) for each in planned[:3]) + (", …" if len(planned) > 3 else "")
    types = sorted({effect.ref[0] for effect in effects})
    return (
        f"writing {what} {_listed(effects)} here (a trigger or foreign key of this database), which the producer did "
        "not do. Let that trigger leave out what streamd writes, or set side_effects = "
        f'"local" for {", ".join(types)}'
    )


def allowed(effects: Sequence[Effect]) -> str:
    """What is said in the sync log of effects that a type's `side_effects` allow."""
    return f"this database {_listed(effects)} by itself: an edit of this site"


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
