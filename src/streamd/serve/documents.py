"""Documents as they are now, for a consumer that misses them: only what an approval opened, and only by a link.

A document of an approved type is given if it satisfies the condition of the approval, where that has one. One of a type
that is not approved itself, or that does not satisfy its condition, is given where a chain of links that really exist
leads to it from a document of an approved type which does. What is absent and what is forbidden look alike: both are
left out.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping
from itertools import pairwise

import msgspec
import structlog

from streamd.common import clock as hlc
from streamd.common.faults import crash_point
from streamd.db.base import RawDocument, Reader
from streamd.errors import InvalidRequest, PartialView
from streamd.model import Catalogue, DocumentType, Name, Record, name_text
from streamd.rows import document_links
from streamd.serve.identities import say_ids
from streamd.serve.names import name_documents
from streamd.serve.services import Allowed, Caller, Services, Unread
from streamd.serve.settled import Settled, settled
from streamd.update_log import UpdateLog
from streamd.wire import (
    DocumentRef,
    Documents,
    DocumentsRequest,
    FetchedDocument,
    FindRequest,
    WantedDocument,
    read_json,
)

PATH_SHARE = 10
"""Documents on the ways to the wanted ones: this many times as many as may be wanted."""

FOLLOWED_SHARE = 4
"""Documents that come along: this many times as many as may be wanted."""

FOLLOWED_BYTES = 4 << 20
"""Where the rows that come along are as large as this, no further level is read."""

FOUND = 2
"""Documents that are given where one is looked for by its values: more than one is as good as none."""

CANDIDATES = 1000
"""Documents with the wanted values that are judged by a condition, at most."""

LARGEST_INTEGER = (1 << 63) - 1

log = structlog.get_logger("streamd.serve")

Key = tuple[str, Name]


class Desk:
    """Answers requests for documents."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def documents(self, caller: Caller, asked: DocumentsRequest) -> Documents:
        """Those of the wanted documents that exist and may be had. Raises `InvalidRequest` for too many."""
        try:
            return await self._documents(caller, asked)
        except PartialView as error:
            hidden = self._services.catalogue.stored_in(await self._services.database.partly_seen())
            log.warning("documents_not_given", consumer=caller.consumer, doctypes=sorted(hidden), problem=error.message)
            return await self._documents(caller, asked, hidden)

    async def _documents(
        self, caller: Caller, asked: DocumentsRequest, hidden: frozenset[str] = frozenset()
    ) -> Documents:
        """The answer, without documents of the types `hidden`: nothing is said of them, not even that they are gone."""
        limit = self._services.settings.max_documents
        if len(asked.documents) > limit:
            raise _too_many(len(asked.documents), limit)
        unread = await self._services.unread()
        # The approvals are looked at after the snapshot was taken: what was rejected before is not in it.
        async with settled(self._services) as view:
            standing, site = await self._services.registered(caller)
            allowed = self._services.allowed(standing)
            wanted = [
                each
                for each in asked.documents
                if self._is_possible(each) and hidden.isdisjoint(doctype for doctype, _ in _way(each))
            ]
            rights = Rights(allowed, self._services.catalogue, hidden)
            linked = [each for each in wanted if rights.allow_a_way_to(each)]
            steps = {_key(step) for each in linked for step in each.path}
            if len(steps) > limit * PATH_SHARE:
                raise _too_many(len(steps), limit * PATH_SHARE)
            ways = await self._read(view.reader, steps)
            proven = rights.proven(linked, ways)
            keys = [key for each in wanted if (key := _key(each)) in proven or each.doctype in allowed.starts]
            there = await self._stored(view.reader, dict.fromkeys(keys))
            found = _readable(there)
            given = {key: each for key, each in found.items() if key in proven or rights.give(key, each)}
            if asked.follow:
                most = min(asked.follow, limit * FOLLOWED_SHARE)
                onward = {key: rights.onward(key, each, proven.get(key)) for key, each in given.items()}
                given |= await self._followed(view.reader, rights, given, onward, most)
            answer = await self._answer(view, site, given, unread, every=asked.own_names)
            await say_former_names(self._services.log, answer.documents, allowed.starts)
            # What is there and cannot be given is not gone.
            gone = [key for key in keys if key[0] in allowed.starts and key not in given]
            answer.gone = _by_type(key for key in gone if key not in there or key in found)
        crash_point("serve.documents")
        return answer

    async def _followed(
        self,
        reader: Reader,
        rights: Rights,
        given: Mapping[Key, RawDocument],
        onward: Mapping[Key, frozenset[str]],
        most: int,
    ) -> dict[Key, RawDocument]:
        """What these documents link to, in turn, as far as it may be had: `most` at most, level by level.

        `onward` says to which types each one's links lead by right.
        """
        found: dict[Key, RawDocument] = {}
        looked_at = set(given)
        size, frontier = 0, dict(given)
        while frontier and len(found) < most and size < FOLLOWED_BYTES:
            wanted: dict[Key, frozenset[str]] = {}
            for key, document in frontier.items():
                for target in linked_documents(self._services.catalogue[key[0]], document) - looked_at:
                    doctype = self._services.catalogue.get(target[0])
                    if doctype is not None and target[0] not in rights.hidden and possible(doctype, target[1]):
                        wanted[target] = wanted.get(target, frozenset()) | onward[key]
            some = list(wanted)[: most - len(found)]
            looked_at.update(some)
            read = await self._read(reader, some)
            frontier = {key: each for key, each in read.items() if key[0] in wanted[key] or rights.give(key, each)}
            onward = {key: rights.onward(key, each, wanted[key]) for key, each in frontier.items()}
            found |= frontier
            size += sum(len(each.row) for each in frontier.values())
        return found

    async def find(self, caller: Caller, asked: FindRequest) -> Documents:
        """The documents with these values that may be had, two at most; none where the type may not be looked into."""
        unread = await self._services.unread()
        async with settled(self._services) as view:
            standing, site = await self._services.registered(caller)
            allowed = self._services.allowed(standing)
            doctype = self._services.catalogue.get(asked.doctype)
            found: dict[Key, RawDocument] = {}
            if doctype is not None and (doctype.name in allowed.starts or doctype.name in allowed.lookups):
                found = await self._find(view.reader, doctype, asked, allowed)
            return await self._answer(view, site, found, unread, every=asked.own_names)

    async def _find(
        self, reader: Reader, doctype: DocumentType, asked: FindRequest, allowed: Allowed
    ) -> dict[Key, RawDocument]:
        condition = allowed.conditions.get(doctype.name)
        most = FOUND if condition is None else CANDIDATES
        names = await self._named(reader, doctype, asked, most)
        if condition is not None:
            rows = await reader.read_documents(condition.judged, names)
            satisfied = [name for name in names if name in rows and condition.holds(rows[name].row)]
            # One of so many may not be the only one: then none is found, as where there are several.
            names = satisfied if len(names) < most or len(satisfied) >= FOUND else []
        return await self._read(reader, [(doctype.name, name) for name in names[:FOUND]])

    async def _named(self, reader: Reader, doctype: DocumentType, asked: FindRequest, most: int) -> list[Name]:
        if doctype.single:
            (column,) = doctype.key
            return [doctype.only_name] if asked.filters == {column: doctype.name} else []
        return await reader.find_documents(doctype, asked.filters, most)

    async def _answer(
        self, view: Settled, site: str, documents: Mapping[Key, RawDocument], unread: Unread, *, every: bool
    ) -> Documents:
        """These documents as they are given, with what the consumer at `site` calls them.

        `unread` was known before the view was taken: what is read meanwhile may not be in that.
        """
        records = await self._records(view.reader, documents)
        here = self._services.identity.site
        given = [
            given_document(
                key,
                document,
                view.clock,
                records.get(key),
                unread=unread.get(key[0], ()),
                site=here,
            )
            for key, document in documents.items()
        ]
        await say_ids(view.reader, self._services.catalogue, given)
        if given and (every or await view.reader.has_counterparts(site)):
            await name_documents(view.reader, site, self._services.catalogue, given, every=every)
        return Documents(given, view.as_of)

    def _is_possible(self, wanted: WantedDocument) -> bool:
        """Whether each document of the path, and the wanted one, could be there."""
        return all(
            doctype in self._services.catalogue and possible(self._services.catalogue[doctype], name)
            for doctype, name in _way(wanted)
        )

    async def _read(self, reader: Reader, keys: Iterable[Key]) -> dict[Key, RawDocument]:
        """These documents as they are in the view, as far as they can be given; a few queries per type."""
        return _readable(await self._stored(reader, keys))

    async def _stored(self, reader: Reader, keys: Iterable[Key]) -> dict[Key, RawDocument]:
        """These documents as they are in the view, also those that cannot be given."""
        found = {}
        for doctype, names in _by_type(keys).items():
            documents = await reader.read_documents(self._services.catalogue[doctype], names)
            found.update({(doctype, name): document for name, document in documents.items()})
        return found

    async def _records(self, reader: Reader, keys: Iterable[Key]) -> dict[Key, Record]:
        """What is remembered of these documents: so a consumer can tell which of its edits have come here."""
        found = {}
        for doctype, names in _by_type(keys).items():
            for name, record in (await reader.records(doctype, names)).items():
                found[(doctype, name)] = record
        return found


