"""Which documents queued events are of, and which of them are tried together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from typing import TypeVar

import msgspec

from streamd.apply.source import Ref
from streamd.identity import id_of
from streamd.model import DocumentId, Name, QueuedEvent

MOST = 50
"""Documents of one type that are tried together."""

FEW = 10
"""So many, and parts of them are tried as well."""

Each = TypeVar("Each")


def by_document(queue: Sequence[QueuedEvent]) -> dict[tuple[str, Ref], list[QueuedEvent]]:
    """Queues by producer and document, however it was renamed; after an exchange of names, as the ids say."""
    found: dict[tuple[str, Ref], list[QueuedEvent]] = {}
    now_named: dict[tuple[str, Ref], tuple[str, Ref]] = {}
    for each in queue:
        document = (each.producer, (each.doctype, each.event.renamed_from or each.event.name))
        first = now_named.get(document, document)
        id = id_of(each.event)
        if first in found and id_of(found[first][0].event) != id:
            first = (each.producer, (each.doctype, id.name))
        found.setdefault(first, []).append(each)
        now_named[(each.producer, (each.doctype, each.event.name))] = first
    return found


def documents_of(queue: Iterable[QueuedEvent]) -> list[Ref]:
    """The documents of one queue under their last names. A name that one gave up may be another one's since."""
    named: dict[DocumentId, Ref] = {}
    for each in queue:
        # Not each event says at which site its document was made.
        id = msgspec.structs.replace(id_of(each.event), site="")
        named[id] = (each.doctype, each.event.name)
    return list(dict.fromkeys(named.values()))


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


def groupings(parked: Sequence[Each]) -> Iterator[list[Each]]:
    """Parked documents that may each wait for a value of another one: all of them, then parts of a few.

    A part is all but one, or any two: some may be refused for another reason.
    """
    some = list(parked[:MOST])
    if len(some) > 1:
        yield some
    if 2 < len(some) <= FEW:
        if len(some) > 3:
            yield from (some[:place] + some[place + 1 :] for place in range(len(some)))
        yield from map(list, combinations(some, 2))
