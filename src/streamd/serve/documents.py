"""Documents as they are now, for a consumer that misses them: only what an approval opened, and only by a link.

A document of a type that is not approved itself is given where a chain of links that really exist leads to it
from a document of an approved type. What is absent and what is forbidden look alike: both are left out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from streamd.db.base import RawDocument, Reader
from streamd.errors import InvalidRequest
from streamd.faults import crash_point
from streamd.model import DocumentType, Name, Record
from streamd.rows import document_links
from streamd.serve.services import Caller, Services
from streamd.wire import (
    DocumentRef,
    Documents,
    DocumentsRequest,
    FetchedDocument,
    NamesRequest,
    WantedDocument,
    read_json,
    write_cursor,
)

SETTLE_TRIES = 5
"""How often capture is drained in the hope that nothing is written between that and the snapshot."""

PATH_SHARE = 10
"""Documents on the ways to the wanted ones: this many times as many as may be wanted."""

LARGEST_INTEGER = (1 << 63) - 1

Key = tuple[str, Name]


class Names(msgspec.Struct):
    """`NamesAnswer` as it is encoded."""

    names: list[Name]
    more: bool
    as_of: str


@dataclass(frozen=True, slots=True)
class Settled:
    """A view of the site, and the place in the log up to which its entries are contained in that view."""

    reader: Reader
    as_of: str
    clock: str


class Desk:
    """Answers requests for documents and for names."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def documents(self, caller: Caller, asked: DocumentsRequest) -> Documents:
        """Those of the wanted documents that exist and may be had. Raises `InvalidRequest` for too many."""
        limit = self._services.settings.max_documents
        if len(asked.documents) > limit:
            raise _too_many(len(asked.documents), limit)
        # The approvals are looked at after the snapshot was taken: what was rejected before is not in it.
        async with self._settled() as view:
            standing, _ = await self._services.registered(caller)
            offered = self._services.offered(standing)
            opens = standing.opens()
            wanted = [each for each in asked.documents if self._may_be_had(each, offered, opens)]
            steps = {_key(step) for each in wanted if each.doctype not in offered for step in each.path}
            if len(steps) > limit * PATH_SHARE:
                raise _too_many(len(steps), limit * PATH_SHARE)
            ways = await self._read(view.reader, steps)
            links = {key: self._links(key[0], document) for key, document in ways.items()}
            proven = [_key(each) for each in wanted if each.doctype in offered or _leads_to(each, links)]
            found = await self._read(view.reader, dict.fromkeys(proven))
            records = await self._records(view.reader, found)
        crash_point("serve.documents")
        return Documents(
            documents=[_given(key, document, view.clock, records.get(key)) for key, document in found.items()],
            as_of=view.as_of,
        )

    async def names(self, caller: Caller, asked: NamesRequest) -> Names:
        """The names of an approved type's documents, in their order; of any other type there are none."""
        async with self._settled() as view:
            standing, _ = await self._services.registered(caller)
            doctype = self._services.catalogue.get(asked.doctype)
            if doctype is None or asked.doctype not in self._services.offered(standing):
                return Names([], False, view.as_of)
            after = None if asked.after is None else tuple(asked.after)
            if after is not None and not _possible(doctype, after):
                raise InvalidRequest(
                    f"after: is no name of a {doctype.name}", hint="send the last name of the page before"
                )
            names = await view.reader.list_names(doctype, after, asked.limit + 1)
        # Only what a name can hold: a key column of SQLite may have bytes in it all the same.
        page = [name for name in names[: asked.limit] if all(isinstance(part, str | int | float) for part in name)]
        return Names(page, len(names) > asked.limit and bool(page), view.as_of)

    def _may_be_had(
        self, wanted: WantedDocument, offered: Collection[str], opens: Mapping[str, frozenset[str]]
    ) -> bool:
        """Whether the approvals allow it, as far as types tell: links are looked at later."""
        way = _way(wanted)
        for name, document in way:
            doctype = self._services.catalogue.get(name)
            if doctype is None or not _possible(doctype, document):
                return False
        if wanted.doctype in offered:
            return True
        first = way[0][0]
        return first in offered and all(name in opens[first] or name in offered for name, _ in way)

    async def _read(self, reader: Reader, keys: Iterable[Key]) -> dict[Key, RawDocument]:
        """These documents as they are in the view; a few queries per type."""
        found = {}
        for doctype, names in _by_type(keys).items():
            documents = await reader.read_documents(self._services.catalogue[doctype], names)
            # SQLite stores any bytes as TEXT; a document that holds such cannot be given, not even in part.
            found.update({(doctype, name): document for name, document in documents.items() if document.readable()})
        return found

    async def _records(self, reader: Reader, keys: Iterable[Key]) -> dict[Key, Record]:
        """What is remembered of these documents: so a consumer can tell which of its edits have come here."""
        found = {}
        for doctype, names in _by_type(keys).items():
            for name, record in (await reader.records(doctype, names)).items():
                found[(doctype, name)] = record
        return found

    def _links(self, doctype: str, document: RawDocument) -> set[Key]:
        """The documents to which this one links, with its columns or with those of its child rows."""
        children = {field: [read_json(row) for row in rows] for field, rows in document.children.items()}
        return set(document_links(self._services.catalogue[doctype], read_json(document.row), children))

    @asynccontextmanager
    async def _settled(self) -> AsyncIterator[Settled]:
        """A view in which nothing is that capture has not taken yet, with the head of the log that fits it.

        On a site that is written to all the time there may be no such moment. Then the head is an earlier one:
        each of its entries is contained in the view, but the view may hold a little more.
        """
        for attempt in range(1, SETTLE_TRIES + 1):
            await self._services.drain_capture()
            head = await self._services.head()
            async with self._services.database.snapshot() as reader:
                claim = await reader.last_claim()
                fits = claim is not None and not await reader.waiting_changes(claim)
                if fits and claim is not None and (claim.log, claim.batch) != (head.log, head.batch):
                    now = await self._services.head()
                    fits = (claim.log, claim.batch) == (now.log, now.batch)
                    head = now if fits else head
                if fits or attempt == SETTLE_TRIES:
                    yield Settled(reader, write_cursor(head.cursor), claim.clock if claim else "")
                    return


