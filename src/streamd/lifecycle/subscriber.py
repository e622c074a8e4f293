"""Stands by one producer: handshake, pull, apply, and what to do when it is away, refuses, or its log is gone."""

from __future__ import annotations

import asyncio
import math
import shlex
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
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
from streamd.common.progress import resting
from streamd.common.retry import away_pause
from streamd.db.base import SiteDatabase
from streamd.errors import PeerError, PeerRefused, PeerUnreachable, ResyncRequired
from streamd.lifecycle.readings import Readings
from streamd.lifecycle.reporting import Report
from streamd.model import ApprovalStatus, Catalogue, Cursor, Event, Operation, SyncEntry, SyncStatus
from streamd.pull import WAIT_SECONDS, Peer, Puller, PullResult
from streamd.settings import MappingSettings, ProducerSettings, remote_doctype
from streamd.store.engine import now_ms
from streamd.store.heartbeat import Requests
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
"""How long to wait before asking a producer again that said no."""

PAUSED_SECONDS = 2.0
"""How often a pause is looked at. The daemon wakes nobody for one that began and ended between two of its looks."""


async def no_returns(_site: str) -> frozenset[str]:
    """The producer gets nothing from us."""
    return frozenset()


class Subscriber:
    """One producer of this site. `returns` says which types a site (a UUID) has from us: edits of those reach it."""

    def __init__(
        self,
        name: str,
        settings: ProducerSettings,
        peer: Peer,
        *,
        site: str,
        site_name: str,
        database: SiteDatabase,
        catalogue: Catalogue,
        applier: Applier,
        producers: Producers,
        requests: Requests,
        sync_log: SyncLog,
        unread: UnreadColumns,
        mappings: Mapping[str, MappingSettings],
        applied: Callable[[], None],
        returns: Callable[[str], Awaitable[frozenset[str]]] = no_returns,
    ) -> None:
        self.name = name
        self._settings = settings
        self._peer = peer
        self._site = site
        self._site_name = site_name
        self._database = database
        self._catalogue = catalogue
        self._applier = applier
        self._producers = producers
        self._sync_log = sync_log
        self._mappings = mappings
        self._ours = {remote_doctype(entry, mappings): entry.doctype for entry in settings.doctypes}
        self._applied = applied
        self._returns = returns
        self._puller = Puller(peer, read_checkpoint=self._place, apply=self._apply, known_statuses=lambda: self._known)
        self._wanted = frozenset(settings.subscribed) & frozenset(catalogue.doctypes)
        self._source: Source | None = None
        self._wake = asyncio.Event()
        self._report = Report(name, database, producers, sync_log, requests)
        self._stale = True
        """Whether what was said of the producer may not be so any more: the next word does not wait for a long poll."""
        self._away = 0
        self._known: dict[str, str] = {}
        self._waiting: set[str] = set()
        """The types that waited for approval, of which nothing else was told in the log since."""
        self._greet_at = 0.0
        self._unread = unread
        self._readings = Readings(
            name, database, catalogue, sync_log, requests, unread, repair_gaps=settings.repair_gaps
        )
        self._unsettled = False
        self.place: object = None
        """How far it has come, or when it heard that there is nothing more; None while that cannot be told."""

    @property
    def route(self) -> tuple[str, Route] | None:
        """The producer's UUID and how to ask it for documents, once it is known."""
        return None if self._source is None else (self._source.site, Route(self._source, self._peer))

    def wake(self) -> None:
        """Something was asked of us by hand (pause, resume, resync): look now."""
        self._wake.set()

    async def report_paused(self) -> None:
        """Write down which types are paused, if that changed."""
        if self._source is not None:
            await self._report.paused({**self._source.paused, **self._applier.refused_types.reasons()})

    async def turn(self) -> None:
        """One round, and what follows from it. Raises what concerns neither a document nor the producer."""
        if self._unsettled:
            # What was under way may be committed in one database, and not in the other.
            await self._applier.recover()
            self._stale = True
        self._unsettled = True
        await self._go_on()
        self._unsettled = False

    async def _go_on(self) -> None:
        """One round, and what follows from the producer's answer. Raises `SiteBusy`, `StateBusy`."""
        try:
            await self._until_woken(self._round())
            self._away = 0
        except ResyncRequired as error:
            await self._say(RESYNC_REQUIRED, error)
            await self._rest(REFUSED_SECONDS if await self._readings.asked_for() else None)
        except PeerUnreachable as error:
            self._away += 1
            self._greet_at = 0.0  # it may come back with other tables
            await self._say(AWAY, error)
            await self._rest(max(away_pause(self._away, self._settings.retry_seconds), error.retry_after))
        except PeerRefused as error:
            self._source = None
            await self._say(REFUSED, error)
            await self._rest(REFUSED_SECONDS)

    async def close(self) -> None:
        await self._puller.close()
        await self._peer.close()

    async def _until_woken(self, work: Coroutine[Any, Any, None]) -> None:
        """Do one round, but leave a long poll when woken."""
        task = asyncio.create_task(work)
        woken = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait({task, woken}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                task.cancel()
            await asyncio.wait({task})
            if task.cancelled():
                # It may have been stopped between two databases.
                await self._applier.recover()
            else:
                task.result()
        finally:
            woken.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # where we are cancelled ourselves, nobody else asks for it
            self._wake.clear()

    async def _rest(self, seconds: float | None) -> None:
        """Wait so long, or until woken; None waits for a person."""
        self.place = None
        try:
            with resting():
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _round(self) -> None:
        if (await self._producers.get(self.name)).paused:
            await self._say(PAUSED, None)
            await self._rest(PAUSED_SECONDS)
            return
        if self._report.said is None:
            await self._say(CONNECTING, None)
        if self._source is None or time.monotonic() >= self._greet_at:
            await self._greet()
        assert self._source is not None  # noqa: S101  # the handshake sets it, or raises
        if await self._whole(self._source):
            return
        try:
            pulled = await self._puller.run_once(0 if self._stale else WAIT_SECONDS)
        except PeerRefused as error:
            if error.code != "handshake_required":
                raise
            self._source = None
            return
        await self._progress(pulled)
        self._stale = False

    async def _greet(self) -> None:
        """Shake hands: learn what we may have, and whether the producer's types, as they are now, fit ours."""
        # To be done again until all is done: it may be interrupted where the answer is written down, and not known yet.
        self._greet_at = 0.0
        answer = await self._peer.handshake(self._site, self._site_name)
        if abs(ahead := answer.clock_ms - now_ms()) > MAX_AHEAD_MS:
            log.warning("clocks_differ", producer=self.name, seconds=round(ahead / 1000))
        await self._producers.set_identity(self.name, answer.site, answer.name, answer.version)
        mapped = mapped_types(self._mappings, self._settings.doctypes, self._catalogue, answer.doctypes)
        await self._note_subscriptions(answer, mapped)
        own = own_names(self._settings, self._catalogue)
        there = {entry.doctype: remote_doctype(entry, self._mappings) for entry in self._settings.doctypes}
        strange = unfit(
            self._catalogue,
            answer.doctypes,
            enforced=self._database.enforces_types,
            mapped=mapped,
            renamed={there.get(doctype, doctype) for doctype in own},
        )
        strange |= unmappable(self._settings.doctypes, self._mappings, self._catalogue, answer.doctypes)
        paused = {self._ours.get(doctype, doctype): why for doctype, why in strange.items()}
        paused |= await self._partly_seen()
        self._say_paused(paused)
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
        await self._unread.add(self.name, {each: left_out[each] for each in left_out.keys() & self._wanted})
        await self._readings.ask_for_new_columns(self._wanted.intersection(self._having(ApprovalStatus.APPROVED)))
        # What does not fit may be fixed at the producer, which tells nobody.
        self._greet_at = time.monotonic() + REFUSED_SECONDS if paused else math.inf

    async def _partly_seen(self) -> dict[str, str]:
        """The types of which we see some rows only: what is not shown would seem not to be here."""
        why = "row-level security hides rows of it from the daemon's role: see `streamd check`"
        return dict.fromkeys(self._catalogue.stored_in(await self._database.partly_seen()), why)

    def _say_paused(self, paused: Mapping[str, str]) -> None:
        before = {} if self._source is None else self._source.paused
        for doctype, why in paused.items():
            if before.get(doctype) != why:
                log.warning("type_paused", producer=self.name, doctype=doctype, error=why)
        going_on = sorted(before.keys() - paused.keys())
        if going_on:
            log.info("types_resumed", producer=self.name, doctypes=going_on)
            self._applied()

    async def _note_subscriptions(self, answer: HandshakeAnswer, mapped: Mapping[str, MappedType]) -> None:
        before = await self._producers.subscriptions(self.name)
        known = {each.doctype: each.approved_at for each in before}
        self._waiting |= {each.doctype for each in before if each.status == ApprovalStatus.PENDING}
        said = [(self._ours.get(each.doctype, each.doctype), each) for each in answer.subscriptions]
        # The gap first: if we are stopped between the two, it is said twice rather than never.
        await self._sync_log.add(
            [
                self._gap(doctype)
                for doctype, each in said
                if each.resumed and doctype in self._wanted and known.get(doctype) != each.approved_at
            ]
        )
        await self._producers.set_subscriptions(
            self.name,
            [
                SubscribedType(
                    doctype,
                    each.status,
                    tuple(each.opens),
                    each.approved_at,
                    mapped[each.doctype].unmapped if each.doctype in mapped else (),
                )
                for doctype, each in said
            ],
        )
        self._known = {each.doctype: each.status for _, each in said if each.doctype in self._ours}
        self._readings.look_for_gaps = True
        pending = self._having(ApprovalStatus.PENDING)
        if pending:
            log.info("waiting_for_approval", producer=self.name, doctypes=pending)
        approved = [doctype for doctype in self._having(ApprovalStatus.APPROVED) if doctype in self._waiting]
        self._waiting = set(pending)
        if approved:
            log.info("approved", producer=self.name, doctypes=approved)

    def _gap(self, doctype: str) -> SyncEntry:
        """What is said when a type is approved again after a break."""
        error = (
            f"{self.name} approved {doctype} again after a break: changes made in between were not sent. "
            f"`streamd resync --doctype {shlex.quote(doctype)} --whole` reads all of them again"
        )
        return SyncEntry(
            Operation.GAP, SyncStatus.FAILED, doctype, self.name, '[""]', '[""]', True, "null", 0, error=error
        )

    async def _place(self) -> Cursor | None:
        assert self._source is not None  # noqa: S101  # pulling begins after the handshake
        return await self._applier.places.read(self._source.site)

    async def _apply(self, events: Sequence[Event], end: Cursor) -> None:
        assert self._source is not None  # noqa: S101
        if any(event.operation == Operation.GAP for event in events):
            self._readings.look_for_gaps = True
            self._greet_at = 0.0  # a gap may come from other columns
        await self._applier.apply(self._source, events, end, self._wanted, self._peer)
        if events:
            self._applied()

    async def _progress(self, pulled: PullResult) -> None:
        if not self._known.items() <= pulled.subscriptions.items():
            # Something was decided at the producer; the handshake brings what it opens and its descriptors.
            await self._greet()
        self.place = pulled.end if pulled.end.sequence < pulled.head else time.monotonic()
        assert self._source is not None  # noqa: S101  # pulling begins after the handshake
        await self._report.progress(pulled, self._source, self._ours)

    def _having(self, status: ApprovalStatus) -> list[str]:
        """The types that we ask for, as we call them, which have this status at the producer."""
        return sorted(self._ours[doctype] for doctype, known in self._known.items() if known == status)

    async def _whole(self, source: Source) -> bool:
        """Read types again, as `resync --whole` or a gap asked for. Returns whether any was read."""
        statuses = {self._ours[there]: status for there, status in self._known.items()}
        wanted = {doctype: statuses.get(doctype, "") for doctype in self._wanted}
        await self._readings.note_gaps(source, wanted, await self._place())
        asked = await self._readings.due(source, wanted)
        if not asked:
            return False
        await self._say(CATCHING_UP, None)
        self._stale = True

        returns, unread = await self._returns(source.site), await self._unread.of_producer(self.name)

        def reading(*, repair: bool) -> WholeResync:
            return WholeResync(
                self._applier,
                self._database,
                self._catalogue,
                self._site,
                repair=repair,
                returns=returns,
                unread=unread,
            )

        return await self._readings.read(asked, source, self._peer, wanted, reading)

    async def _say(self, status: str, error: PeerError | None) -> None:
        self._stale = self._stale or status not in (CONNECTED, CATCHING_UP)
        await self._report.say(status, error)
