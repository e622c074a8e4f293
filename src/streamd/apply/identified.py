"""Which documents events are of, and what is remembered of their names once the events are written here."""

from __future__ import annotations

from collections.abc import Sequence

from streamd.apply.decide.decision import Decision
from streamd.apply.event.incoming import NAME, Incoming
from streamd.db.base import Reader
from streamd.identity import Identities, Identity, natural
from streamd.model import DocumentId, Event, Mark, Name, Origin


async def identities_of(reader: Reader, incoming: Sequence[Incoming]) -> Identities:
    """What is remembered of the documents of these events, and of those that have, or had, their names here."""
    found = Identities()
    if not await reader.has_identities():
        return found
    names: dict[str, set[Name]] = {}
    ids: dict[str, set[DocumentId]] = {}
    for each in incoming:
        event, kind = each.event, each.event.doctype
        names.setdefault(kind, set()).update(name for name in (event.name, event.renamed_from, each.id.name) if name)
        ids.setdefault(kind, set()).add(each.id)
    rows: dict[tuple[str, DocumentId], Identity] = {}
    for kind, some in names.items():
        known = await reader.identities(kind, some, ids[kind])
        # Of one that has another name here, what has that name now.
        further = {row.name for row in known} - some
        known += await reader.identities(kind, further) if further else []
        rows |= {(kind, row.id): row for row in known}
    return Identities(rows.values())


def names_here(incoming: Incoming, identities: Identities) -> set[Name]:
    """The names under which the event's document may be here."""
    event = incoming.event
    row = identities.row(event.doctype, incoming.id)
    found = {event.name, event.renamed_from, incoming.id.name, None if row is None else row.name}
    return {name for name in found if name is not None}


def noted(identities: Identities, decision: Decision, incoming: Incoming) -> DocumentId | None:
    """Note what becomes of a document's name here. Returns its id, where that is not the natural one of its name."""
    event, id = incoming.event, incoming.id
    # Of a document that was read, it is not known since when it is called so.
    named_at = incoming.field_clocks.get(NAME, event.clock if incoming.reading is None else "")
    for record in decision.records:
        row = identities.row(event.doctype, id)
        if record.deleted_at is not None:
            identities.put(Identity(event.doctype, id, record.name, record.clock, record.deleted_at))
        elif row is None or row.gone_at is not None or row.name != record.name:
            identities.put(Identity(event.doctype, id, record.name, named_at))
    if decision.forgotten and not incoming.by_id:
        identities.forget(event.doctype, id)
    return None if id == natural(event.renamed_from or event.name) else id


def mark_of(incoming: Incoming, id: DocumentId | None) -> Mark:
    event: Event = incoming.event
    origin = event.origin or Origin(incoming.producer_site, incoming.log, event.sequence, (incoming.producer_site,))
    return Mark(origin, event.clock, id, event.links, event.rows)
