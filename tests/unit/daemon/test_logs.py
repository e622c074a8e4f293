"""What the daemon prints: one JSON object a line where nobody watches, and never a secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from streamd import logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    handlers = list(logging.getLogger().handlers)
    yield
    logging.getLogger().handlers[:] = handlers
    structlog.reset_defaults()


@pytest.fixture
def out() -> io.StringIO:
    stream = io.StringIO()
    logs.configure("info", "auto", stream)
    return stream


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_lines_are_json_with_stable_first_fields_where_no_terminal_is(out: io.StringIO) -> None:
    structlog.get_logger("x").info("capture.claimed", changes=3)
    assert list(lines(out)[0]) == ["timestamp", "level", "event", "changes"]


def test_text_is_for_people() -> None:
    stream = io.StringIO()
    logs.configure("info", "text", stream)
    structlog.get_logger().info("capture.claimed", changes=3)
    assert "changes=3" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_the_level_is_kept(out: io.StringIO) -> None:
    structlog.get_logger().debug("too.quiet")
    assert out.getvalue() == ""


def test_secrets_are_hidden_however_they_are_called(out: io.StringIO) -> None:
    hidden = "Zm9vYmFyMTIzNDU2"
    log = structlog.get_logger()
    log.info("a", api_secret=hidden, headers={"Authorization": hidden})
    log.info("b", text=f"sent Bearer key:{hidden} to it", urls=[f"https://user:{hidden}@example.com/"])
    try:
        raise ValueError(f"Authorization: Bearer {hidden}")
    except ValueError:
        log.exception("c")
    assert hidden not in out.getvalue()
    assert len(lines(out)) == 3
    assert "ValueError" in str(lines(out)[2]["exception"])


def test_what_libraries_say_comes_out_in_the_same_form(out: io.StringIO) -> None:
    logging.getLogger("aiohttp.server").error("it broke: %s", "badly")
    logging.getLogger("aiohttp.access").info("GET /")
    assert [(line["event"], line["library"], line["message"]) for line in lines(out)] == [
        ("library.message", "aiohttp.server", "it broke: badly")
    ]


class FullDisk(io.StringIO):
    """A file on a disk that is full, until it is not."""

    full = True

    def flush(self) -> None:
        if self.full:
            raise OSError(28, "No space left on device")


def test_a_full_disk_takes_lines_and_not_the_daemon() -> None:
    disk = FullDisk()
    logs.configure("info", "json", disk)
    log = structlog.get_logger()
    log.info("lost")
    disk.full = False
    log.info("kept")
    assert '"kept"' in disk.getvalue()
    assert "were lost" in disk.getvalue()
