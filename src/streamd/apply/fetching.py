"""Fetches the documents that a batch needs and that are not here: recursively, many at a time, within bounds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from pydantic import ValidationError

from streamd import clock as hlc
from streamd.apply.dependency import Ref, in_order, needed
from streamd.apply.incoming import decode
from streamd.apply.plan import Incoming
from streamd.apply.repair import Known
from streamd.db.base import SiteDatabase
from streamd.errors import InvalidRequest, PeerRefused
from streamd.faults import crash_point
from streamd.model import Catalogue, Event, Name, Operation, name_label
from streamd.wire import DocumentRef, Documents, WantedDocument, read_cursor

log = structlog.get_logger("streamd.apply")


class Fetcher(Protocol):
    """Gets documents from a producer."""

    async def fetch(self, wanted: Sequence[WantedDocument]) -> Documents:
        """The wanted documents that the producer has and gives. Raises `PeerError`."""
        ...


@dataclass(slots=True)
class Fetched:
    """What was fetched, ready to be put here, with what each links to; and what was asked for in vain."""

    documents: dict[Ref, Incoming] = field(default_factory=dict)
    links: dict[Ref, list[Ref]] = field(default_factory=dict)

    def for_links(self, wanted: Iterable[Ref]) -> list[Incoming]:
        """The documents behind these links and all that they need in turn, in the order in which to put them."""
        return [self.documents[ref] for ref in in_order(wanted, self.links)]


@dataclass(frozen=True, slots=True)
class Want:
    """A document that is not here, and the way from a document of an approved type to it."""

    ref: Ref
    path: tuple[Ref, ...]


async def fetch_missing(
    wants: Sequence[Want],
    *,
    fetcher: Fetcher,
    database: SiteDatabase,
    catalogue: Catalogue,
    producer_site: str,
    coming: frozenset[Ref],
    closed: frozenset[str],
    max_documents: int,
    max_depth: int,
) -> Fetched:
    """Fetch these documents, and those that they link to in turn, unless they are here or `coming` in the batch.

    No document of a `closed` type is fetched for a link of one that was fetched.
    Stops at the bounds: what is beyond them stays missing, and the events that need it are parked. Raises
    `PeerError`.
    """
    fetched = Fetched()
    asked: set[Ref] = set()
    frontier = list(wants)
    depth = 0
    while frontier and depth < max_depth:
        depth += 1
        frontier = [want for want in {want.ref: want for want in frontier}.values() if want.ref not in asked]
        frontier = frontier[: max(max_documents - len(asked), 0)]
        if not frontier:
            break
        asked |= {want.ref for want in frontier}
        requests = [wanted for want in frontier if (wanted := _wanted(want)) is not None]
        if not requests:
            break
        answer = await fetcher.fetch(requests)
        crash_point("apply.fetched")
        paths = {want.ref: want.path for want in frontier}
        beyond: list[Want] = []
        for incoming in incoming_documents(answer, producer_site, catalogue):
            ref = (incoming.event.doctype, incoming.event.name)
            if ref not in paths:
                continue
            fetched.documents[ref] = incoming
            fetched.links[ref] = needed(incoming, catalogue, None)
            beyond += [Want(target, (*paths[ref], ref)) for target in fetched.links[ref] if target not in coming]
        frontier = await absent(database, catalogue, (want for want in beyond if want.ref[0] not in closed))
    if fetched.documents:
        log.debug("dependencies_fetched", documents=len(fetched.documents), rounds=depth)
    return fetched


async def absent(database: SiteDatabase, catalogue: Catalogue, wants: Iterable[Want]) -> list[Want]:
    """Those of the wanted documents that are not here."""
    by_type: dict[str, dict[Name, Want]] = {}
    for want in wants:
        by_type.setdefault(want.ref[0], {}).setdefault(want.ref[1], want)
    missing: list[Want] = []
    if by_type:
        async with database.snapshot() as reader:
            for doctype, named in by_type.items():
                here = await reader.existing(catalogue[doctype], named)
                missing += [want for name, want in named.items() if name not in here]
    return missing


def incoming_documents(answer: Documents, producer_site: str, catalogue: Catalogue) -> list[Incoming]:
    """Fetched documents as creates that contain the producer's log up to the answer's cursor.

    What has not the shape of a document is left out. Raises `PeerRefused` for a cursor that cannot be read.
    """
    try:
        as_of = read_cursor(answer.as_of)
    except InvalidRequest as error:
        raise PeerRefused("the producer sent a cursor that cannot be read", hint="upgrade the older site") from error
    found = []
    for document in answer.documents:
        event = Event(
            sequence=as_of.sequence,
            nonce=as_of.nonce,
            tx=0,
            doctype=document.doctype,
            name=document.name,
            operation=Operation.CREATE,
            # Later than all that the producer had seen, and its own: no edit that others made has this clock.
            clock=hlc.tick(document.clock, 0, producer_site) if hlc.is_reading(document.clock) else hlc.ZERO,
            at=0,
            data=document.data,
        )
        incoming = decode(event, producer_site, as_of.log, catalogue)
        if incoming.data is not None and document.doctype in catalogue:
            incoming.fetched = True
            clocks = {name: clock for name, clock in document.clocks.items() if hlc.is_reading(clock)}
            incoming.known = Known(document.source, clocks)
            found.append(incoming)
    return found


def _wanted(want: Want) -> WantedDocument | None:
    """The request for one document; None for a name that cannot travel (longer than the protocol allows)."""
    doctype, name = want.ref
    try:
        path = [DocumentRef(doctype=step, name=list(step_name)) for step, step_name in want.path]
        return WantedDocument(doctype=doctype, name=list(name), path=path)
    except ValidationError:
        log.warning("name_cannot_travel", doctype=doctype, name=name_label(name)[:200])
        return None
