"""The examples in docs/reference/protocol.md are true: each request is sent, in order, to a real server.

An answer has to have the same fields and values as the document shows, except for those that differ from
run to run (clocks, nonces, UUIDs): there the type has to be the same. A cursor that an answer shows may be used in
a later request; the real one is sent in its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamd import wire
from streamd.serve.openapi import ENDPOINTS
from tests.support.serving import Answer, Client, ProducerSite

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "protocol.md"

STEP = re.compile(
    r"<!-- (?P<what>at the producer: |get |post |answer ?)(?P<words>.*?) ?-->\n(?:```json \w+\n(?P<json>.*?)```)?",
    flags=re.DOTALL,
)

DIFFERS = {"site", "version", "log", "clock_ms", "clock", "at", "nonce", "next", "as_of", "fingerprint", "approved_at"}


@dataclass
class Reader:
    """Goes through the document as a consumer would, and does what is said to happen at the producer."""

    hq: ProducerSite
    client: Client
    cursors: dict[str, str] = field(default_factory=dict)
    last: Answer | None = None
    answers: int = 0

    async def take(self, what: str, words: str, text: str | None) -> None:
        if what == "at the producer":
            await self.happen(words)
        elif what == "get":
            self.last = await self.client.send("GET", words)
        elif what == "answer":
            self.compare(json.loads(text or "null"), int(words or 200))
        # A `post` announces a request, whose block follows.
        if what == "post":
            request = {key: self.cursors.get(str(value), value) for key, value in json.loads(text or "").items()}
            self.last = await self.client.post(words, request)
        if what == "get":
            self.compare(json.loads(text or "null"), 200)

    async def happen(self, words: str) -> None:
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
        assert type(shown) is type(real), f"{where}: the document shows {shown!r}, and it is {real!r}"
        key = where.rpartition(".")[2]
        if isinstance(shown, dict):
            assert shown.keys() == real.keys(), f"{where}: the document shows {set(shown)}, there are {set(real)}"
            for name, value in shown.items():
                self._same(f"{where}.{name}", value, real[name])
        elif isinstance(shown, list):
            assert len(shown) == len(real), f"{where}: the document shows {shown}, and it is {real}"
            for index, value in enumerate(shown):
                self._same(f"{where}[{index}]", value, real[index])
        elif key in DIFFERS or where == ".name":  # a site's own name, too
            if key in ("next", "as_of"):
                self.cursors[shown] = real
        else:
            assert shown == real, f"{where}: the document shows {shown!r}, and it is {real!r}"


def steps() -> Iterator[tuple[str, str, str | None]]:
    for found in STEP.finditer(DOCUMENT.read_text(encoding="utf-8")):
        yield found["what"].strip().rstrip(":"), found["words"], found["json"]


async def test_every_example_is_what_a_real_server_takes_and_answers(hq: ProducerSite) -> None:
    reader = Reader(hq, hq.client(":".join(await hq.peers.create_key("store"))))
    for what, words, text in steps():
        await reader.take(what, words, text)
    assert reader.answers == DOCUMENT.read_text(encoding="utf-8").count("```json answer")


def test_every_endpoint_error_and_field_is_described() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    described = set(re.findall(r"`(\w+)(?:\[\])?`", text))
    for endpoint in ENDPOINTS:
        assert endpoint.path in text
    for message in wire.Message.__subclasses__():
        # These have fields that their examples show.
        if message not in (wire.HealthAnswer, wire.ErrorDetail, wire.ErrorAnswer):
            missing = set(message.model_fields) - described
            assert not missing, f"{message.__name__}: {missing} not described"
    codes = set(
        re.findall(r'code="(\w+)"', "".join(f.read_text() for f in (DOCUMENT.parents[1] / "src").rglob("*.py")))
    )
    assert codes <= described, f"error codes that are not described: {codes - described}"
