"""Keeps a daemon running: makes one, and the next one when the configuration or the tables are others.

When the program starts, whatever is wrong ends it with an exit code that says so; only for a database that is away or
busy it waits. Once it runs, it does not give up: a configuration that became wrong is not taken, and the daemon goes on
with the one that it has; and where the tables no longer fit the configuration, or the site or the state is away, it
says so, and looks again every few seconds until that is over. Meanwhile nothing is captured, applied or served, and
peers see this site as away. Once it runs it ends for two things: a signal, and another daemon that claimed the site.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import structlog

from streamd import logs
from streamd.common.progress import resting
from streamd.db import open_site
from streamd.db.base import SiteDatabase
from streamd.errors import ConfigurationError, Fenced, NotInstalled, StreamdError
from streamd.lifecycle.daemon import Daemon
from streamd.lifecycle.guard import columns_added
from streamd.lifecycle.holding import Holding
from streamd.lifecycle.installing import (
    install_site,
    missing_triggers,
    require_tables,
    write_gaps,
)
from streamd.lifecycle.loops import first_of, in_words
from streamd.lifecycle.notify import Notifier
from streamd.lifecycle.preparing import catalogue_of, require_usable
from streamd.model import Catalogue, Table
from streamd.settings import Settings, load
from streamd.store.engine import State
from streamd.store.heartbeat import Heartbeat
from streamd.store.migrate import HEAD
from streamd.store.unread_columns import UnreadColumns

log = structlog.get_logger("streamd.daemon")

AGAIN_SECONDS = 2.0
"""How long to wait before the next try, where the tables do not fit the configuration."""


async def main(path: Path) -> int:
    """Run until SIGTERM or SIGINT; SIGHUP reads the configuration again. Returns the exit code."""
    supervisor = Supervisor(path)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop.set)
    loop.add_signal_handler(signal.SIGHUP, supervisor.asked.set)
    try:
        await supervisor.run()
    except (StreamdError, ExceptionGroup) as error:
        cause = first_of(error)
        if not isinstance(cause, StreamdError):
            raise
        log.error("failed", error=cause.message, hint=cause.hint)
        return cause.exit_code
    log.info("stopped")
    return 0


class Supervisor:
    """Runs one daemon after the other. `stop` ends it; `asked` has the configuration read again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.stop = asyncio.Event()
        self.asked = asyncio.Event()
        self._notifier = Notifier()
        self._holding = Holding()
        self._said = ""

    async def run(self) -> None:
        """Run until `stop` is set. Raises `StreamdError` for what a person has to fix before it can start."""
        try:
            await self._run()
        finally:
            await self._holding.end()

    async def _run(self) -> None:
        async with self._notifier.starting():
            daemon = await self._next(None)
        while daemon is not None:
            why = ""
            began = time.monotonic()
            try:
                why = await daemon.run(self.stop, partial(self._listening, daemon), self._notifier)
            finally:
                await daemon.close(stopped=not why)
            if not why:
                return
            log.warning("restarting", because=why)
            if time.monotonic() - began < AGAIN_SECONDS:
                await self._rest()  # something changes all the time, or is never as it ought to be
            daemon = await self._next(daemon)

    async def _listening(self, daemon: Daemon) -> None:
        """Look at the configuration when asked to; only one that can be used is taken."""
        with resting():
            await self.asked.wait()
        self.asked.clear()
        try:
            settings = load(self._path)
            require_usable(settings)
            if settings.site.database == daemon.settings.site.database:
                await catalogue_of(settings, daemon.database)
        except StreamdError as error:
            log.error(
                "configuration_rejected",
                error=error.message,
                hint=error.hint or "it goes on with the one from before; fix the file, and send SIGHUP again",
            )
        else:
            daemon.begin_anew("the configuration was to be read again (SIGHUP)")

    async def _next(self, last: Daemon | None) -> Daemon | None:
        """The next daemon, as soon as one can be made; None if `stop` is set before.

        Raises `StreamdError` where there was none before, and waiting does not help.
        """
        said = ""
        while not self.stop.is_set():
            try:
                return await make(load(self._path) if last is None else self._settings(last), last, self._holding)
            except Fenced:
                raise
            except Exception as error:  # a daemon that ran does not give up, whatever it meets
                ours = error if isinstance(error, StreamdError) else None
                if last is None and (ours is None or not ours.retryable):
                    raise
                problem = in_words(error)
                if problem != said:
                    log.error(
                        "cannot_continue",
                        error=problem,
                        hint=(ours.hint if ours is not None else "") or "fix the tables, or the configuration",
                        looks_again_every_seconds=AGAIN_SECONDS,
                        exc_info=None if ours is not None else error,
                    )
                    said = problem
            self._notifier.status(f"it cannot go on: {said}")
            self._notifier.alive()  # it looks again and again
            if last is not None:
                await _show(last, f"it cannot go on: {said}")
            await self._rest()
        if last is not None:
            await _show(last, None)
        return None

    def _settings(self, last: Daemon) -> Settings:
        """The configuration as it is now; where it cannot be read, the last one that could."""
        try:
            settings = load(self._path)
            require_usable(settings)
        except ConfigurationError as error:
            if error.message != self._said:
                log.error("configuration_rejected", error=error.message, hint="it goes on with the one from before")
                self._said = error.message
            return last.settings
        return settings

    async def _rest(self) -> None:
        """Wait a little, or until somebody asks for something."""
        waits = [asyncio.create_task(self.stop.wait()), asyncio.create_task(self.asked.wait())]
        await asyncio.wait(waits, timeout=AGAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
        self.asked.clear()


async def _show(last: Daemon, problem: str | None) -> None:
    """Let `streamd status` say what is wrong, while no daemon runs that would; None: that it was stopped."""
    try:
        state = State(last.settings.state.database, last.site)
        try:
            if await state.revision() == HEAD:  # its own file may be what is gone
                heartbeat = Heartbeat(state)
                await (heartbeat.stopped() if problem is None else heartbeat.beat(captured=0, problem=problem))
        finally:
            await state.close()
    except Exception as error:  # noqa: BLE001  # the log says the same
        log.warning("heartbeat_failed", error=in_words(error))


async def make(settings: Settings, last: Daemon | None, holding: Holding) -> Daemon:
    """A daemon that has begun: both databases opened, everything installed, the port listened on.

    `last` is the daemon that ran before in this process. Raises `StreamdError`, and `SiteHeld` where another process
    has one: before anything is written.
    """
    logs.configure(settings.log.level, settings.log.format)
    database = open_site(settings.site.database)
    try:
        identity = await database.identity()
        if identity is None:
            raise NotInstalled("nothing is installed in the site's database", hint="run `streamd install`")
        await holding.begin(settings.site.database)
        catalogue, tables = await catalogue_of(settings, database)
        state = State(settings.state.database, identity.site)
        try:
            await state.check_revision()
            before = last.tables if last is not None and last.site == identity.site else tables
            await _note_new_columns(settings, state, catalogue, before, tables)
            await _install(settings, database, catalogue, tables, state)
            daemon = Daemon(settings, database, catalogue, tables, state, holding)
        except BaseException:
            await state.close()
            raise
    except BaseException:
        await database.close()
        raise
    try:
        await daemon.begin()
    except BaseException:
        await daemon.close(stopped=last is None)
        raise
    return daemon


async def _install(
    settings: Settings, database: SiteDatabase, catalogue: Catalogue, tables: Mapping[str, Table], state: State
) -> None:
    """Install what is missing, if the configuration allows. Raises `NotInstalled` if something is missing then."""
    done = []
    if settings.site.install:
        done = await install_site(settings.site.name, database, catalogue, tables, state)
    require_tables(await database.identity())
    missing = missing_triggers(await database.our_triggers(), database.wanted_triggers(catalogue, tables))
    if missing:
        raise NotInstalled(f"triggers are missing or old: {', '.join(missing)}", hint="run `streamd install`")
    if not settings.site.install:
        done = await write_gaps(database, state)
    for line in done:
        log.warning("installed", done=line)


async def _note_new_columns(
    settings: Settings, state: State, catalogue: Catalogue, before: Mapping[str, Table], after: Mapping[str, Table]
) -> None:
    """Note the columns of subscribed types that are new here, or of another type: what came for them may be lost."""
    added = columns_added(catalogue, before, after)
    for name, producer in settings.producers.items():
        await UnreadColumns(state).add(name, {each: added[each] for each in added.keys() & set(producer.subscribed)})
