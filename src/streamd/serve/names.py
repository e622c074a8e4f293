"""What a consumer itself calls the documents of an event, or of an answer, where it has other names for them.

Where a document here has a counterpart at the consumer's site, it is said by what name the consumer knows it, and by
what keys its child rows: for the document itself, and for each one that it links to. So an edit of a document that came
from the consumer goes back to the consumer's own one. To a consumer that names documents itself that is said of every
document that came from it: of one that kept its name, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

import msgspec

from streamd.db.base import RawDocument, Reader
from streamd.identity import Identities, id_of, natural
from streamd.model import (
    Catalogue,
    ChildTable,
    Counterpart,
    Difference,
    DocumentId,
    DocumentType,
    Event,
    Link,
    LogEntry,
    Name,
    Operation,
    OwnName,
    Row,
    name_from_text,
)
from streamd.rows import document_links, linked, name_in, split
from streamd.wire import FetchedDocument, read_json

Key = tuple[str, Name]
Asked = tuple[str, Name, DocumentId | None]
"""A document that is asked for by the name that it had; None where no document had the name."""

Keys = Mapping[str, Sequence[Name]]
"""By field, the keys of child rows."""

_DIFFERENCE = msgspec.json.Decoder(Difference, float_hook=Decimal)


async def name_events(
    reader: Reader,
    peer: str,
    catalogue: Catalogue,
    entries: Sequence[LogEntry],
    events: Sequence[Event],
    *,
    every: bool = False,
) -> None:
    """Write into each event what the site `peer` calls its documents. `entries` are those the events were made of.

    With `every`, also where that is what they are called here.
    """
    read = [
        (entry, event, catalogue[event.doctype], _data(event))
        for entry, event in zip(entries, events, strict=True)
        if event.doctype in catalogue and event.operation != Operation.GAP
    ]
    partial = [(doctype, event.name) for _, event, doctype, data in read if _has_partial_links(doctype, data)]
    now = await _child_rows(reader, partial)
    spoken = [
        (
            event,
            _row_keys(doctype, data),
            _meant(_links(doctype, entry, data, now.get((doctype.name, event.name), {})), event),
        )
        for entry, event, doctype, data in read
    ]
    wanted = [asked for event, _, links in spoken for asked in (*_own(event), *links)]
    found = await counterparts(reader, peer, wanted, every=every)
    for event, rows, links in spoken:
        event.own = _said(found, _own(event), rows, links)
    if every:
        await _say_births(reader, peer, [event for event, _, _ in spoken])


async def _say_births(reader: Reader, peer: str, told: Iterable[Event | FetchedDocument]) -> None:
    """Write into the ids of documents where they came from, if not from `peer`: it may get them from there as well."""
    by_type: dict[str, list[Event | FetchedDocument]] = {}
    for each in told:
        by_type.setdefault(each.doctype, []).append(each)
    for doctype, some in by_type.items():
        asked = [_itself(each) if isinstance(each, FetchedDocument) else _own(each)[0] for each in some]
        places = {ref: name for name, refs in (await _places(reader, doctype, asked)).items() for ref in refs}
        records = await reader.records(doctype, places.values())
        for each, ref in zip(some, asked, strict=True):
            record = records.get(places[ref])
            if record is not None and record.id is None and record.source != peer:
                each.id = DocumentId(record.remote_name, site=record.source)


async def name_documents(
    reader: Reader, peer: str, catalogue: Catalogue, documents: Sequence[FetchedDocument], *, every: bool = False
) -> None:
    """The same for documents as they are now, with the keys of all their child rows."""
    spoken: list[tuple[FetchedDocument, Keys, list[Asked]]] = []
    for document in documents:
        doctype = catalogue[document.doctype]
        fields, children = split(doctype, read_json(bytes(document.data)))
        rows: Keys = {child.field: _keys(child.key, children[child.field]) for child in doctype.children}
        spoken.append((document, rows, _meant(document_links(doctype, fields, children), document)))
    wanted = [asked for document, _, links in spoken for asked in (_itself(document), *links)]
    found = await counterparts(reader, peer, wanted, every=every)
    for document, rows, links in spoken:
        document.own = _said(found, [_itself(document)], rows, links)
    if every:
        await _say_births(reader, peer, documents)


async def counterparts(
    reader: Reader, peer: str, wanted: Iterable[Asked], *, every: bool = False
) -> dict[Asked, Counterpart | None]:
    """What the site `peer` calls these documents. One that was renamed since is found by its new name.

    None, with `every`, for one that came from there and kept its name.
    """
    by_type: dict[str, set[Asked]] = {}
    for asked in wanted:
        by_type.setdefault(asked[0], set()).add(asked)
    found: dict[Asked, Counterpart | None] = {}
    for doctype, some in by_type.items():
        places = await _places(reader, doctype, some)
        here = await reader.counterparts_here(peer, doctype, places)
        for name, counterpart in here.items():
            found.update(dict.fromkeys(places.pop(name), counterpart))
        for name, record in (await reader.records(doctype, places)).items() if places and every else ():
            if record.source == peer:
                found.update(dict.fromkeys(places[name], None))
    return found


async def _places(reader: Reader, doctype: str, wanted: Iterable[Asked]) -> dict[Name, list[Asked]]:
    """What is asked for, by the name that it has here: it may have been renamed, and its name another one's, since."""
    asked = list(wanted)
    ids = [id for _, _, id in asked if id is not None]
    identities = Identities(await reader.identities(doctype, [name for _, name, _ in asked], ids))
    places: dict[Name, list[Asked]] = {}
    for each in asked:
        _, name, id = each
        row = None if id is None else identities.row(doctype, id)
        places.setdefault(name if row is None else row.name, []).append(each)
    return places


