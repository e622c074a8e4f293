"""The API server: the aiohttp application, its listening socket, and a clean shutdown."""

from __future__ import annotations

import asyncio
import logging
import ssl

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from streamd.common.addresses import is_loopback
from streamd.errors import ConfigurationError, Problem, StreamdError
from streamd.serve.answers import answer_errors, set_headers
from streamd.serve.connections.listener import Listener, track_requests
from streamd.serve.connections.probe import probe
from streamd.serve.events import EventFeed
from streamd.serve.handlers import Handlers
from streamd.serve.openapi import ENDPOINTS
from streamd.serve.services import Services
from streamd.settings import ServerSettings

CHECK_SECONDS = 1.0
"""How often overdue connections are closed."""

STOP_SECONDS = 1.5
"""How long running requests may take to finish when the server stops. Long polls end at once."""

log = structlog.get_logger("streamd.serve")


def make_app(services: Services, stopping: asyncio.Future[None]) -> web.Application:
    """The application. When `stopping` is done, long polls end at once with what they have."""
    app = web.Application(
        client_max_size=services.settings.max_request_bytes, middlewares=[track_requests, answer_errors]
    )
    handlers = Handlers(services, EventFeed(services, stopping)).by_endpoint()
    for endpoint in ENDPOINTS:
        add_route = app.router.add_get if endpoint.request is None else app.router.add_post
        add_route(endpoint.path, handlers[endpoint.name])
    app.on_response_prepare.append(set_headers)
    return app


class Server:
    """The API for peers."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings
        self._stopping: asyncio.Future[None] | None = None
        self._runner: web.AppRunner | None = None
        self._listener: Listener | None = None
        self.port = self._settings.port
        """The port to listen on. If the settings say 0, `start` sets this to the port that the system chose."""

    @property
    def url(self) -> str:
        """Where this process listens."""
        scheme = "http" if self._settings.certificate is None else "https"
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"{scheme}://{host}:{self.port}"

    async def start(self) -> None:
        """Listen. Raises `ConfigurationError` for a bad certificate, `StreamdError` if the port is taken."""
        certificate = _load_certificate(self._settings)
        self._stopping = asyncio.get_running_loop().create_future()
        self._runner = web.AppRunner(
            make_app(self._services, self._stopping), access_log=None, shutdown_timeout=STOP_SECONDS
        )
        await self._runner.setup()
        assert self._runner.server is not None  # noqa: S101  # set by setup()
        self._listener = Listener(self._runner.server, certificate, logger=_http_logger())
        try:
            self.port = await self._listener.listen(self._settings.host, self._settings.port)
        except OSError as error:
            await self.stop()
            raise StreamdError(
                f"cannot listen on {self._settings.host}:{self._settings.port}: {error.strerror or error}",
                hint="stop the program that uses this port, or change host and port of [server]",
            ) from error
        if certificate is None and not is_loopback(self._settings.host):
            log.warning("plain_http", host=self._settings.host, hint="set certificate and certificate_key of [server]")
        log.info("serving", url=self.url)

    async def close_overdue_connections(self) -> float:
        """Close overdue connections. Returns the seconds until the next call. Raises `StreamdError`."""
        if self._listener is not None:
            self._listener.close_overdue()
        return CHECK_SECONDS

    async def probe(self) -> None:
        """Raises `StreamdError` if the API does not answer."""
        await probe(self._settings.host, self.port, encrypted=self._settings.certificate is not None)

    async def stop(self) -> None:
        """Stop listening, end long polls at once, and give other running requests `STOP_SECONDS` to finish."""
        if self._stopping is not None and not self._stopping.done():
            self._stopping.set_result(None)
        if self._listener is not None:
            await self._listener.stop()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._listener is not None:
            self._listener.admission.close_all()
        self._listener = self._runner = None


class _IgnoreClientFaults(logging.Filter):
    """Drops records about malformed HTTP: anyone can send it, as often as they like."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError)


def _http_logger() -> logging.Logger:
    logger = logging.getLogger("streamd.serve.http")
    if not logger.filters:
        logger.addFilter(_IgnoreClientFaults())
    return logger


def _load_certificate(settings: ServerSettings) -> ssl.SSLContext | None:
    if settings.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.certificate, settings.certificate_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            Problem(
                "server.certificate",
                f"cannot be used: {error.strerror if error.filename else 'it and its key are no pair of PEM files'}",
                "set the certificate (with its chain) and its key to PEM files that this user can read",
            )
        ) from error
    return context
