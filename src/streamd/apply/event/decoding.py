"""Decodes events as they arrive. What a peer sends is not trusted to have the right shape.

What comes through a Document Type Mapping is in our fields from here on; names are still the producer's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from streamd.apply.event.incoming import Incoming
from streamd.apply.source import Source
from streamd.identity import id_of
from streamd.model import Catalogue, Difference, DocumentId, DocumentType, Event, Link, Name, Operation, Row
from streamd.wire import decoder, read_json

_read_difference = decoder(Difference)

DELETE = "delete"


def read_difference(data: msgspec.Raw) -> Difference:
    """The data of an update. Raises `msgspec.DecodeError`."""
    difference: Difference = _read_difference(bytes(data))
    return difference


def decode(event: Event, source: Source, log: str, catalogue: Catalogue) -> Incoming:
    """An event with its data as values; data that cannot be read is None, and the event will be parked for it."""
    data: Any
    try:
        data = read_difference(event.data) if event.operation == Operation.UPDATE else read_json(bytes(event.data))
    except msgspec.DecodeError:
        data = None
    working = _with_birth(_in_our_words(event, source), source)
    if isinstance(data, Difference) and data.whole:
        working = msgspec.structs.replace(working, enters=True)
    doctype = catalogue.get(working.doctype)
    mapped = source.mapped.get(event.doctype)
    if event.operation == Operation.CREATE and doctype is not None:
        sound = is_document(doctype, data) if mapped is None else mapped.is_document(data)
        data = data if sound else None
    fault = "" if doctype is None or event.operation == Operation.GAP else _fault(doctype, working)
    if fault:
        data = None
    elif doctype is not None and data is not None and source.mapped:
        data = _our_fields(event, source, doctype, data)
    return Incoming(
        working,
        data,
        source.site,
        log,
        fault=fault,
        arrived=None if working is event else event,
        delete_on_leave=source.on_leave.get(working.doctype) == DELETE,
    )


def is_document(doctype: DocumentType, data: Any) -> bool:
    """Whether data has the shape of a document of this type: columns, and lists of rows under its child fields."""
    if not isinstance(data, dict):
        return False
    for child in doctype.children:
        rows = data.get(child.field)
        if rows is not None and not (isinstance(rows, list) and all(isinstance(row, dict) for row in rows)):
            return False
    return True


def _with_birth(event: Event, source: Source) -> Event:
    """The event with the site where its document was made, where documents are named here."""
    id = id_of(event)
    if event.doctype not in source.renamed or id.site or event.operation == Operation.GAP:
        return event
    return msgspec.structs.replace(event, id=DocumentId(id.name, id.clock, event.birth or source.site))


def _in_our_words(event: Event, source: Source) -> Event:
    """The event, and the documents that it speaks of, under the types that these are here."""
    if not source.mapped:
        return event
    mapped = source.mapped.get(event.doctype)
    rows = event.rows
    if mapped is not None:
        rows = {mapped.children[there].local.field: said for there, said in rows.items() if there in mapped.children}
    links = tuple(msgspec.structs.replace(each, doctype=source.local(each.doctype)) for each in event.links)
    return msgspec.structs.replace(event, doctype=source.local(event.doctype), links=links, rows=rows)


def _fault(doctype: DocumentType, event: Event) -> str:
    """What makes an event unusable here, whatever the database holds; or nothing."""
    for name in (event.name, event.renamed_from):
        if name is not None and len(name) != len(doctype.key):
            return (
                f"{doctype.name} is named by {', '.join(doctype.key)} here, and by {len(name)} values at the producer: "
                "declare the same key at both sites"
            )
    if doctype.single and (event.name != doctype.only_name or event.renamed_from is not None):
        return f"{doctype.name} is a single: its one document is named as the type is, always"
    if doctype.single and event.operation == Operation.DELETE:
        return f"{doctype.name} is a single, which cannot be deleted"
    return ""


def _our_fields(event: Event, source: Source, doctype: DocumentType, data: Any) -> Any:
    """The data of an event in our fields; the types that dynamic links name are called as they are here."""
    mapped = source.mapped.get(event.doctype)
    if event.operation == Operation.CREATE:
        if mapped is not None:
            data = _placed(doctype, mapped.document(data), event.name)
        _call_types(source, doctype.links, [data])
        for child in doctype.children:
            _call_types(source, child.links, data.get(child.field) or ())
    elif isinstance(data, Difference):
        if mapped is not None:
            data = mapped.difference(data)
        _call_types(source, doctype.links, [data.changed, data.old.changed])
        for child in doctype.children:
            for rows in (data.added, data.row_changed, data.old.row_changed, data.old.removed):
                _call_types(source, child.links, rows.get(child.field, ()))
            for rows in (data.added, data.old.removed):
                if mapped is not None and child.field in rows:
                    rows[child.field] = [
                        row | dict(zip(child.parent_key, event.name, strict=True)) for row in rows[child.field]
                    ]
    elif mapped is not None and event.operation == Operation.DELETE:
        data = mapped.deletion(data)
    return data


def _placed(doctype: DocumentType, data: Row, name: Name) -> Row:
    """A mapped document with its key, and its child rows with the way to it."""
    placed: Row = data | dict(zip(doctype.key, name, strict=True))
    for child in doctype.children:
        if placed.get(child.field):
            parent = dict(zip(child.parent_key, name, strict=True))
            placed[child.field] = [row | parent for row in placed[child.field]]
    return placed


def _call_types(source: Source, links: Iterable[Link], rows: Iterable[Row]) -> None:
    for column in _type_columns(links):
        for row in rows:
            if isinstance(row.get(column), str):
                row[column] = source.local(row[column])


def _type_columns(links: Iterable[Link]) -> Iterator[str]:
    return (link.type_column for link in links if link.type_column is not None)
