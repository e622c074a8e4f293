"""Decides what an event does to this site. Pure: no database, no network.

| event  | here                                            | decision |
|--------|-------------------------------------------------|----------|
| create | no such document                                | insert it whole; also over a tombstone that is older |
|        | deleted here, later than the event              | the deletion stays |
|        | it came from there before                       | write what differs |
|        | an equal document                               | adopt it |
|        | another document                                | fail: same name, another document |
| update | here, and known, or its old values fit          | write the fields that are newer |
|        | here, never synced, and its old values differ   | fail: same name, another document |
|        | deleted here                                    | the deletion wins |
|        | never seen here                                 | the document, fetched whole |
| delete | here, and known, or equal to what was deleted   | delete it |
|        | here, never synced, and different               | fail: same name, another document |
|        | not here                                        | nothing to do |
| leave  | here                                            | it stays, or is deleted: as the subscription says |
|        | not here                                        | nothing to do |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from streamd.apply.conflict import Merge, merge_children, merge_fields
from streamd.apply.incoming import NAME, Incoming
from streamd.apply.moving import document_under
from streamd.apply.remembering import (
    NO_LOG,
    after_event,
    called_there,
    gone_there_too,
    is_replaced_there,
    is_same_document,
    is_stale,
    knows,
    lives_of,
    remembered,
    tombstone,
    was_taken_away,
    with_clocks,
    with_event,
)
from streamd.apply.repair import Mender, newer_here
from streamd.apply.values import differing, same, same_row, shown
from streamd.apply.write.docwrites import delete_writes, insert_writes, rename_writes, update_writes
from streamd.apply.write.rowwrite import RowWrite, known, unknown_columns
from streamd.errors import RowRefused
from streamd.lives import FIRST, begun, life_of
from streamd.model import (
    Catalogue,
    Difference,
    Document,
    DocumentType,
    Event,
    Name,
    Operation,
    Record,
    Row,
    name_label,
    name_text,
)
from streamd.rows import clocks_under, split


class NeedsWhole(Exception):  # a signal to the caller, not an error
    """The event changes a document that is not here: it has to be fetched whole."""


@dataclass(slots=True)
class Decision:
    """What to write, what to remember, and what to say. `local` means: as a change of this site's own.

    `unknown` names columns whose values are left out, because they do not exist here. `forgotten` are documents of
    which nothing is remembered any more.
    """

    writes: list[RowWrite] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    local: bool = False
    unknown: set[str] = field(default_factory=set)
    forgotten: list[Name] = field(default_factory=list)

    @property
    def note(self) -> str:
        return "; ".join(self.notes)


def decide(
    incoming: Incoming,
    doctype: DocumentType,
    here: Document | None,
    record: Record | None,
    catalogue: Catalogue,
    target: Record | None = None,
) -> Decision:
    """What the event does here.

    `here` is the document under the event's name (its old name, for a rename), and `record` what is remembered of that;
    `target` is what is remembered of the name that a rename gives. Raises `RowRefused` for an event that must be
    parked, and `NeedsWhole`.
    """
    operation = incoming.event.operation
    if incoming.another and here is not None:
        return _ofanother_document(incoming, here)
    if incoming.gone:
        return _gone(incoming, record, target)
    if operation == Operation.DELETE:
        return _delete(incoming, doctype, here, record)
    if operation == Operation.LEAVE:
        return _leave(incoming, doctype, here, record)
    if operation == Operation.CREATE:
        moves = here is not None and incoming.event.renamed_from is not None
        decision = (
            _move(incoming, doctype, here, record, catalogue, target)
            if moves and here is not None
            else _create(incoming, doctype, here, record)
        )
    else:
        decision = _update(incoming, doctype, here, record, catalogue, target)
    decision.unknown = unknown_columns(doctype, incoming.data)
    return decision


def contained(incoming: Incoming, record: Record | None) -> bool:
    """Whether the document here has this event already. What is read now, or told by no log, is judged each time."""
    is_now = incoming.fetched or incoming.event.enters or incoming.log == NO_LOG
    return not is_now and record is not None and record.seen.get(incoming.log, 0) >= incoming.event.sequence


def is_about(incoming: Incoming, doctype: DocumentType, here: Document, record: Record | None) -> bool:
    """Whether the document here is the one that the event changes: it is known, or what the event replaced fits."""
    if knows(record, incoming):
        return True
    if isinstance(incoming.data, Difference):
        return _fits(doctype, incoming.data, here)
    old = incoming.data.get("old") if isinstance(incoming.data, dict) else None
    return isinstance(old, dict) and same_row(doctype, known(doctype, old), here.fields)


def _ofanother_document(incoming: Incoming, here: Document) -> Decision:
    """An event of a document that is not here, under the name of one that the producer calls otherwise."""
    if incoming.event.operation in (Operation.DELETE, Operation.LEAVE):
        return Decision(notes=["was not here: nothing to do"])
    there = incoming.data.changed if isinstance(incoming.data, Difference) else incoming.data
    raise RowRefused(another_document(incoming.event, here, there))


def _gone(incoming: Incoming, record: Record | None, target: Record | None) -> Decision:
    """An event of a document that is deleted here, and whose name is another one's by now."""
    event = incoming.event
    records = [] if record is None else [with_event(record, incoming), *gone_there_too(incoming, record, target)]
    note = "was not here: nothing to do"
    if event.operation in (Operation.CREATE, Operation.UPDATE):
        note = f"was deleted here; {'stays deleted' if incoming.fetched else 'the edit is not applied'}"
    return Decision(records=records, notes=[note])


