"""Serves documents as they are now, to a consumer that misses them.

A document of an approved type is served if it satisfies the condition of the approval. Any other document is served
only if a chain of existing links leads to it from a document of an approved type that satisfies its condition, and if
the approval opens the type. A document that does not exist and one that is forbidden look the same: both are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec
import structlog

from streamd.common import clock as hlc
from streamd.common.instrumentation import crash_point
from streamd.common.values import names_by_type
from streamd.db.base import RawDocument, Reader
from streamd.errors import InvalidRequest, NotInstalled, PartialView, SchemaChanged, SiteError, TypeRefused
from streamd.model import Catalogue, DocumentType, Name, Record, name_label, name_text
from streamd.rows import document_links
from streamd.serve.identities import Births, say_births, say_ids
from streamd.serve.services import Caller, Columns, Grants, Services, Snapshot
from streamd.store.log_rows import former_names
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

PATH_FACTOR = 10
"""Documents on the paths of one request: at most `max_documents` times this."""

FOLLOW_FACTOR = 4
"""Linked documents in one answer (`follow`): at most `max_documents` times this."""

FOLLOW_BYTES = 4 << 20
"""When the rows of linked documents reach this size, no further level of links is read."""

MAX_FOUND = 2
"""Documents that a lookup returns. The consumer needs exactly one, so two are enough to show that there are several."""

MAX_CANDIDATES = 1000
"""Documents with the wanted values that a lookup checks against a condition."""

LARGEST_INTEGER = (1 << 63) - 1

_HINT = "check that row; consumers continue without the document, and ask for it again"

log = structlog.get_logger("streamd.serve")

Key = tuple[str, Name]


class DocumentReader:
    """Answers requests for documents."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def fetch(self, caller: Caller, request: DocumentsRequest) -> Documents:
        """The wanted documents that exist and that the caller may read. Raises `InvalidRequest` (413) for too many."""
        try:
            return await self._fetch(caller, request)
        except PartialView as error:
            hidden = self._services.catalogue.stored_in(await self._services.database.partly_seen())
            log.warning("documents_withheld", consumer=caller.consumer, doctypes=sorted(hidden), problem=error.message)
            return await self._fetch(caller, request, hidden)

    async def _fetch(
        self, caller: Caller, request: DocumentsRequest, hidden: frozenset[str] = frozenset()
    ) -> Documents:
        """The answer. It says nothing about documents of the types `hidden`, not even that they are gone."""
        limit = self._services.settings.max_documents
        if len(request.documents) > limit:
            raise _too_many_documents(len(request.documents), limit)
        unfilled = await self._services.unfilled_columns()
        # Approvals are read after the snapshot is taken, so that a type rejected before it is not served.
        async with self._services.open_snapshot() as snapshot:
            standing, site = await self._services.require_registration(caller)
            births = await self._births(site, elsewhere=request.own_names)
            grants = self._services.resolve_grants(standing)
            wanted = [
                ref
                for ref in request.documents
                if self._is_possible(ref) and hidden.isdisjoint(doctype for doctype, _ in _full_path(ref))
            ]
            access = Access(grants, self._services.catalogue, hidden)
            linked = [ref for ref in wanted if access.may_use_path(ref)]
            steps = {_key(step) for ref in linked for step in ref.path}
            if len(steps) > limit * PATH_FACTOR:
                raise _too_many_documents(len(steps), limit * PATH_FACTOR)
            opened = access.verify_paths(linked, await self._read(snapshot.reader, steps))
            keys = [key for ref in wanted if (key := _key(ref)) in opened or ref.doctype in grants.starts]
            stored, problems = await self._read_stored(snapshot.reader, dict.fromkeys(keys))
            readable = {key: document for key, document in stored.items() if key not in problems}
            documents = {key: doc for key, doc in readable.items() if key in opened or access.may_read(key, doc)}
            if request.follow:
                most = min(request.follow, limit * FOLLOW_FACTOR)
                opened = {key: access.opened_by(key, doc, opened.get(key)) for key, doc in documents.items()}
                documents |= await self._follow_links(snapshot.reader, access, documents, opened, most)
            answer = await self._build_answer(snapshot, documents, unfilled, births)
            await add_former_names(self._services.log, answer.documents, grants.starts)
            # A document that exists but is not readable is not reported as gone.
            gone = [key for key in keys if key[0] in grants.starts and key not in documents]
            answer.gone = names_by_type(key for key in gone if key not in problems)
            for doctype, name in problems.keys() & set(gone):
                answer.unreadable.setdefault(doctype, []).append((name, problems[doctype, name]))
        crash_point("serve.documents")
        return answer

    async def _follow_links(
        self,
        reader: Reader,
        access: Access,
        documents: Mapping[Key, RawDocument],
        opened: Mapping[Key, frozenset[str]],
        most: int,
    ) -> dict[Key, RawDocument]:
        """The documents that these link to, directly and indirectly, level by level, `most` at most.

        `opened` has, by document, the types that its links may lead to.
        """
        found: dict[Key, RawDocument] = {}
        seen = set(documents)
        size, frontier = 0, dict(documents)
        while frontier and len(found) < most and size < FOLLOW_BYTES:
            wanted: dict[Key, frozenset[str]] = {}
            for key, document in frontier.items():
                for target in linked_documents(self._services.catalogue[key[0]], document) - seen:
                    doctype = self._services.catalogue.get(target[0])
                    if doctype is not None and target[0] not in access.hidden and is_possible_name(doctype, target[1]):
                        wanted[target] = wanted.get(target, frozenset()) | opened[key]
            targets = list(wanted)[: most - len(found)]
            seen.update(targets)
            read = await self._read(reader, targets)
            frontier = {key: doc for key, doc in read.items() if key[0] in wanted[key] or access.may_read(key, doc)}
            opened = {key: access.opened_by(key, doc, wanted[key]) for key, doc in frontier.items()}
            found |= frontier
            size += sum(len(document.row) for document in frontier.values())
        return found

    async def find(self, caller: Caller, request: FindRequest) -> Documents:
        """The documents with these values, two at most. Empty if the caller may not look up documents of the type."""
        unfilled = await self._services.unfilled_columns()
        async with self._services.open_snapshot() as snapshot:
            standing, site = await self._services.require_registration(caller)
            grants = self._services.resolve_grants(standing)
            doctype = self._services.catalogue.get(request.doctype)
            documents: dict[Key, RawDocument] = {}
            if doctype is not None and (doctype.name in grants.starts or doctype.name in grants.lookups):
                documents = await self._find(snapshot.reader, doctype, request, grants)
            births = await self._births(site, elsewhere=request.own_names)
            return await self._build_answer(snapshot, documents, unfilled, births)

    async def _find(
        self, reader: Reader, doctype: DocumentType, request: FindRequest, grants: Grants
    ) -> dict[Key, RawDocument]:
        condition = grants.conditions.get(doctype.name)
        most = MAX_FOUND if condition is None else MAX_CANDIDATES
        names = await self._find_names(reader, doctype, request, most)
        if condition is not None:
            rows = await reader.read_documents(condition.narrow_doctype, names)
            matches = [name for name in names if name in rows and condition.holds(rows[name].row)]
            # If not all candidates were checked, a single match may not be the only one. Then nothing is returned.
            names = matches if len(names) < most or len(matches) >= MAX_FOUND else []
        return await self._read(reader, [(doctype.name, name) for name in names[:MAX_FOUND]])

    async def _find_names(self, reader: Reader, doctype: DocumentType, request: FindRequest, most: int) -> list[Name]:
        if doctype.single:
            (column,) = doctype.key
            return [doctype.only_name] if request.filters == {column: doctype.name} else []
        return await reader.find_documents(doctype, request.filters, most)

    async def _build_answer(
        self, snapshot: Snapshot, documents: Mapping[Key, RawDocument], unfilled: Columns, births: Births
    ) -> Documents:
        """The answer with these documents.

        `unfilled` must be read before the snapshot: a backfill that ends in between may not be in the snapshot.
        """
        records = await self._read_records(snapshot.reader, documents)
        site = self._services.identity.site
        fetched = [
            build_fetched_document(
                key,
                document,
                snapshot.clock,
                records.get(key),
                unfilled=unfilled.get(key[0], ()),
                site=site,
            )
            for key, document in documents.items()
        ]
        await say_ids(snapshot.reader, self._services.catalogue, fetched, site)
        if fetched and (births.elsewhere or births.here):
            await say_births(snapshot.reader, self._services.catalogue, fetched, births)
        return Documents(fetched, snapshot.as_of)

    async def _births(self, consumer: str, *, elsewhere: bool) -> Births:
        here = await self._services.named_here(consumer)
        return Births(self._services.identity.site, elsewhere=elsewhere, here=here)

    def _is_possible(self, wanted: WantedDocument) -> bool:
        """Whether the wanted document and each document of its path could exist."""
        return all(
            doctype in self._services.catalogue and is_possible_name(self._services.catalogue[doctype], name)
            for doctype, name in _full_path(wanted)
        )

    async def _read(self, reader: Reader, keys: Iterable[Key]) -> dict[Key, RawDocument]:
        """The documents that exist and are readable, with a few queries per type."""
        stored, problems = await self._read_stored(reader, keys)
        return {key: document for key, document in stored.items() if key not in problems}

    async def _read_stored(self, reader: Reader, keys: Iterable[Key]) -> tuple[dict[Key, RawDocument], dict[Key, str]]:
        """The documents that the database could read, and why some of all these cannot be served.

        Such a document does not keep the others back. A later request may be able to read it.
        """
        stored: dict[Key, RawDocument] = {}
        problems: dict[Key, str] = {}
        for doctype, names in names_by_type(keys).items():
            documents, errors = await _read_each(reader, self._services.catalogue[doctype], names)
            stored |= {(doctype, name): document for name, document in documents.items()}
            # SQLite stores any bytes as TEXT. A document with invalid UTF-8 cannot be served, not even in part.
            errors |= {name: each.problem() for name, each in documents.items() if not each.readable()}
            problems |= {(doctype, name): error for name, error in errors.items()}
            for name, error in errors.items():
                log.warning("document_unreadable", doctype=doctype, name=name_label(name), error=error, hint=_HINT)
        return stored, problems

    async def _read_records(self, reader: Reader, keys: Iterable[Key]) -> dict[Key, Record]:
        """The sync records of these documents. From them a consumer can tell which of its edits have arrived."""
        records = {}
        for doctype, names in names_by_type(keys).items():
            for name, record in (await reader.records(doctype, names)).items():
                records[(doctype, name)] = record
        return records