def _own(event: Event) -> list[Asked]:
    """The event's document, under each name that the event has for it."""
    names = [event.name] if event.renamed_from is None else [event.name, event.renamed_from]
    return [(event.doctype, name, id_of(event)) for name in names]


def _itself(document: FetchedDocument) -> Asked:
    return document.doctype, document.name, document.id or natural(document.name)


def _meant(links: Iterable[Key], told: Event | FetchedDocument) -> list[Asked]:
    said = {(each.doctype, each.name): each.id for each in told.links}
    return [(doctype, name, said.get((doctype, name), natural(name))) for doctype, name in links]


def _said(
    found: Mapping[Asked, Counterpart | None], document: Sequence[Asked], rows: Keys, links: Iterable[Asked]
) -> tuple[OwnName, ...]:
    said: dict[Key, OwnName] = {}
    for asked in (*document, *links):
        key = asked[:2]
        if asked not in found or key in said:
            continue
        counterpart = found[asked]
        keys = _rows(counterpart, rows) if asked in document else {}
        alike = counterpart is None and asked in document
        said[key] = OwnName(*key, key[1] if counterpart is None else counterpart.remote_name, keys, alike)
    return tuple(said.values())


def _rows(counterpart: Counterpart | None, rows: Keys) -> dict[str, list[tuple[Name, Name]]]:
    """The keys of these child rows, here and there."""
    if counterpart is None:
        return {fieldname: [(key, key) for key in dict.fromkeys(keys)] for fieldname, keys in rows.items()}
    found: dict[str, list[tuple[Name, Name]]] = {}
    for fieldname, keys in rows.items():
        there = {here: name_from_text(text) for text, here in counterpart.rows.get(fieldname, {}).items()}
        pairs = [(key, there[key]) for key in dict.fromkeys(keys) if key in there]
        if pairs:
            found[fieldname] = pairs
    return found


def _data(event: Event) -> Difference | Row | None:
    """An update's difference; of other events the rows that they carry, as an object, or None."""
    if event.operation == Operation.UPDATE:
        return _DIFFERENCE.decode(event.data)
    found = read_json(bytes(event.data))
    return found if isinstance(found, dict) else None


def _row_keys(doctype: DocumentType, data: Difference | Row | None) -> Keys:
    """The keys of the child rows that an event's data speaks of."""
    found: dict[str, list[Name]] = {}
    for child in doctype.children:
        if isinstance(data, Difference):
            rows = [*data.row_changed.get(child.field, ()), *data.added.get(child.field, ())]
            keys = [*_keys(child.key, rows), *(tuple(key) for key in data.removed.get(child.field, ()))]
        else:
            keys = _keys(child.key, (data or {}).get(child.field) or ())
        if keys:
            found[child.field] = keys
    return found


def _keys(columns: Sequence[str], rows: Iterable[Row]) -> list[Name]:
    return [key for row in rows if (key := name_in(row, columns)) is not None]


def _links(
    doctype: DocumentType, entry: LogEntry, data: Difference | Row | None, now: Mapping[str, Mapping[Name, Row]]
) -> Iterator[Key]:
    """Every document that an event's data links to, or linked to before. `now` has child rows as they are, by key."""
    if data is None:
        return
    if not isinstance(data, Difference):
        old = data.get("old") if entry.operation == Operation.DELETE else data
        yield from document_links(doctype, *split(doctype, old if isinstance(old, dict) else {}))
        return
    if data.changed:
        for text in (entry.before, entry.after):
            # The whole row: of a dynamic link only one of its columns may have changed.
            for link in doctype.links:
                if text is not None and not _columns(link).isdisjoint(data.changed):
                    yield from _linked([link], read_json(text))
    for child in doctype.children:
        for table in (data.added, data.row_changed, data.old.row_changed, data.old.removed):
            for row in table.get(child.field, ()):
                key = name_in(row, child.key)
                whole = {} if key is None else now.get(child.field, {}).get(key, {})
                yield from _linked(child.links, {**whole, **row})


def _has_partial_links(doctype: DocumentType, data: Difference | Row | None) -> bool:
    """Whether a child row's link changed of which the difference does not say all: the type of a dynamic link, say."""
    if not isinstance(data, Difference):
        return False
    return any(
        not _columns(link).isdisjoint(row.keys() - set(child.key)) and not _columns(link) <= row.keys()
        for child in doctype.children
        for row in data.row_changed.get(child.field, ())
        for link in child.links
    )


async def _child_rows(
    reader: Reader, documents: Iterable[tuple[DocumentType, Name]]
) -> dict[Key, dict[str, dict[Name, Row]]]:
    """The child rows of these documents as they are now, by field and key."""
    by_type: dict[str, tuple[DocumentType, list[Name]]] = {}
    for doctype, name in documents:
        by_type.setdefault(doctype.name, (doctype, []))[1].append(name)
    found = {}
    for doctype, names in by_type.values():
        for name, document in (await reader.read_documents(doctype, names)).items():
            if document.readable():
                found[(doctype.name, name)] = {child.field: _by_key(child, document) for child in doctype.children}
    return found


def _by_key(child: ChildTable, document: RawDocument) -> dict[Name, Row]:
    rows = [read_json(row) for row in document.children[child.field]]
    return {key: row for row in rows if (key := name_in(row, child.key)) is not None}


def _linked(links: Iterable[Link], row: Row) -> Iterator[Key]:
    for target, name, _ in linked(links, row):
        yield target, name


def _columns(link: Link) -> frozenset[str]:
    """The columns that decide where a link leads."""
    kind = () if link.type_column is None else (link.type_column,)
    return frozenset((*link.columns, *kind, *(column for column, _ in link.where)))
