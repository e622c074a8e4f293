"""Which documents the given ones are, and which ones they link to, where names do not tell."""

from __future__ import annotations

from collections.abc import Sequence

from streamd.db.base import Reader
from streamd.identity import Identities, natural
from streamd.model import Catalogue, DocumentId, LinkId, Name
from streamd.rows import document_links, split
from streamd.wire import FetchedDocument, read_json


async def say_ids(reader: Reader, catalogue: Catalogue, documents: Sequence[FetchedDocument]) -> None:
    """Write it into these documents, which were read from the same view."""
    if not documents or not await reader.has_identities():
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
        each.id = _unless_natural(identities.of(each.doctype, each.name), each.name)
        told = {(kind, name): identities.of(kind, name) for kind, name in targets}
        each.links = tuple(LinkId(kind, name, id) for (kind, name), id in told.items() if id != natural(name))


def _unless_natural(id: DocumentId | None, name: Name) -> DocumentId | None:
    return None if id == natural(name) else id
