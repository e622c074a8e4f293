"""What the daemon prints about itself: one line per event, JSON where no person watches, and never a secret.

Each log event has a stable name (`capture.claimed`, `producer.away`), and everything else is a field of it,
so that programs can look for it.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

HIDDEN = "***"
_SECRET_WORDS = ("secret", "password", "token", "authorization", "credential")
_SECRET_TEXT = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[^\s\"',;]+"), rf"\1 {HIDDEN}"),
    (re.compile(r"://[^/\s:@]*:[^/\s@]*@"), f"://{HIDDEN}@"),
)

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: str = "info", format: str = "auto", stream: TextIO | None = None) -> None:
    """Set up logging for this process, on `stream` (default: standard error).

    `level` and `format` are those of `[log]`. What libraries say as a warning or worse comes out as the
    event `library.message`.
    """
    out = stream or sys.stderr
    as_text = format == "text" or (format == "auto" and out.isatty())
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=28
        )
        if as_text
        else structlog.processors.JSONRenderer(serializer=_json)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            hide_secrets,
            _in_order,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(file=cast(TextIO, _Lines(out))),
        cache_logger_on_first_use=False,
    )
    libraries = logging.getLogger()
    libraries.handlers[:] = [_ToStructlog(logging.WARNING)]


class _Lines:
    """A stream that may refuse what is written: on a full disk a line is lost, and not the daemon."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = 0

    def write(self, text: str) -> int:
        try:
            if self._lost:
                self._stream.write(f"({self._lost} writes of this log were lost)\n")
            self._stream.write(text)
            self._lost = 0
        except OSError:
            self._lost += 1
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._lost += 1


def hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A processor that puts `***` for what must not be read by others, whatever it was called."""
    return {key: _hidden(key, value) for key, value in event.items()}


def _hidden(key: str, value: Any) -> Any:
    if any(word in key.lower() for word in _SECRET_WORDS):
        return HIDDEN
    if isinstance(value, str):
        for pattern, instead in _SECRET_TEXT:
            value = pattern.sub(instead, value)
        return value
    if isinstance(value, dict):
        return {inner: _hidden(str(inner), part) for inner, part in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden("", part) for part in value]
    return value


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """When, how grave, and what come first, so that people find them at one place in each line."""
    first = {key: event[key] for key in ("at", "level", "event") if key in event}
    return {"timestamp" if key == "at" else key: value for key, value in {**first, **event}.items()}


def _json(event: EventDict, **_options: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


class _ToStructlog(logging.Handler):
    """Hands what libraries say to the same lines as ours."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        say = log.error if record.levelno >= logging.ERROR else log.warning
        say("library.message", library=record.name, message=record.getMessage(), exc_info=record.exc_info)
