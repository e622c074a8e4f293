"""Subscribes to one producer: handshake, pull, apply, and what to do if it is away, refuses, or lost its log."""

from __future__ import annotations

import asyncio
import math
import shlex
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import structlog

from streamd.apply import (
    Applier,
    MappedType,
    Route,
    Source,
    WholeResync,
    columns_left_out,
    columns_there,
    mapped_types,
    own_names,
)
from streamd.check.columns import unfit
from streamd.check.mappings import unmappable
from streamd.common.clock import MAX_AHEAD_MS
from streamd.common.instrumentation import resting
from streamd.common.retry import away_pause
from streamd.db.base import SiteDatabase
from streamd.errors import PeerError, PeerRefused, PeerUnreachable, ResyncRequired
from streamd.lifecycle.refetching import Refetches
from streamd.lifecycle.reporting import Report
from streamd.model import ApprovalStatus, Catalogue, Cursor, Event, Operation, SyncEntry, SyncStatus
from streamd.pull import WAIT_SECONDS, Peer, Puller
from streamd.settings import Settings, remote_doctype
from streamd.store.engine import State, now_ms
from streamd.store.peers import Peers
from streamd.store.producers import (
    AWAY,
    CATCHING_UP,
    CONNECTED,
    CONNECTING,
    PAUSED,
    REFUSED,
    RESYNC_REQUIRED,
    Producers,
    SubscribedType,
)
from streamd.store.sync_log import SyncLog
from streamd.store.unread_columns import UnreadColumns
from streamd.wire import HandshakeAnswer

log = structlog.get_logger("streamd.pull")

REFUSED_SECONDS = 30.0
"""How long to wait before asking a producer again that refused."""

PAUSED_SECONDS = 2.0
"""How often a paused subscriber checks whether it is still paused, in case the daemon missed a short pause."""


