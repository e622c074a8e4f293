"""Which documents and rows are given, and which ones they link to, where names and keys do not tell."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from streamd.db.base import Reader
from streamd.identity import Identities, id_of, natural
from streamd.model import Catalogue, Difference, DocumentId, Event, LinkId, Name, Operation
from streamd.rowids import said_rows
from streamd.rows import document_links, links_in, split
from streamd.wire import FetchedDocument, decoder, read_json

Given = Event | FetchedDocument

_read_difference = decoder(Difference)


async def say_ids(reader: Reader, catalogue: Catalogue, documents: Sequence[FetchedDocument], site: str) -> None:
    """Write it into these documents, which were read from the same view at this `site`."""
    has_rows = bool(documents) and await reader.has_row_ids()
    if not documents or not (has_rows or await reader.has_identities()):
        return
    links: list[list[tuple[str, Name]]] = []
    names: dict[str, set[Name]] = {}
    for each in documents:
        doctype = catalogue[each.doctype]
        links.append(list(document_links(doctype, *split(doctype, read_json(bytes(each.data))))))
        for kind, name in ((each.doctype, each.name), *links[-1]):
            names.setdefault(kind, set()).add(name)
    identities = Identities([row for kind, some in names.items() for row in await reader.identities(kind, some)])
    for each, targets in zip(documents, links, strict=True):
        id = identities.of(each.doctype, each.name)
        each.id = None if id == natural(each.name) else id
        told = {(kind, name): identities.of(kind, name) for kind, name in targets}
        each.links = tuple(LinkId(kind, name, id) for (kind, name), id in told.items() if id != natural(name))
        if id is not None and (id.site or has_rows):
            ids = (await reader.row_ids(each.doctype, [id])).get(id)
            each.rows = said_rows(catalogue[each.doctype], read_json(bytes(each.data)), id, ids, site)


@dataclass(frozen=True, slots=True)
class Births:
    """Of which documents a consumer is told where they were made. `site` is who we are.

    `elsewhere`: those that came from other sites. To a consumer that names documents itself a name means nothing
    without that. `here`: those of these types that were made at this site. Where this site names the consumer's
    documents itself, its own documents are others than those that have their names there.
    """

    site: str
    elsewhere: bool
    here: Collection[str] = ()

    def told(self, doctype: str, birth: str) -> str:
        """The birth that is said of a document; or nothing."""
        return birth if (doctype in self.here if birth == self.site else self.elsewhere) else ""


async def say_births(reader: Reader, catalogue: Catalogue, given: Sequence[Given], births: Births) -> None:
    """Write into these where the documents were made that they are of, and link to."""
    meant = [_meant(each, catalogue) for each in given]
    by_type: dict[str, set[DocumentId]] = {}
    for each, links in zip(given, meant, strict=True):
        for kind, id in ((each.doctype, _id(each)), *((ref[0], id) for ref, id in links.items())):
            if id is not None and not id.site and kind in catalogue:
                by_type.setdefault(kind, set()).add(id)
    told: dict[tuple[str, DocumentId | None], str] = {}
    for kind, ids in by_type.items():
        found = await _births(reader, kind, ids)
        told |= {(kind, id): births.told(kind, found.get(id, births.site)) for id in ids}
    for each, links in zip(given, meant, strict=True):
        each.birth = told.get((each.doctype, _id(each)), "")
        said = {(link.doctype, link.name): link for link in each.links}
        for (kind, name), id in links.items():
            if birth := told.get((kind, id)):
                said[kind, name] = LinkId(kind, name, id, birth)
        each.links = tuple(said.values())


async def _births(reader: Reader, doctype: str, ids: set[DocumentId]) -> dict[DocumentId, str]:
    identities = Identities(await reader.identities(doctype, {id.name for id in ids}, ids))
    rows = {id: identities.row(doctype, id) for id in ids}
    places = {id: id.name if row is None else row.name for id, row in rows.items()}
    records = await reader.records(doctype, places.values())
    found = {id: record for id, place in places.items() if (record := records.get(place)) is not None}
    return {id: record.source for id, record in found.items() if (record.id or natural(record.name)) == id}


def _id(given: Given) -> DocumentId:
    return id_of(given) if isinstance(given, Event) else given.id or natural(given.name)


def _meant(given: Given, catalogue: Catalogue) -> Mapping[tuple[str, Name], DocumentId | None]:
    """The documents that an event or a document links to, or linked to before."""
    doctype = catalogue.get(given.doctype)
    if doctype is None or (isinstance(given, Event) and given.operation == Operation.GAP):
        return {}
    is_update = isinstance(given, Event) and given.operation == Operation.UPDATE
    data = _read_difference(bytes(given.data)) if is_update else read_json(bytes(given.data))
    said = {(each.doctype, each.name): each.id for each in given.links}
    return {ref: said.get(ref, natural(ref[1])) for ref in links_in(doctype, data)}
