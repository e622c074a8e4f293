"""Reads JSON request bodies; writes JSON answers, compressed, and errors in plain JSON."""

from __future__ import annotations

import asyncio
import gzip
import re
import sys
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import msgspec
import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from streamd.errors import InvalidRequest, ResyncRequired, StreamdError
from streamd.wire import UNREADABLE, ErrorAnswer, ErrorDetail, Message

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BODY_SECONDS = 30.0
"""How long a client may take to send a request's body."""

COMPRESS_ABOVE = 1024
"""Answers larger than this (bytes) are compressed if the client accepts it."""

THREAD_ABOVE = 64 * 1024
"""Answers larger than this (bytes) are compressed in a thread, so that other requests do not wait."""

ZSTD_LEVEL = 3
GZIP_LEVEL = 1
BUSY_RETRY_SECONDS = 1

HEADERS = {"Server": "streamd", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

log = structlog.get_logger("streamd.serve")

M = TypeVar("M", bound=Message)


async def read_body(request: web.Request, model: type[M]) -> M:
    """Parse the request's body. Raises `InvalidRequest` with the path of the first wrong field."""
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding != "identity" or request.content_type != "application/json":
        raise InvalidRequest(
            "the body must be JSON, and not compressed",
            hint="send `Content-Type: application/json`, and no Content-Encoding",
            status=415,
            code="unsupported_media",
        )
    if request.content_length is not None and request.content_length > request.client_max_size:
        raise _body_too_large(request.client_max_size)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await request.read()
    except TimeoutError:
        raise InvalidRequest("the body did not arrive in time", status=408) from None
    except web.HTTPRequestEntityTooLarge:
        raise _body_too_large(request.client_max_size) from None
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise InvalidRequest(f"the body is damaged: {type(error).__name__}") from None
    try:
        return msgspec.json.decode(body, type=model)
    except UNREADABLE as error:
        fault, _, place = str(error).partition(" - at `$.")
        field = re.sub(r"\[(\d+)\]", r".\1", place.removesuffix("`"))
        raise InvalidRequest(
            f"{field or 'the body'}: {fault}",
            hint="see docs/reference/protocol.md, or /v1/openapi.json",
        ) from None


def _body_too_large(limit: int) -> InvalidRequest:
    return InvalidRequest(
        f"the body is larger than {limit} bytes",
        hint="ask for less in one request",
        status=413,
        code="too_large",
    )


async def answer(request: web.Request, message: object) -> web.Response:
    """An answer with this message as JSON, compressed if it is large and the client accepts it."""
    body = msgspec.json.encode(message)
    headers = {}
    if len(body) > COMPRESS_ABOVE:
        accepted = _accepted_encodings(request.headers.get("Accept-Encoding", ""))
        encoding = next((name for name in _ENCODERS if name in accepted), None)
        headers["Vary"] = "Accept-Encoding"
        if encoding is not None:
            headers["Content-Encoding"] = encoding
            encode = _ENCODERS[encoding]
            body = await asyncio.to_thread(encode, body) if len(body) > THREAD_ABOVE else encode(body)
    return web.Response(body=body, content_type="application/json", headers=headers)


_ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": partial(zstd.compress, level=ZSTD_LEVEL),
    "gzip": partial(gzip.compress, compresslevel=GZIP_LEVEL, mtime=0),
}
"""Supported compressions, the preferred one first."""


def _accepted_encodings(header: str) -> set[str]:
    """The encodings that the header lists, without those that it refuses (`q=0`)."""
    accepted = set()
    for part in header.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if not any(parameter.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for parameter in parameters):
            accepted.add(name)
    return accepted


CLIENT_GONE = 499
"""The status of an answer that no client is left to read. It only appears in the access log."""

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media"}
_HTTP_MESSAGES = {404: "there is nothing at this address", 405: "this address does not support that method"}


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error as plain JSON. Log unexpected ones."""
    try:
        return await handler(request)
    except InvalidRequest as error:
        return _refusal(error)
    except ResyncRequired as error:
        return _error(410, "resync_required", error.message, error.hint)
    except web.HTTPException as error:
        hint = "the endpoints are listed in /v1/openapi.json" if error.status in _HTTP_MESSAGES else ""
        message = _HTTP_MESSAGES.get(error.status, error.reason)
        response = _error(error.status, _HTTP_CODES.get(error.status, "invalid_request"), message, hint)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except StreamdError as error:
        log.warning("request_failed", path=request.path, problem=error.message)
        response = _error(503, "unavailable", "this site cannot answer now", "try again later")
        response.headers["Retry-After"] = str(BUSY_RETRY_SECONDS)
        return response
    except Exception as error:  # no request may stop the daemon
        if isinstance(error, ConnectionError) and is_client_gone(request):
            return web.Response(status=CLIENT_GONE)  # the client left during its request: not an error
        log.exception("request_failed", path=request.path)
        return _error(500, "internal_error", "streamd failed to handle this request", "see the log of the daemon")


def is_client_gone(request: web.Request) -> bool:
    """Whether the client no longer waits for the answer."""
    return request.transport is None or request.transport.is_closing()


def _refusal(error: InvalidRequest) -> web.Response:
    response = _error(error.status, error.code, error.message, error.hint)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after:
        response.headers["Retry-After"] = str(int(error.retry_after))
    return response


def _error(status: int, code: str, message: str, hint: str) -> web.Response:
    texts = (text.encode("utf-8", "replace").decode() for text in (code, message, hint))
    body = msgspec.json.encode(ErrorAnswer(ErrorDetail(*texts)))
    return web.Response(status=status, body=body, content_type="application/json")


async def set_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Set the headers that every answer has."""
    response.headers.update(HEADERS)