def _create(incoming: Incoming, doctype: DocumentType, here: Document | None, record: Record | None) -> Decision:
    event = incoming.event
    if not isinstance(incoming.data, dict):
        raise RowRefused("a create without a document in it")
    fields, children = split(doctype, incoming.data)
    if here is None:
        tombstone = record is not None and record.deleted_at is not None
        if incoming.repair and record is not None and tombstone:
            if newer_here(record.clock, incoming.known.clock_of(), incoming.producer_site):
                return Decision(notes=["was deleted here later; stays deleted"])
            tombstone = False
        if tombstone and record is not None and is_stale(incoming, record):
            return Decision(records=[with_event(record, incoming)], notes=["was deleted here later; stays deleted"])
        decision = Decision(writes=insert_writes(doctype, fields, children), records=[remembered(incoming, record)])
        if tombstone and incoming.fetched and not incoming.overwrite and not was_taken_away(incoming, record):
            decision.local = True
            decision.notes.append("was deleted here, and lives again because another document needs it")
        return decision
    wanted = incoming.overwrite or incoming.repair or incoming.named_here
    if incoming.fetched and not wanted and not doctype.single:
        return Decision()
    if _equal(doctype, here, fields, children):
        adopted = remembered(incoming, record, same=True)
        return Decision(records=[adopted], notes=["was here already, with the same content"])
    known_as = incoming.overwrite or incoming.same_document or doctype.single
    known_as = known_as or (incoming.repair and is_replaced_there(incoming, record))
    if not known_as and not is_same_document(incoming, record):
        raise RowRefused(another_document(event, here, incoming.data))
    if incoming.repair:
        return _mend(incoming, doctype, here, record, fields, children)
    return _replace(incoming, doctype, here, record, fields, children)


def _mend(
    incoming: Incoming,
    doctype: DocumentType,
    here: Document,
    record: Record | None,
    fields: Row,
    children: dict[str, list[Row]],
) -> Decision:
    """The producer's document over the one that is here, but for what is newer here."""
    # What was edited here of a document that is gone there is of no matter to the one that has its name now.
    replaced = record is not None and (incoming.event.life or FIRST) != life_of(record)
    base = remembered(incoming, record) if record is None or replaced else record
    mended = Mender(doctype, here, base.field_clocks, incoming.known, incoming.producer_site).mend(fields, children)
    after = with_clocks(base, mended.clocks, dict(base.seen))
    after.lives = lives_of(incoming, record, same=not replaced)
    if not mended.stays:
        # Otherwise events up to here may hold newer edits of what stays: they are judged when they come.
        with_event(after, incoming)
    elif record is None:
        after.seen = {}
    notes = ["read again, since changes of it were missing", *mended.stays]
    return Decision(mended.writes, [after], notes)


