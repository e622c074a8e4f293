"""Lists the names of a type's documents in pages; only of documents that satisfy the approval's condition."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import structlog

from streamd.db.base import Reader
from streamd.errors import InvalidRequest, PartialView
from streamd.model import DocumentType, Name
from streamd.serve.conditions import Condition
from streamd.serve.documents import is_possible_name
from streamd.serve.services import Caller, Services
from streamd.wire import PARTIAL_VIEW, NamesAnswer, NamesRequest

BATCH_SIZE = 500
"""Documents whose rows are read and filtered at once."""

FILTER_SECONDS = 10.0
"""How long one request may skip documents that do not satisfy the condition."""

MAX_POSITIONS = 1000
"""Requests without a result whose position is kept, so that the next request continues there."""

log = structlog.get_logger("streamd.serve")

RequestKey = tuple[str, str, str, Name | None]
"""Identifies a request: the consumer, the type, the condition, and the name that it continues after."""


class NameListing:
    """Answers requests for names."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._positions: OrderedDict[RequestKey, Name] = OrderedDict()

    async def list_names(self, caller: Caller, request: NamesRequest) -> NamesAnswer:
        """A page of names of an approved type, in order. The list is empty for a type that is not approved.

        Raises `InvalidRequest`: 400 for an invalid name, 409 if this site cannot see every document, 503 if no match
        was found in time; the same request then continues where this one stopped.
        """
        try:
            return await self._list_names(caller, request)
        except PartialView as error:
            log.warning("names_withheld", consumer=caller.consumer, doctype=request.doctype, problem=error.message)
            raise InvalidRequest(
                f"row-level security hides some documents of {request.doctype} from this site, so none are listed",
                hint="run `streamd check` at the producer; the consumer retries",
                status=409,
                code=PARTIAL_VIEW,
            ) from error

    async def _list_names(self, caller: Caller, request: NamesRequest) -> NamesAnswer:
        async with self._services.open_snapshot() as snapshot:
            standing, _ = await self._services.require_registration(caller)
            grants = self._services.resolve_grants(standing)
            doctype = self._services.catalogue.get(request.doctype)
            if doctype is None or request.doctype not in grants.starts:
                return NamesAnswer([], False, snapshot.as_of)
            after = request.after
            if after is not None and not is_possible_name(doctype, after):
                raise InvalidRequest(
                    f"after: not a valid name of a {doctype.name}", hint="send the last name of the previous page"
                )
            condition = grants.conditions.get(doctype.name)
            if condition is None:
                names, has_more = await _read_names(snapshot.reader, doctype, after, request.limit)
            else:
                key = (caller.consumer, doctype.name, condition.expression.text, after)
                names, has_more = await self._read_matching(snapshot.reader, condition, key, request.limit)
            return NamesAnswer(names, has_more, snapshot.as_of)

    async def _read_matching(
        self, reader: Reader, condition: Condition, key: RequestKey, limit: int
    ) -> tuple[list[Name], bool]:
        """The names of documents that satisfy a condition, and whether there may be more."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + FILTER_SECONDS
        after = self._positions.pop(key, key[3])
        matches: list[Name] = []
        while True:
            names = await reader.list_names(condition.doctype, after, BATCH_SIZE)
            rows = await reader.read_documents(condition.narrow_doctype, _valid_names(names))
            matches += [name for name in names if name in rows and condition.holds(rows[name].row)]
            if len(matches) > limit:
                return matches[:limit], True
            if len(names) < BATCH_SIZE:
                return matches, False
            after = names[-1]
            if clock() < deadline:
                continue
            if matches:
                return matches, True
            # The position stays here: it is the name of a document that the consumer must not learn about.
            self._positions[key] = after
            if len(self._positions) > MAX_POSITIONS:
                self._positions.popitem(last=False)
            raise InvalidRequest(
                f"found no {condition.doctype.name} that satisfies the condition yet",
                hint="send the same request again; the search continues",
                status=503,
                code="unavailable",
                retry_after=1,
            )


async def _read_names(reader: Reader, doctype: DocumentType, after: Name | None, limit: int) -> tuple[list[Name], bool]:
    """A page of names, and whether there are more. The page is empty only if there are no further names."""
    while True:
        names = await reader.list_names(doctype, after, limit + 1)
        page, has_more = _valid_names(names[:limit]), len(names) > limit
        if page or not has_more:
            return page, has_more
        after = names[limit - 1]


def _valid_names(names: list[Name]) -> list[Name]:
    """Without names that the protocol cannot express: a key column of SQLite may contain bytes."""
    return [name for name in names if all(isinstance(part, str | int | float) for part in name)]
