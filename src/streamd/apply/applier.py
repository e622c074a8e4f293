"""Applies a page of events: plan and fetch (`preparation`), then write, one transaction per batch.

A batch that the database refuses is split in halves until the refused event stands alone; that one is parked
with its error, and everything else goes on. Rows, records, parked events and the checkpoint commit together.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import groupby

import structlog

from streamd.apply.batch import (
    Concerned,
    Kept,
    Renamed,
    Replan,
    Uncaptured,
    Unit,
    cut,
    middle_of,
    queued,
    require_captured,
    steps_before,
    without,
)
from streamd.apply.event.decoding import decode
from streamd.apply.event.incoming import Incoming, ref_of
from streamd.apply.event.joining import joined
from streamd.apply.fetch.fetching import Fetcher
from streamd.apply.localnames.localise import localise, look_up, remember
from streamd.apply.localnames.meaning import meaning_of
from streamd.apply.localnames.names import Names
from streamd.apply.localnames.taking import meant
from streamd.apply.places import Places
from streamd.apply.preparation import Preparation
from streamd.apply.refusedtypes import RefusedTypes
from streamd.apply.segment import Segment
from streamd.apply.source import Ref, Source
from streamd.apply.waiting import sort_out, waits_for_failed
from streamd.apply.write.blame import name_the_other
from streamd.apply.write.writer import columns_of
from streamd.common.instrumentation import crash_point
from streamd.common.values import names_by_type
from streamd.db.base import SiteDatabase, Transaction
from streamd.errors import RowRefused, SiteBusy, TypeRefused
from streamd.model import (
    Catalogue,
    Cursor,
    Event,
    Operation,
    QueueState,
    SyncEntry,
    SyncStatus,
    name_text,
)
from streamd.rows import bindings, tables_of
from streamd.store.sync_log import SyncLog

log = structlog.get_logger("streamd.apply")

SMALLEST_BATCH, LARGEST_BATCH = 50, 500
"""Events in one transaction."""

TRIES = 20
"""How often a batch is tried that meets changes which are not captured yet."""


class Applier:
    """Applies what producers send. One at a time: the site has one writer."""

    def __init__(
        self,
        database: SiteDatabase,
        sync_log: SyncLog,
        catalogue: Catalogue,
        *,
        site: str,
        drain: Callable[[], Awaitable[None]],
    ) -> None:
        self._database = database
        self._sync_log = sync_log
        self.catalogue = catalogue
        self._site = site
        self._drain = drain
        self._bound = bindings(catalogue)
        self._columns = columns_of(catalogue)
        self._batch = 100
        # Batches of several producers, and the settling of their entries, take turns.
        self._turn = asyncio.Lock()
        self._to_confirm: str | None = None
        self._said: set[tuple[str, str]] = set()
        self.places = Places(database)
        self.refused_types = RefusedTypes()

    async def recover(self) -> None:
        """Settle sync log entries of batches that may or may not have been committed when we were stopped."""
        async with self._turn:
            await self._settle()

    async def confirm(self) -> None:
        """Say in the sync log that the last batch is committed."""
        async with self._turn:
            batch, self._to_confirm = self._to_confirm, None
            if batch is not None:
                await self._sync_log.confirm(batch)
                crash_point("apply.confirmed")

    async def _settle(self) -> None:
        self._to_confirm = None
        for batch, producer, log_id, sequence in await self._sync_log.unconfirmed():
            async with self._database.snapshot() as reader:
                if sequence < 0:
                    done = all(each.id != -sequence for each in await reader.queue())
                else:
                    checkpoint = await reader.checkpoint(producer)
                    done = checkpoint is not None and checkpoint[0] == log_id and checkpoint[1] >= sequence
            await (self._sync_log.confirm(batch) if done else self._sync_log.abandon(batch))
        async with self._database.snapshot() as reader:
            waiting = {
                (each.producer, each.doctype, name_text(each.event.name), each.event.sequence)
                for each in await reader.queue()
            }
        await self._sync_log.resolve_all_but(waiting)

    async def apply(
        self, source: Source, events: Sequence[Event], end: Cursor, wanted: frozenset[str], fetcher: Fetcher
    ) -> None:
        """Apply a page, and set the checkpoint to its end.

        Events of types that are not `wanted` are passed over. Raises `PeerError` if what is missing cannot be
        fetched now, `SiteBusy`, and `SiteReplaced`; what was committed by then stays, with the checkpoint behind it.
        """
        try:
            await self._page(source, events, end, wanted, fetcher)
        finally:
            self.places.forget(source.site)

    async def _page(
        self, source: Source, events: Sequence[Event], end: Cursor, wanted: frozenset[str], fetcher: Fetcher
    ) -> None:
        todo = [
            decode(event, source, end.log, self.catalogue)
            for event in events
            if source.local(event.doctype) in wanted and (event.origin is None or self._site not in event.origin.path)
        ]
        if any(each.event.renamed_from is not None for each in todo):
            todo = joined(todo, self.catalogue, source)
        while todo:
            chunk = todo[: cut(todo, self._batch, LARGEST_BATCH)]
            todo = todo[len(chunk) :]
            last = chunk[-1].event
            position = Cursor(end.log, last.sequence, last.nonce) if todo else end
            for _ in range(TRIES):
                try:
                    units = await self._prepared(source, chunk, fetcher)
                    crash_point("apply.prepared")
                    await self._attempt(source, units, position)
                    break
                except Replan:
                    # Part of the chunk may be committed; what the checkpoint has passed is left out.
                    chunk = await self._left(source, chunk)
                    if not chunk:
                        break
            else:
                raise SiteBusy("local edits kept invalidating this batch", hint="it is retried")
        await self._checkpoint(source, end)
        await self.confirm()

    async def _left(self, source: Source, chunk: Sequence[Incoming]) -> list[Incoming]:
        async with self._database.snapshot() as reader:
            checkpoint = await reader.checkpoint(source.site)
        done = checkpoint[1] if checkpoint is not None and checkpoint[0] == chunk[0].log else 0
        return [incoming for incoming in chunk if incoming.event.sequence > done]

    async def _checkpoint(self, source: Source, end: Cursor) -> None:
        async with self._database.snapshot() as reader:
            if await reader.checkpoint(source.site) == (end.log, end.sequence, end.nonce):
                return
        async with self._database.transaction() as transaction:
            await self.places.move(transaction, source.site, end)

    async def prepare(self, source: Source, chunk: Sequence[Incoming], fetcher: Fetcher) -> list[Unit]:
        """Find out what each event needs, and fetch what is missing. Raises `PeerError`, `RowRefused`."""
        source = replace(source, paused=self._paused(source))
        return await Preparation(self._database, self.catalogue, source, fetcher).units(chunk)

    def _paused(self, source: Source) -> dict[str, str]:
        """The types that wait as a whole: because of the producer's tables, or of what the database here says."""
        return {**source.paused, **self.refused_types.paused()}

    async def _prepared(self, source: Source, chunk: Sequence[Incoming], fetcher: Fetcher) -> list[Unit]:
        """The same; what cannot even be looked at here is refused alone."""
        try:
            return await self.prepare(source, chunk, fetcher)
        except RowRefused as error:
            if len(chunk) == 1:
                unit = Unit(chunk[0], refused=error.message)
                self._note_type([unit], error)
                return [unit]
            middle = middle_of([incoming.event for incoming in chunk])
            first = await self._prepared(source, chunk[:middle], fetcher)
            return [*first, *await self._prepared(source, chunk[middle:], fetcher)]

    # Write

    async def _attempt(self, source: Source, units: list[Unit], position: Cursor) -> None:
        """Commit these units together, or in halves if the database refuses."""
        try:
            await self.commit(source, units, position)
        except RowRefused as error:
            if len(units) == 1 and units[0].incoming.event.doctype in self.refused_types.paused():
                await self.commit(source, units, position)
                return
            if len(units) == 1:
                log.warning(
                    "event_parked",
                    producer=source.name,
                    doctype=units[0].incoming.event.doctype,
                    name=units[0].incoming.event.name,
                    error=error.message,
                )
                units[0].refused = error.message
                await self.commit(source, units, position)
                return
            middle = middle_of([unit.incoming.event for unit in units])
            event = units[middle - 1].incoming.event
            await self._attempt(source, units[:middle], Cursor(position.log, event.sequence, event.nonce))
            await self._attempt(source, units[middle:], position)

    async def _put_before(self, source: Source, units: Sequence[Unit]) -> None:
        """Write what was fetched for these in transactions before theirs, where that is much; each needs those before.

        What cannot be written so stays with the units. With names of this site's own all of it does.
        """
        if source.renamed or len({ref_of(each) for unit in units for each in unit.before}) <= LARGEST_BATCH:
            return
        async with self._database.snapshot() as reader:
            waiting = await reader.queued_documents(source.site)
        for step in steps_before(units, LARGEST_BATCH, waiting):
            try:
                await self.commit(source, step, None, alone=True)
            except RowRefused:
                return  # the units themselves meet it, and say why
            without(units, step)

    async def commit(
        self,
        source: Source,
        units: list[Unit],
        position: Cursor | None,
        dequeue: Sequence[int] = (),
        *,
        alone: bool = False,
    ) -> list[SyncEntry]:
        """One transaction: these units, the checkpoint if there is one, and events that leave the queue.

        With `alone` nothing of them is kept back: then they are refused.

        Returns the entries of events that left the queue: they stand in the sync log already, as failed.
        Raises `RowRefused` if the database refuses any of it (then nothing is written), and `Replan`.
        """
        await self._put_before(source, units)
        for _ in range(TRIES):
            try:
                async with self._turn:
                    return await self._commit(source, units, position, dequeue, alone=alone)
            except Uncaptured as met:
                await self._drain()
                if isinstance(met, Renamed):
                    raise Replan("the names to which these documents link have changed here") from met
            except RowRefused as error:
                self._note_type(units, error)
                if len(units) == 1:
                    await name_the_other(self._database, self.catalogue, units[0].incoming, error)
                raise
        raise SiteBusy("local edits kept invalidating this batch", hint="it is retried")

    def _note_type(self, units: Sequence[Unit], error: RowRefused) -> None:
        """Pause the type of which the database refused more than one document, if it was that."""
        if not isinstance(error, TypeRefused):
            return
        concerned = {each.event.doctype for unit in units for each in unit.all}
        for doctype in concerned:
            alone = len(concerned) == 1 and not error.table
            known = self.catalogue.get(doctype)
            if alone or (known is not None and error.table in tables_of(known)):
                self.refused_types.refuse(doctype, error.message, error.hint)

    async def _commit(
        self, source: Source, units: list[Unit], position: Cursor | None, dequeue: Sequence[int], *, alone: bool
    ) -> list[SyncEntry]:
        batch = uuid.uuid4().hex
        log_id = units[0].incoming.log
        begun = False
        try:
            async with self._database.transaction() as transaction:
                started = time.perf_counter()
                names = Names(source, self.catalogue)
                await look_up(transaction, names, units)
                concerned = Concerned(self._tried(source, units), names, self.catalogue)
                await self._lock(transaction, concerned.documents())
                if self.catalogue.offers:
                    await require_captured(transaction, concerned, self._bound)
                entries, kept = await self._write(transaction, source, units, names, healing=bool(dequeue) or alone)
                await transaction.enqueue([queued(source, each) for each in kept])
                if dequeue:
                    await transaction.dequeue(dequeue)
                if position is not None:
                    await self.places.move(transaction, source.site, position)
                confirming = position.sequence if position is not None else -min(dequeue, default=0)
                again: list[SyncEntry] = []
                if dequeue:
                    theirs = {(unit.incoming.event.sequence, name_text(unit.incoming.remote.name)) for unit in units}
                    again = [entry for entry in entries if (entry.sequence, entry.remote_docname) in theirs]
                    entries = [entry for entry in entries if (entry.sequence, entry.remote_docname) not in theirs]
                begun = True
                confirmed, self._to_confirm = self._to_confirm, None
                await self._sync_log.begin(batch, source.site, log_id, confirming, entries, confirmed=confirmed)
                crash_point("apply.before_commit")
                held_for = time.perf_counter() - started
        except RowRefused:
            # Certainly not committed. After anything else the checkpoint tells (`recover`).
            if begun:
                await self._sync_log.abandon(batch)
            raise
        crash_point("apply.committed")
        if position is not None:
            self.places.committed(source.site, position)
        self.refused_types.accept({entry.doctype for entry in (*entries, *again) if entry.status == SyncStatus.SYNCED})
        # The next batch says it along with its own entries; at the end of a page it is said alone.
        self._to_confirm = batch
        self._adapt(len(units), held_for)
        return again

    def _tried(self, source: Source, units: Sequence[Unit]) -> list[Unit]:
        """Those that this transaction tries to apply."""
        paused = self._paused(source)
        return [
            unit
            for unit in units
            if unit.incoming.event.operation != Operation.GAP and not unit.refused and not unit.waits_as_type(paused)
        ]

    async def _lock(self, transaction: Transaction, here: Sequence[Ref]) -> None:
        """Nobody else changes these documents until the transaction ends."""
        for doctype, names in sorted(names_by_type(here).items()):
            await transaction.lock_documents(self.catalogue[doctype], names)

    def _adapt(self, size: int, held_for: float) -> None:
        """Move batches' size towards what fits into the site's `transaction_seconds`; a small batch says little."""
        if size * 2 >= self._batch:
            fitting = int(size * self._database.transaction_seconds / max(held_for, 0.001))
            self._batch = max(SMALLEST_BATCH, min(LARGEST_BATCH, (self._batch + fitting) // 2))

    async def _write(
        self, transaction: Transaction, source: Source, units: Sequence[Unit], names: Names, *, healing: bool
    ) -> tuple[list[SyncEntry], list[Kept]]:
        waiting = set() if healing else await transaction.queued_documents(source.site)
        todo, kept = await sort_out(transaction, units, waiting, names, self._paused(source))
        meaning = await meaning_of(transaction, todo, names, self.catalogue)
        if meaning is not None:
            todo, strangers = await meant(transaction, meaning, todo, waiting, self._site)
            kept += strangers
        leads = {} if meaning is None else {ref_of(unit.incoming): meaning.leads_to(unit) for unit in todo}
        written = await localise(transaction, todo, names, source, self.catalogue, site=self._site)
        kept += written.kept
        entries = written.entries
        segment = Segment(transaction, self.catalogue, self._columns, source, entries, self._said, site=self._site)
        for _, units_of_one in groupby(written.units, key=lambda unit: unit.incoming.event.tx):
            together = list(units_of_one)
            await segment.begin(together)
            for unit in together:
                for before in unit.before:
                    await segment.add(before, unit)
                await segment.add(unit.incoming, unit)
        await segment.flush()
        await remember(transaction, written, segment.kept, segment.refused, source.renamed)
        for ref, targets in leads.items():
            if ref not in segment.refused and not segment.refused.isdisjoint(targets):
                raise RowRefused(waits_for_failed(min(segment.refused.intersection(targets), key=repr)))
        kept += segment.kept
        if healing and kept:
            raise RowRefused(kept[0].error)
        for each in kept:
            status = SyncStatus.FAILED if each.state == QueueState.PARKED else SyncStatus.HELD
            entries.append(each.unit.incoming_entry(source.name, status, error=each.error))
        return entries, kept
