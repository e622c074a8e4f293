"""The examples in docs/reference/protocol.md are correct: each request is sent, in order, to a real server.

Each answer must have the fields and values that the document shows. Values that differ from run to run (clocks, nonces,
UUIDs) must have the same type. If an example sends a cursor from an earlier answer, the real cursor is sent instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from streamd.serve.openapi import ENDPOINTS, build_document
from tests.data import REPOSITORY
from tests.support.sites.serving import Answer, Client, ProducerSite

DOCUMENT = REPOSITORY / "docs" / "reference" / "protocol.md"

STEP = re.compile(
    r"<!-- (?P<what>at the producer: |get |post |answer ?)(?P<words>.*?) ?-->\n(?:```json \w+\n(?P<json>.*?)```)?",
    flags=re.DOTALL,
)

DIFFERS = {"site", "version", "log", "clock_ms", "clock", "at", "nonce", "next", "as_of", "fingerprint", "approved_at"}


@dataclass
class Reader:
    """Follows the document as a consumer, and performs the steps at the producer."""

    hq: ProducerSite
    client: Client
    cursors: dict[str, str] = field(default_factory=dict)
    last: Answer | None = None
    answers: int = 0

    async def run_step(self, what: str, words: str, text: str | None) -> None:
        if what == "at the producer":
            await self.run_at_producer(words)
        elif what == "get":
            self.last = await self.client.send("GET", words)
            self.compare(json.loads(text or "null"), 200)
        elif what == "answer":
            self.compare(json.loads(text or "null"), int(words or 200))
        elif what == "post":
            request = {key: self.cursors.get(str(value), value) for key, value in json.loads(text or "").items()}
            self.last = await self.client.post(words, request)

    async def run_at_producer(self, words: str) -> None:
        verb, _, rest = words.partition(" ")
        if verb == "approve":
            await self.hq.approve(rest)
        elif verb == "gap":
            doctype, _, reason = rest.partition(" ")
            await self.hq.log.add_gap([doctype], reason, clock="")
        else:
            with self.hq.write() as connection:
                connection.executescript(words)
        await self.hq.capture.drain()

    def compare(self, shown: Any, status: int) -> None:
        assert self.last is not None
        assert self.last.status == status, self.last.text
        self._same("", shown, self.last.json)
        self.answers += 1

    def _same(self, where: str, shown: Any, real: Any) -> None:
        assert type(shown) is type(real), f"{where}: the document shows {shown!r}, the server sent {real!r}"
        key = where.rpartition(".")[2]
        if isinstance(shown, dict):
            assert shown.keys() == real.keys(), f"{where}: the document shows {set(shown)}, the server sent {set(real)}"
            for name, value in shown.items():
                self._same(f"{where}.{name}", value, real[name])
        elif isinstance(shown, list):
            assert len(shown) == len(real), f"{where}: the document shows {shown}, the server sent {real}"
            for index, value in enumerate(shown):
                self._same(f"{where}[{index}]", value, real[index])
        elif key in DIFFERS or where == ".name":  # including the name of a site
            if key in ("next", "as_of"):
                self.cursors[shown] = real
        else:
            assert shown == real, f"{where}: the document shows {shown!r}, the server sent {real!r}"


def read_steps() -> Iterator[tuple[str, str, str | None]]:
    for step in STEP.finditer(DOCUMENT.read_text(encoding="utf-8")):
        yield step["what"].strip().rstrip(":"), step["words"], step["json"]


async def test_every_example_matches_a_real_server(hq: ProducerSite) -> None:
    reader = Reader(hq, hq.client(":".join(await hq.peers.create_key("store"))))
    for what, words, text in read_steps():
        await reader.run_step(what, words, text)
    assert reader.answers == DOCUMENT.read_text(encoding="utf-8").count("```json answer")


def test_every_endpoint_error_and_field_is_described() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    described = set(re.findall(r"`(\w+)(?:\[\])?`", text))
    for endpoint in ENDPOINTS:
        assert endpoint.path in text
    for message, schema in build_document()["components"]["schemas"].items():
        # The fields of these appear in their examples.
        if message not in ("HealthAnswer", "ErrorDetail", "ErrorAnswer"):
            missing = set(schema.get("properties", ())) - described
            assert not missing, f"{message}: {missing} not described"
    codes = set(re.findall(r'code="(\w+)"', "".join(f.read_text() for f in (REPOSITORY / "src").rglob("*.py"))))
    assert codes <= described, f"error codes that are not described: {codes - described}"
