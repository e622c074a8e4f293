"""The server: one aiohttp application, its listening socket, and its clean end."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from streamd.common.addresses import is_loopback
from streamd.db.base import SiteDatabase, SiteIdentity
from streamd.errors import ConfigurationError, Problem, StreamdError
from streamd.model import Catalogue, Cursor
from streamd.serve.answers import plain_errors, set_headers
from streamd.serve.connections.listener import Listener, counted
from streamd.serve.events import Feed
from streamd.serve.handlers import Handlers
from streamd.serve.openapi import ENDPOINTS
from streamd.serve.probe import probe
from streamd.serve.services import Services, Unread, all_read
from streamd.settings import ServerSettings
from streamd.store.peers import Peers
from streamd.update_log import UpdateLog

LOOK_SECONDS = 1.0
STOP_SECONDS = 1.5
"""How long requests that are being answered may take to end when the server stops; long polls end at once."""

log = structlog.get_logger("streamd.serve")


def make_app(services: Services, stopping: asyncio.Future[None]) -> web.Application:
    """The application. When `stopping` is done, long polls end at once with what they have."""
    app = web.Application(client_max_size=services.settings.max_request_bytes, middlewares=[counted, plain_errors])
    handlers = Handlers(services, Feed(services, stopping)).by_name()
    for endpoint in ENDPOINTS:
        add = app.router.add_get if endpoint.asks is None else app.router.add_post
        add(endpoint.path, handlers[endpoint.name])
    app.on_response_prepare.append(set_headers)
    return app


class Server:
    """The API for peers. `drain_capture` brings the log up to date with what the site's database holds.

    `remembered` are the types of which it is remembered what this site's users edit. `covered_by` gives the moment (ms
    since 1970) up to which everything that was committed here is at or before a place of the log. `problem` says what
    is wrong with the daemon at the moment, and `unread` which columns were not read yet from where their documents
    come from.
    """

    def __init__(
        self,
        *,
        identity: SiteIdentity,
        settings: ServerSettings,
        catalogue: Catalogue,
        peers: Peers,
        log: UpdateLog,
        database: SiteDatabase,
        drain_capture: Callable[[], Awaitable[None]],
        remembered: frozenset[str] = frozenset(),
        covered_by: Callable[[Cursor], int | None] = lambda _: None,
        problem: Callable[[], str] = lambda: "",
        unread: Callable[[], Awaitable[Unread]] = all_read,
    ) -> None:
        self._settings = settings
        self._services = Services(
            identity,
            settings,
            catalogue,
            peers,
            log,
            database,
            drain_capture,
            remembered,
            covered_by,
            problem,
            unread,
        )
        self._stopping: asyncio.Future[None] | None = None
        self._runner: web.AppRunner | None = None
        self._listener: Listener | None = None
        self.port = settings.port
        """The port that is listened on; after `start` the one that was given, where the settings say 0."""

    @property
    def url(self) -> str:
        """Where this process listens."""
        scheme = "http" if self._settings.certificate is None else "https"
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"{scheme}://{host}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises `ConfigurationError` for a bad certificate, `StreamdError` where the port is taken."""
        certificate = _certificate(self._settings)
        self._stopping = asyncio.get_running_loop().create_future()
        self._runner = web.AppRunner(
            make_app(self._services, self._stopping), access_log=None, shutdown_timeout=STOP_SECONDS
        )
        await self._runner.setup()
        assert self._runner.server is not None  # noqa: S101  # it was just set up
        self._listener = Listener(self._runner.server, certificate, logger=_http_log())
        try:
            self.port = await self._listener.listen(self._settings.host, self._settings.port)
        except OSError as error:
            await self.stop()
            raise StreamdError(
                f"cannot listen on {self._settings.host}:{self._settings.port}: {error.strerror or error}",
                hint="stop what uses that port, or change host and port of [server]",
            ) from error
        if certificate is None and not is_loopback(self._settings.host):
            log.warning("plain_http", host=self._settings.host, hint="set certificate and certificate_key of [server]")
        log.info("serving", url=self.url)

    async def look(self) -> float:
        """End connections that are overdue. Returns in how many seconds to look again. Raises `StreamdError`."""
        if self._listener is not None:
            self._listener.look()
        return LOOK_SECONDS

    async def probe(self) -> None:
        """Raises `StreamdError` where the API does not answer."""
        await probe(self._settings.host, self.port, encrypted=self._settings.certificate is not None)

    async def stop(self) -> None:
        """Stop listening, end long polls at once, and wait a little for what is being answered."""
        if self._stopping is not None and not self._stopping.done():
            self._stopping.set_result(None)
        if self._listener is not None:
            await self._listener.stop()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._listener is not None:
            self._listener.end_all()
        self._listener = self._runner = None


class _OnlyOurFaults(logging.Filter):
    """Leaves out what clients did wrong: anybody can send what is no HTTP, as often as they like."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError)


def _http_log() -> logging.Logger:
    logger = logging.getLogger("streamd.serve.http")
    if not logger.filters:
        logger.addFilter(_OnlyOurFaults())
    return logger


def _certificate(settings: ServerSettings) -> ssl.SSLContext | None:
    if settings.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.certificate, settings.certificate_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            Problem(
                "server.certificate",
                f"cannot be used: {error}",
                "name the certificate (with its chain) and its key, both as PEM files that this user can read",
            )
        ) from error
    return context
