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

from dataclasses import replace

from streamd.apply.decide.conflict import merge_children, merge_fields
from streamd.apply.decide.creating import create
from streamd.apply.decide.decision import Decision, NeedsWhole, another_document
from streamd.apply.decide.remembering import (
    NO_LOG,
    after_event,
    is_same_document,
    knows,
    remembered,
    tombstone,
    was_taken_away,
    with_event,
)
from streamd.apply.decide.values import same, same_row, shown
from streamd.apply.event.incoming import Incoming
from streamd.apply.event.moving import document_under
from streamd.apply.write.rowwrite import delete_writes, known, rename_writes, unknown_columns, update_writes
from streamd.common.clock import made_at
from streamd.errors import RowRefused
from streamd.model import (
    Difference,
    Document,
    DocumentType,
    Operation,
    Record,
    Row,
)
from streamd.rows import clocks_under, linked


def decide(
    incoming: Incoming,
    doctype: DocumentType,
    here: Document | None,
    record: Record | None,
) -> Decision:
    """What the event does here.

    `here` is the document under the event's name (its old name, for a rename), and `record` what is remembered of that.
    Raises `RowRefused` for an event that must be
    parked, and `NeedsWhole`.
    """
    operation = incoming.event.operation
    if incoming.gone:
        return _gone(incoming)
    if operation == Operation.DELETE:
        return _delete(incoming, doctype, here, record)
    if operation == Operation.LEAVE:
        return _leave(incoming, doctype, here, record)
    if operation == Operation.CREATE:
        decision = create(incoming, doctype, here, record)
    else:
        decision = _update(incoming, doctype, here, record)
    decision.unknown = unknown_columns(doctype, incoming.data)
    return decision


def contained(incoming: Incoming, record: Record | None) -> bool:
    """Whether the document here has this event already. What is read now, or told by no log, is judged each time."""
    is_now = incoming.reading is not None or incoming.event.enters or incoming.log == NO_LOG
    return not is_now and record is not None and record.seen.get(incoming.log, 0) >= incoming.event.sequence


def is_about(incoming: Incoming, doctype: DocumentType, here: Document, record: Record | None) -> bool:
    """Whether the document here is the one that the event changes: it is known, or what the event replaced fits."""
    if knows(record, incoming):
        return True
    if isinstance(incoming.data, Difference):
        # No two documents were made at one reading of the clock.
        is_made_then = record is not None and incoming.data.made != "" and record.clock == incoming.data.made
        return is_made_then or _fits(doctype, incoming.data, here)
    old = incoming.data.get("old") if isinstance(incoming.data, dict) else None
    return isinstance(old, dict) and same_row(doctype, known(doctype, old), here.fields)


def _gone(incoming: Incoming) -> Decision:
    """An event of a document that is deleted here, and whose name is another one's by now."""
    event = incoming.event
    note = "was not here: nothing to do"
    if event.operation in (Operation.CREATE, Operation.UPDATE):
        note = f"was deleted here; {'the edit is not applied' if incoming.reading is None else 'stays deleted'}"
    return Decision(notes=[note])


def _update(
    incoming: Incoming,
    doctype: DocumentType,
    here: Document | None,
    record: Record | None,
) -> Decision:
    event = incoming.event
    difference = incoming.data
    if not isinstance(difference, Difference):
        raise RowRefused("an update without a difference in it")
    if here is None:
        if record is not None and record.deleted_at is not None and not was_taken_away(incoming, record):
            return Decision(records=[with_event(record, incoming)], notes=["was deleted here; the edit is not applied"])
        raise NeedsWhole
    if not is_about(incoming, doctype, here, record):
        raise RowRefused(another_document(event, here, difference.changed))
    if doctype.single and (record is None or record.is_only_made):
        raise NeedsWhole
    base = record or remembered(incoming, None, clock="")
    merged = merge_fields(doctype, difference.changed, difference.old.changed, here.fields, base, incoming.clock_of)
    decision = Decision(notes=merged.notes)
    columns = {column: value for column, value in merged.values.items() if column in doctype.written_names}
    if here.name == event.name:
        columns = {column: value for column, value in columns.items() if column not in doctype.key}
    if event.renamed_from is not None:
        decision.writes += rename_writes(doctype, event.renamed_from, event.name)
        columns = {column: value for column, value in columns.items() if column not in doctype.key}
        columns = _own_links(doctype, here, base, incoming) | columns
        decision.freed.append(event.renamed_from)
        moves = {event.renamed_from: event.name}
        here = document_under(doctype, here, moves)
        base = replace(base, field_clocks=clocks_under(doctype, base.field_clocks, moves))
    rows = merge_children(doctype, difference, here, event.name, base, incoming.clock_of)
    decision.writes += rows.removals
    decision.writes += update_writes(doctype, event.name, columns)
    decision.writes += rows.writes
    decision.notes += rows.notes
    # What was left out, since there is no such column here, was not written: its clock would say so.
    written = [name for name in merged.newer if name in doctype.written_names]
    after = after_event(base, incoming, [*written, *rows.newer])
    after.name = event.name
    decision.records.append(after)
    return decision


def _own_links(doctype: DocumentType, here: Document, base: Record, incoming: Incoming) -> Row:
    """The renamed row's links to itself, where the producer left them as they were: no foreign key is to move them.

    What was edited elsewhere is not the producer's word.
    """
    found: Row = {}
    for target, name, link in linked(doctype.links, here.fields):
        clocks = [base.field_clocks.get(column, "") for column in link.columns]
        is_theirs = all(not clock or made_at(clock, incoming.producer_site) for clock in clocks)
        if (target, name) == (doctype.name, incoming.event.renamed_from) and is_theirs:
            found |= {column: here.fields[column] for column in link.columns if column not in doctype.key}
    return found


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
