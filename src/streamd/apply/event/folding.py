"""The net effect of several events of one document. Pure.

What failed is often mended by a later event of the same document (its source corrected it). So a queue is
tried as one event first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from streamd.apply.event.decoding import read_difference
from streamd.apply.event.incoming import NAME, Incoming
from streamd.apply.event.mapping import MappedType
from streamd.identity import id_of
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
from streamd.wire import ChildDescriptor, read_json, write_json

NOT_MAPPED: Mapping[str, MappedType] = MappingProxyType({})

_ENDS = frozenset({Operation.DELETE, Operation.LEAVE})
"""After these a document of that name is not here, or nothing more comes of it."""


def net_effect(
    events: Sequence[Incoming], catalogue: Catalogue, mapped: Mapping[str, MappedType] = NOT_MAPPED
) -> Incoming | None:
    """One event that does what these do, or None where they cannot be folded into one.

    They are in order, of one document, and none of them is applied; `mapped` are their producer's mapped types. A
    document that is made and deleted was never here, nor one that is made and leaves; one that is made and renamed is
    made under its last name; one that is deleted (or left) and made again is folded into its second making. One that
    came to satisfy our condition is taken whole. What was changed before a document is deleted, or leaves, is of no
    matter. Events of several origins are not folded.
    """
    doctype = catalogue.get(events[0].event.doctype)
    if doctype is None:
        return None
    first, last = events[0], events[-1]
    ends = [index for index, each in enumerate(events) if each.event.operation in _ENDS]
    if ends:
        behind = events[ends[-1] + 1 :]
        return _begun_again(events[: ends[-1] + 1], behind, catalogue, mapped) if behind else _ended(first, last)
    renamed = any(each.event.renamed_from is not None for each in events)
    entering = [index for index, each in enumerate(events) if each.event.enters]
    if entering and all(each.event.operation == Operation.UPDATE for each in events[entering[-1] :]):
        # It is taken whole, as it is now: with all that came after. But that is asked for by the name of that time.
        return None if renamed else events[entering[-1]]
    if len({(each.source, each.event.origin and each.event.origin.path) for each in events}) > 1:
        return None
    if any(not isinstance(each.data, Difference) for each in events[1:]):
        return None
    if first.event.operation == Operation.CREATE and isinstance(first.data, dict):
        data = _one_document(_words(doctype), [each.data for each in events], last.event.name if renamed else None)
        return _folded(events, data, {}, mapped)
    if first.event.operation == Operation.UPDATE and isinstance(first.data, Difference):
        has_rows = any(each.data.added or each.data.removed or each.data.row_changed for each in events)
        in_keys = any(not set(child.key).isdisjoint(child.parent_key) for child in doctype.children)
        if renamed and has_rows and in_keys:
            # What its rows are called before the rename is not what they are called after it.
            return None
        clocks: dict[str, str] = {}
        for each in events:
            clocks |= _clocks(doctype, each)
        return _folded(events, _one_difference(_words(doctype), [each.data for each in events]), clocks, mapped)
    return None


def _begun_again(
    ended: Sequence[Incoming], behind: Sequence[Incoming], catalogue: Catalogue, mapped: Mapping[str, MappedType]
) -> Incoming | None:
    """The net effect where a document was deleted, or left (`ended`), and came again under its name."""
    begins = behind[0].event
    left = ended[-1].event.operation == Operation.LEAVE
    if left and begins.operation != Operation.CREATE and not begins.enters:
        return None
    was_here = ended[0].event.operation != Operation.CREATE
    if was_here and any(each.event.renamed_from is not None for each in ended):
        # It is here under another name, and that one has to go.
        return None
    again = net_effect(behind, catalogue, mapped)
    if again is not None:
        # What was made there first, and never came in, is another document than the one that is here.
        again.same_document = was_here
    return again


def _ended(first: Incoming, last: Incoming) -> Incoming:
    """A document that is deleted there at last, or that left: what was changed before is of no matter."""
    if first.event.operation == Operation.CREATE:
        return replace(last, never_here=True)
    # It is here under the name that it had before all of this.
    name = first.event.renamed_from or first.event.name
    if name == last.event.name:
        return last
    id = id_of(first.event)
    arrived = None if last.arrived is None else msgspec.structs.replace(last.arrived, name=name, id=id)
    return replace(last, event=msgspec.structs.replace(last.event, name=name, id=id), arrived=arrived)


def _folded(
    events: Sequence[Incoming], data: Any, clocks: dict[str, str], mapped: Mapping[str, MappedType]
) -> Incoming:
    first, last = events[0], events[-1]
    operation = first.event.operation
    renames = [each.event for each in events if each.event.renamed_from is not None]
    old_name = None
    name = first.event.renamed_from or first.event.name
    if operation == Operation.UPDATE and renames and name != last.event.name:
        old_name = name
        clocks = clocks | {NAME: renames[-1].clock}
    own = tuple(said for each in events for said in each.event.own)
    changes = {"operation": operation, "renamed_from": old_name, "id": id_of(first.event)}
    links = {(link.doctype, link.name): link for each in events for link in each.event.links}
    event = msgspec.structs.replace(last.event, own=own, links=tuple(links.values()), **changes)
    arrived = last.arrived
    if arrived is not None:
        # Links that are found by values are found by what all of the events say there.
        theirs = _remote_data([each.remote for each in events], mapped.get(arrived.doctype))
        arrived = msgspec.structs.replace(arrived, data=theirs, **changes)
    return Incoming(
        event,
        data,
        first.producer_site,
        last.log,
        field_clocks=clocks,
        arrived=arrived,
        delete_on_leave=last.delete_on_leave,
    )


def _remote_data(events: Sequence[Event], mapped: MappedType | None) -> msgspec.Raw:
    """The data of these events folded in the producer's own words, where these are others than ours."""
    if mapped is None:
        return events[-1].data
    words = _Words(mapped.remote.key, [child for child in mapped.remote.children if child.field in mapped.children])
    if events[0].operation == Operation.UPDATE:
        return msgspec.Raw(write_json(_one_difference(words, [read_difference(each.data) for each in events])))
    renamed = any(each.renamed_from is not None for each in events)
    parts = [read_json(bytes(events[0].data)), *(read_difference(each.data) for each in events[1:])]
    return msgspec.Raw(write_json(_one_document(words, parts, events[-1].name if renamed else None)))


