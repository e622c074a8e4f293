"""The composition root: builds everything once, runs the loops (`loops.py`) in one task group, and stops cleanly.

A daemon knows the configuration and the tables as they were when it was made. Where they change, it ends, and
`supervisor.py` makes the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import structlog

from streamd import __version__
from streamd.apply import Applier, Healer, Route, own_names
from streamd.capture import Capture
from streamd.common.progress import resting
from streamd.common.retry import transient
from streamd.db.base import SITE_SCHEMA, SiteDatabase, SiteIdentity
from streamd.errors import SchemaChanged, SiteBusy, SiteError, StateReplaced
from streamd.lifecycle.guard import Guard
from streamd.lifecycle.holding import Holding
from streamd.lifecycle.loops import Loop, Turn, in_words, problems_of
from streamd.lifecycle.notify import Notifier
from streamd.lifecycle.subscriber import Subscriber
from streamd.lifecycle.watchdog import TICK_SECONDS, Watchdog
from streamd.model import ApprovalStatus, Catalogue, Cursor, Table
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
"""How often the daemon looks for what commands wrote; it looks at file times only."""

TRIM_SECONDS = 60.0
DRAIN_SECONDS = 1.0
"""How long a daemon that makes way for the next one takes to log what was changed before."""

PROBE_SECONDS = 15.0
"""How often the daemon asks its own API whether it answers."""

WAIT_FOR_CAPTURE = 60.0
"""How long one who needs the log up to date waits for capture."""

QUIET_SECONDS = 5.0
"""How long capture waits for a change before it looks all the same."""


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
        """Everything is open, and `holding` holds the site's database."""
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
        self.requests = Requests(state)
        self.heartbeat = Heartbeat(state)
        self.sync_log = SyncLog(state)
        self.unread = UnreadColumns(state)
        subscribed = {doctype for producer in settings.producers.values() for doctype in producer.subscribed}
        remembered = frozenset(subscribed) & catalogue.offers
        self.capture = Capture(
            database,
            self.update_log,
            catalogue,
            site=site,
            logged=self.peers.approved_doctypes,
            remembered=remembered,
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
                tracked_doctypes=remembered,
                watermark_at=self._covered_by,
                problem=lambda: self.problem,
                unfilled_columns=self._unread,
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
        self._seen: object = None
        self._asked_before: object = None
        self._guard = Guard(database, catalogue, tables, site=site, claimed=lambda: self.capture.claimed)
        self._watchdog: Watchdog | None = None
        self._notifier = Notifier("")
        self._anew = asyncio.Event()
        self._why = ""
        self.loops = [
            self._loop(name, turn)
            for name, turn in (
                ("capture", self._capturing),
                ("heal", self._healing),
                ("heartbeat", self._beating),
                ("commands", self._watching),
                ("trim", self._trimming),
                ("schema", self._guarding),
                ("alone", holding.turn),
                ("serve", self._answering),
                ("serve", self.server.close_overdue_connections),
                *((f"pull {subscriber.name}", subscriber.turn) for subscriber in self.subscribers),
            )
        ]
        """All that runs beside the site, with how far each has come, and what is wrong with it."""
        self._by_name = {loop.name: loop for loop in self.loops}

    def _subscriber(self, name: str) -> Subscriber:
        settings = self.settings.producers[name]
        return Subscriber(
            name,
            settings,
            Peer(name, settings, secret_of(settings, name), wanted_doctypes(settings, self.settings.mappings)),
            site=self.site,
            site_name=self.settings.site.name,
            database=self.database,
            catalogue=self.catalogue,
            applier=self.applier,
            producers=self.producers,
            requests=self.requests,
            sync_log=self.sync_log,
            unread=self.unread,
            mappings=self.settings.mappings,
            applied=self._wake_healer,
            returns=self._returns,
        )

    async def _unread(self) -> dict[str, frozenset[str]]:
        """The columns here that have not been read yet from where their documents come from."""
        return await self.unread.of_producers({name: each.subscribed for name, each in self.settings.producers.items()})

    async def _named_here(self, site: str) -> frozenset[str]:
        """The types of which the documents of another site get names of this site's own."""
        if not any(self._own_names.values()):
            return frozenset()
        names = [each.name for each in await self.producers.all() if each.producer_site == site]
        return frozenset[str]().union(*(self._own_names.get(name, ()) for name in names))

    async def _returns(self, site: str) -> frozenset[str]:
        """The types that a site has from us."""
        names = {each.name for each in await self.peers.consumers() if each.consumer_site == site}
        approved = (each for each in await self.peers.approvals() if each.status == ApprovalStatus.APPROVED)
        return frozenset(each.doctype for each in approved if each.consumer in names)

    async def run(self, stop: asyncio.Event, also: Turn, notifier: Notifier) -> str:
        """Run until `stop` is set, or until everything has to be read anew: then returns why.

        `also` is one more loop's turn. Whatever a loop meets, it goes on. Raises `Fenced`, within a group.
        """
        self.loops.append(self._loop("configuration", also))
        self._watchdog = Watchdog(self.loops, notifier)
        self._notifier = notifier
        notifier.ready()
        self.loops.append(Loop("watchdog", self._watching_over))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(loop.run(), name=loop.name) for loop in self.loops]
            ends = [group.create_task(stop.wait()), group.create_task(self._anew.wait())]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                log.info("stopping")
                notifier.stopping()
            for task in [*tasks, *ends]:
                task.cancel()
        if stop.is_set():
            return ""
        await self._log_what_was_changed()
        return self._why

    @property
    def problem(self) -> str:
        """What is wrong with the daemon's loops now, in one line; nothing where all go well."""
        stands_still = self._watchdog.problem if self._watchdog is not None else ""
        return "; ".join(filter(None, (problems_of(self.loops), stands_still)))

    def _loop(self, name: str, turn: Turn) -> Loop:
        return Loop(name, turn, look=self._look_at_tables)

    async def _look_at_tables(self, error: Exception) -> None:
        """Begin anew where a statement failed because the tables are others now, or a database is another one."""
        if isinstance(error, StateReplaced):
            self.begin_anew(error.message)
        if not isinstance(error, SiteError) or error.retryable:
            return
        try:
            different = await self._guard.look()
        except SchemaChanged as now:
            different = now.message
        if isinstance(error, SchemaChanged):
            different = different or error.message
        if different:
            self.begin_anew(different)

    def begin_anew(self, why: str) -> None:
        """Let `run` return, so that configuration and tables are read again."""
        self._why = why
        self._anew.set()

    async def close(self, *, stopped: bool = True) -> None:
        """Give everything back; also after a failed start. Unless `stopped`, the next daemon takes over at once."""
        farewell = [self.heartbeat.stopped] if stopped else []
        subscribers = [subscriber.close for subscriber in self.subscribers]
        for give_back in (self.server.stop, *subscribers, *farewell, self.database.close, self.state.close):
            try:
                await give_back()
            except Exception as error:  # noqa: BLE001  # what is left has to be given back all the same
                log.warning("close_failed", error=in_words(error))

    async def begin(self) -> None:
        """Bring the two databases together after whatever happened, and listen. Raises `StreamdError`."""
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

    def _covered_by(self, place: Cursor) -> int | None:
        """The moment up to which everything is at or before this place of the log: captured, and seen by triggers."""
        return _earlier(self.capture.through.covered_by(place), self._guard.looked_at)

    # Loops: one turn each

    async def _capturing(self) -> None:
        taken = await self.capture.run_once()
        if taken:
            self._wake_healer(everything=True)
            return
        await self.database.wait_for_change(self.settings.site.poll_seconds, QUIET_SECONDS)
        self._wake_healer()

    async def _watching_over(self) -> float:
        """Look whether all loops come further: capture in the site's changes, subscribers in the producers' logs."""
        assert self._watchdog is not None  # noqa: S101  # this loop begins with it
        self._by_name["capture"].moved((self.capture.taken, self.capture.through.latest))
        for subscriber in self.subscribers:
            self._by_name[f"pull {subscriber.name}"].moved(subscriber.place)
        self._watchdog.look()
        self._notifier.status(self.problem or "all goes well")
        return TICK_SECONDS

    async def _log_what_was_changed(self) -> None:
        """Log changes with the tables as this daemon knows them: the next one knows others.

        What stays behind is formed by the next one, as well as it can be.
        """
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self.capture.drain()
        except Exception as error:  # noqa: BLE001  # whatever it is, the next daemon has to begin
            log.warning("not_logged_before_restart", error=in_words(error), hint="the next daemon reads what is left")

    async def _drain(self) -> None:
        """Bring the log up to date, for whoever waits for it; a busy moment is waited for. Raises `SiteBusy`."""
        try:
            async with asyncio.timeout(WAIT_FOR_CAPTURE):
                async for attempt in transient():
                    with attempt:
                        await self.capture.drain()
        except TimeoutError:
            raise SiteBusy("the site's changes could not be captured in time", hint="it is tried again") from None

    async def _healing(self) -> None:
        with suppress(TimeoutError), resting():  # something queued is due
            async with asyncio.timeout(self._heal_in):
                await self._heal.wait()
        self._heal.clear()
        everything, self._heal_everything = self._heal_everything, False
        self._heal_in = 0.0
        try:
            self._heal_in = await self._heal_what_is_due(everything=everything)
        except BaseException:
            self._heal_everything = self._heal_everything or everything
            raise

    async def _heal_what_is_due(self, *, everything: bool) -> float | None:
        """Returns in how many seconds to look again, or None where nothing is queued."""
        if await self.healer.next_due() is None:
            return None
        routes: dict[str, Route] = dict(each.route for each in self.subscribers if each.route is not None)
        await self.healer.run_once(routes, everything=everything)
        return max(await self.healer.next_due() or 0.0, 0.5)

    def _wake_healer(self, *, everything: bool = False) -> None:
        self._heal_everything = self._heal_everything or everything
        self._heal.set()

    async def _beating(self) -> float:
        for subscriber in self.subscribers:
            await subscriber.report_paused()
        await self.heartbeat.beat(
            captured=self.capture.captured,
            problem=self.problem,
            captured_to=_earlier(self.capture.through.latest, self._guard.looked_at),
        )
        return BEAT_SECONDS

    async def _watching(self) -> float:
        """Notice what commands, in processes of their own, wrote into the state database."""
        version = self.state.version()
        if version != self._seen:
            now = await self._asked()
            if now != self._asked_before:
                await self.update_log.wake()
                for subscriber in self.subscribers:
                    subscriber.wake()
            self._seen, self._asked_before = version, now
        return WATCH_SECONDS

    async def _asked(self) -> object:
        """What people decide: approvals, pauses, requests."""
        approvals = [(each.consumer, each.doctype, each.status) for each in await self.peers.approvals()]
        paused = [(each.name, each.paused) for each in await self.producers.all()]
        asked = [each.id for each in await self.requests.pending() if each.kind == WHOLE]
        return approvals, paused, asked

    async def _trimming(self) -> float:
        await trim_update_log(self.state, self.settings.retention)
        await self.sync_log.trim(self.settings.retention)
        await self.database.forget_deleted(now_ms() - self.settings.retention.tombstone_seconds * 1000)
        return TRIM_SECONDS

    async def _answering(self) -> float:
        """Ask our own API whether it answers."""
        await self.server.probe()
        return PROBE_SECONDS

    async def _guarding(self) -> float:
        """Notice tables that were changed, and triggers that vanished."""
        different = await self._guard.look()
        if different:
            self.begin_anew(different)
        return self._guard.pause


def _earlier(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else min(one, other)