class Access:
    """What approvals allow a consumer to read: directly, and through links of documents."""

    def __init__(self, grants: Grants, catalogue: Catalogue, hidden: frozenset[str] = frozenset()) -> None:
        """`hidden` are types of which nothing can be served now."""
        self._grants = grants
        self.hidden = hidden
        self._catalogue = catalogue
        # Links within a type also lead to documents of the type that do not satisfy its condition.
        self._opens = {doctype: opens | ({doctype} - catalogue.guarded) for doctype, opens in grants.opens.items()}

    def may_read(self, key: Key, document: RawDocument) -> bool:
        """Whether the document may be read without a path: its type is approved, and it satisfies any condition."""
        condition = self._grants.conditions.get(key[0])
        return key[0] in self._grants.starts and (condition is None or condition.holds(document.row))

    def may_use_path(self, wanted: WantedDocument) -> bool:
        """Whether the path is worth reading: the document needs one, and the types on the path are allowed."""
        first, *further = (doctype for doctype, _ in _full_path(wanted))
        if not further or (wanted.doctype in self._grants.starts and wanted.doctype not in self._grants.conditions):
            return False
        opens = self._opens.get(first, frozenset())
        return wanted.doctype in opens and all(
            doctype in opens or doctype in self._grants.starts for doctype in further
        )

    def opened_by(self, key: Key, document: RawDocument, inherited: frozenset[str] | None) -> frozenset[str]:
        """The types that this document's links may lead to: by its own approval, and `inherited` from its path."""
        own = self._opens.get(key[0], frozenset()) if self.may_read(key, document) else frozenset()
        return own | (inherited or frozenset())

    def verify_paths(
        self, wanted: Iterable[WantedDocument], steps: Mapping[Key, RawDocument]
    ) -> dict[Key, frozenset[str]]:
        """The wanted documents that their paths really lead to, with the types that their approvals open.

        On a valid path, each document links to the next one, and the last one to the wanted document. The first must
        be readable itself. The others must be opened by the first one's approval, or be readable themselves.
        """
        readable = {key for key, document in steps.items() if self.may_read(key, document)}
        links = {key: linked_documents(self._catalogue[key[0]], document) for key, document in steps.items()}
        verified: dict[Key, frozenset[str]] = {}
        for ref in wanted:
            path = _full_path(ref)
            opens = self._opens[path[0][0]]
            if path[0] in readable and all(
                target in links.get(step, ()) and (step[0] in opens or step in readable)
                for step, target in pairwise(path)
            ):
                verified[_key(ref)] = verified.get(_key(ref), frozenset()) | opens
        return verified


