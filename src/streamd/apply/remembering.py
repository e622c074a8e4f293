"""What is remembered of a document after an event, and whether what is remembered is of the event's document. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from streamd import clock as hlc
from streamd.apply.incoming import NAME, Incoming
from streamd.lives import FIRST, before, begun, ended, is_known, life_of, with_ended
from streamd.model import Life, Record


def knows(record: Record | None, incoming: Incoming) -> bool:
    """Whether what is remembered is of the document that the event is of, as far as can be told."""
    return record is not None and is_known(record, before(incoming.event)[1])


def gone_there_too(incoming: Incoming, record: Record, target: Record | None) -> Record:
    """What is remembered of the name that a deleted document got there, under which its later events come.

    `record` is of its old name, and `target` of the new one, which may be another document's here.
    """
    event = incoming.event
    if target is not None and target.deleted_at is None and target.renamed_to is None:
        return replace(target, lives=with_ended(target, event.life, event.clock))
    gone = Record(event.doctype, event.name, record.source, event.name, record.clock, {}, dict(record.seen))
    gone.deleted_at = event.at if record.deleted_at is None else record.deleted_at
    gone.lives = begun(target, event.name, event.life, event.clock)
    return gone


def called_there(incoming: Incoming, record: Record, target: Record | None) -> Record:
    """What is remembered of the name that the producer gave the document by a rename which is older than the one here.

    Its events come under that name until it hears of the later one.
    """
    event, lost = incoming.event, incoming.lost_name
    assert lost is not None  # noqa: S101  # the caller looked
    clock = hlc.latest((incoming.clock_of(NAME), *(each.since for each in record.lives)))
    if target is not None and target.deleted_at is None and target.renamed_to is None:
        return replace(target, lives=with_ended(target, incoming.lost_life, clock, event.name))
    lives = begun(target, lost, incoming.lost_life, clock)
    return Record(event.doctype, lost, record.source, lost, clock, {}, dict(record.seen), None, event.name, lives)


def remembered(
    incoming: Incoming, known_before: Record | None, clock: str | None = None, *, stands: bool = False
) -> Record:
    """A new record for the event's document, which has this event; `known_before` is what was remembered of its name.

    `stands` says that a document had the name here already, and is the same one.
    """
    event = incoming.event
    seen = dict(known_before.seen) if known_before else {}
    seen[incoming.log] = event.sequence
    made = Record(event.doctype, event.name, incoming.source, incoming.remote.name, event.clock, {}, seen)
    made.clock = made.clock if clock is None else clock
    made.lives = lives_of(incoming, known_before, stands=stands)
    return made


def lives_of(incoming: Incoming, known_before: Record | None, *, stands: bool) -> Sequence[Life]:
    """The lives of the name that the event finds its document by."""
    name, life = before(incoming.event)
    return begun(known_before, name, life, incoming.event.clock, stands=stands)


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
    return replace(record, field_clocks=clocks, seen=seen, deleted_at=None, renamed_to=None)


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
    is_that_one = _came_from_there(incoming, record) and event.life == life_of(record)
    return is_that_one and event.clock <= record.clock and not incoming.fetched


def is_same_document(incoming: Incoming, record: Record | None) -> bool:
    """Whether what is remembered is of the document that a create makes: it came from there, and lives."""
    if record is None or record.deleted_at is not None:
        return False
    life = incoming.event.life
    if life != FIRST and record.lives:
        # No two documents have one life.
        return any(each.life == life for each in record.lives) and ended(record, life) is None
    return _came_from_there(incoming, record) and is_known(record, life) and ended(record, life) is None


def _came_from_there(incoming: Incoming, record: Record) -> bool:
    """Whether what is remembered is of the producer's document, and not of another one with that name."""
    return incoming.log in record.seen or record.source == incoming.source
