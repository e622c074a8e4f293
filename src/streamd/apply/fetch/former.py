"""Finds documents that were read among those here, under names from before renames whose events are still on their way.

Such a document is moved to its new name, and takes what was read; else it would be here twice, and its rename would
find its name taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec

from streamd.apply.decide.remembering import came_from_there, is_of
from streamd.apply.decide.values import same_row
from streamd.apply.event.incoming import NAME, Incoming, Reading, ref_of
from streamd.apply.localnames.names import Names
from streamd.apply.segment import Segment
from streamd.apply.source import Ref
from streamd.apply.write.rowwrite import known
from streamd.db.base import Reader
from streamd.model import Catalogue, Document, DocumentType, Name, Record
from streamd.rows import split
from streamd.wire import FormerName


async def with_former_names(
    reader: Reader, names: Names, read: Sequence[Incoming], catalogue: Catalogue
) -> list[Incoming]:
    """These documents, in their order; those that are here under a former name as renamed from that."""
    named = [each for each in read if each.former and not each.fault]
    if not named:
        return list(read)
    await names.load(reader, named)
    # What has a name of this site's own is found by its id.
    named = [each for each in named if not names.renames(ref_of(each))]
    formerly = {_former(each, name) for each in named for name in each.former}
    await names.load(reader, refs=formerly)
    taken = await names.here(reader, map(ref_of, named))
    records, documents = await _here(reader, names, catalogue, formerly)
    found = []
    for each in read:
        doctype = catalogue.get(each.event.doctype)
        if doctype is not None and any(each is one for one in named) and ref_of(each) not in taken:
            each = _moved(each, doctype, documents, records)
        found.append(each)
    return found


async def without_room(reader: Reader, names: Names, read: Sequence[Incoming], catalogue: Catalogue) -> Incoming | None:
    """One of these documents that is here under a former name, and whose name another document has; None for none."""
    named = [each for each in read if each.former and not each.fault and each.event.renamed_from is None]
    named = [each for each in named if not names.renames(ref_of(each))]
    records, documents = await _here(
        reader, names, catalogue, {_former(each, name) for each in named for name in each.former}
    )
    for each in named:
        if _moved(each, catalogue[each.event.doctype], documents, records) is not each:
            return each
    return None


def _former(incoming: Incoming, former: FormerName) -> Ref:
    return incoming.event.doctype, former.name


async def _here(
    reader: Reader, names: Names, catalogue: Catalogue, refs: Iterable[Ref]
) -> tuple[dict[Ref, Record], dict[Ref, Document]]:
    """The documents that have these names at the producer, as far as they are here, and what is remembered of them."""
    by_type: dict[str, dict[Name, Ref]] = {}
    for ref in refs:
        local = names.local(ref)
        if local is not None:
            by_type.setdefault(ref[0], {})[local] = ref
    records: dict[Ref, Record] = {}
    documents: dict[Ref, Document] = {}
    for doctype, named in by_type.items():
        found = await Segment.documents(reader, catalogue[doctype], named)
        documents |= {named[name]: document for (_, name), document in found.items()}
        records |= {named[name]: record for name, record in (await reader.records(doctype, named)).items()}
    return records, documents


def _moved(
    incoming: Incoming, doctype: DocumentType, documents: Mapping[Ref, Document], records: Mapping[Ref, Record]
) -> Incoming:
    for place, former in enumerate(incoming.former):
        ref = _former(incoming, former)
        if ref in documents and _is_it(incoming, former, doctype, documents[ref], records.get(ref)):
            event = msgspec.structs.replace(incoming.event, renamed_from=former.name, id=incoming.id)
            clocks = {**incoming.field_clocks, NAME: incoming.former[0].clock}
            reading = replace(incoming.reading or Reading(), former=incoming.former[: place + 1])
            return replace(incoming, event=event, reading=reading, field_clocks=clocks)
    return incoming


def _is_it(
    incoming: Incoming, former: FormerName, doctype: DocumentType, here: Document, record: Record | None
) -> bool:
    """Whether the document here is the one that had this name there until the rename."""
    if record is None or record.is_only_made:
        # It came with a copy of the database: then all but its name is the same.
        fields, _ = split(doctype, incoming.data)
        there = {column: value for column, value in known(doctype, fields).items() if column not in doctype.key}
        return bool(there) and same_row(doctype, there, here.fields)
    if record.deleted_at is not None or record.seen.get(incoming.log, 0) >= former.sequence:
        return False
    return is_of(record, incoming) and came_from_there(incoming, record)