def linked_documents(doctype: DocumentType, document: RawDocument) -> set[Key]:
    """The documents that this one links to, from its own row or its child rows."""
    children = {field: [read_json(row) for row in rows] for field, rows in document.children.items()}
    return set(document_links(doctype, read_json(document.row), children))


async def _read_each(
    reader: Reader, doctype: DocumentType, names: Sequence[Name]
) -> tuple[dict[Name, RawDocument], dict[Name, str]]:
    """The documents of these names that the database can read, and the error of each that it cannot.

    Raises `SiteError` where no single document is the cause.
    """
    try:
        async with reader.attempt():
            return await reader.read_documents(doctype, names), {}
    except SiteError as error:
        if error.retryable or isinstance(error, TypeRefused | SchemaChanged | NotInstalled):
            raise
        if len(names) == 1:
            return {}, {names[0]: error.message}
    half = len(names) // 2
    first, first_errors = await _read_each(reader, doctype, names[:half])
    second, second_errors = await _read_each(reader, doctype, names[half:])
    return first | second, first_errors | second_errors


async def add_former_names(log: UpdateLog, documents: Iterable[FetchedDocument], doctypes: Container[str]) -> None:
    """Add to each document of these types its names before the renames that are still in the log.

    A consumer that has not received such a rename yet recognises the document by its old name.
    """
    by_type: dict[str, list[FetchedDocument]] = {}
    for document in documents:
        if document.doctype in doctypes:
            by_type.setdefault(document.doctype, []).append(document)
    for doctype, renamed in by_type.items():
        former = await former_names(log.state, doctype, [name_text(document.name) for document in renamed])
        for document in renamed:
            document.former = tuple(former.get(name_text(document.name), ()))


