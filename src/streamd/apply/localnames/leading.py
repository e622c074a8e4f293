"""Finds under which name the document of an event is here. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from streamd.apply.decide.remembering import came_from_there
from streamd.apply.event.incoming import NAME, Incoming
from streamd.apply.event.moving import moved
from streamd.apply.source import Ref
from streamd.identity import Identities, Identity, natural
from streamd.model import Document, DocumentType, Event, Name, Operation, Record


def led(
    incoming: Incoming,
    doctype: DocumentType,
    identities: Identities,
    there: tuple[Mapping[Ref, Document], Mapping[Ref, Record]],
) -> Incoming:
    """The event under the name that its document has here, which its id tells. `there` is what is here, by names.

    Where that is deleted, and its name is another one's by now, the event is of one that is `gone`.
    """
    event, id = incoming.event, incoming.id
    row = identities.row(event.doctype, id)
    documents, records = there
    if row is not None and row.gone_at is not None and _is_anothers(row, documents, records):
        return incoming if _is_needed(incoming) else replace(incoming, gone=True)
    here = _name_here(incoming, row, identities, records)
    if here is None:
        return incoming
    changes = _called(event, here, wins=row is None or incoming.clock_of(NAME) >= row.clock)
    if changes == (event.renamed_from, event.name):
        return incoming
    found = replace(
        incoming,
        event=msgspec.structs.replace(event, renamed_from=changes[0], name=changes[1], id=id),
        arrived=incoming.arrived or event,
    )
    return moved(found, doctype, {event.name: changes[1], (event.renamed_from or event.name): here})


def _is_anothers(gone: Identity, documents: Mapping[Ref, Document], records: Mapping[Ref, Record]) -> bool:
    """Whether another document has, or had, the name of one that is gone."""
    record = records.get((gone.doctype, gone.name))
    had_it = record is not None and (record.id or natural(record.name)) != gone.id
    return had_it or (gone.doctype, gone.name) in documents


def _name_here(
    incoming: Incoming, row: Identity | None, identities: Identities, records: Mapping[Ref, Record]
) -> Name | None:
    """The name that the event's document has here, or had last; None where it is not known here.

    Of a natural id there may be one document at each site: a name is no proof where the document never came from there.
    """
    event, id = incoming.event, incoming.id
    if (row is None and id != natural(id.name)) or (
        row is not None and row.gone_at is not None and incoming.reading is not None
    ):
        return None
    name = id.name if row is None else row.name
    if name == (event.renamed_from or event.name):
        return name
    record = records.get((event.doctype, name))
    if row is None and (event.enters or identities.of(event.doctype, name) != id):
        # What is taken whole has its new name there by a rename that is still to come.
        return None
    is_proven = record is not None and came_from_there(incoming, record)
    has_to_be = row is None or (event.operation == Operation.CREATE and id == natural(id.name))
    return None if has_to_be and not is_proven else name


def _called(event: Event, here: Name, *, wins: bool) -> tuple[Name | None, Name]:
    """From which name to which the event renames a document that is called `here`; where both sites do, the later."""
    if event.renamed_from is None or event.name == here or not wins:
        return None, here
    return here, event.name


def _is_needed(incoming: Incoming) -> bool:
    """Whether it came because another document links to it; what has its name will do for that."""
    return incoming.event.operation == Operation.CREATE and not (incoming.repairs or incoming.overwrites)