class Rights:
    """What the approvals give: by themselves, and by the links of documents."""

    def __init__(self, allowed: Allowed, catalogue: Catalogue, hidden: frozenset[str] = frozenset()) -> None:
        """`hidden` are types of which nothing can be given now."""
        self._allowed = allowed
        self.hidden = hidden
        self._catalogue = catalogue
        # A document of the type itself that does not satisfy the condition comes by a link as well.
        self._opened = {doctype: opens | ({doctype} - catalogue.guarded) for doctype, opens in allowed.opens.items()}

    def give(self, key: Key, document: RawDocument) -> bool:
        """Whether the document may be had as it is: its type is approved, and its condition, if any, satisfied."""
        condition = self._allowed.conditions.get(key[0])
        return key[0] in self._allowed.starts and (condition is None or condition.holds(document.row))

    def allow_a_way_to(self, wanted: WantedDocument) -> bool:
        """Whether it is worth to look at the path: it is needed, and the types on it are allowed."""
        first, *further = (doctype for doctype, _ in _way(wanted))
        if not further or (wanted.doctype in self._allowed.starts and wanted.doctype not in self._allowed.conditions):
            return False
        opened = self._opened.get(first, frozenset())
        return wanted.doctype in opened and all(each in opened or each in self._allowed.starts for each in further)

    def onward(self, key: Key, document: RawDocument, came_by: frozenset[str] | None) -> frozenset[str]:
        """The types to which this document's links lead by right: by that which it came by, and its own approval."""
        own = self._opened.get(key[0], frozenset()) if self.give(key, document) else frozenset()
        return own | (came_by or frozenset())

    def proven(self, wanted: Iterable[WantedDocument], steps: Mapping[Key, RawDocument]) -> dict[Key, frozenset[str]]:
        """The documents to which their paths lead: each document links to the next one, and the last to the wanted.

        The first has to satisfy its condition. Those that follow come by right of its approval, else of their own.
        With each come the types that the approval of its path's first document opens.
        """
        given = {key for key, document in steps.items() if self.give(key, document)}
        links = {key: linked_documents(self._catalogue[key[0]], document) for key, document in steps.items()}
        found: dict[Key, frozenset[str]] = {}
        for each in wanted:
            way = _way(each)
            opened = self._opened[way[0][0]]
            if way[0] in given and all(
                following in links.get(step, ()) and (step[0] in opened or step in given)
                for step, following in pairwise(way)
            ):
                found[_key(each)] = found.get(_key(each), frozenset()) | opened
        return found