def build_fetched_document(
    key: Key,
    document: RawDocument,
    clock: str,
    record: Record | None,
    *,
    unfilled: Collection[str] = (),
    site: str = "",
) -> FetchedDocument:
    """A document as it is served, with its sync record.

    `unfilled` are new columns of this `site`. If the document was not made at this site, and no edit of such a column
    is known, its value is only a default. An empty clock tells this to the consumer.
    """
    doctype, name = key
    fetched = FetchedDocument(doctype, name, msgspec.Raw(document.whole()), clock)
    if record is None or record.source != site:
        fetched.clocks = dict.fromkeys(unfilled, hlc.ZERO)
    if record is not None:
        fetched.source = record.source
        fetched.clocks |= {"": record.clock, **record.field_clocks}
    return fetched


def _full_path(wanted: WantedDocument) -> list[Key]:
    """The documents of the path, then the wanted one."""
    return [*(_key(step) for step in wanted.path), _key(wanted)]


def is_possible_name(doctype: DocumentType, name: Name) -> bool:
    """Whether a document of this type could have this name."""
    return len(name) == len(doctype.key) and all(
        not isinstance(part, int) or abs(part) <= LARGEST_INTEGER for part in name
    )


def _key(ref: WantedDocument | DocumentRef) -> Key:
    return ref.doctype, ref.name


def _too_many_documents(count: int, limit: int) -> InvalidRequest:
    return InvalidRequest(
        f"{count} documents are too many for one request",
        hint=f"ask for at most {limit} per request",
        status=413,
        code="too_large",
    )