def _given(key: Key, document: RawDocument, clock: str, record: Record | None) -> FetchedDocument:
    doctype, name = key
    given = FetchedDocument(doctype, name, msgspec.Raw(document.whole()), clock)
    if record is not None:
        given.source = record.source
        given.clocks = {"": record.clock, **record.field_clocks}
    return given


def _by_type(keys: Iterable[Key]) -> dict[str, list[Name]]:
    found: dict[str, list[Name]] = {}
    for doctype, name in keys:
        found.setdefault(doctype, []).append(name)
    return found


def _leads_to(wanted: WantedDocument, links: Mapping[Key, set[Key]]) -> bool:
    """Whether each document of the path links to the next one, and the last to the wanted one."""
    return all(following in links.get(step, ()) for step, following in pairwise(_way(wanted)))


def _way(wanted: WantedDocument) -> list[Key]:
    """The documents of the path, then the wanted one."""
    return [*(_key(step) for step in wanted.path), _key(wanted)]


def _possible(doctype: DocumentType, name: Name) -> bool:
    """Whether a document of this type could have this name."""
    return len(name) == len(doctype.key) and all(
        not isinstance(part, int) or abs(part) <= LARGEST_INTEGER for part in name
    )


def _key(ref: WantedDocument | DocumentRef) -> Key:
    return ref.doctype, tuple(ref.name)


def _too_many(count: int, limit: int) -> InvalidRequest:
    return InvalidRequest(
        f"{count} documents at once are too many",
        hint=f"ask for {limit} at most, in several requests",
        status=413,
        code="too_large",
    )
