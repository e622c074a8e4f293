"""Reads all documents of some types again from their producer: the mend for a gap, or a log that began anew."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from streamd import clock as hlc
from streamd.apply.applier import Applier
from streamd.apply.batch import PAUSED, Unit
from streamd.apply.decoding import DELETE
from streamd.apply.fetching import Fetcher, incoming_documents
from streamd.apply.incoming import Incoming
from streamd.apply.remembering import NO_LOG
from streamd.apply.source import Source
from streamd.apply.traces import renamed_names
from streamd.db.base import SiteDatabase
from streamd.errors import RowRefused
from streamd.model import Catalogue, Cursor, DocumentType, Event, Name, Operation, QueuedEvent, QueueRequest, Record
from streamd.wire import NamesAnswer, WantedDocument, read_cursor

log = structlog.get_logger("streamd.apply")

DOCUMENTS_AT_ONCE = 200
NAMES_AT_ONCE = 1000


class Lister(Fetcher, Protocol):
    """A producer that can also be asked for all names of a type."""

    async def names(self, doctype: str, after: Name | None, limit: int) -> NamesAnswer:
        """Names of documents that follow `after`. Raises `PeerError`."""
        ...


class WholeResync:
    """Makes the documents of some types here what they are at the producer.

    With `repair`, all but what was edited later here, or at a third site: for a gap that nobody has looked at.
    """

    def __init__(
        self, applier: Applier, database: SiteDatabase, catalogue: Catalogue, site: str, *, repair: bool = False
    ) -> None:
        self._applier = applier
        self._database = database
        self._catalogue = catalogue
        self._site = site
        self._repair = repair
        self.as_of: dict[str, Cursor] = {}
        """For each type that was read: the place in the producer's log up to which that surely contains everything."""

    async def run(self, source: Source, lister: Lister, doctypes: Sequence[str], *, restart: bool) -> str:
        """Read these types again. Returns what was done, in words.

        With `restart` the checkpoint is set to the log's end as it was before the reading began, so that pulling
        goes on from there: only right where all subscribed types are read. Raises `PeerError`.
        """
        start: Cursor | None = None
        words = []
        for doctype in doctypes:
            if doctype in source.paused:
                words.append(f"{doctype}{PAUSED}{source.paused[doctype]}")
                continue
            first = await lister.names(source.remote(doctype), None, 1)
            as_of = self.as_of[doctype] = read_cursor(first.as_of)
            start = start or as_of
            words.append(await self._type(source, lister, self._catalogue[doctype]))
        await self._applier.confirm()
        if restart and start is not None:
            async with self._database.transaction() as transaction:
                await transaction.put_checkpoint(source.site, start.log, start.sequence, start.nonce)
        return "; ".join(words)

    async def _type(self, source: Source, lister: Lister, doctype: DocumentType) -> str:
        there: set[Name] = set()
        after: Name | None = None
        read = refused = 0
        while True:
            answer = await lister.names(source.remote(doctype.name), after, NAMES_AT_ONCE)
            names = [tuple(name) for name in answer.names]
            there |= set(names)
            for begin in range(0, len(names), DOCUMENTS_AT_ONCE):
                some = names[begin : begin + DOCUMENTS_AT_ONCE]
                refused += await self._documents(source, lister, doctype, some)
                read += len(some)
                log.info("reading_whole", doctype=doctype.name, producer=source.name, documents=read)
            if not answer.more or not names:
                break
            after = names[-1]
        gone = await self._remove(source, lister, doctype, there)
        failed = f", {refused} could not be written (see the daemon's log)" if refused else ""
        return f"{doctype.name}: {read} documents read, {gone} removed{failed}"

    async def _documents(self, source: Source, lister: Lister, doctype: DocumentType, names: Sequence[Name]) -> int:
        remote = source.remote(doctype.name)
        answer = await lister.fetch([WantedDocument(doctype=remote, name=list(name)) for name in names])
        queue = await self._queue(source, doctype)
        renamed = renamed_names(queue)
        await self._leave([each for each in queue if each.event.name in renamed.intersection(names)])
        incoming = [
            each for each in incoming_documents(answer, source, self._catalogue) if each.event.name not in renamed
        ]
        for each in incoming:
            each.overwrite, each.repair = not self._repair, self._repair
            # What the producer has from here is the document that is here.
            each.same_document = self._repair and each.known.source == self._site
        waiting: dict[Name, list[int]] = {}
        for queued in queue:
            waiting.setdefault(queued.event.name, []).append(queued.id)
        units = await self._applier.prepare(source, incoming, lister)
        return await self._write(source, units, waiting)

    async def _queue(self, source: Source, doctype: DocumentType) -> list[QueuedEvent]:
        async with self._database.snapshot() as reader:
            return [each for each in await reader.queue(doctype.name) if each.producer == source.site]

    async def _leave(self, queue: Sequence[QueuedEvent]) -> None:
        """Let the healer take whole what was renamed in the queue: it knows which document here that is."""
        if queue:
            async with self._database.transaction() as transaction:
                await transaction.update_queue([replace(each, request=QueueRequest.WHOLE) for each in queue])

    async def _write(self, source: Source, units: list[Unit], waiting: dict[Name, list[int]]) -> int:
        """Write in halves until what is refused stands alone. Returns how many were refused."""
        if not units:
            return 0
        try:
            ids = [each for unit in units for each in waiting.get(unit.incoming.event.name, [])]
            await self._applier.commit(source, units, None, ids)
        except RowRefused as error:
            if len(units) == 1:
                event = units[0].incoming.event
                log.warning("document_refused", doctype=event.doctype, name=event.name, error=error.message)
                return 1
            middle = len(units) // 2
            return await self._write(source, units[:middle], waiting) + await self._write(
                source, units[middle:], waiting
            )
        return 0

    async def _remove(self, source: Source, lister: Lister, doctype: DocumentType, there: set[Name]) -> int:
        """Delete what came from the producer and is not there any more.

        Not where what ceases to satisfy our condition is kept: nobody could tell it from what was deleted.
        """
        if source.on_leave.get(doctype.name, DELETE) != DELETE:
            return 0
        # What is called otherwise there by now is renamed here as soon as its queue is applied.
        renamed = renamed_names(await self._queue(source, doctype))
        after: Name | None = None
        gone = 0
        while True:
            async with self._database.snapshot() as reader:
                names = await reader.list_names(doctype, after, NAMES_AT_ONCE)
                records = await reader.records(doctype.name, names)
                known = await reader.counterparts_here(source.site, doctype.name, names)
            if not names:
                return gone
            after = names[-1]
            remote = {
                name: known[name].remote_name if name in known else _called_there(record, there)
                for name, record in records.items()
                if record.source == source.site
                and not record.deleted_at
                and (name in known or doctype.name not in source.renamed)
            }
            doomed = [name for name in remote.values() if name not in there and name not in renamed]
            incoming = [self._deletion(source, doctype, name) for name in doomed]
            units = await self._applier.prepare(source, incoming, lister)
            gone += len(units) - await self._write(source, units, {})

    def _deletion(self, source: Source, doctype: DocumentType, name: Name) -> Incoming:
        now = time.time_ns() // 1_000_000
        event = Event(0, "", 0, doctype.name, name, Operation.DELETE, hlc.reading(now, 0, source.site), now)
        return Incoming(event, {"old": None}, source.site, NO_LOG, fetched=True)


def _called_there(record: Record, there: set[Name]) -> Name:
    """The producer's name of a document: that under which it came, where it was renamed here and is not there yet."""
    return record.remote_name if record.remote_name in there else record.name
