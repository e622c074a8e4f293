"""The names of a type's documents, a page at a time: of those that satisfy the condition, where there is one."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

import msgspec
import structlog

from streamd.db.base import Reader
from streamd.errors import InvalidRequest, PartialView
from streamd.model import DocumentType, Name
from streamd.serve.conditions import Condition
from streamd.serve.documents import possible
from streamd.serve.services import Caller, Services
from streamd.serve.settled import settled
from streamd.wire import PARTIAL_VIEW, NamesRequest

ROWS_AT_ONCE = 500
"""Documents whose rows are read and judged at once."""

SIFT_SECONDS = 10.0
"""How long documents that do not satisfy a condition are passed over for one answer."""

PLACES = 1000
"""Requests of which it is remembered how far they were looked through in vain."""

log = structlog.get_logger("streamd.serve")

Asked = tuple[str, str, str, Name | None]
"""A request: the consumer, the type, the condition, and the name after which names are wanted."""


class Names(msgspec.Struct):
    """`NamesAnswer` as it is encoded."""

    names: list[Name]
    more: bool
    as_of: str


class Listing:
    """Answers requests for names."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._places: OrderedDict[Asked, Name] = OrderedDict()

    async def names(self, caller: Caller, asked: NamesRequest) -> Names:
        """The names of an approved type's documents, in their order; of any other type there are none.

        Raises `InvalidRequest`: 400 for a name that is none, 409 where not every document can be seen, 503 where so
        many had to be passed over that the consumer has to ask again; then it is gone on from there.
        """
        try:
            return await self._names(caller, asked)
        except PartialView as error:
            log.warning("names_not_given", consumer=caller.consumer, doctype=asked.doctype, problem=error.message)
            raise InvalidRequest(
                f"not every document of {asked.doctype} can be seen here (row-level security), so none are listed",
                hint="at the producer, `streamd check` says what to do; it is tried again",
                status=409,
                code=PARTIAL_VIEW,
            ) from error

    async def _names(self, caller: Caller, asked: NamesRequest) -> Names:
        async with settled(self._services) as view:
            standing, _ = await self._services.registered(caller)
            allowed = self._services.allowed(standing)
            doctype = self._services.catalogue.get(asked.doctype)
            if doctype is None or asked.doctype not in allowed.starts:
                return Names([], False, view.as_of)
            after = None if asked.after is None else tuple(asked.after)
            if after is not None and not possible(doctype, after):
                raise InvalidRequest(
                    f"after: is no name of a {doctype.name}", hint="send the last name of the page before"
                )
            condition = allowed.conditions.get(doctype.name)
            if condition is None:
                page, more = await _names(view.reader, doctype, after, asked.limit)
                return Names(page, more, view.as_of)
            place = (caller.consumer, doctype.name, condition.expression.text, after)
            page, more = await self._satisfying(view.reader, condition, place, asked.limit)
            return Names(page, more, view.as_of)

    async def _satisfying(
        self, reader: Reader, condition: Condition, asked: Asked, limit: int
    ) -> tuple[list[Name], bool]:
        """The names of documents that satisfy a condition, and whether there may be further ones."""
        clock = asyncio.get_running_loop().time
        until = clock() + SIFT_SECONDS
        after = self._places.pop(asked, asked[3])
        found: list[Name] = []
        while True:
            names = await reader.list_names(condition.doctype, after, ROWS_AT_ONCE)
            rows = await reader.read_documents(condition.judged, _sayable(names))
            found += [name for name in names if name in rows and condition.holds(rows[name].row)]
            if len(found) > limit:
                return found[:limit], True
            if len(names) < ROWS_AT_ONCE:
                return found, False
            after = names[-1]
            if clock() < until:
                continue
            if found:
                return found, True
            # The place must not be said: it is the name of a document of which the consumer must not know.
            self._places[asked] = after
            if len(self._places) > PLACES:
                self._places.popitem(last=False)
            raise InvalidRequest(
                f"no {condition.doctype.name} that satisfies the condition was found yet",
                hint="ask again: it is gone on from where this ended",
                status=503,
                code="unavailable",
                retry_after=1,
            )


async def _names(reader: Reader, doctype: DocumentType, after: Name | None, limit: int) -> tuple[list[Name], bool]:
    """A page of names, and whether there are further ones. It is empty only where there is none behind it."""
    while True:
        names = await reader.list_names(doctype, after, limit + 1)
        page, more = _sayable(names[:limit]), len(names) > limit
        if page or not more:
            return page, more
        after = names[limit - 1]


def _sayable(names: list[Name]) -> list[Name]:
    """Only what a name can hold: a key column of SQLite may have bytes in it all the same."""
    return [name for name in names if all(isinstance(part, str | int | float) for part in name)]