def _move(
    incoming: Incoming,
    doctype: DocumentType,
    here: Document,
    record: Record | None,
    catalogue: Catalogue,
    target: Record | None,
) -> Decision:
    """A document that was read, and is here under a former name: it is renamed, and takes what is newer there.

    What comes later of it, under any of its names, is known by what is remembered: the rename, and what was before it.
    """
    event = incoming.event
    assert event.renamed_from is not None  # noqa: S101  # the caller looked
    fields, children = split(doctype, incoming.data)
    moves = {event.renamed_from: event.name}
    decision = Decision(writes=rename_writes(doctype, event.renamed_from, event.name, catalogue))
    base = record or remembered(incoming, None, clock="")
    first, last = incoming.former[-1], incoming.former[0]
    decision.records.append(_renamed_away(base, incoming, event.renamed_from, first.sequence))
    moved = document_under(doctype, here, moves)
    moved = replace(moved, name=event.name, fields=moved.fields | dict(zip(doctype.key, event.name, strict=True)))
    clocks = clocks_under(doctype, base.field_clocks, moves)
    mended = Mender(doctype, moved, {} if incoming.overwrite else clocks, incoming.known, incoming.producer_site).mend(
        fields, children
    )
    decision.writes += mended.writes
    # Where something stays, events behind the rename may hold newer edits of it: they are judged when they come.
    contained_to = last.sequence if mended.stays else event.sequence
    seen = dict(base.seen) | {incoming.log: max(base.seen.get(incoming.log, 0), contained_to)}
    after = replace(with_clocks(base, mended.clocks, seen), name=event.name)
    after.lives = begun(target, event.name, event.life or FIRST, incoming.clock_of(NAME))
    decision.records.append(after)
    decision.notes = [f"was called {name_label(event.renamed_from)} here: renamed, and taken whole", *mended.stays]
    return decision


def _renamed_away(base: Record, incoming: Incoming, old: Name, sequence: int) -> Record:
    """What is remembered of the name `old` once its document has another one, by the producer's entry `sequence`."""
    gone = Record(base.doctype, old, base.source, base.remote_name, incoming.clock_of(NAME))
    gone.renamed_to = incoming.event.name
    gone.seen, gone.lives = dict(base.seen) | {incoming.log: sequence}, base.lives
    return gone


def _replace(
    incoming: Incoming,
    doctype: DocumentType,
    here: Document,
    record: Record | None,
    fields: Row,
    children: dict[str, list[Row]],
) -> Decision:
    """The whole document over the one that is here: only what differs is written."""
    base = remembered(incoming, record) if incoming.overwrite or record is None else record
    base.lives = lives_of(incoming, record, same=not (incoming.overwrite or incoming.same_document))
    decision = Decision()
    changed = {
        column: value for column, value in differing(doctype, fields, here.fields).items() if column in here.fields
    }
    kept = Merge()
    if not incoming.overwrite:
        kept = merge_fields(doctype, changed, here.fields, here.fields, base, incoming.clock_of)
    columns = changed if incoming.overwrite else kept.values
    decision.writes += update_writes(doctype, incoming.event.name, columns)
    for child in doctype.children:
        before = {name_text(_key(row, child.key)): row for row in here.children.get(child.field, [])}
        after = {name_text(_key(row, child.key)): row for row in children.get(child.field, [])}
        # A plain create over a document that is here is a row that was replaced: it says nothing of older child rows.
        everything = incoming.overwrite or incoming.same_document or doctype.single
        gone = [_key(row, child.key) for text, row in before.items() if everything and text not in after]
        decision.writes += [RowWrite.delete(child, here.name, key) for key in gone]
        for text, row in after.items():
            if text not in before:
                decision.writes.append(RowWrite.insert(child.table, known(child, row)))
            elif columns_there := known(child, differing(child, row, before[text])):
                decision.writes += RowWrite.update_child(child, here.name, _key(row, child.key), columns_there)
    decision.records = [after_event(base, incoming, [*columns])]
    decision.notes += kept.notes
    if incoming.overwrite:
        decision.notes.append("written anew, whole, as the producer has it")
        # A local edit that the producer may or may not have seen: what is written now has to reach it as an edit.
        decision.local = record is not None and any(record.field_clocks.values())
    return decision


def _update(
    incoming: Incoming,
    doctype: DocumentType,
    here: Document | None,
    record: Record | None,
    catalogue: Catalogue,
    target: Record | None,
) -> Decision:
    event = incoming.event
    difference = incoming.data
    if not isinstance(difference, Difference):
        raise RowRefused("an update without a difference in it")
    if here is None:
        if record is not None and record.deleted_at is not None and not was_taken_away(incoming, record):
            tombstones = [with_event(record, incoming), *gone_there_too(incoming, record, target)]
            return Decision(records=tombstones, notes=["was deleted here; the edit is not applied"])
        raise NeedsWhole
    if not is_about(incoming, doctype, here, record):
        raise RowRefused(another_document(event, here, difference.changed))
    if record is None and doctype.single:
        raise NeedsWhole
    base = record or remembered(incoming, None, clock="")
    merged = merge_fields(doctype, difference.changed, difference.old.changed, here.fields, base, incoming.clock_of)
    decision = Decision(notes=merged.notes)
    columns = {column: value for column, value in merged.values.items() if column in doctype.written_names}
    if here.name == event.name:
        columns = {column: value for column, value in columns.items() if column not in doctype.key}
    if event.renamed_from is not None:
        decision.writes += rename_writes(doctype, event.renamed_from, event.name, catalogue)
        columns = {column: value for column, value in columns.items() if column not in doctype.key}
        decision.records.append(_renamed_away(base, incoming, event.renamed_from, event.sequence))
        moves = {event.renamed_from: event.name}
        here = document_under(doctype, here, moves)
        base = replace(base, field_clocks=clocks_under(doctype, base.field_clocks, moves))
    rows = merge_children(doctype, difference, here, event.name, base, incoming.clock_of)
    decision.writes += rows.removals
    decision.writes += update_writes(doctype, event.name, columns)
    decision.writes += rows.writes
    decision.notes += rows.notes
    after = after_event(base, incoming, [*merged.newer, *rows.newer])
    after.name = event.name
    if incoming.lost_name is not None:
        decision.records.append(called_there(incoming, incoming.lost_name, after, target))
    if event.renamed_from is not None:
        after.lives = begun(target, event.name, event.life or FIRST, incoming.clock_of(NAME))
    decision.records.append(after)
    return decision


