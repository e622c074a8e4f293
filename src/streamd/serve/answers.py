"""Requests as they come in, and answers as they go out: JSON bodies, compression, plain errors."""

from __future__ import annotations

import asyncio
import gzip
import sys
from typing import TypeVar

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ValidationError

from streamd.errors import InvalidRequest, ResyncRequired, StreamdError
from streamd.wire import ErrorAnswer, ErrorDetail

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BODY_SECONDS = 30.0
"""How long a client may take to send its request's body."""

COMPRESS_ABOVE = 1024
"""Bytes above which an answer is compressed, where the client can read it."""

THREAD_ABOVE = 64 * 1024
"""Bytes above which compression goes into a thread, so that other peers do not wait for it."""

ZSTD_LEVEL = 3
GZIP_LEVEL = 1
BUSY_RETRY_SECONDS = 1

HEADERS = {"Server": "streamd", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}

log = structlog.get_logger("streamd.serve")

M = TypeVar("M", bound=BaseModel)


async def read_body(request: web.Request, model: type[M]) -> M:
    """The request's body as a message. Raises `InvalidRequest` with the path of the field that is wrong."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise InvalidRequest(
            "compressed requests are not accepted",
            hint="send the body as it is, without Content-Encoding",
            status=415,
            code="unsupported_media",
        )
    if request.content_type != "application/json":
        raise InvalidRequest(
            "the body has to be JSON",
            hint="send `Content-Type: application/json`",
            status=415,
            code="unsupported_media",
        )
    if request.content_length is not None and request.content_length > request.client_max_size:
        raise too_large(request.client_max_size)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await request.read()
    except TimeoutError:
        raise InvalidRequest("the body did not arrive in time", status=408) from None
    except web.HTTPRequestEntityTooLarge:
        raise too_large(request.client_max_size) from None
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise InvalidRequest(f"the body is damaged: {type(error).__name__}") from None
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise InvalidRequest(
            _what_is_wrong(error), hint="see docs/reference/protocol.md, or /v1/openapi.json"
        ) from None


def too_large(limit: int) -> InvalidRequest:
    return InvalidRequest(
        f"the body is larger than {limit} bytes",
        hint="ask for less at once",
        status=413,
        code="too_large",
    )


def _what_is_wrong(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where or 'the body'}: {first['msg']}"


async def answer(request: web.Request, body: bytes) -> web.Response:
    """JSON text as an answer, compressed where that pays and the client can read it."""
    headers = {}
    if len(body) > COMPRESS_ABOVE:
        accepted = _accepted(request.headers.get("Accept-Encoding", ""))
        encoding = next((name for name in _ENCODERS if name in accepted), None)
        headers["Vary"] = "Accept-Encoding"
        if encoding is not None:
            headers["Content-Encoding"] = encoding
            encode = _ENCODERS[encoding]
            body = await asyncio.to_thread(encode, body) if len(body) > THREAD_ABOVE else encode(body)
    return web.Response(body=body, content_type="application/json", headers=headers)


def _zstd(body: bytes) -> bytes:
    return zstd.compress(body, level=ZSTD_LEVEL)


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, compresslevel=GZIP_LEVEL, mtime=0)


_ENCODERS = {"zstd": _zstd, "gzip": _gzip}
"""What we can compress with, best first."""


def _accepted(header: str) -> set[str]:
    """The encodings that a client names, without those that it refuses (`q=0`)."""
    found = set()
    for part in header.lower().split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        if not any(parameter.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for parameter in parameters):
            found.add(name)
    return found


def refusal(error: InvalidRequest) -> web.Response:
    """A 4xx as plain JSON."""
    response = _error(error.status, error.code, error.message, error.hint)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after:
        response.headers["Retry-After"] = str(int(error.retry_after))
    return response


CLIENT_GONE = 499
"""The status of what nobody is left to read; only the access log has it."""

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large", 415: "unsupported_media"}
_HTTP_WORDS = {
    404: ("there is nothing at this address", "the endpoints are listed in /v1/openapi.json"),
    405: ("this address does not know that method", "the endpoints are listed in /v1/openapi.json"),
}


@web.middleware
async def plain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever goes wrong is answered as plain JSON; what nobody expected is logged, once."""
    try:
        return await handler(request)
    except InvalidRequest as error:
        return refusal(error)
    except ResyncRequired as error:
        return _error(410, "resync_required", error.message, error.hint)
    except web.HTTPException as error:
        words, hint = _HTTP_WORDS.get(error.status, (error.reason, ""))
        response = _error(error.status, _HTTP_CODES.get(error.status, "invalid_request"), words, hint)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response
    except StreamdError as error:
        log.warning("request_failed", path=request.path, problem=error.message)
        response = _error(503, "unavailable", "this site cannot answer now", "try again later")
        response.headers["Retry-After"] = str(BUSY_RETRY_SECONDS)
        return response
    except Exception as error:  # the last resort: a request must not end the daemon, whatever it meets
        if isinstance(error, ConnectionError) and is_gone(request):
            return web.Response(status=CLIENT_GONE)  # it left in the middle of its request: nobody's fault
        log.exception("request_failed", path=request.path)
        return _error(500, "internal_error", "this request met a fault of ours", "it is in the daemon's log")


def is_gone(request: web.Request) -> bool:
    """Whether nobody waits for the answer any more."""
    return request.transport is None or request.transport.is_closing()


def _error(status: int, code: str, message: str, hint: str) -> web.Response:
    body = ErrorAnswer(error=ErrorDetail(code=code, message=message, hint=hint)).model_dump_json()
    return web.Response(status=status, body=body.encode("utf-8", "replace"), content_type="application/json")


async def set_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Headers that every answer has."""
    response.headers.update(HEADERS)