def linked_documents(doctype: DocumentType, document: RawDocument) -> set[Key]:
    """The documents to which this one links, with its columns or with those of its child rows."""
    children = {field: [read_json(row) for row in rows] for field, rows in document.children.items()}
    return set(document_links(doctype, read_json(document.row), children))


def _readable(documents: Mapping[Key, RawDocument]) -> dict[Key, RawDocument]:
    # SQLite stores any bytes as TEXT; a document that holds such cannot be given, not even in part.
    return {key: document for key, document in documents.items() if document.readable()}


async def say_former_names(log: UpdateLog, documents: Iterable[FetchedDocument], doctypes: Container[str]) -> None:
    """Write into each document of these types what it was called before renames that are still in the log.

    A consumer that has not heard of such a rename yet knows by this that it has the document, under its old name.
    """
    by_type: dict[str, list[FetchedDocument]] = {}
    for document in documents:
        if document.doctype in doctypes:
            by_type.setdefault(document.doctype, []).append(document)
    for doctype, some in by_type.items():
        told = await log.renames_told(doctype, [name_text(each.name) for each in some])
        for each in some:
            each.former = tuple(told.get(name_text(each.name), ()))


def given_document(
    key: Key,
    document: RawDocument,
    clock: str,
    record: Record | None,
    *,
    unread: Collection[str] = (),
    site: str = "",
) -> FetchedDocument:
    """A document as it is given, with what is remembered of it.

    `unread` are columns that are new at this `site`. Of what was not made here, a value in them is nobody's word as
    long as no edit is known: that is what an empty clock says.
    """
    doctype, name = key
    given = FetchedDocument(doctype, name, msgspec.Raw(document.whole()), clock)
    if record is None or record.source != site:
        given.clocks = dict.fromkeys(unread, hlc.ZERO)
    if record is not None:
        given.source = record.source
        given.clocks |= {"": record.clock, **record.field_clocks}
    return given


def _by_type(keys: Iterable[Key]) -> dict[str, list[Name]]:
    found: dict[str, list[Name]] = {}
    for doctype, name in keys:
        found.setdefault(doctype, []).append(name)
    return found


def _way(wanted: WantedDocument) -> list[Key]:
    """The documents of the path, then the wanted one."""
    return [*(_key(step) for step in wanted.path), _key(wanted)]


def possible(doctype: DocumentType, name: Name) -> bool:
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
