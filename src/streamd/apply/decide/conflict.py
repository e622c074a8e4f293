"""Who wins where two sites edited the same document. Pure.

Field by field, the newest reading of the hybrid logical clock wins; fields that do not overlap merge. Both
sites come to the same result, because both compare the same two readings. What loses is noted with both values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamd.apply.decide.values import Fields, identical, same, same_row, shown
from streamd.apply.write.rowwrite import RowWrite, known
from streamd.model import ChildTable, Difference, Document, DocumentType, Name, Record, Row, name_text

ClockOf = Callable[[str], str]


@dataclass(slots=True)
class Merge:
    """What to write of one row, the fields whose clock is the event's from now on, and what to say."""

    values: Row = field(default_factory=dict)
    newer: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ChildMerge:
    """What to write of a document's child rows: removals come first."""

    removals: list[RowWrite] = field(default_factory=list)
    writes: list[RowWrite] = field(default_factory=list)
    newer: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def child_field(*parts: str) -> str:
    """How a field of a child row is named in `Record.field_clocks` and in notes."""
    return "/".join(parts)


def merge_fields(
    table: Fields,
    changed: Row,
    old: Mapping[str, Any],
    here: Row,
    record: Record,
    clock_of: ClockOf,
    prefix: str = "",
) -> Merge:
    """The columns of one row that the event may write. Columns that do not exist here are passed on as they are."""
    merge = Merge()
    for column, value in changed.items():
        fieldname = prefix + column
        current = here.get(column)
        clock = clock_of(fieldname)
        ours = max(record.clock_of(fieldname), _row_clock(record, prefix))
        if column in here and same(table, column, current, value):
            if clock > ours:
                merge.newer.append(fieldname)
            if clock >= ours and not identical(current, value):
                # 1 and 1.0 are the same value, and yet the later one is what has to stand here in the end.
                merge.values[column] = value
        elif ours > clock:
            merge.notes.append(f"{fieldname}: {shown(current)} (here, newer) stays, {shown(value)} is not applied")
        else:
            merge.values[column] = value
            merge.newer.append(fieldname)
            if column in here and column in old and not same(table, column, current, old[column]):
                merge.notes.append(
                    f"{fieldname}: {shown(value)} (newer) replaces {shown(current)}, which was edited here"
                )
    return merge


def merge_children(
    doctype: DocumentType, difference: Difference, here: Document, name: Name, record: Record, clock_of: ClockOf
) -> ChildMerge:
    """The child rows that the event removes, changes and adds. A removed row stays removed.

    `here` is the document as it is; `name` the one that it has when these rows are written.
    """
    merge = ChildMerge()
    for child in doctype.children:
        rows = {name_text(_key(child, row)): row for row in here.children.get(child.field, [])}
        for key in difference.removed.get(child.field, []):
            text = name_text(tuple(key))
            fieldname = child_field(child.field, text)
            merge.newer.append(fieldname)
            if text in rows:
                merge.removals.append(RowWrite.delete(child, name, tuple(key)))
            else:
                merge.notes.append(f"{fieldname}: was removed already")
        olds = {name_text(_key(child, old)): old for old in difference.old.row_changed.get(child.field, [])}
        for row in difference.row_changed.get(child.field, []):
            _change(merge, child, row, rows, olds, name, record, clock_of)
        for row in difference.added.get(child.field, []):
            _add(merge, child, row, rows, name, record, clock_of)
    return merge


def _change(
    merge: ChildMerge,
    child: ChildTable,
    row: Row,
    rows: Mapping[str, Row],
    olds: Mapping[str, Row],
    parent: Name,
    record: Record,
    clock_of: ClockOf,
) -> None:
    key = _key(child, row)
    text = name_text(key)
    prefix = child_field(child.field, text)
    current = rows.get(text)
    if current is None and not child.keeps_unique:
        # A single's value: its key and its value are all there is, and it may never have been here.
        _add(merge, child, row, rows, parent, record, clock_of)
        return
    if current is None:
        merge.notes.append(f"{prefix}: was removed here; the edit is not applied")
        return
    changed = {column: value for column, value in row.items() if column not in child.key}
    found = merge_fields(child, changed, olds.get(text, {}), current, record, clock_of, prefix + "/")
    merge.notes += found.notes
    merge.newer += found.newer
    merge.writes += RowWrite.update_child(child, parent, key, known(child, found.values))


def _add(
    merge: ChildMerge,
    child: ChildTable,
    row: Row,
    rows: Mapping[str, Row],
    parent: Name,
    record: Record,
    clock_of: ClockOf,
) -> None:
    key = _key(child, row)
    text = name_text(key)
    fieldname = child_field(child.field, text)
    current = rows.get(text)
    ours = record.clock_of(fieldname)
    merge.newer.append(fieldname)
    if current is None:
        if ours > clock_of(fieldname) and ours != record.clock:
            merge.notes.append(f"{fieldname}: was removed here later; stays removed")
            return
        # The document may have another name here than it had there when the row was added.
        row = row | dict(zip(child.parent_key, parent, strict=True))
        merge.writes.append(RowWrite.insert(child.table, known(child, row)))
    elif not same_row(child, known(child, row), current):
        if ours > clock_of(fieldname):
            merge.notes.append(f"{fieldname}: {shown(current)} (here, newer) stays, {shown(row)} is not applied")
            return
        merge.notes.append(f"{fieldname}: {shown(row)} (newer) replaces {shown(current)}, which was added here")
        columns = {column: value for column, value in row.items() if column not in child.key}
        merge.writes += RowWrite.update_child(child, parent, key, known(child, columns))


def _row_clock(record: Record, prefix: str) -> str:
    return record.field_clocks.get(prefix.rstrip("/"), "") if prefix else ""


def _key(child: ChildTable, row: Row) -> tuple[Any, ...]:
    return tuple(row.get(column, "") for column in child.key)
