"""The net effect of several events of one document. Pure.

What failed is often mended by a later event of the same document (its source corrected it). So a queue is
tried as one event first, and event by event only if that fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from streamd.apply.incoming import Incoming
from streamd.model import (
    Catalogue,
    ChildTable,
    Difference,
    DocumentType,
    Event,
    Name,
    OldValues,
    Operation,
    Row,
    name_text,
)
from streamd.rows import split


def net_effect(events: Sequence[Incoming], catalogue: Catalogue) -> Incoming | None:
    """One event that does what these do, or None where they cannot be folded into one.

    They are in order, of one document, and none of them is applied. A document that is made and deleted was
    never here; one that is made and renamed is made under its last name; one that is deleted and made again
    is folded into its second making. One that came to satisfy our condition is taken whole. Other renames, and events
    of several origins, are not folded.
    """
    deletions = [index for index, each in enumerate(events) if each.event.operation == Operation.DELETE]
    if deletions and deletions[-1] < len(events) - 1:
        again = net_effect(events[deletions[-1] + 1 :], catalogue)
        if again is not None:
            # What was made there first, and never came in, is another document than the one that is here.
            again.same_document = events[0].event.operation != Operation.CREATE
        return again
    entering = [index for index, each in enumerate(events) if each.event.enters]
    if entering and all(each.event.operation == Operation.UPDATE for each in events[entering[-1] :]):
        # It is taken whole, as it is now: with all that came after.
        return events[entering[-1]]
    first, last = events[0], events[-1]
    doctype = catalogue.get(first.event.doctype)
    if doctype is None or len({(each.source, each.event.origin and each.event.origin.path) for each in events}) > 1:
        return None
    operations = [each.event.operation for each in events]
    if operations[0] == Operation.CREATE and last.event.operation == Operation.DELETE:
        return replace(last, never_here=True)
    renamed = any(each.event.renamed_from is not None for each in events)
    if renamed and operations[0] != Operation.CREATE:
        return None
    if last.event.operation == Operation.DELETE:
        return last
    if operations[0] == Operation.CREATE and set(operations[1:]) <= {Operation.UPDATE}:
        data = first.data
        for each in events[1:]:
            data = _into_document(doctype, data, each.data)
        if renamed:
            data = _under_name(doctype, data, last.event.name)
        return _folded(events, Operation.CREATE, data, {})
    if set(operations) == {Operation.UPDATE}:
        data, clocks = first.data, _clocks(doctype, first)
        for each in events[1:]:
            data = _joined(doctype, data, each.data)
            clocks |= _clocks(doctype, each)
        return _folded(events, Operation.UPDATE, data, clocks)
    return None


def _folded(events: Sequence[Incoming], operation: str, data: Any, clocks: dict[str, str]) -> Incoming:
    first, last = events[0], events[-1]
    own = tuple(said for each in events for said in each.event.own)
    event: Event = msgspec.structs.replace(last.event, operation=operation, renamed_from=None, own=own)
    return Incoming(
        event,
        data,
        first.producer_site,
        last.log,
        field_clocks=clocks,
        arrived=last.arrived,
        delete_on_leave=last.delete_on_leave,
    )


def _under_name(doctype: DocumentType, document: Row, name: Name) -> Row:
    """The document under another name; its child rows belong to it under that one."""
    result = document | dict(zip(doctype.key, name, strict=True))
    for child in doctype.children:
        parent = dict(zip(child.parent_key, name, strict=True))
        result[child.field] = [row | parent for row in document.get(child.field) or []]
    return result


def _clocks(doctype: DocumentType, incoming: Incoming) -> dict[str, str]:
    difference: Difference = incoming.data
    fields = list(difference.changed)
    for child in doctype.children:
        for row in difference.row_changed.get(child.field, []):
            prefix = f"{child.field}/{_key(child, row)}"
            fields += [f"{prefix}/{column}" for column in row if column not in child.key]
        fields += [f"{child.field}/{_key(child, row)}" for row in difference.added.get(child.field, [])]
        fields += [f"{child.field}/{name_text(tuple(key))}" for key in difference.removed.get(child.field, [])]
    return dict.fromkeys(fields, incoming.event.clock)


def _into_document(doctype: DocumentType, document: Row, difference: Difference) -> Row:
    fields, children = split(doctype, document)
    result: Row = fields | difference.changed
    for child in doctype.children:
        rows = {_key(child, row): row for row in children[child.field]}
        for key in difference.removed.get(child.field, []):
            rows.pop(name_text(tuple(key)), None)
        for row in difference.row_changed.get(child.field, []):
            if _key(child, row) in rows:
                rows[_key(child, row)] = rows[_key(child, row)] | row
        for row in difference.added.get(child.field, []):
            rows[_key(child, row)] = row
        result[child.field] = list(rows.values())
    return result


def _joined(doctype: DocumentType, one: Difference, two: Difference) -> Difference:
    joined = Difference(changed=one.changed | two.changed, old=OldValues(changed=two.old.changed | one.old.changed))
    for child in doctype.children:
        _join_rows(child, one, two, joined)
    return joined


def _join_rows(child: ChildTable, one: Difference, two: Difference, joined: Difference) -> None:
    field = child.field
    added = {_key(child, row): row for row in one.added.get(field, [])}
    changed = {_key(child, row): row for row in one.row_changed.get(field, [])}
    old_changed = {_key(child, row): row for row in one.old.row_changed.get(field, [])}
    removed = {name_text(tuple(key)): key for key in one.removed.get(field, [])}
    old_removed = {_key(child, row): row for row in one.old.removed.get(field, [])}
    for row in two.row_changed.get(field, []):
        key = _key(child, row)
        if key in added:
            added[key] = added[key] | row
        else:
            changed[key] = changed.get(key, {}) | row
    for row in two.old.row_changed.get(field, []):
        key = _key(child, row)
        if key in changed:
            old_changed[key] = row | old_changed.get(key, {})
    for row in two.old.removed.get(field, []):
        old_removed.setdefault(_key(child, row), row)
    for parts in two.removed.get(field, []):
        key = name_text(tuple(parts))
        changed.pop(key, None)
        old_changed.pop(key, None)
        if added.pop(key, None) is None:
            removed[key] = parts
    for row in two.added.get(field, []):
        added[_key(child, row)] = row
    old_removed = {key: row for key, row in old_removed.items() if key in removed}
    for target, rows in (
        (joined.added, added),
        (joined.row_changed, changed),
        (joined.old.row_changed, old_changed),
        (joined.old.removed, old_removed),
    ):
        if rows:
            target[field] = list(rows.values())
    if removed:
        joined.removed[field] = list(removed.values())


def _key(child: ChildTable, row: Row) -> str:
    return name_text(tuple(row.get(column, "") for column in child.key))
