"""The daemon's log: one line per event, as text on a terminal and as JSON elsewhere, without secrets.

Each event has a stable name (`batch_appended_again`), and everything else is a field, so that programs can filter.
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
    """Set up logging for this process on `stream` (default: standard error).

    `level` and `format` are those of `[log]`. Warnings and errors of libraries become the event `library.message`.
    """
    out = stream or sys.stderr
    as_text = format == "text" or (format == "auto" and out.isatty())
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(
            colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=28
        )
        if as_text
        else structlog.processors.JSONRenderer(serializer=_encode_json)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            hide_secrets,
            _sort_fields,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(file=cast(TextIO, _LossyStream(out))),
        cache_logger_on_first_use=False,
    )
    libraries = logging.getLogger()
    libraries.handlers[:] = [_ToStructlog(logging.WARNING)]


class _LossyStream:
    """Drops lines that cannot be written, so that a full disk does not stop the daemon."""

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
    """A structlog processor that replaces secrets by `***`: by the field's name, or by the form of the text."""
    return {key: _hide(key, value) for key, value in event.items()}


def _hide(key: str, value: Any) -> Any:
    if any(word in key.lower() for word in _SECRET_WORDS):
        return HIDDEN
    if isinstance(value, str):
        for pattern, replacement in _SECRET_TEXT:
            value = pattern.sub(replacement, value)
        return value
    if isinstance(value, dict):
        return {inner: _hide(str(inner), part) for inner, part in value.items()}
    if isinstance(value, list | tuple):
        return [_hide("", part) for part in value]
    return value


def _sort_fields(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Put the time, the level and the event first in each line."""
    first = {key: event[key] for key in ("at", "level", "event") if key in event}
    return {"timestamp" if key == "at" else key: value for key, value in {**first, **event}.items()}


def _encode_json(event: EventDict, **_options: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


class _ToStructlog(logging.Handler):
    """Writes the log records of libraries into the same log."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        write = log.error if record.levelno >= logging.ERROR else log.warning
        write("library.message", library=record.name, message=record.getMessage(), exc_info=record.exc_info)
