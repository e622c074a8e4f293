"""The composition root: builds everything once, runs the loops (`loops.py`) in one task group, and stops cleanly.

A daemon has the configuration and the tables as they were when it was created. If they change, it ends, and
`supervisor.py` creates the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import structlog

from streamd import __version__
from streamd.apply import Applier, Healer, Route, own_names
from streamd.capture import Capture
from streamd.common.instrumentation import resting
from streamd.common.retry import transient
from streamd.db.base import SITE_SCHEMA, SiteDatabase, SiteIdentity
from streamd.errors import SchemaChanged, SiteBusy, SiteError, StateReplaced
from streamd.lifecycle.guard import Guard
from streamd.lifecycle.holding import Holding
from streamd.lifecycle.loops import Loop, Turn, describe_error, problems_of
from streamd.lifecycle.notify import Notifier
from streamd.lifecycle.subscriber import Subscriber
from streamd.lifecycle.watchdog import TICK_SECONDS, Watchdog
from streamd.model import Catalogue, Cursor, Table
from streamd.pull import Peer, wanted_doctypes
from streamd.retention import trim_update_log
from streamd.serve import Server, Services
from streamd.settings import Settings, secret_of
from streamd.store.engine import State, now_ms
from streamd.store.heartbeat import STARTING, WHOLE, Heartbeat, Requests
from streamd.store.peers import Peers
from streamd.store.producers import Producers
from streamd.store.sync_log import SyncLog
from streamd.store.unread_columns import UnreadColumns
from streamd.update_log import UpdateLog

log = structlog.get_logger("streamd.daemon")

BEAT_SECONDS = 5.0
WATCH_SECONDS = 0.5
"""How often the daemon checks for what commands wrote. This reads only file times."""

TRIM_SECONDS = 60.0
DRAIN_SECONDS = 1.0
"""How long a daemon that ends may take to log earlier changes."""

PROBE_SECONDS = 15.0
"""How often the daemon checks that its own API answers."""

WAIT_FOR_CAPTURE = 60.0
"""How long requests that need an up-to-date log wait for capture."""

QUIET_SECONDS = 5.0
"""How long capture waits for a change before it looks anyway."""


class Daemon:
    """Everything that runs beside one site."""

    def __init__(
        self,
        settings: Settings,
        database: SiteDatabase,
        catalogue: Catalogue,
        tables: Mapping[str, Table],
        state: State,
        holding: Holding,
    ) -> None:
        """Both databases are open, and `holding` holds the site's."""
        site = state.site
        self.settings = settings
        self.database = database
        self.catalogue = catalogue
        self.tables = tables
        self.state = state
        self.site = site
        self.update_log = UpdateLog(state)
        self.peers = Peers(state)
        self.producers = Producers(state)
        self.heartbeat = Heartbeat(state)
        self.sync_log = SyncLog(state)
        subscribed = {doctype for producer in settings.producers.values() for doctype in producer.subscribed}
        tracked = frozenset(subscribed) & catalogue.offers
        self.capture = Capture(
            database,
            self.update_log,
            catalogue,
            site=site,
            logged=self.peers.approved_doctypes,
            remembered=tracked,
            batch=settings.site.capture_batch,
        )
        self.applier = Applier(database, self.sync_log, catalogue, site=site, drain=self._drain)
        self.healer = Healer(self.applier, database, catalogue, self.sync_log)
        self.server = Server(
            Services(
                identity=SiteIdentity(site, settings.site.name, SITE_SCHEMA),
                settings=settings.server,
                catalogue=catalogue,
                peers=self.peers,
                log=self.update_log,
                database=database,
                drain_capture=self._drain,
                tracked_doctypes=tracked,
                watermark_at=self._watermark_at,
                problem=lambda: self.problem,
                unfilled_columns=self._unfilled_columns,
                named_here=self._named_here,
            )
        )
        self._own_names = {name: own_names(producer, catalogue) for name, producer in settings.producers.items()}
        self.subscribers = [
            self._subscriber(name) for name, producer in settings.producers.items() if producer.doctypes
        ]
        self._heal = asyncio.Event()
        self._heal_everything = False
        self._heal_in: float | None = 0.0
        self._seen_version: object = None
        self._seen_decisions: object = None
        self._guard = Guard(database, catalogue, tables, site=site, claimed=lambda: self.capture.claimed)
        self._watchdog: Watchdog | None = None
        self._notifier = Notifier("")
        self._restart = asyncio.Event()
        self._restart_reason = ""
        self.loops = [
            self._loop(name, turn)
            for name, turn in (
                ("capture", self._capture_changes),
                ("heal", self._retry_queue),
                ("heartbeat", self._beat),
                ("commands", self._check_commands),
                ("trim", self._trim),
                ("schema", self._check_schema),
                ("alone", holding.turn),
                ("serve", self._check_api),
                ("serve", self.server.close_overdue_connections),
                *((f"pull {subscriber.name}", subscriber.turn) for subscriber in self.subscribers),
            )
        ]
        """All loops, with their progress and problems."""
        self._by_name = {loop.name: loop for loop in self.loops}

    def _subscriber(self, name: str) -> Subscriber:
        settings = self.settings.producers[name]
        return Subscriber(
            name,
            self.settings,
            Peer(name, settings, secret_of(settings, name), wanted_doctypes(settings, self.settings.mappings)),
            database=self.database,
            catalogue=self.catalogue,
            applier=self.applier,
            state=self.state,
            on_applied=self._wake_healer,
        )

    async def _unfilled_columns(self) -> dict[str, frozenset[str]]:
        """New columns of this site whose values are not read from the producers yet."""
        subscribed = {name: each.subscribed for name, each in self.settings.producers.items()}
        return await UnreadColumns(self.state).of_producers(subscribed)

    async def _named_here(self, site: str) -> frozenset[str]:
        """The types of which the documents of another site get names of this site's own."""
        if not any(self._own_names.values()):
            return frozenset()
        names = [each.name for each in await self.producers.all() if each.producer_site == site]
        return frozenset[str]().union(*(self._own_names.get(name, ()) for name in names))

    async def run(self, stop: asyncio.Event, reload: Turn, notifier: Notifier) -> str:
        """Run until `stop` is set, or until configuration and tables must be read again: then returns the reason.


        `reload` is the turn of one more loop. Raises `Fenced`, within a group.
        """
        self.loops.append(self._loop("configuration", reload))
        self._watchdog = Watchdog(self.loops, notifier)
        self._notifier = notifier
        notifier.ready()
        self.loops.append(Loop("watchdog", self._watch_loops))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(loop.run(), name=loop.name) for loop in self.loops]
            ends = [group.create_task(stop.wait()), group.create_task(self._restart.wait())]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                log.info("stopping")
                notifier.stopping()
            for task in [*tasks, *ends]:
                task.cancel()
        if stop.is_set():
            return ""
        await self._drain_before_restart()
        return self._restart_reason

    @property
    def problem(self) -> str:
        """What is wrong with the daemon's loops now, in one line; empty if nothing is."""
        stalled = self._watchdog.problem if self._watchdog is not None else ""
        return "; ".join(filter(None, (problems_of(self.loops), stalled)))

    def _loop(self, name: str, turn: Turn) -> Loop:
        return Loop(name, turn, look=self._check_tables)

    async def _check_tables(self, error: Exception) -> None:
        """Restart if a statement failed because the tables changed, or a database was replaced."""
        if isinstance(error, StateReplaced):
            self.restart(error.message)
        if not isinstance(error, SiteError) or error.retryable:
            return
        try:
            reason = await self._guard.look()
        except SchemaChanged as changed:
            reason = changed.message
        if isinstance(error, SchemaChanged):
            reason = reason or error.message
        if reason:
            self.restart(reason)

    def restart(self, reason: str) -> None:
        """Let `run` return, so that configuration and tables are read again."""
        self._restart_reason = reason
        self._restart.set()

    async def close(self, *, stopped: bool = True) -> None:
        """Release everything, also after a failed start. Unless `stopped`, the next daemon takes over at once."""
        last_beat = [self.heartbeat.stopped] if stopped else []
        subscribers = [subscriber.close for subscriber in self.subscribers]
        for release in (self.server.stop, *subscribers, *last_beat, self.database.close, self.state.close):
            try:
                await release()
            except Exception as error:  # noqa: BLE001  # the others must be released as well
                log.warning("close_failed", error=describe_error(error))

    async def begin(self) -> None:
        """Make the two databases consistent after a crash or restore, and listen. Raises `StreamdError`."""
        await self.heartbeat.beat(captured=0, problem=STARTING)
        for name, producer in self.settings.producers.items():
            await self.producers.upsert(name, producer.url)
        known = {producer.name for producer in await self.producers.all()}
        await self.producers.forget(known - self.settings.producers.keys())
        await self.database.set_name(self.settings.site.name)
        await self.capture.recover()
        await self.applier.recover()
        await self.server.start()
        await self.heartbeat.beat(captured=0)
        log.info(
            "running",
            site=self.settings.site.name,
            uuid=self.site,
            version=__version__,
            host=self.settings.server.host,
            port=self.server.port,
            offers=sorted(self.catalogue.offers),
            producers=sorted(self.settings.producers),
        )

    def _watermark_at(self, cursor: Cursor) -> int | None:
        """The moment up to which the log is complete at this cursor: recorded by triggers, and captured."""
        return _earlier(self.capture.watermarks.at(cursor), self._guard.looked_at)

    # The turns of the loops

    async def _capture_changes(self) -> None:
        if await self.capture.run_once():
            self._wake_healer(everything=True)
            return
        await self.database.wait_for_change(self.settings.site.poll_seconds, QUIET_SECONDS)
        self._wake_healer()

    async def _watch_loops(self) -> float:
        """Check that all loops make progress: capture in the site's changes, subscribers in the producers' logs."""
        assert self._watchdog is not None  # noqa: S101  # this loop starts with it
        self._by_name["capture"].place = self.capture.taken, self.capture.watermarks.latest
        for subscriber in self.subscribers:
            self._by_name[f"pull {subscriber.name}"].place = subscriber.place
        self._watchdog.look()
        self._notifier.status(self.problem or "running")
        return TICK_SECONDS

    async def _drain_before_restart(self) -> None:
        """Log earlier changes with this daemon's tables: the next one has others, and forms the rest as it can."""
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self.capture.drain()
        except Exception as error:  # noqa: BLE001  # whatever it is, the next daemon must start
            hint = "the next daemon reads what is left"
            log.warning("not_logged_before_restart", error=describe_error(error), hint=hint)

    async def _drain(self) -> None:
        """Bring the log up to date. Retries while a database is busy, then raises `SiteBusy`."""
        try:
            async with asyncio.timeout(WAIT_FOR_CAPTURE):
                async for attempt in transient():
                    with attempt:
                        await self.capture.drain()
        except TimeoutError:
            raise SiteBusy("the site's changes could not be captured in time", hint="streamd retries") from None

    async def _retry_queue(self) -> None:
        with suppress(TimeoutError), resting():  # a time-out: a queued event is due
            async with asyncio.timeout(self._heal_in):
                await self._heal.wait()
        self._heal.clear()
        everything, self._heal_everything = self._heal_everything, False
        self._heal_in = 0.0
        try:
            if await self.healer.next_due() is not None:
                routes: dict[str, Route] = dict(each.route for each in self.subscribers if each.route is not None)
                await self.healer.run_once(routes, everything=everything)
                self._heal_in = max(await self.healer.next_due() or 0.0, 0.5)
            else:
                self._heal_in = None  # nothing is queued
        except BaseException:
            self._heal_everything = self._heal_everything or everything
            raise

    def _wake_healer(self, *, everything: bool = False) -> None:
        self._heal_everything = self._heal_everything or everything
        self._heal.set()

    async def _beat(self) -> float:
        for subscriber in self.subscribers:
            await subscriber.report_paused()
        await self.heartbeat.beat(
            captured=self.capture.captured,
            problem=self.problem,
            captured_to=_earlier(self.capture.watermarks.latest, self._guard.looked_at),
        )
        return BEAT_SECONDS

    async def _check_commands(self) -> float:
        """Notice what commands, which are other processes, wrote into the state database."""
        version = self.state.version()
        if version != self._seen_version:
            decisions = await self._read_decisions()
            if decisions != self._seen_decisions:
                await self.update_log.wake()
                for subscriber in self.subscribers:
                    subscriber.wake()
            self._seen_version, self._seen_decisions = version, decisions
        return WATCH_SECONDS

    async def _read_decisions(self) -> object:
        """What operators decide: approvals, pauses, requests."""
        approvals = [(each.consumer, each.doctype, each.status) for each in await self.peers.approvals()]
        paused = [(each.name, each.paused) for each in await self.producers.all()]
        requests = [each.id for each in await Requests(self.state).pending() if each.kind == WHOLE]
        return approvals, paused, requests

    async def _trim(self) -> float:
        await trim_update_log(self.state, self.settings.retention)
        await self.sync_log.trim(self.settings.retention)
        await self.database.forget_deleted(now_ms() - self.settings.retention.tombstone_seconds * 1000)
        return TRIM_SECONDS

    async def _check_api(self) -> float:
        await self.server.probe()
        return PROBE_SECONDS

    async def _check_schema(self) -> float:
        reason = await self._guard.look()
        if reason:
            self.restart(reason)
        return self._guard.pause


def _earlier(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else min(one, other)
