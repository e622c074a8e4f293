"""Decides what a document that came whole does to this site: made, fetched, or read again. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from streamd.apply.decide.decision import Decision, another_document
from streamd.apply.decide.merging import Known, Merged, State, merge_state, newer_here
from streamd.apply.decide.newcolumns import but_for_new, said
from streamd.apply.decide.remembering import (
    came_from_there,
    is_of,
    is_replaced_there,
    is_same_document,
    is_stale,
    remembered,
    was_taken_away,
    with_clocks,
    with_event,
)
from streamd.apply.decide.values import same_row
from streamd.apply.event.incoming import NAME, Incoming, Purpose
from streamd.apply.event.moving import document_under
from streamd.apply.write.rowwrite import insert_writes, known, rename_writes
from streamd.common import clock as hlc
from streamd.errors import RowRefused
from streamd.model import Document, DocumentType, Name, Record, Row, name_label, name_text
from streamd.rows import clocks_under, split

SAME_CONTENT = "was here already, with the same content"


def create(
    incoming: Incoming,
    doctype: DocumentType,
    here: Document | None,
    record: Record | None,
) -> Decision:
    """What a whole document does here; the arguments are those of `decide`. Raises `RowRefused`."""
    if not isinstance(incoming.data, dict):
        raise RowRefused("a create without a document in it")
    if here is None:
        return _insert(incoming, doctype, record)
    if incoming.event.renamed_from is not None:
        return _move(incoming, doctype, here, record)
    reading = incoming.reading
    counts = incoming.named_here or doctype.single or incoming.is_stranger
    if reading is not None and reading.purpose is Purpose.LINK and not counts:
        return Decision()
    is_same = reading is not None and reading.is_same
    known_as = is_same or incoming.overwrites or doctype.single or is_same_document(incoming, record)
    known_as = (known_as and not incoming.is_stranger) or (incoming.repairs and is_replaced_there(incoming, record))
    whole, incoming = incoming.data, replace(incoming, data=said(incoming, doctype, known_as=known_as))
    if not (is_same and incoming.repairs and record is not None) and _equal(doctype, here, incoming.data):
        # Where a part of it does not count, it is not said whose document it is.
        adopted = [remembered(incoming, record)] if incoming.data is whole else []
        return Decision(records=adopted, notes=[SAME_CONTENT])
    if not known_as and not _equal(doctype, here, but_for_new(incoming, doctype)):
        raise RowRefused(another_document(incoming.event, here, incoming.data))
    return _merge(incoming, doctype, here, record)


def _insert(incoming: Incoming, doctype: DocumentType, record: Record | None) -> Decision:
    tombstone = record is not None and record.deleted_at is not None
    reading = incoming.reading
    if reading is not None and incoming.repairs and record is not None and tombstone:
        # Of a natural id there may be one document at each site.
        is_same = came_from_there(incoming, record) or reading.known.source == record.source
        if is_same and newer_here(record.clock, reading.known.clock_of(), incoming.producer_site):
            return Decision(notes=["was deleted here later; stays deleted"])
        tombstone = False
    if tombstone and record is not None and is_stale(incoming, record):
        return Decision(records=[with_event(record, incoming)], notes=["was deleted here later; stays deleted"])
    writes = insert_writes(doctype, *split(doctype, incoming.data))
    decision = Decision(writes=writes, records=[remembered(incoming, record)])
    if tombstone and reading is not None and not incoming.overwrites and not was_taken_away(incoming, record):
        decision.local = True
        decision.notes.append("was deleted here, and lives again because another document needs it")
    return decision


def _merge(incoming: Incoming, doctype: DocumentType, here: Document, record: Record | None) -> Decision:
    """The whole document over the one that is here: only what differs is written, and not where ours is newer."""
    # What was edited here of a document that is gone there does not matter to the one that has its name now.
    replaced = record is not None and not is_of(record, incoming)
    fresh = record is None or (replaced if incoming.repairs else incoming.overwrites or record.is_only_made)
    base = remembered(incoming, record) if fresh or record is None else record
    merged = _merged(incoming, doctype, here, base)
    after = with_clocks(base, merged.clocks, dict(base.seen))
    if not (incoming.repairs and merged.stays):
        # Otherwise events up to here may hold newer edits of what stays: they are judged when they come.
        with_event(after, incoming)
    elif record is None:
        after.seen = {}
    decision = Decision(merged.writes, [after], merged.stays)
    if incoming.repairs and not merged.writes and not merged.stays:
        decision.notes = [SAME_CONTENT]
    elif incoming.repairs:
        decision.notes = ["read again: what differs is taken from there", *merged.stays]
    elif incoming.overwrites:
        decision.notes = ["written anew, whole, as the producer has it", *merged.replaced]
        # A local edit that the producer may or may not have seen: what is written now has to reach it as an edit.
        decision.local = record is not None and any(record.field_clocks.values())
    return decision


def _merged(incoming: Incoming, doctype: DocumentType, here: Document, base: Record) -> Merged:
    fields, children = split(doctype, incoming.data)
    reading = incoming.reading
    if reading is not None and reading.purpose is Purpose.OVERWRITE:
        return merge_state(doctype, here, Known(), State(fields, children, reading.known), incoming.producer_site)
    if reading is not None and (incoming.repairs or incoming.event.renamed_from is not None):
        there = State(fields, children, reading.known)
        # That of a document which was read is later than its making, and may be of any site.
        made = base.clock if hlc.made_at(base.clock, base.source) else ""
        return merge_state(doctype, here, Known(clocks={**base.field_clocks, "": made}), there, incoming.producer_site)
    clocks = {name: clock for name, clock in incoming.field_clocks.items() if name != NAME}
    # A plain create over a document that is here is a row that was replaced: it says nothing of older child rows.
    there = State(fields, children, Known(clocks={**clocks, "": incoming.event.clock}), doctype.single)
    return merge_state(doctype, here, Known(clocks={**base.field_clocks, "": base.clock}), there, "")


def _move(incoming: Incoming, doctype: DocumentType, here: Document, record: Record | None) -> Decision:
    """A document that was read, and is here under a former name: it is renamed, and takes what is newer there.

    What comes later of it, under any of its names, is known by what is remembered: the rename, and what was before it.
    """
    event = incoming.event
    assert event.renamed_from is not None  # noqa: S101  # the caller looked
    moves = {event.renamed_from: event.name}
    base = record or remembered(incoming, None, clock="")
    last = incoming.former[0]
    moved = document_under(doctype, here, moves)
    moved = replace(moved, name=event.name, fields=moved.fields | dict(zip(doctype.key, event.name, strict=True)))
    base = replace(base, field_clocks=clocks_under(doctype, base.field_clocks, moves))
    merged = _merged(incoming, doctype, moved, base)
    # Where something stays, events behind the rename may hold newer edits of it: they are judged when they come.
    contained_to = last.sequence if merged.stays else event.sequence
    seen = dict(base.seen) | {incoming.log: max(base.seen.get(incoming.log, 0), contained_to)}
    after = replace(with_clocks(base, merged.clocks, seen), name=event.name)
    writes = [*rename_writes(doctype, event.renamed_from, event.name), *merged.writes]
    notes = [f"was called {name_label(event.renamed_from)} here: renamed, and taken whole", *merged.stays]
    return Decision(writes, [after], notes, freed=[event.renamed_from])


def _equal(doctype: DocumentType, here: Document, data: Row) -> bool:
    fields, children = split(doctype, data)
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