class _Words(NamedTuple):
    """How data is to be read: the key of its type, ours or the producer's, and its child tables."""

    key: Sequence[str]
    children: Sequence[ChildTable | ChildDescriptor]


def _words(doctype: DocumentType) -> _Words:
    return _Words(doctype.key, doctype.children)


def _one_document(words: _Words, parts: Sequence[Any], name: Name | None) -> Row:
    """A document with the differences that follow it, under another name if one is given."""
    document: Row = parts[0]
    for difference in parts[1:]:
        document = _into_document(words, document, difference)
    return document if name is None else _under_name(words, document, name)


def _one_difference(words: _Words, parts: Sequence[Difference]) -> Difference:
    joined = parts[0]
    for difference in parts[1:]:
        joined = _joined(words, joined, difference)
    return joined


def _under_name(words: _Words, document: Row, name: Name) -> Row:
    """The document under another name; its child rows belong to it under that one.

    What a producer says of its keys is not trusted to be as long as its names are.
    """
    result = document | dict(zip(words.key, name, strict=False))
    for child in words.children:
        # An older one does not say by which columns its rows name their document.
        parent = dict(zip(child.parent_key, name, strict=False))
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


def _into_document(words: _Words, document: Row, difference: Difference) -> Row:
    result: Row = document | difference.changed
    for child in words.children:
        rows = {_key(child, row): row for row in document.get(child.field) or []}
        for key in difference.removed.get(child.field, []):
            rows.pop(name_text(tuple(key)), None)
        for row in difference.row_changed.get(child.field, []):
            if _key(child, row) in rows:
                rows[_key(child, row)] = rows[_key(child, row)] | row
        for row in difference.added.get(child.field, []):
            rows[_key(child, row)] = row
        result[child.field] = list(rows.values())
    return result


def _joined(words: _Words, one: Difference, two: Difference) -> Difference:
    old = OldValues(changed=two.old.changed | one.old.changed)
    joined = Difference(changed=one.changed | two.changed, old=old, made=one.made)
    for child in words.children:
        _join_rows(child, one, two, joined)
    return joined


def _join_rows(child: ChildTable | ChildDescriptor, one: Difference, two: Difference, joined: Difference) -> None:
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
        key = _key(child, row)
        if removed.pop(key, None) is None:
            added[key] = row
        else:
            changed[key], old_changed[key] = _came_back(child, row, old_removed.get(key, {}))
    old_removed = {key: row for key, row in old_removed.items() if key in removed}
    _put(joined.added, field, added)
    _put(joined.row_changed, field, changed)
    _put(joined.old.row_changed, field, old_changed)
    _put(joined.old.removed, field, old_removed)
    _put(joined.removed, field, removed)


def _put(target: dict[str, list[Any]], field: str, rows: Mapping[str, Any]) -> None:
    if rows:
        target[field] = list(rows.values())


def _came_back(child: ChildTable | ChildDescriptor, row: Row, was: Row) -> tuple[Row, Row]:
    """A row that was removed and added again is one that was changed: how it is now, and was before, with its key."""
    keys = {column: row[column] for column in child.key if column in row}
    new = {
        column: value
        for column, value in row.items()
        if column not in (*child.key, *child.parent_key) and (column not in was or was[column] != value)
    }
    return keys | new, keys | {column: was[column] for column in new if column in was}


def _key(child: ChildTable | ChildDescriptor, row: Row) -> str:
    return name_text(tuple(row.get(column, "") for column in child.key))