def _delete(incoming: Incoming, doctype: DocumentType, here: Document | None, record: Record | None) -> Decision:
    event = incoming.event
    if incoming.never_here and not is_same_document(incoming, record):
        return Decision(notes=["was made and deleted there before it could be put here: nothing to do"])
    if here is None:
        if record is None:
            return Decision(notes=["was not here: nothing to do"])
        return Decision(records=[tombstone(incoming, record)], notes=["was not here: nothing to do"])
    old = incoming.data.get("old") if isinstance(incoming.data, dict) else None
    if (
        not knows(record, incoming)
        and isinstance(old, dict)
        and not same_row(doctype, known(doctype, old), here.fields)
    ):
        raise RowRefused(another_document(event, here, old))
    decision = Decision(records=[tombstone(incoming, record)])
    if record is not None and any(value > event.clock for value in record.field_clocks.values()):
        decision.notes.append(f"was edited here as well; the deletion wins over: {shown(here.fields)}")
    decision.writes = delete_writes(doctype, here)
    return decision


def _leave(incoming: Incoming, doctype: DocumentType, here: Document | None, record: Record | None) -> Decision:
    """The document does not satisfy our condition any more; at the producer it goes on."""
    if incoming.never_here and not is_same_document(incoming, record):
        return Decision(
            notes=["came to satisfy the condition and ceased to before it could be put here: nothing to do"]
        )
    if here is None:
        return Decision(notes=["was not here: nothing to do"])
    if not incoming.delete_on_leave:
        kept = Decision(notes=["does not satisfy the condition any more; it stays here, and changes no more"])
        if record is not None:
            kept.records.append(with_event(record, incoming))
        return kept
    if record is not None and any(value > incoming.event.clock for value in record.field_clocks.values()):
        return Decision(
            records=[with_event(record, incoming)],
            notes=["does not satisfy the condition any more; it was edited here since, so it stays"],
        )
    # No tombstone: the document lives, and may come back.
    return Decision(
        writes=delete_writes(doctype, here),
        forgotten=[here.name],
        notes=["does not satisfy the condition any more: deleted here"],
    )


def _fits(doctype: DocumentType, difference: Difference, here: Document) -> bool:
    """Whether the values that the event replaced (or its new ones) are those that stand here."""
    for column, value in difference.changed.items():
        if column in here.fields:
            current = here.fields[column]
            old = difference.old.changed.get(column)
            if not same(doctype, column, current, value) and not same(doctype, column, current, old):
                return False
    return True


def _equal(doctype: DocumentType, here: Document, fields: Row, children: Mapping[str, list[Row]]) -> bool:
    if not same_row(doctype, known(doctype, fields), here.fields):
        return False
    for child in doctype.children:
        ours = {name_text(_key(row, child.key)): row for row in here.children.get(child.field, [])}
        theirs = {name_text(_key(row, child.key)): known(child, row) for row in children.get(child.field, [])}
        if ours.keys() != theirs.keys() or not all(same_row(child, theirs[key], row) for key, row in ours.items()):
            return False
    return True


def _key(row: Row, columns: Iterable[str]) -> Name:
    return tuple(row.get(column, "") for column in columns)


def another_document(event: Event, here: Document, there: object) -> str:
    """What is said where a document stands here under the name of another one."""
    return (
        f"same name, another document: {event.doctype} {name_label(event.name)} stands here as "
        f"{shown(here.fields | dict(here.children))}, and at the producer as {shown(there)}. Rename or remove the "
        "one that is wrong, here or there; or take the producer's (resync --whole), or ours (discard)"
    )
