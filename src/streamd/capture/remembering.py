"""What is remembered of documents that this site's own users change: when which fields were edited."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from streamd.capture.formed import Edit, Formed
from streamd.common import clock as hlc
from streamd.db.base import Reader
from streamd.lives import begun, is_over, life_at
from streamd.model import DocumentType, Name, Operation, Record, name_from_text
from streamd.rows import clocks_under


async def records_of(reader: Reader, documents: Iterable[tuple[str, Name]]) -> dict[tuple[str, Name], Record]:
    by_type: dict[str, list[Name]] = {}
    for doctype, name in documents:
        by_type.setdefault(doctype, []).append(name)
    found = {}
    for doctype, names in by_type.items():
        for name, record in (await reader.records(doctype, names)).items():
            found[(doctype, name)] = record
    return found


def latest(record: Record) -> str:
    return hlc.latest((record.clock, *record.field_clocks.values(), *(each.since for each in record.lives)))


def remember(
    records: dict[tuple[str, Name], Record], edits: Iterable[Edit], site: str, doctypes: Mapping[str, DocumentType]
) -> list[Record]:
    """The records that say when this site's own users edited which fields. Changes `records`."""
    touched: dict[tuple[str, Name], Record] = {}
    for edit in edits:
        key = (edit.doctype, edit.name)
        record = records.get(key)
        if edit.operation == Operation.CREATE and (record is None or is_over(record)):
            records[key] = touched[key] = _made(record, edit, site)
            continue
        # A create of a document that is there replaced its row: so all of its fields were edited.
        if edit.renamed_from is not None:
            lives = begun(record, edit.name, edit.clock, edit.clock)
            old = records.get((edit.doctype, edit.renamed_from))
            gone = Record(
                edit.doctype, edit.renamed_from, site, edit.renamed_from, clock=edit.clock, renamed_to=edit.name
            )
            if old is None:
                record = Record(edit.doctype, edit.name, site, edit.name)
            else:
                clocks = clocks_under(doctypes[edit.doctype], old.field_clocks, {edit.renamed_from: edit.name})
                record = Record(edit.doctype, edit.name, old.source, old.remote_name, old.clock, clocks, old.seen)
                gone.source, gone.remote_name, gone.seen, gone.lives = old.source, old.remote_name, old.seen, old.lives
            record.lives = lives
            records[(edit.doctype, edit.renamed_from)] = touched[(edit.doctype, edit.renamed_from)] = gone
        if record is None:
            record = Record(edit.doctype, edit.name, site, edit.name)
        if edit.operation == Operation.DELETE:
            record.clock, record.field_clocks, record.deleted_at = edit.clock, {}, edit.at
        for fieldname in edit.fields:
            record.field_clocks[fieldname] = edit.clock
        records[key] = touched[key] = record
    return list(touched.values())


def _made(record: Record | None, edit: Edit, site: str) -> Record:
    """What is remembered of a document that was made here, maybe under the name of one that is gone."""
    if record is None:
        return Record(edit.doctype, edit.name, site, edit.name, edit.clock)
    lives = begun(record, edit.name, edit.clock, edit.clock)
    return Record(edit.doctype, edit.name, site, edit.name, edit.clock, seen=record.seen, lives=lives)


def say_lives(formed: Formed, records: Mapping[tuple[str, Name], Record], remembered: frozenset[str]) -> None:
    """Write into the entries of this site's own changes of which lives their names are."""
    for entry in formed.entries:
        if entry.origin is not None or entry.doctype not in remembered:
            continue
        entry.life = life_at(records.get((entry.doctype, name_from_text(entry.name))), entry.clock)
        if entry.renamed_from is not None:
            entry.old_life = life_at(records.get((entry.doctype, name_from_text(entry.renamed_from))), entry.clock)
