"""The composition root: builds everything once, runs the loops in one task group, and stops cleanly.

`streamd run` prepares the databases, and then becomes the process (`process.py`) in which this runs.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from streamd import __version__, clock, logs
from streamd.apply import Applier, Healer, Route
from streamd.capture import Capture
from streamd.catalog import build
from streamd.db import open_site
from streamd.db.base import SITE_SCHEMA, SiteDatabase, SiteIdentity
from streamd.errors import NotInstalled, StreamdError
from streamd.model import Catalogue
from streamd.pull import Peer
from streamd.retention import trim_update_log
from streamd.retry import transient
from streamd.serve import Server
from streamd.settings import Settings, load, secret_of
from streamd.store.engine import State, now_ms
from streamd.store.heartbeat import Heartbeat, Requests
from streamd.store.peers import Peers
from streamd.store.producers import Producers
from streamd.store.sync_log import SyncLog
from streamd.subscriber import Subscriber
from streamd.update_log import UpdateLog

log = structlog.get_logger("streamd.daemon")

BEAT_SECONDS = 5.0
WATCH_SECONDS = 0.5
"""How often the daemon looks for what commands wrote; it looks at file times only."""

TRIM_SECONDS = 60.0
GUARD_SECONDS = 5.0
QUIET_SECONDS = 5.0
"""How long capture waits for a change before it looks all the same."""


class Daemon:
    """Everything that runs beside one site."""

    def __init__(
        self, settings: Settings, database: SiteDatabase, catalogue: Catalogue, state: State, site: str
    ) -> None:
        self.settings = settings
        self.database = database
        self.catalogue = catalogue
        self.state = state
        self.site = site
        self.update_log = UpdateLog(state)
        self.peers = Peers(state)
        self.producers = Producers(state)
        self.requests = Requests(state)
        self.heartbeat = Heartbeat(state)
        self.sync_log = SyncLog(state)
        subscribed = {doctype for producer in settings.producers.values() for doctype in producer.subscribed}
        self.capture = Capture(
            database,
            self.update_log,
            catalogue,
            site=site,
            logged=self.peers.approved_doctypes,
            remembered=frozenset(subscribed) & catalogue.offers,
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
        )
        self.subscribers = [
            self._subscriber(name) for name, producer in settings.producers.items() if producer.doctypes
        ]
        self._heal = asyncio.Event()
        self._heal_everything = False
        self._problem = ""
        self._triggers = 0

    def _subscriber(self, name: str) -> Subscriber:
        settings = self.settings.producers[name]
        return Subscriber(
            name,
            settings,
            Peer(name, settings, secret_of(settings, name)),
            site=self.site,
            site_name=self.settings.site.name,
            database=self.database,
            catalogue=self.catalogue,
            applier=self.applier,
            producers=self.producers,
            requests=self.requests,
            sync_log=self.sync_log,
            applied=self._wake_healer,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set. Raises `StreamdError` for what a person has to mend."""
        await self._begin()
        loops = [self._capturing(), self._healing(), self._beating()]
        loops += [self._watching(), self._trimming(), self._guarding()]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(loop) for loop in loops]
            tasks += [group.create_task(subscriber.run()) for subscriber in self.subscribers]
            await stop.wait()
            log.info("stopping")
            for task in tasks:
                task.cancel()

    async def close(self) -> None:
        """Give everything back; also after a failed start."""
        await self.server.stop()
        for subscriber in self.subscribers:
            await subscriber.close()
        await self.heartbeat.stopped()
        await self.database.close()
        await self.state.close()

    async def _begin(self) -> None:
        for name, producer in self.settings.producers.items():
            await self.producers.upsert(name, producer.url)
        known = {producer.name for producer in await self.producers.all()}
        await self.producers.forget(known - self.settings.producers.keys())
        await self.database.set_name(self.settings.site.name)
        self._triggers = len(await self.database.our_triggers())
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
        return approvals, paused, [each.id for each in await self.requests.pending()]

    async def _trimming(self) -> None:
        while True:
            await asyncio.sleep(TRIM_SECONDS)
            await self._patiently(lambda: trim_update_log(self.state, self.settings.retention))
            await self._patiently(lambda: self.sync_log.trim(self.settings.retention))
            oldest = now_ms() - self.settings.retention.tombstone_seconds * 1000
            await self._patiently(lambda: self.database.forget_deleted(oldest))  # noqa: B023  # awaited here

    async def _guarding(self) -> None:
        """Notice triggers that vanished."""
        while True:
            await asyncio.sleep(GUARD_SECONDS)
            await self._patiently(self._mend_triggers)

    async def _mend_triggers(self) -> None:
        """Put triggers back that vanished (a table was rebuilt), and say in the log that changes may be missing."""
        there = await self.database.our_triggers()
        if len(there) >= self._triggers:
            return
        tables = await self.database.tables()
        gone = self.database.wanted_triggers(self.catalogue, tables).keys() - there.keys()
        if not self.settings.site.install:
            raise NotInstalled(f"triggers have vanished: {', '.join(sorted(gone))}", hint="run `streamd install`")
        await self.database.run_script(self.database.install_script(self.catalogue, tables))
        affected = self.database.doctypes_behind(gone, self.catalogue, tables)
        await self.update_log.add_gap(
            affected,
            f"triggers had vanished, and were put back: {', '.join(sorted(gone))}",
            clock=clock.reading(now_ms(), 0, self.site),
        )
        log.warning("triggers_put_back", doctypes=affected, triggers=sorted(gone))

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


async def start(path: Path) -> Daemon:
    """Read the configuration and open both databases. Raises `StreamdError`."""
    settings = load(path)
    logs.configure(settings.log.level, settings.log.format)
    database = open_site(settings.site.database)
    try:
        identity = await database.identity()
        if identity is None:
            raise NotInstalled("nothing is installed in the site's database", hint="run `streamd install`")
        tables = await database.tables()
        catalogue = build(settings, tables)
        missing = database.wanted_triggers(catalogue, tables).items() - (await database.our_triggers()).items()
        if missing:
            raise NotInstalled(
                f"triggers are missing or old: {', '.join(sorted(name for name, _ in missing))}",
                hint="run `streamd install`",
            )
    except BaseException:
        await database.close()
        raise
    state = State(settings.state.database, identity.site)
    await state.check_revision()
    return Daemon(settings, database, catalogue, state, identity.site)


async def main(path: Path) -> int:
    """Run the daemon until SIGTERM or SIGINT. Returns the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        daemon = await start(path)
        try:
            await daemon.run(stop)
        finally:
            await daemon.close()
    except (StreamdError, BaseExceptionGroup) as error:
        cause = _first(error)
        if not isinstance(cause, StreamdError):
            raise
        log.error("failed", error=cause.message, mend=cause.hint)
        return cause.exit_code
    log.info("stopped")
    return 0


def _first(error: BaseException) -> BaseException:
    """What a task group failed with first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
