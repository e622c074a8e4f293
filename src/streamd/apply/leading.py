"""Finds under which name the document of an event is here by now. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from streamd.apply.incoming import NAME, Incoming
from streamd.apply.source import Ref
from streamd.lives import FIRST, before, begun, ended, life_at, life_of
from streamd.model import Name, Operation, Record


def led(incoming: Incoming, records: Mapping[Ref, Record]) -> Incoming:
    """The event under the name that its document has here now.

    The document may have been renamed here, and its name may be another one's by now: which document is meant its life
    tells. Where that is deleted, the event is of one that is `gone`.
    """
    event = incoming.event
    name, life = before(event)
    record = records.get((event.doctype, name))
    if incoming.by_counterpart:
        # Whose lives these are is said of the name that it has there.
        incoming, life = _in_life(incoming, life_of(record)), life_of(record)
    if event.operation == Operation.CREATE and not incoming.fetched:
        return incoming
    passed: set[tuple[Name, str]] = set()
    while record is not None and (name, life) not in passed:
        passed.add((name, life))
        over = ended(record, life)
        if over is None and record.renamed_to is None:
            break
        if over is not None and over.became is None:
            return incoming if event.operation == Operation.CREATE else replace(incoming, gone=True)
        now, clock = (record.renamed_to, record.clock) if over is None else (over.became, over.until)
        assert now is not None  # noqa: S101  # one of the two
        incoming = _followed(incoming, now, clock)
        name, record = now, records.get((event.doctype, now))
        life = life_at(record, clock)
    if event.renamed_from is not None and incoming.event.renamed_from is None and incoming.event.name != event.name:
        incoming = replace(incoming, lost_name=event.name, lost_life=event.life)
    return _in_life(incoming, life)


def _followed(incoming: Incoming, now: Name, clock: str) -> Incoming:
    """The event of a document that was renamed here, at `clock`, under the name that it has here `now`.

    Where both sites renamed it, the later rename wins at both.
    """
    event = incoming.event
    if event.renamed_from is not None and event.name != now and incoming.clock_of(NAME) > clock:
        changed = msgspec.structs.replace(event, renamed_from=now)
    else:
        changed = msgspec.structs.replace(event, renamed_from=None, name=now, old_life=FIRST)
    return replace(incoming, event=changed)


def _in_life(incoming: Incoming, life: str) -> Incoming:
    """The event as one of this life of its document's name here."""
    if before(incoming.event)[1] == life:
        return incoming
    change = {"life": life} if incoming.event.renamed_from is None else {"old_life": life}
    return replace(incoming, event=msgspec.structs.replace(incoming.event, **change))


def began_here(made: Record, known_before: Record | None) -> Record:
    """What is remembered of a document that was given its name here: another document may have had it before."""
    if known_before is not None:
        made.lives = begun(known_before, made.name, made.clock, made.clock)
    return made
