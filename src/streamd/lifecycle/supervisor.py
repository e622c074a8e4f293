"""Keeps a daemon running: creates one, and the next one when the configuration or the tables change.

At the start, any fault ends the program with an exit code, except that it waits for a database that is away or busy.
Later it does not give up. An invalid configuration is rejected, and the current one stays in use. If the tables no
longer fit the configuration, or a database is away, it reports this and retries every few seconds. Meanwhile nothing is
captured, applied or served, and peers see this site as away. Only two things end it then: a signal, and another daemon
that has claimed the site.
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
from streamd.common.instrumentation import resting
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
from streamd.lifecycle.loops import describe_error, first_of
from streamd.lifecycle.notify import Notifier
from streamd.lifecycle.preparing import catalogue_of, require_usable
from streamd.model import Catalogue, Table
from streamd.settings import Settings, load
from streamd.store.engine import State
from streamd.store.heartbeat import Heartbeat
from streamd.store.migrate import HEAD
from streamd.store.unread_columns import UnreadColumns

log = structlog.get_logger("streamd.daemon")

RETRY_SECONDS = 2.0
"""How long to wait before the next attempt to create a daemon."""


async def main(path: Path) -> int:
    """Run until SIGTERM or SIGINT; SIGHUP reads the configuration again. Returns the exit code."""
    supervisor = Supervisor(path)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop.set)
    loop.add_signal_handler(signal.SIGHUP, supervisor.reload.set)
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
    """Runs one daemon after the other. `stop` ends it; `reload` makes it read the configuration again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.stop = asyncio.Event()
        self.reload = asyncio.Event()
        self._notifier = Notifier()
        self._holding = Holding()
        self._rejected = ""

    async def run(self) -> None:
        """Run until `stop` is set. Raises `StreamdError` for a fault that prevents the start."""
        try:
            await self._run()
        finally:
            await self._holding.end()

    async def _run(self) -> None:
        async with self._notifier.starting():
            daemon = await self._create_next(None)
        while daemon is not None:
            reason = ""
            started_at = time.monotonic()
            try:
                reason = await daemon.run(self.stop, partial(self._reload_configuration, daemon), self._notifier)
            finally:
                await daemon.close(stopped=not reason)
            if not reason:
                return
            log.warning("restarting", because=reason)
            if time.monotonic() - started_at < RETRY_SECONDS:
                await self._rest()  # the schema changes all the time
            daemon = await self._create_next(daemon)

    async def _reload_configuration(self, daemon: Daemon) -> None:
        """Wait for SIGHUP, and restart the daemon if the configuration is valid."""
        with resting():
            await self.reload.wait()
        self.reload.clear()
        try:
            settings = load(self._path)
            require_usable(settings)
            if settings.site.database == daemon.settings.site.database:
                await catalogue_of(settings, daemon.database)
        except StreamdError as error:
            log.error(
                "configuration_rejected",
                error=error.message,
                hint=error.hint or "the current one stays in use; fix the file, and send SIGHUP again",
            )
        else:
            daemon.restart("SIGHUP: the configuration is read again")

    async def _create_next(self, last: Daemon | None) -> Daemon | None:
        """The next daemon, as soon as one can be created; None if `stop` is set before.

        Raises `StreamdError` for the first daemon, if waiting does not help.
        """
        problem = ""
        while not self.stop.is_set():
            try:
                return await make(load(self._path) if last is None else self._load(last), last, self._holding)
            except Fenced:
                raise
            except Exception as error:  # after the start, no error ends the program
                ours = error if isinstance(error, StreamdError) else None
                if last is None and (ours is None or not ours.retryable):
                    raise
                if describe_error(error) != problem:
                    problem = describe_error(error)
                    log.error(
                        "cannot_continue",
                        error=problem,
                        hint=(ours.hint if ours is not None else "") or "fix the tables, or the configuration",
                        looks_again_every_seconds=RETRY_SECONDS,
                        exc_info=None if ours is not None else error,
                    )
            self._notifier.status(f"cannot continue: {problem}")
            self._notifier.alive()
            if last is not None:
                await _show(last, f"cannot continue: {problem}")
            await self._rest()
        if last is not None:
            await _show(last, None)
        return None

    def _load(self, last: Daemon) -> Settings:
        """The current configuration; if it is invalid, the last valid one."""
        try:
            settings = load(self._path)
            require_usable(settings)
        except ConfigurationError as error:
            if error.message != self._rejected:
                log.error("configuration_rejected", error=error.message, hint="the current one stays in use")
                self._rejected = error.message
            return last.settings
        return settings

    async def _rest(self) -> None:
        """Wait a moment, or until a signal arrives."""
        waits = [asyncio.create_task(self.stop.wait()), asyncio.create_task(self.reload.wait())]
        await asyncio.wait(waits, timeout=RETRY_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
        self.reload.clear()


async def _show(last: Daemon, problem: str | None) -> None:
    """Let `streamd status` show the problem while no daemon runs. None: show that it was stopped."""
    try:
        state = State(last.settings.state.database, last.site)
        try:
            if await state.revision() == HEAD:  # its own file may be gone
                heartbeat = Heartbeat(state)
                await (heartbeat.stopped() if problem is None else heartbeat.beat(captured=0, problem=problem))
        finally:
            await state.close()
    except Exception as error:  # noqa: BLE001  # the log shows the problem as well
        log.warning("heartbeat_failed", error=describe_error(error))


async def make(settings: Settings, last: Daemon | None, holding: Holding) -> Daemon:
    """A started daemon: both databases are open, everything is installed, and the server listens.

    `last` is the previous daemon of this process. Raises `StreamdError`; `SiteHeld` if another process runs a daemon
    for the site, before anything is written.
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
        raise NotInstalled(f"triggers are missing or outdated: {', '.join(missing)}", hint="run `streamd install`")
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
