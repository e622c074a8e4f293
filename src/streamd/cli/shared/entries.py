"""Entries as `streamd log` lists and shows them, whichever log or queue they come from, and their ids.

`u12` is an entry of the Event Update Log, `p12` a parked or held event, and `12` an entry of the Event Sync
Log. An entry of the sync log whose event is still kept back goes by the id of that event, since that is what can be
resynced or discarded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from streamd.errors import NotFound, StreamdError
from streamd.model import (
    LogEntry,
    Name,
    QueuedEvent,
    QueueState,
    SyncEntry,
    SyncStatus,
    name_from_text,
    name_label,
    name_text,
)

_ID = re.compile(r"([up]?)([0-9]{1,18})", re.ASCII)
UPDATE, PARKED, SYNC = "u", "p", ""

EventKey = tuple[str, str, str, int]
"""Producer, type, name as text and sequence: what tells which event a sync entry is about."""


@dataclass(frozen=True, slots=True)
class EntryId:
    """An id as a person typed it."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind}{self.number}"


def parse_id(text: str) -> EntryId:
    """Raises `NotFound` for what is no id at all."""
    match = _ID.fullmatch(text.strip().lower())
    if match is None:
        raise NotFound(f"{text} is no id of a log entry", hint="ids are written 12, u12 or p12: see `streamd log`")
    return EntryId(match[1], int(match[2]))


def possible_names(text: str) -> list[Name]:
    """The names that a person may mean: `12` is the number or the text, `AB, 2024` the two columns, or one."""
    if text.startswith("["):
        try:
            return [name_from_text(text)]
        except msgspec.DecodeError:
            pass
    found: list[Name] = []
    for parts in ([text], [part.strip() for part in text.split(",")]):
        options: list[Name] = [()]
        for part in parts:
            values: list[Any] = [int(part), part] if re.fullmatch(r"-?[0-9]{1,18}", part) else [part]
            options = [(*option, value) for option in options for value in values]
        found += [option for option in options if option not in found]
    return found


def update_row(entry: LogEntry) -> dict[str, Any]:
    """An entry of the update log, as it is listed and printed as JSON."""
    return {
        "id": f"{UPDATE}{entry.sequence}",
        "sequence": entry.sequence,
        "at": entry.at,
        "update_type": entry.operation.capitalize(),
        "doctype": entry.doctype,
        "docname": label(entry.name),
        "renamed_from": label(entry.renamed_from) if entry.renamed_from else None,
        "from_here": entry.origin is None,
    }


def sync_row(entry: SyncEntry, kept: QueuedEvent | None = None) -> dict[str, Any]:
    """An entry of the sync log. `kept` is its event where that is still parked or held."""
    return {
        "id": f"{PARKED}{kept.id}" if kept is not None else str(entry.id),
        "at": entry.at,
        "update_type": entry.update_type.capitalize(),
        "status": status_of(kept) if kept is not None else entry.status,
        "doctype": entry.doctype,
        "producer": entry.producer,
        "docname": label(entry.docname),
        "remote_docname": label(entry.remote_docname),
        "use_same_name": entry.use_same_name,
        "sequence": entry.sequence,
        "error": kept.error if kept is not None else entry.error,
        "note": entry.note,
    }


def kept_row(kept: QueuedEvent, producer: str) -> dict[str, Any]:
    """A parked or held event, in the words of the sync log. `producer` is its name in the configuration."""
    event = kept.event
    return {
        "id": f"{PARKED}{kept.id}",
        "at": kept.parked_at,
        "update_type": event.operation.capitalize(),
        "status": status_of(kept),
        "doctype": kept.doctype,
        "producer": producer,
        "docname": name_label(event.name),
        "remote_docname": name_label(event.name),
        "use_same_name": True,
        "sequence": event.sequence,
        "error": kept.error,
        "note": "",
        "attempts": kept.attempts,
        "next_try_at": kept.retry_at or None,
        "waits_for": f"{kept.waits_for[0]} {label(kept.waits_for[1])}" if kept.waits_for else None,
        "request": kept.request or None,
    }


def status_of(kept: QueuedEvent) -> str:
    """What the sync log calls it."""
    return SyncStatus.FAILED.value if kept.state == QueueState.PARKED else SyncStatus.HELD.value


def kept_by_event(queue: Iterable[QueuedEvent], producers: Mapping[str, str]) -> dict[EventKey, QueuedEvent]:
    """The queue, by what the sync log says of an event. `producers` are the names of producers, by their UUIDs."""
    return {
        (producers.get(each.producer, ""), each.doctype, name_text(each.event.name), each.event.sequence): each
        for each in queue
    }


def event_of(entry: SyncEntry) -> EventKey:
    return (entry.producer, entry.doctype, entry.remote_docname, entry.sequence)


def label(text: str) -> str:
    """A stored name as people read it."""
    try:
        return name_label(name_from_text(text))
    except msgspec.DecodeError:
        return text


def choose(
    id: EntryId, queue: Iterable[QueuedEvent], entry: SyncEntry | None, producers: Mapping[str, str]
) -> QueuedEvent:
    """The parked or held event that an id means. `entry` is the sync log's entry of that number, if there is one.

    `producers` are the names of producers, by their UUIDs.

    A bare number may be a parked event's, or that of the sync log's entry about one. Raises `NotFound`, and
    `StreamdError` where it could be two different ones.
    """
    events = list(queue)
    found = [each for each in events if each.id == id.number]
    if id.kind == UPDATE:
        found = []
    elif id.kind == SYNC and entry is not None:
        about = kept_by_event(events, producers).get(event_of(entry))
        if about is not None and about not in found:
            found.append(about)
    if not found:
        raise NotFound(
            f"no event {id} is parked or held here", hint="see `streamd log syncs --status failed` (ids like p12)"
        )
    if len(found) > 1:
        both = " or ".join(f"{PARKED}{each.id} ({each.doctype} {name_label(each.event.name)})" for each in found)
        raise StreamdError(f"{id} may be {both}", hint="say which, with the p")
    return found[0]
