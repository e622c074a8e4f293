"""Finds the documents that a mapping's links lead to by their values, where the producer has no such link itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from streamd.apply.event.columns import MappedRows
from streamd.apply.event.decoding import read_difference
from streamd.apply.event.incoming import Incoming, ref_of
from streamd.apply.event.lookup import Lookup
from streamd.apply.event.mapping import MappedType
from streamd.apply.fetch.fetching import Fetcher, incoming_documents
from streamd.apply.source import Ref, Source
from streamd.errors import ExpressionError, RowRefused
from streamd.model import Catalogue, Difference, Operation, Row, Scalar, name_label
from streamd.wire import DocumentRef, LinkDescriptor, WantedDocument, read_json


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
            if mapped is None or incoming.data is None or id(incoming) in self._done:
                continue
            self._done.add(id(incoming))
            try:
                targets = [target async for target in self._targets(incoming, mapped)]
            except (NotFoundThere, RowRefused, ExpressionError) as reason:
                self.failed[ref_of(incoming)] = incoming.fault = str(reason)
                continue
            for target in targets:
                if ref_of(target) not in self.found:
                    self.found[ref_of(target)] = target
                    found.append(target)
                    waiting.append(target)
        return found

    async def _targets(self, incoming: Incoming, mapped: MappedType) -> AsyncIterator[Incoming]:
        """Set each link of the event whose target may be another one now, and give the targets."""
        remote = incoming.remote
        places: list[_Place] = []
        if isinstance(incoming.data, Difference):
            places = _places_in_difference(mapped, incoming.data, read_difference(remote.data))
        elif isinstance(incoming.data, dict) and remote.operation == Operation.CREATE:
            places = _places_in_document(mapped, incoming.data)
        if not places:
            return
        document = read_json(bytes(remote.data)) if remote.operation == Operation.CREATE else await self._now(incoming)
        for place in places:
            row = place.row_of(document)
            if row is None:
                continue  # the row is gone there by now: its removal comes later
            hops = await self._hops(incoming, place, row)
            values = place.lookup.values(row, hops)
            target = None if values is None else await self._asked(incoming, place.lookup, values)
            place.row[place.lookup.fieldname] = None if target is None else target.event.name[0]
            if target is not None:
                yield target

    async def _now(self, incoming: Incoming) -> Row:
        """The event's document as the producer has it now, in the producer's own words."""
        remote = incoming.remote
        answer = await self._fetcher.fetch([WantedDocument(remote.doctype, remote.name)])
        for document in answer.documents:
            row = read_json(bytes(document.data))
            if isinstance(row, dict):
                return row
        label = f"{remote.doctype} {name_label(remote.name)}"
        raise NotFoundThere(f"{label} is needed as it is now, and the producer does not have (or give) it any more")

    async def _hops(self, incoming: Incoming, place: _Place, row: Row) -> dict[str, Row | None]:
        """The documents that this row links to, as far as the filters look at them."""
        _, hops = place.lookup.needs()
        remote = incoming.remote
        wanted: dict[str, WantedDocument] = {}
        for field in hops:
            link = next((link for link in place.links if link.columns == [field]), None)
            target = None if link is None else link.doctype or row.get(link.type_column or "")
            if isinstance(target, str) and row.get(field) is not None:
                path = [DocumentRef(remote.doctype, remote.name)]
                wanted[field] = WantedDocument(target, (row[field],), path)
        if not wanted:
            return dict.fromkeys(hops)
        answer = await self._fetcher.fetch(list(wanted.values()))
        rows = {(each.doctype, each.name): read_json(bytes(each.data)) for each in answer.documents}
        return dict.fromkeys(hops) | {field: rows.get((each.doctype, each.name)) for field, each in wanted.items()}

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


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a link is to be set: a row in our words; `key` says which child row of the producer's that is.

    `field` and `key_columns` are those of the producer's child table; empty for the document itself.
    """

    row: Row
    lookup: Lookup
    links: Sequence[LinkDescriptor]
    field: str = ""
    key_columns: Sequence[str] = ()
    key: tuple[Any, ...] = ()

    def row_of(self, document: Row) -> Row | None:
        """The row in the producer's words, in the whole document."""
        if not self.field:
            return document
        rows: Sequence[Row] = document.get(self.field) or ()
        return next((row for row in rows if _key(row, self.key_columns) == self.key), None)


def _places_in_document(mapped: MappedType, data: Row) -> list[_Place]:
    places = [_Place(data, lookup, mapped.remote.links) for lookup in mapped.lookups]
    for rows in mapped.children.values():
        for row in data.get(rows.local.field) or ():
            places += _row_places(rows, row)
    return places


def _places_in_difference(mapped: MappedType, data: Difference, remote: Difference) -> list[_Place]:
    """`data` is in our words, `remote` the same in the producer's."""
    places = [
        _Place(data.changed, lookup, mapped.remote.links) for lookup in mapped.lookups if lookup.touched_by(remote)
    ]
    for there, rows in mapped.children.items():
        for row in data.added.get(rows.local.field, ()):
            places += _row_places(rows, row)
        for changed in remote.row_changed.get(there, ()):
            for lookup in rows.columns.lookups:
                if not lookup.reads.isdisjoint(changed):
                    places.append(_changed_place(rows, data, _key(changed, rows.remote.key), lookup))
    return places


def _row_places(rows: MappedRows, row: Row) -> Iterator[_Place]:
    for lookup in rows.columns.lookups:
        yield _Place(row, lookup, rows.remote.links, rows.remote.field, rows.remote.key, _key(row, rows.local.key))


def _changed_place(rows: MappedRows, data: Difference, key: tuple[Any, ...], lookup: Lookup) -> _Place:
    """The place in a changed row. That may stand in no difference of ours yet, if only what is looked for changes."""
    changed = data.row_changed.setdefault(rows.local.field, [])
    row = next((row for row in changed if _key(row, rows.local.key) == key), None)
    if row is None:
        row = dict(zip(rows.local.key, key, strict=True))
        changed.append(row)
    return _Place(row, lookup, rows.remote.links, rows.remote.field, rows.remote.key, key)


def _key(row: Row, columns: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row.get(column) for column in columns)