class Subscriber:
    """One producer of this site: `name` in the configuration. `on_applied` is called after events were applied."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        peer: Peer,
        *,
        database: SiteDatabase,
        catalogue: Catalogue,
        applier: Applier,
        state: State,
        on_applied: Callable[[], None],
    ) -> None:
        self.name = name
        self._settings = settings.producers[name]
        self._mappings = settings.mappings
        self._peer = peer
        self._site = state.site
        self._site_name = settings.site.name
        self._database = database
        self._catalogue = catalogue
        self._applier = applier
        self._on_applied = on_applied
        self._peers = Peers(state)
        self.producers = Producers(state)
        self._sync_log = SyncLog(state)
        self._unread_columns = UnreadColumns(state)
        self._local_names = {remote_doctype(entry, self._mappings): entry.doctype for entry in self._settings.doctypes}
        """The requested types: the producer's name → the local name."""
        self._puller = Puller(
            peer, read_checkpoint=self._read_checkpoint, apply=self._apply, known_statuses=lambda: self._statuses
        )
        self._wanted = frozenset(self._settings.subscribed) & frozenset(catalogue.doctypes)
        self._source: Source | None = None
        self._wake = asyncio.Event()
        self._report = Report(name, self.producers)
        self._is_stale = True
        """Whether the reported status may be outdated, so that the next request must not wait for events."""
        self._failures = 0
        self._statuses: dict[str, str] = {}
        """The status of each requested type, by the producer's name, as the producer last reported it."""
        self._pending: set[str] = set()
        """The types that were waiting for approval when this was last logged."""
        self._handshake_at = 0.0
        self._refetches = Refetches(name, database, catalogue, state, repair_gaps=self._settings.repair_gaps)
        self._was_interrupted = False
        self.place: object = None
        """How far it has come, or when the producer last had nothing more; None while unknown."""

    @property
    def route(self) -> tuple[str, Route] | None:
        """The producer's UUID and how to ask it for documents, once it is known."""
        return None if self._source is None else (self._source.site, Route(self._source, self._peer))

    def wake(self) -> None:
        """Check at once what a command wrote: pause, resume or resync."""
        self._wake.set()

    async def report_paused(self) -> None:
        """Store which types are paused, and why, if that changed."""
        if self._source is not None:
            await self._report.paused_types({**self._source.paused, **self._applier.refused_types.reasons()})

    async def turn(self) -> None:
        """Pull and apply once, and handle the producer's errors. Raises other errors, such as `SiteBusy`."""
        if self._was_interrupted:
            # The interrupted work may be committed in one database, but not in the other.
            await self._applier.recover()
            self._is_stale = True
        self._was_interrupted = True
        try:
            await self._run_until_woken(self._pull())
            self._failures = 0
        except ResyncRequired as error:
            await self._report_status(RESYNC_REQUIRED, error)
            await self._rest(REFUSED_SECONDS if await self._refetches.pending() else None)
        except PeerUnreachable as error:
            self._failures += 1
            self._handshake_at = 0.0  # it may come back with other tables
            await self._report_status(AWAY, error)
            await self._rest(max(away_pause(self._failures, self._settings.retry_seconds), error.retry_after))
        except PeerRefused as error:
            self._source = None
            await self._report_status(REFUSED, error)
            await self._rest(REFUSED_SECONDS)
        self._was_interrupted = False

    async def close(self) -> None:
        await self._puller.close()
        await self._peer.close()

    async def _run_until_woken(self, work: Coroutine[Any, Any, None]) -> None:
        """Do this work, but cancel it when woken: it may be a long poll."""
        task = asyncio.create_task(work)
        woken = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait({task, woken}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
            await asyncio.wait({task})
            if task.cancelled():
                # It may have been committed in only one of two databases.
                await self._applier.recover()
            else:
                task.result()
        finally:
            woken.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # if this task is cancelled too, nothing else retrieves it
            self._wake.clear()

    async def _rest(self, seconds: float | None) -> None:
        """Wait this long, or until woken. None: until woken."""
        self.place = None
        try:
            with resting():
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _pull(self) -> None:
        if (await self.producers.get(self.name)).paused:
            await self._report_status(PAUSED)
            await self._rest(PAUSED_SECONDS)
            return
        if not self._report.last_status:
            await self._report_status(CONNECTING)
        if self._source is None or time.monotonic() >= self._handshake_at:
            await self._shake_hands()
        if await self._refetch(self._connected):
            return
        try:
            pulled = await self._puller.run_once(0 if self._is_stale else WAIT_SECONDS)
        except PeerRefused as error:
            if error.code != "handshake_required":
                raise
            self._source = None
            return
        if not self._statuses.items() <= pulled.subscriptions.items():
            # An approval changed. The handshake tells which types it opens, and describes them.
            await self._shake_hands()
        self.place = pulled.end if pulled.is_behind else time.monotonic()
        if self._report.is_progress_due(pulled):
            obstacles = await self._refetches.obstacles(self._connected)
            await self._report_status(CATCHING_UP if pulled.is_behind else CONNECTED)
            await self._report.progress(pulled, obstacles, self._local_names)
        self._is_stale = False

    @property
    def _connected(self) -> Source:
        assert self._source is not None  # noqa: S101  # the handshake sets it, or raises
        return self._source

    async def _shake_hands(self) -> None:
        """Learn what this site may read, and whether the producer's types, as they are now, fit the local ones."""
        self._handshake_at = 0.0  # if this is interrupted, it starts again
        answer = await self._peer.handshake(self._site, self._site_name)
        if abs(ahead := answer.clock_ms - now_ms()) > MAX_AHEAD_MS:
            log.warning("clocks_differ", producer=self.name, seconds=round(ahead / 1000))
        await self.producers.set_identity(self.name, answer.site, answer.name, answer.version)
        mapped = mapped_types(self._mappings, self._settings.doctypes, self._catalogue, answer.doctypes)
        await self._note_subscriptions(answer, mapped)
        own = own_names(self._settings, self._catalogue)
        remote_names = {local: remote for remote, local in self._local_names.items()}
        unfit_types = unfit(
            self._catalogue,
            answer.doctypes,
            enforced=self._database.enforces_types,
            mapped=mapped,
            renamed={remote_names.get(doctype, doctype) for doctype in own},
        )
        unfit_types |= unmappable(self._settings.doctypes, self._mappings, self._catalogue, answer.doctypes)
        paused = {self._local_names.get(doctype, doctype): why for doctype, why in unfit_types.items()}
        # Hidden rows would look deleted.
        hidden = self._catalogue.stored_in(await self._database.partly_seen())
        paused |= dict.fromkeys(
            hidden, "row-level security hides rows of it from the daemon's role: see `streamd check`"
        )
        self._log_paused(paused)
        if self._source is None:
            log.info("connected", producer=self.name, site=answer.name, version=answer.version)
        self._source = Source(
            self.name,
            answer.site,
            self._settings.max_dependencies,
            self._settings.max_dependency_depth,
            frozenset(self._settings.subscribed),
            self._settings.subscriber,
            paused,
            self._settings.url,
            mapped,
            own,
            {entry.doctype: entry.on_leave for entry in self._settings.doctypes if entry.condition},
            columns_there(answer.doctypes, mapped),
            self._site,
        )
        left_out = columns_left_out(self._source.columns, self._catalogue)
        await self._unread_columns.add(self.name, {each: left_out[each] for each in left_out.keys() & self._wanted})
        approved = self._types_with_status(ApprovalStatus.APPROVED)
        await self._refetches.request_new_columns(self._wanted.intersection(approved))
        # The producer may fix a type that does not fit, and does not announce it.
        self._handshake_at = time.monotonic() + REFUSED_SECONDS if paused else math.inf

    def _log_paused(self, paused: Mapping[str, str]) -> None:
        before = {} if self._source is None else self._source.paused
        for doctype, why in paused.items():
            if before.get(doctype) != why:
                log.warning("type_paused", producer=self.name, doctype=doctype, error=why)
        resumed = sorted(before.keys() - paused.keys())
        if resumed:
            log.info("types_resumed", producer=self.name, doctypes=resumed)
            self._on_applied()

    async def _note_subscriptions(self, answer: HandshakeAnswer, mapped: Mapping[str, MappedType]) -> None:
        before = await self.producers.subscriptions(self.name)
        known = {each.doctype: each.approved_at for each in before}
        self._pending |= {each.doctype for each in before if each.status == ApprovalStatus.PENDING}
        reported = [(self._local_names.get(each.doctype, each.doctype), each) for each in answer.subscriptions]
        # The gap first: if this is interrupted between the two, it is recorded twice rather than never.
        await self._sync_log.add(
            [
                self._gap(doctype)
                for doctype, each in reported
                if each.resumed and doctype in self._wanted and known.get(doctype) != each.approved_at
            ]
        )
        await self.producers.set_subscriptions(
            self.name,
            [
                SubscribedType(
                    doctype,
                    each.status,
                    tuple(each.opens),
                    each.approved_at,
                    mapped[each.doctype].unmapped if each.doctype in mapped else (),
                )
                for doctype, each in reported
            ],
        )
        self._statuses = {each.doctype: each.status for _, each in reported if each.doctype in self._local_names}
        self._refetches.may_have_gaps = True
        pending = self._types_with_status(ApprovalStatus.PENDING)
        if pending:
            log.info("waiting_for_approval", producer=self.name, doctypes=pending)
        approved = [doctype for doctype in self._types_with_status(ApprovalStatus.APPROVED) if doctype in self._pending]
        self._pending = set(pending)
        if approved:
            log.info("approved", producer=self.name, doctypes=approved)

    def _gap(self, doctype: str) -> SyncEntry:
        """The sync log entry of a type that is approved again after a break."""
        error = (
            f"{self.name} approved {doctype} again after a break: changes made in between were not sent. "
            f"`streamd resync --doctype {shlex.quote(doctype)} --whole` reads all of them again"
        )
        return SyncEntry(
            Operation.GAP, SyncStatus.FAILED, doctype, self.name, '[""]', '[""]', True, "null", 0, error=error
        )

    async def _read_checkpoint(self) -> Cursor | None:
        return await self._applier.places.read(self._connected.site)

    async def _apply(self, events: Sequence[Event], end: Cursor) -> None:
        if any(event.operation == Operation.GAP for event in events):
            self._refetches.may_have_gaps = True
            self._handshake_at = 0.0  # the producer may have other columns now
        await self._applier.apply(self._connected, events, end, self._wanted, self._peer)
        if events:
            self._on_applied()

    def _types_with_status(self, status: ApprovalStatus) -> list[str]:
        """The requested types with this status at the producer, by their local names."""
        return sorted(self._local_names[doctype] for doctype, known in self._statuses.items() if known == status)

    async def _refetch(self, source: Source) -> bool:
        """Read types again, if `resync --whole` or a gap requires it. Returns whether any was read."""
        statuses = {self._local_names[remote]: status for remote, status in self._statuses.items()}
        wanted = {doctype: statuses.get(doctype, "") for doctype in self._wanted}
        await self._refetches.handle_gaps(source, wanted, await self._read_checkpoint())
        due = await self._refetches.due(source, wanted)
        if not due:
            return False
        await self._report_status(CATCHING_UP)
        self._is_stale = True
        unread = await self._unread_columns.of_producer(self.name)
        shared = frozenset(await self._peers.approved_doctypes(source.site))

        def make_resync(*, repair: bool) -> WholeResync:
            return WholeResync(
                self._applier,
                self._database,
                self._catalogue,
                self._site,
                repair=repair,
                returns=shared,
                unread=unread,
            )

        return await self._refetches.run(due, source, self._peer, wanted, make_resync)

    async def _report_status(self, status: str, error: PeerError | None = None) -> None:
        self._is_stale = self._is_stale or status not in (CONNECTED, CATCHING_UP)
        await self._report.status(status, error)
