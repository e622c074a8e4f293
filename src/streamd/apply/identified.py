"""Which documents events are of, and what is remembered of their names once the events are written here."""

from __future__ import annotations

from collections.abc import Iterable

from streamd.apply.decide.decision import Decision
from streamd.apply.event.incoming import NAME, Incoming
from streamd.apply.source import Ref
from streamd.db.base import Reader
from streamd.identity import Identities, Identity, natural
from streamd.model import DocumentId, Event, Mark, Name, Origin


async def identities_of(reader: Reader, incoming: Iterable[Incoming], refs: Iterable[Ref]) -> Identities:
    """What is remembered of the names of these documents, here as `refs`, and of those that events mean."""
    if not await reader.has_identities():
        return Identities()
    names: dict[str, set[Name]] = {}
    ids: dict[str, set[DocumentId]] = {}
    for doctype, name in refs:
        names.setdefault(doctype, set()).add(name)
    for each in incoming:
        names.setdefault(each.event.doctype, set()).add(each.event.name)
        ids.setdefault(each.event.doctype, set()).add(each.id)
    return Identities(
        [row for doctype, some in names.items() for row in await reader.identities(doctype, some, ids.get(doctype, ()))]
    )


def noted(identities: Identities, decision: Decision, incoming: Incoming) -> DocumentId | None:
    """Note what becomes of a document's name here. Returns the document's id, where it is not its name's natural one.

    What has got a name of this site's own is known here by that.
    """
    event = incoming.event
    id = incoming.id
    if incoming.named_here:
        id = identities.made(event.doctype, event.name, event.clock)
    elif incoming.by_counterpart:
        id = identities.of(event.doctype, event.name) or natural(event.name)
    for record in decision.records:
        row = identities.row(event.doctype, id)
        if record.deleted_at is not None:
            identities.put(Identity(event.doctype, id, record.name, record.clock, record.deleted_at))
        elif record.renamed_to is None and (row is None or row.gone_at is not None or row.name != record.name):
            identities.put(Identity(event.doctype, id, record.name, incoming.clock_of(NAME)))
    if decision.forgotten:
        identities.forget(event.doctype, id)
    return None if id == natural(event.name) else id


def mark_of(incoming: Incoming, id: DocumentId | None) -> Mark:
    event: Event = incoming.event
    origin = event.origin or Origin(incoming.producer_site, incoming.log, event.sequence, (incoming.producer_site,))
    return Mark(origin, event.clock, event.life, event.old_life, id, event.links)
