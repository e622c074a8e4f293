"""What is remembered of a document after an event, and whether what is remembered is of the event's document. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from streamd.apply.event.incoming import NAME, Incoming
from streamd.common import clock as hlc
from streamd.lives import FIRST, before, begun, ended, is_known, is_only_made, is_over, life_of, with_ended
from streamd.model import Life, Name, Record

NO_LOG = ""
"""The log of what no log says: of a document that was not there when all were read again."""


def knows(record: Record | None, incoming: Incoming) -> bool:
    """Whether what is remembered is of the document that the event is of, as far as can be told."""
    if record is None or is_only_made(record):
        return False
    return is_known(record, before(incoming.event)[1] or FIRST)


def gone_there_too(incoming: Incoming, record: Record, target: Record | None) -> list[Record]:
    """What is remembered of the name that a deleted document got there, if it got one: its later events come under it.

    `record` is of its old name, and `target` of the new one, which may be another document's here.
    """
    event = incoming.event
    name, life = incoming.lost_name, incoming.lost_life
    if event.renamed_from is not None:
        name, life = event.name, event.life or FIRST
    if name is None:
        return []
    if target is not None and not is_over(target):
        return [replace(target, lives=with_ended(target, life, event.clock))]
    gone = Record(event.doctype, name, record.source, name, record.clock, {}, dict(record.seen))
    gone.deleted_at = event.at if record.deleted_at is None else record.deleted_at
    gone.lives = begun(target, name, life, event.clock)
    return [gone]


def called_there(incoming: Incoming, lost: Name, record: Record, target: Record | None) -> Record:
    """What is remembered of the name `lost`, given by the producer in a rename which is older than the one here.

    Its events come under that name until it hears of the later one.
    """
    event = incoming.event
    clock = hlc.latest((incoming.clock_of(NAME), *(each.since for each in record.lives)))
    if target is not None and not is_over(target):
        return replace(target, lives=with_ended(target, incoming.lost_life, clock, event.name))
    lives = begun(target, lost, incoming.lost_life, clock)
    return Record(event.doctype, lost, record.source, lost, clock, {}, dict(record.seen), None, event.name, lives)


def remembered(
    incoming: Incoming, known_before: Record | None, clock: str | None = None, *, same: bool = False
) -> Record:
    """A new record for the event's document, which has this event; `known_before` is what was remembered of its name.

    `same` says that a document had the name here already, and is that one.
    """
    event = incoming.event
    seen = dict(known_before.seen) if known_before else {}
    seen[incoming.log] = event.sequence
    made = Record(event.doctype, event.name, incoming.source, incoming.remote.name, event.clock, {}, seen)
    made.clock = made.clock if clock is None else clock
    made.lives = lives_of(incoming, known_before, same=same)
    return made


def renamed_away(base: Record, incoming: Incoming, old: Name, sequence: int) -> Record:
    """What is remembered of the name `old` once its document has another one, by the producer's entry `sequence`."""
    gone = Record(base.doctype, old, base.source, base.remote_name, incoming.clock_of(NAME))
    gone.renamed_to = incoming.event.name
    gone.seen, gone.lives = dict(base.seen) | {incoming.log: sequence}, base.lives
    return gone


def lives_of(incoming: Incoming, known_before: Record | None, *, same: bool) -> Sequence[Life]:
    """The lives of the name that the event finds its document by."""
    name, life = before(incoming.event)
    known_before = None if known_before is None or known_before.name != name else known_before
    return begun(known_before, name, life or FIRST, incoming.event.clock, same=same)


def after_event(record: Record, incoming: Incoming, newer: Iterable[str]) -> Record:
    """The record after these fields were written (or found newer) by the event."""
    clocks = dict(record.field_clocks)
    for fieldname in newer:
        clocks[fieldname] = hlc.latest((clocks.get(fieldname, ""), incoming.clock_of(fieldname)))
    seen = dict(record.seen)
    seen[incoming.log] = max(seen.get(incoming.log, 0), incoming.event.sequence)
    after = with_clocks(record, clocks, seen)
    life = before(incoming.event)[1]
    if life and not after.lives:
        # Of what came before this site remembered lives.
        after.lives = (Life("", life),)
    return after


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
    is_that_one = came_from_there(incoming, record) and (event.life or FIRST) == life_of(record)
    return is_that_one and event.clock <= record.clock and not incoming.fetched


def is_same_document(incoming: Incoming, record: Record | None) -> bool:
    """Whether what is remembered is of the document that a create makes: it came from there, and lives."""
    if record is None or record.deleted_at is not None:
        return False
    life = incoming.event.life or FIRST
    # No two documents have one life; but of the first one there may be one at each site.
    return is_of_life(record, life) and (life != FIRST or came_from_there(incoming, record))


def is_of_life(record: Record, life: str) -> bool:
    """Whether the document that has the name is the one of this life."""
    return life == life_of(record) or (any(each.life == life for each in record.lives) and ended(record, life) is None)


def is_replaced_there(incoming: Incoming, record: Record | None) -> bool:
    """Whether the document that came from there is gone there, and the one that was read again has its name now."""
    if record is None or is_of_life(record, incoming.event.life or FIRST):
        return False
    life = life_of(record)
    return came_from_there(incoming, record) and (life == FIRST or hlc.made_at(life, incoming.producer_site))


def was_taken_away(incoming: Incoming, record: Record | None) -> bool:
    """Whether the document was deleted here because its producer had none of that name when all were read again.

    It may have had another one by then.
    """
    return record is not None and NO_LOG in record.seen and hlc.made_at(record.clock, incoming.producer_site)


def was_deleted_here(incoming: Incoming, record: Record | None) -> bool:
    """Whether the document was deleted, and not by the producer, for which it lives."""
    if record is None or record.deleted_at is None or not is_of_life(record, before(incoming.event)[1] or FIRST):
        return False
    return not hlc.made_at(record.clock, incoming.producer_site)


def came_from_there(incoming: Incoming, record: Record) -> bool:
    """Whether what is remembered is of the producer's document, and not of another one with that name."""
    return incoming.log in record.seen or record.source == incoming.source
