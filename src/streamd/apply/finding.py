"""Finds the documents that a mapping's links lead to by their values, where the producer has no such link itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from streamd.apply.fetching import Fetcher, incoming_documents, ref_of
from streamd.apply.lookup import Lookup
from streamd.apply.mapping import MappedType
from streamd.apply.plan import Incoming
from streamd.apply.source import Ref, Source
from streamd.model import Catalogue, Difference, Operation, Row, Scalar, name_label
from streamd.wire import DocumentRef, LinkDescriptor, WantedDocument, read_json

_DIFFERENCE = msgspec.json.Decoder(Difference, float_hook=Decimal)


class NotFoundThere(Exception):  # a signal within this module, not an error
    """No document of the producer fits, or several do; in words."""


class Finder:
    """Completes events of one producer by the links that are found by values.

    `failed` says of which events a link was not found, and why. What was found once is not asked for again.
    """

    def __init__(self, source: Source, catalogue: Catalogue, fetcher: Fetcher) -> None:
        self._source = source
        self._catalogue = catalogue
        self._fetcher = fetcher
        self._done: set[int] = set()
        self._answers: dict[tuple[str, str], Incoming | str] = {}
        self.found: dict[Ref, Incoming] = {}
        self.failed: dict[Ref, str] = {}

    async def complete(self, events: Iterable[Incoming]) -> list[Incoming]:
        """Set the links of these events, and return the documents that they lead to. Raises `PeerError`."""
        found: list[Incoming] = []
        waiting = list(events)
        while waiting:
            incoming = waiting.pop()
            mapped = self._source.mapped.get(incoming.remote.doctype)
            if mapped is None or not mapped.lookups or incoming.data is None or id(incoming) in self._done:
                continue
            self._done.add(id(incoming))
            for lookup in mapped.lookups:
                try:
                    target = await self._target(incoming, mapped, lookup)
                except NotFoundThere as reason:
                    self.failed[ref_of(incoming)] = incoming.fault = str(reason)
                    break
                if target is not None and ref_of(target) not in self.found:
                    self.found[ref_of(target)] = target
                    found.append(target)
                    waiting.append(target)
        return found

    async def _target(self, incoming: Incoming, mapped: MappedType, lookup: Lookup) -> Incoming | None:
        """The document that a link of the event leads to; None where it leads to none, or is what it was."""
        remote = incoming.remote
        if remote.operation == Operation.UPDATE:
            if isinstance(incoming.data, Difference) and not lookup.touched_by(_DIFFERENCE.decode(bytes(remote.data))):
                return None
        elif remote.operation != Operation.CREATE:
            return None
        document = read_json(bytes(remote.data)) if remote.operation == Operation.CREATE else await self._now(incoming)
        hops = await self._hops(incoming, mapped, lookup, document)
        values = lookup.values(document, hops)
        target = None if values is None else await self._asked(incoming, lookup, values)
        link = None if target is None else target.event.name[0]
        if isinstance(incoming.data, Difference):
            incoming.data.changed[lookup.fieldname] = link
        else:
            incoming.data[lookup.fieldname] = link
        return target

    async def _now(self, incoming: Incoming) -> Row:
        """The event's document as the producer has it now, in the producer's own words."""
        remote = incoming.remote
        answer = await self._fetcher.fetch([WantedDocument(doctype=remote.doctype, name=list(remote.name))])
        for document in answer.documents:
            row = read_json(bytes(document.data))
            if isinstance(row, dict):
                return row
        raise NotFoundThere(f"{remote.doctype} {name_label(remote.name)} is not at the producer any more")

    async def _hops(
        self, incoming: Incoming, mapped: MappedType, lookup: Lookup, document: Row
    ) -> dict[str, Row | None]:
        """The documents that this one links to, as far as the filters look at them."""
        _, hops = lookup.needs()
        remote = incoming.remote
        wanted: dict[str, WantedDocument] = {}
        for field in hops:
            link = _link(mapped.remote.links, field)
            target = None if link is None else link.doctype or document.get(link.type_column or "")
            if isinstance(target, str) and document.get(field) is not None:
                path = [DocumentRef(doctype=remote.doctype, name=list(remote.name))]
                wanted[field] = WantedDocument(doctype=target, name=[document[field]], path=path)
        if not wanted:
            return dict.fromkeys(hops)
        answer = await self._fetcher.fetch(list(wanted.values()))
        rows = {(each.doctype, each.name): read_json(bytes(each.data)) for each in answer.documents}
        return dict.fromkeys(hops) | {
            field: rows.get((each.doctype, tuple(each.name))) for field, each in wanted.items()
        }

    async def _asked(self, incoming: Incoming, lookup: Lookup, values: Mapping[str, Scalar]) -> Incoming:
        """The one document with these values. Raises `NotFoundThere`."""
        key = (lookup.remote_doctype, repr(sorted(values.items())))
        if key not in self._answers:
            answer = await self._fetcher.find(lookup.remote_doctype, values)
            given = incoming_documents(answer, self._source, self._catalogue)
            wanted = " and ".join(f"{field} = {value!r}" for field, value in values.items())
            label = f"{incoming.event.doctype} {name_label(incoming.event.name)}"
            needs = f"{label} needs the one {lookup.remote_doctype} with {wanted} for its {lookup.fieldname}"
            if not given:
                self._answers[key] = f"{needs}: the producer has, or gives, none"
            elif len(given) > 1:
                self._answers[key] = f"{needs}: the producer has several"
            else:
                self._answers[key] = given[0]
        answered = self._answers[key]
        if isinstance(answered, str):
            raise NotFoundThere(answered)
        return answered


def _link(links: Sequence[LinkDescriptor], field: str) -> LinkDescriptor | None:
    return next((link for link in links if link.columns == [field]), None)
