"""What is remembered of documents that this site's own users change: when which fields were edited."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streamd.capture.formed import Edit
from streamd.common import clock as hlc
from streamd.common.values import names_by_type
from streamd.db.base import Reader
from streamd.identity import Identities
from streamd.model import DocumentType, Name, Operation, Record
from streamd.rows import clocks_under


async def records_of(reader: Reader, documents: Iterable[tuple[str, Name]]) -> dict[tuple[str, Name], Record]:
    found = {}
    for doctype, names in names_by_type(documents).items():
        for name, record in (await reader.records(doctype, names)).items():
            found[(doctype, name)] = record
    return found


async def without_document(reader: Reader, refs: Iterable[tuple[str, Name]]) -> set[tuple[str, Name]]:
    """The names that documents had and none has now, as far as it is remembered: they were deleted, or renamed."""
    found = set()
    for doctype, names in names_by_type(refs).items():
        identities = Identities(await reader.identities(doctype, names))
        found |= {(doctype, name) for name in names if identities.of(doctype, name) is None}
        records = await reader.records(doctype, names)
        found |= {(doctype, name) for name, record in records.items() if record.deleted_at is not None}
    return found


def latest(record: Record) -> str:
    """The last clock of all that is remembered of a document."""
    return hlc.latest((record.clock, *record.field_clocks.values()))


def remember(
    records: dict[tuple[str, Name], Record], edits: Iterable[Edit], site: str, doctypes: Mapping[str, DocumentType]
) -> tuple[list[Record], list[tuple[str, Name]]]:
    """The records that say when this site's own users edited which fields, and the names that documents gave up.

    Changes `records`.
    """
    touched: dict[tuple[str, Name], Record] = {}
    freed: set[tuple[str, Name]] = set()
    for edit in edits:
        key = (edit.doctype, edit.name)
        record = records.get(key)
        if edit.operation == Operation.CREATE and (record is None or record.deleted_at is not None):
            seen = {} if record is None else record.seen
            records[key] = touched[key] = Record(edit.doctype, edit.name, site, edit.name, edit.clock, seen=seen)
            continue
        # A create of a document that is there replaced its row: so all of its fields were edited.
        if edit.renamed_from is not None:
            before = (edit.doctype, edit.renamed_from)
            old = records.pop(before, None)
            touched.pop(before, None)
            freed.add(before)
            record = Record(edit.doctype, edit.name, site, edit.name)
            if old is not None:
                clocks = clocks_under(doctypes[edit.doctype], old.field_clocks, {edit.renamed_from: edit.name})
                record = Record(edit.doctype, edit.name, old.source, old.remote_name, old.clock, clocks, old.seen)
        if record is None:
            record = Record(edit.doctype, edit.name, site, edit.name)
        if edit.operation == Operation.DELETE:
            record.clock, record.field_clocks, record.deleted_at = edit.clock, {}, edit.at
        for fieldname in edit.fields:
            record.field_clocks[fieldname] = edit.clock
        records[key] = touched[key] = record
    return list(touched.values()), [ref for ref in freed if ref not in touched]
