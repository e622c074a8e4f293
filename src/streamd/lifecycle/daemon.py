"""The composition root: builds everything once, runs the loops in one task group, and stops cleanly.

A daemon knows the configuration and the tables as they were when it was made. Where they change, it ends, and
`supervisor.py` makes the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

import structlog

from streamd import __version__
from streamd.apply import Applier, Healer, Route
from streamd.capture import Capture
from streamd.db.base import SITE_SCHEMA, SiteDatabase, SiteIdentity
from streamd.errors import Fenced, SchemaChanged, SiteError, StateReplaced, StreamdError
from streamd.lifecycle.guard import Guard
from streamd.lifecycle.subscriber import Subscriber
from streamd.model import Catalogue, Table
from streamd.pull import Peer, wanted_doctypes
from streamd.retention import trim_update_log
from streamd.retry import transient
from streamd.serve import Server
from streamd.settings import Settings, secret_of
from streamd.store.engine import State, now_ms
from streamd.store.heartbeat import WHOLE, Heartbeat, Requests
from streamd.store.peers import Peers
from streamd.store.producers import Producers
from streamd.store.sync_log import SyncLog
from streamd.update_log import UpdateLog

log = structlog.get_logger("streamd.daemon")

BEAT_SECONDS = 5.0
WATCH_SECONDS = 0.5
"""How often the daemon looks for what commands wrote; it looks at file times only."""

TRIM_SECONDS = 60.0
DRAIN_SECONDS = 1.0
"""How long a daemon that makes way for the next one takes to log what was changed before."""

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
        site: str,
    ) -> None:
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
            identity=SiteIdentity(site, settings.site.name, SITE_SCHEMA),
            settings=settings.server,
            catalogue=catalogue,
            peers=self.peers,
            log=self.update_log,
            database=database,
            drain_capture=self._drain,
            remembered=remembered,
        )
        self.subscribers = [
            self._subscriber(name) for name, producer in settings.producers.items() if producer.doctypes
        ]
        self._heal = asyncio.Event()
        self._heal_everything = False
        self._problem = ""
        self._guard = Guard(database, catalogue, tables, site=site, claimed=lambda: self.capture.claimed)
        self._anew = asyncio.Event()
        self._why = ""

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
            mappings=self.settings.mappings,
            applied=self._wake_healer,
        )

    async def run(self, stop: asyncio.Event, also: Coroutine[Any, Any, None]) -> str:
        """Run until `stop` is set, or until everything has to be read anew: then returns why.

        `also` runs beside the daemon's own loops. Raises `StreamdError` for what a person has to mend.
        """
        loops = [self._capturing(), self._healing(), self._beating()]
        loops += [self._watching(), self._trimming(), self._guarding(), also]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(loop) for loop in loops]
                tasks += [group.create_task(subscriber.run()) for subscriber in self.subscribers]
                ends = [group.create_task(stop.wait()), group.create_task(self._anew.wait())]
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                if stop.is_set():
                    log.info("stopping")
                for task in [*tasks, *ends]:
                    task.cancel()
        except BaseExceptionGroup as group:
            self._why = await self._what_changed(first_of(group))
            if not self._why:
                raise
        if stop.is_set():
            return ""
        await self._log_what_was_changed()
        return self._why

    async def _what_changed(self, error: BaseException) -> str:
        """Why this error ends the daemon, and the next one may do better; nothing where it would not."""
        if isinstance(error, StateReplaced):
            return error.message
        if not isinstance(error, SiteError) or error.retryable or isinstance(error, Fenced):
            return ""
        try:
            # Where a statement failed because the tables are others now, they tell.
            different = await self._guard.look()
        except StreamdError as now:
            return now.message  # the database itself is gone, or another one
        return different or (error.message if isinstance(error, SchemaChanged) else "")

    def begin_anew(self, why: str) -> None:
        """Let `run` return, so that configuration and tables are read again."""
        self._why = why
        self._anew.set()

    async def close(self, *, stopped: bool = True) -> None:
        """Give everything back; also after a failed start. Unless `stopped`, the next daemon takes over at once."""
        await self.server.stop()
        for subscriber in self.subscribers:
            await subscriber.close()
        if stopped:
            try:
                await self.heartbeat.stopped()
            except StateReplaced as error:
                log.warning("not_said_that_it_stopped", error=error.message)
        await self.database.close()
        await self.state.close()

    async def begin(self) -> None:
        """Bring the two databases together after whatever happened, and listen. Raises `StreamdError`."""
        for name, producer in self.settings.producers.items():
            await self.producers.upsert(name, producer.url)
        known = {producer.name for producer in await self.producers.all()}
        await self.producers.forget(known - self.settings.producers.keys())
        await self.database.set_name(self.settings.site.name)
        await self.capture.recover()
        await self.applier.recover()
        await self.heartbeat.beat(captured=0)
        await self.server.start()
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

    # Loops

    async def _capturing(self) -> None:
        while True:
            taken = await self._patiently(self.capture.run_once)
            if taken:
                self._wake_healer(everything=True)
                continue
            await self.database.wait_for_change(self.settings.site.poll_seconds, QUIET_SECONDS)
            self._wake_healer()

    async def _log_what_was_changed(self) -> None:
        """Log changes with the tables as this daemon knows them: the next one knows others.

        What stays behind is formed by the next one, as well as it can be.
        """
        with suppress(TimeoutError, StreamdError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await self.capture.drain()

    async def _drain(self) -> None:
        while await self._patiently(self.capture.run_once):
            pass

    async def _healing(self) -> None:
        pause: float | None = 0.0
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._heal.wait()
            except TimeoutError:
                pass  # something queued is due
            self._heal.clear()
            everything, self._heal_everything = self._heal_everything, False
            pause = await self.healer.next_due()
            if pause is not None:
                routes: dict[str, Route] = dict(each.route for each in self.subscribers if each.route is not None)
                await self._patiently(lambda: self.healer.run_once(routes, everything=everything))  # noqa: B023  # awaited here
                pause = max(await self.healer.next_due() or 0.0, 0.5)

    def _wake_healer(self, *, everything: bool = False) -> None:
        self._heal_everything = self._heal_everything or everything
        self._heal.set()

    async def _beating(self) -> None:
        while True:
            await self._patiently(lambda: self.heartbeat.beat(captured=self.capture.captured, problem=self._problem))
            await asyncio.sleep(BEAT_SECONDS)

    async def _watching(self) -> None:
        """Notice what commands, in processes of their own, wrote into the state database."""
        seen = self.state.version()
        asked: object = None
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            version = self.state.version()
            if version == seen:
                continue
            seen = version
            now = await self._patiently(self._asked)
            if now != asked:
                asked = now
                await self.update_log.wake()
                for subscriber in self.subscribers:
                    subscriber.wake()

    async def _asked(self) -> object:
        """What people decide: approvals, pauses, requests."""
        approvals = [(each.consumer, each.doctype, each.status) for each in await self.peers.approvals()]
        paused = [(each.name, each.paused) for each in await self.producers.all()]
        asked = [each.id for each in await self.requests.pending() if each.kind == WHOLE]
        return approvals, paused, asked

    async def _trimming(self) -> None:
        while True:
            await asyncio.sleep(TRIM_SECONDS)
            await self._patiently(lambda: trim_update_log(self.state, self.settings.retention))
            await self._patiently(lambda: self.sync_log.trim(self.settings.retention))
            oldest = now_ms() - self.settings.retention.tombstone_seconds * 1000
            await self._patiently(lambda: self.database.forget_deleted(oldest))  # noqa: B023  # awaited here

    async def _guarding(self) -> None:
        """Notice tables that were changed, and triggers that vanished."""
        while not self._anew.is_set():
            await asyncio.sleep(self._guard.pause)
            different = await self._patiently(self._guard.look)
            if different:
                self.begin_anew(str(different))

    async def _patiently(self, work: Callable[[], Awaitable[int | object]]) -> int | object:
        """Do something that may meet a busy database, for as long as it takes; say so when it takes long."""
        while True:
            try:
                async for attempt in transient():
                    with attempt:
                        result = await work()
                self._problem = ""
                return result
            except StreamdError as error:
                if not error.retryable:
                    raise
                self._problem = error.message
                log.warning("still_busy", error=error.message)


def first_of(error: BaseException) -> BaseException:
    """What a task group failed with first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
