"""What is remembered of a document after an event, and whether what is remembered is of the event's document. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from streamd.apply.event.incoming import Incoming
from streamd.common import clock as hlc
from streamd.identity import natural
from streamd.model import Record

NO_LOG = ""
"""The log of what no log says: of a document that was not there when all were read again."""


def knows(record: Record | None, incoming: Incoming) -> bool:
    """Whether what is remembered is of the document that the event is of, as far as can be told."""
    return record is not None and not record.is_only_made and is_of(record, incoming)


def is_of(record: Record, incoming: Incoming) -> bool:
    """Whether the document that has the name, or had it last, is the event's."""
    return (record.id or natural(record.name)) == incoming.id


def remembered(incoming: Incoming, known_before: Record | None, clock: str | None = None) -> Record:
    """A new record for the event's document, which has this event; `known_before` is that of its name until then."""
    event = incoming.event
    seen = dict(known_before.seen) if known_before else {}
    seen[incoming.log] = event.sequence
    made = Record(event.doctype, event.name, incoming.birth, incoming.remote.name, event.clock, {}, seen)
    made.clock = made.clock if clock is None else clock
    return made


def after_event(record: Record, incoming: Incoming, newer: Iterable[str]) -> Record:
    """The record after these fields were written (or found newer) by the event."""
    clocks = dict(record.field_clocks)
    for fieldname in newer:
        clocks[fieldname] = hlc.latest((clocks.get(fieldname, ""), incoming.clock_of(fieldname)))
    seen = dict(record.seen)
    seen[incoming.log] = max(seen.get(incoming.log, 0), incoming.event.sequence)
    return with_clocks(record, clocks, seen)


def with_clocks(record: Record, clocks: dict[str, str], seen: dict[str, int]) -> Record:
    """The record of a document that is here, with these clocks and events."""
    return replace(record, field_clocks=clocks, seen=seen, deleted_at=None)


def with_event(record: Record, incoming: Incoming) -> Record:
    """The record, which it changes, as one of a document that has the event."""
    record.seen[incoming.log] = max(record.seen.get(incoming.log, 0), incoming.event.sequence)
    return record


def tombstone(incoming: Incoming, known_before: Record | None) -> Record:
    """What is remembered of a document that the event deletes."""
    gone = remembered(incoming, known_before)
    gone.clock = hlc.latest((gone.clock, known_before.clock if known_before else ""))
    gone.deleted_at = incoming.event.at
    return gone


def is_stale(incoming: Incoming, record: Record) -> bool:
    """Whether a create is of the document that was deleted here, from before that."""
    event = incoming.event
    return (
        came_from_there(incoming, record)
        and is_of(record, incoming)
        and event.clock <= record.clock
        and incoming.reading is None
    )


def is_same_document(incoming: Incoming, record: Record | None) -> bool:
    """Whether what is remembered is of the document that a create makes: it came from there, and lives."""
    if record is None or record.deleted_at is not None:
        return False
    # No two documents have one id; but of a natural one there may be one at each site.
    return is_of(record, incoming) and (record.id is not None or came_from_there(incoming, record))


def is_replaced_there(incoming: Incoming, record: Record | None) -> bool:
    """Whether the document that came from there is gone there, and the one that was read again has its name now."""
    if record is None or is_of(record, incoming):
        return False
    known = record.id or natural(record.name)
    # What was named at its own site, or here, has no successor of another naming.
    if known.site != incoming.id.site:
        return False
    made = known.clock
    return came_from_there(incoming, record) and (not made or hlc.made_at(made, incoming.producer_site))


def was_taken_away(incoming: Incoming, record: Record | None) -> bool:
    """Whether the document was deleted here because its producer had none of that name when all were read again.

    It may have had another one by then.
    """
    return record is not None and NO_LOG in record.seen and hlc.made_at(record.clock, incoming.producer_site)


def was_deleted_here(incoming: Incoming, record: Record | None) -> bool:
    """Whether the document was deleted, and not by the producer, for which it lives."""
    if record is None or record.deleted_at is None or not is_of(record, incoming):
        return False
    return not hlc.made_at(record.clock, incoming.producer_site)


def came_from_there(incoming: Incoming, record: Record) -> bool:
    """Whether what is remembered is of the producer's document, and not of another one with that name."""
    return incoming.log in record.seen or record.source == incoming.source
