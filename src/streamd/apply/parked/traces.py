"""Which documents a queue speaks of, and what each was called before it. Pure.

A queue is of one document, but the name that one gave up may be another one's by now: then it is of that one as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import msgspec

from streamd.apply.event.incoming import Incoming, without_former_name
from streamd.model import Difference, Name, Operation, QueuedEvent


@dataclass(slots=True)
class Trace:
    """A document of a queue: its name before all that is queued (None if it was made since), and its last one."""

    before: Name | None
    now: Name
    first: QueuedEvent


def traces(queue: Iterable[QueuedEvent]) -> list[Trace]:
    """The documents of a queue, as they come in it. One that is deleted and made again is the same one still."""
    found: list[Trace] = []
    named: dict[Name, Trace] = {}
    for each in queue:
        event = each.event
        old = event.renamed_from or event.name
        trace = named.pop(old, None)
        if trace is None:
            trace = Trace(None if event.operation == Operation.CREATE else old, event.name, each)
            found.append(trace)
        trace.now = event.name
        named[event.name] = trace
    return found


def renamed_names(queue: Iterable[QueuedEvent]) -> set[Name]:
    """The names, old and new, of those documents of these queues that were renamed in them."""
    found: set[Name] = set()
    named: dict[Name, set[Name]] = {}
    for each in queue:
        event = each.event
        old = event.renamed_from or event.name
        names = named.pop(old, set()) | {old, event.name}
        named[event.name] = names
        if len(names) > 1:
            found |= names
    return found


def taken_whole(trace: Trace, whole: Incoming, others: Iterable[Trace], *, moves: bool, repair: bool) -> list[Incoming]:
    """What makes the document what was fetched of it. Where it `moves`, the one with its older name is renamed first.

    So it stays one document. With `repair` nothing is taken that is newer here. What has a name by now that another one
    of the queue gave up is not that other one.
    """
    anew = trace.before is None and any(other.before == trace.now for other in others)
    # What it was called before is known from the queue.
    whole = without_former_name(whole)
    taken = replace(whole, overwrite=not repair, repair=repair, fetched=not anew)
    if not moves:
        return [taken]
    event = msgspec.structs.replace(
        whole.event,
        operation=Operation.UPDATE,
        renamed_from=trace.before,
        sequence=trace.first.event.sequence,
        id=whole.id,
    )
    return [replace(whole, event=event, data=Difference(), fetched=False), taken]
