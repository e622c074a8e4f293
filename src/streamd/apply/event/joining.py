"""Several events of one document as one event. Pure.

Within one transaction of its producer a document may get two names: two documents that exchange their names do so by
way of a third one. Nobody outside that transaction ever saw that name. So its events are joined into one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from itertools import groupby
from typing import Any

import msgspec

from streamd.apply.event.decoding import decode, read_difference
from streamd.apply.event.incoming import NAME, Incoming
from streamd.apply.source import Ref, Source
from streamd.identity import id_of, natural
from streamd.model import (
    Catalogue,
    ChildTable,
    Difference,
    DocumentType,
    OldValues,
    Operation,
    Row,
    name_text,
)
from streamd.rowids import together
from streamd.wire import ChildDescriptor, DoctypeDescriptor, write_json

_ENDS = frozenset({Operation.DELETE, Operation.LEAVE})
"""After these a document of that name is not here, or nothing more comes of it."""


def joined(events: Sequence[Incoming], catalogue: Catalogue, source: Source) -> list[Incoming]:
    """These events, where several of one transaction that rename a document stand as one at the last one's place."""
    found: list[Incoming] = []
    for _, some in groupby(events, key=lambda each: each.event.tx):
        together = list(some)
        if sum(each.event.renamed_from is not None for each in together) > 1:
            together = _joined_in_one(together, catalogue, source)
        found += together
    return found


def _joined_in_one(events: Sequence[Incoming], catalogue: Catalogue, source: Source) -> list[Incoming]:
    chains: list[list[int]] = []
    now: dict[Ref, list[int]] = {}
    for place, each in enumerate(events):
        event = each.event
        chain = now.pop((event.doctype, event.renamed_from or event.name), None)
        if chain is None:
            chains.append(chain := [])
        chain.append(place)
        now[(event.doctype, event.name)] = chain
    result: dict[int, Incoming] = dict(enumerate(events))
    for chain in chains:
        some = [events[place] for place in chain]
        if len(some) == 1 or all(each.event.renamed_from is None for each in some):
            continue
        one = joined_updates(some, catalogue, source)
        if one is None:
            return list(events)
        result = {place: each for place, each in result.items() if place not in chain} | {chain[-1]: one}
    if len(result) == len(events):
        return list(events)
    kept = [result[place] for place in sorted(result)]
    return [replace(each, at_once=each.event.renamed_from is not None) for each in kept]


def ended(events: Sequence[Incoming]) -> Incoming | None:
    """The last of these events of one document, where it is deleted there, or left: what was changed before is moot.

    A document that was made in these events as well was never here. None where it goes on there.
    """
    first, last = events[0], events[-1]
    if last.event.operation not in _ENDS or not _are_of_one_document(events):
        return None
    if first.event.operation == Operation.CREATE:
        return replace(last, never_here=True)
    # It is here under the name that it had before all of this.
    name = first.event.renamed_from or first.event.name
    if name == last.event.name:
        return last
    arrived = None if last.arrived is None else msgspec.structs.replace(last.arrived, name=name, id=first.id)
    return replace(last, event=msgspec.structs.replace(last.event, name=name, id=first.id), arrived=arrived)


def _are_of_one_document(events: Sequence[Incoming]) -> bool:
    """Whether no other document has got the name meanwhile. A producer forgets the id of a renamed document in time."""
    first, name = events[0].id, events[0].event.name
    for each in events[1:]:
        if (each.id.name, each.id.clock) not in ((first.name, first.clock), (name, "")):
            return False
        name = each.event.name
    return True


def joined_updates(events: Sequence[Incoming], catalogue: Catalogue, source: Source) -> Incoming | None:
    """One update that does what these updates of one document do, or None where they cannot be joined.

    They are in order, and none of them is applied. Events of several origins are not joined.
    """
    first, last = events[0], events[-1]
    doctype = catalogue.get(first.event.doctype)
    if doctype is None or not all(map(_is_plain_update, events)):
        return None
    if len({(each.source, each.event.origin and each.event.origin.path) for each in events}) > 1:
        return None
    renames = [each.event for each in events if each.event.renamed_from is not None]
    has_rows = any(each.data.added or each.data.removed or each.data.row_changed for each in events)
    if renames and has_rows and any(not set(child.key).isdisjoint(child.parent_key) for child in doctype.children):
        # What its rows are called before the rename is not what they are called after it.
        return None
    mapped = source.mapped.get(first.remote.doctype)
    table = doctype if mapped is None else mapped.remote
    differences = [read_difference(each.remote.data) for each in events]
    name, id = first.remote.renamed_from or first.remote.name, id_of(first.remote)
    event = msgspec.structs.replace(
        last.remote,
        data=msgspec.Raw(write_json(reduce(partial(_joined, table), differences))),
        rows=together(each.remote.rows for each in events),
        links=tuple({(link.doctype, link.name): link for each in events for link in each.remote.links}.values()),
        renamed_from=None if name == last.remote.name else name,
        id=None if id == natural(name) else id,
    )
    one = decode(event, source, last.log, catalogue)
    one.field_clocks = {field: clock for each in events for field, clock in _clocks(doctype, each).items()}
    if event.renamed_from is not None:
        one.field_clocks[NAME] = renames[-1].clock
    return one


def _is_plain_update(incoming: Incoming) -> bool:
    is_difference = isinstance(incoming.data, Difference)
    return is_difference and not incoming.event.enters and not incoming.fault


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


def _joined(table: DocumentType | DoctypeDescriptor, one: Difference, two: Difference) -> Difference:
    old = OldValues(changed=two.old.changed | one.old.changed)
    joined = Difference(changed=one.changed | two.changed, old=old, made=one.made)
    for child in table.children:
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
