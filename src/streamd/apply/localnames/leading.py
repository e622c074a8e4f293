"""Finds under which name the document of an event is here by now. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from streamd.apply.event.incoming import NAME, Incoming
from streamd.apply.event.moving import moved
from streamd.apply.source import Ref
from streamd.lives import FIRST, before, begun, ended, is_over, life_at, life_of
from streamd.model import DocumentType, Event, Life, Name, Operation, Record


def led(incoming: Incoming, doctype: DocumentType, records: Mapping[Ref, Record]) -> Incoming:
    """The event under the name that its document has here now.

    The document may have been renamed here, and its name may be another one's by now: which document is meant its life
    tells. Where that is deleted, the event is of one that is `gone`.
    """
    event = incoming.event
    name, life = before(event)[0], before(event)[1] or FIRST
    record = records.get((event.doctype, name))
    found = incoming
    if _makes_another(incoming, record, life):
        return incoming
    passed: set[tuple[Name, str]] = set()
    while record is not None and (name, life) not in passed:
        passed.add((name, life))
        over = ended(record, life)
        if over is None and record.renamed_to is None:
            break
        if over is not None and over.became is None:
            found = replace(found, gone=not _is_needed(incoming))
            break
        now, clock = _next(record, over)
        found = _followed(found, now, clock)
        name, record = now, records.get((event.doctype, now))
        life = life_at(record, clock)
    if found.gone:
        life = before(event)[1] or FIRST
    return _moved(_in_life(found, life), doctype, event)


def in_known_life(incoming: Incoming, records: Mapping[Ref, Record]) -> Incoming:
    """The event with the lives of its names, also where it does not say them.

    It is of the document that has the name here; one that is made under a name that was given up, or is renamed, begins
    a life, as it would where it was made.
    """
    event = incoming.event
    life, old_life = event.life, event.old_life
    if event.renamed_from is not None:
        old_life = life_of(records.get((event.doctype, event.renamed_from))) if old_life is None else old_life
        life = incoming.clock_of(NAME) if life is None else life
    elif incoming.named_here:
        life = event.clock if (event.doctype, event.name) in records else FIRST
    elif life is None:
        record = records.get((event.doctype, event.name))
        begins = record is not None and is_over(record) and _makes_another(incoming, record, life_of(record))
        life = event.clock if begins else life_of(record)
    if (life, old_life) == (event.life, event.old_life):
        return incoming
    return replace(incoming, event=msgspec.structs.replace(event, life=life, old_life=old_life))


def _next(record: Record, over: Life | None) -> tuple[Name, str]:
    """The name that a document got which had this one, and when."""
    now, clock = (record.renamed_to, record.clock) if over is None else (over.became, over.until)
    assert now is not None  # noqa: S101  # one of the two
    return now, clock


def _is_needed(incoming: Incoming) -> bool:
    """Whether it came because another document links to it; what has its name will do for that."""
    return incoming.event.operation == Operation.CREATE and not incoming.repair and not incoming.overwrite


def _makes_another(incoming: Incoming, record: Record | None, life: str) -> bool:
    """Whether the event makes a document of its own, whatever was known under its name.

    It is of an older one if its life is over here; or, where nothing is said of lives, if it comes by another way than
    the rename did: from one log, it would have come before that.
    """
    event = incoming.event
    if event.operation != Operation.CREATE or incoming.fetched:
        return False
    if record is None or ended(record, life) is not None:
        return record is None
    if life != life_of(record) or record.renamed_to is None or record.source != incoming.source:
        return True
    origin = event.origin
    had_it = origin is not None and record.seen.get(origin.log, 0) >= origin.sequence
    return incoming.log in record.seen and not had_it


def _followed(incoming: Incoming, now: Name, clock: str) -> Incoming:
    """The event of a document that was renamed here, at `clock`, under the name that it has here `now`.

    Where both sites renamed it, the later rename wins at both.
    """
    event = incoming.event
    if event.renamed_from is not None and event.name != now and incoming.clock_of(NAME) > clock:
        changed = msgspec.structs.replace(event, renamed_from=now)
    else:
        changed = msgspec.structs.replace(event, renamed_from=None, name=now, old_life=None)
    return replace(incoming, event=changed)


def _moved(found: Incoming, doctype: DocumentType, event: Event) -> Incoming:
    """The event with its data as of the names that its document has here; it was `event` when it came."""
    now = found.event
    old, (here, _) = before(event)[0], before(now)
    if (old, event.name) == (here, now.name):
        return found
    if event.renamed_from is not None and now.renamed_from is None:
        found = replace(found, lost_name=event.name, lost_life=event.life or FIRST)
    found = replace(found, arrived=found.arrived or event)
    return moved(found, doctype, {event.name: now.name, old: here})


def _in_life(incoming: Incoming, life: str) -> Incoming:
    """The event as one of this life of its document's name here."""
    if before(incoming.event)[1] == life:
        return incoming
    change = {"life": life} if incoming.event.renamed_from is None else {"old_life": life}
    return replace(incoming, event=msgspec.structs.replace(incoming.event, **change))


def began_here(made: Record, event: Event, known_before: Record | None) -> None:
    """Note in the record of a document that was given its name here that another document may have had that before."""
    made.lives = begun(known_before, made.name, event.life or FIRST, event.clock)
