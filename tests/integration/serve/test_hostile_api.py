"""Whatever is sent, the API answers as its OpenAPI document says, and never with an internal error."""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.wire import write_cursor
from tests.support.sites.serving import CONSUMER, DOCTYPES, OTHER, entry

EXAMPLES = 40
MANY_EXAMPLES = 1000
FEWER_EXAMPLES = 10
"""Without a key every request gets the same answer."""
SECONDS = 150
"""A run that takes longer hangs, and is cancelled. A busy machine needs most of a minute."""
MANY_SECONDS = 1800
"""The same for many examples."""

EXCLUDED_CHECK = "positive_data_acceptance"
"""The check to exclude: a valid request may still be refused (a cursor of another log, too many documents, an unknown
protocol). Another check verifies that each refusal is documented."""


# A body that is too long is refused (413) before it is validated.
CONFIGURATION = """
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "413", "415", "422", "428", "429"]
"""


async def attack(url: str, folder: Path, credential: str, examples: int, seconds: int = SECONDS) -> tuple[int, str]:
    """Run schemathesis against a server. Returns its exit code and its output."""
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from schemathesis.cli import schemathesis; schemathesis()",
        *("run", f"{url}/v1/openapi.json", "--phases", "examples,coverage,fuzzing", "--no-color"),
        *("--checks", "all", "--exclude-checks", EXCLUDED_CHECK, "--continue-on-failure"),
        *("--generation-deterministic", "--max-examples", str(examples)),
        *("--header", f"Authorization: Bearer {credential}"),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(seconds):
        printed, _ = await process.communicate()
    return process.returncode or 0, printed.decode(errors="replace")


def shorten(printed: str) -> str:
    return "\n".join(line[:500] for line in printed.splitlines())


@pytest.mark.parametrize(
    ("examples", "seconds"),
    [(EXAMPLES, SECONDS), pytest.param(MANY_EXAMPLES, MANY_SECONDS, marks=pytest.mark.soak)],
    ids=["a few", "many"],
)
async def test_schemathesis_finds_no_error_with_a_valid_key(
    start: Any, tmp_path: Path, examples: int, seconds: int
) -> None:
    hq = await start(max_wait_seconds=0, requests_per_minute=1_000_000)
    client = await hq.consumer("store", CONSUMER, "Invoice", "Note")
    await hq.approve("Invoice", "Note")
    await hq.append(entry("Invoice", 1), entry("Note", 2))
    code, printed = await attack(hq.server.url, tmp_path, client.credential, examples, seconds)
    assert code == 0, shorten(printed)
    assert "6 selected" in printed, shorten(printed)
    assert (await client.events()).status == 200


async def test_schemathesis_finds_no_error_without_a_key(start: Any, tmp_path: Path) -> None:
    hq = await start(requests_per_minute=1_000_000)
    code, printed = await attack(hq.server.url, tmp_path, "nobody:knows", FEWER_EXAMPLES)
    assert code == 0, shorten(printed)


PARTS = st.one_of(
    st.integers(1, 3),
    st.integers(),
    st.sampled_from([(1 << 63) - 1, 1 << 63, -(1 << 63), -(1 << 63) - 1, 1 << 64, 10**400]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.sampled_from(["", "\x00", "1", "' OR 1=1 --", "%", "\U0010ffff"]),
)
JUNK = st.sampled_from([None, True, {}, [], "\ud800", float("nan"), float("inf")])
NAMES = st.one_of(
    st.lists(PARTS, min_size=1, max_size=1), st.lists(PARTS, max_size=3), st.lists(PARTS | JUNK, max_size=3)
)
REFS = st.fixed_dictionaries({"doctype": st.sampled_from([*DOCTYPES, "Nonsense"]), "name": NAMES})
WANTED = st.builds(lambda ref, path: {**ref, "path": path}, REFS, st.lists(REFS, max_size=2))
CURSORS = st.one_of(
    st.text(max_size=60),
    st.tuples(st.sampled_from([OTHER, ""]), st.integers(), st.text(max_size=5)).map(
        lambda parts: f"{parts[0]}:{parts[1]}:{parts[2]}"
    ),
)
FILTERS = st.dictionaries(
    st.sampled_from(["id", "customer", "total", "text", "about_id", "nothing", ""]), PARTS | JUNK, max_size=3
)
CONDITIONS = st.one_of(
    st.text(max_size=40),
    st.text("doc.idtal=<>!&|()[]{}'\"10 +-*/%?:,", max_size=40),
    st.sampled_from(["true", "doc", "doc.id", "doc.id.id", "doc.lines", "1/0", "doc.id > " + "9" * 400, "(" * 900]),
)


def build_handshake(condition: str) -> dict[str, Any]:
    """A handshake that subscribes to invoices with a condition."""
    wanted = [{"doctype": "Invoice", "condition": condition}]
    return {"protocols": [1], "site": CONSUMER, "name": "store", "doctypes": wanted}


REQUESTS = st.one_of(
    st.tuples(st.just("documents"), st.fixed_dictionaries({"documents": st.lists(WANTED, min_size=1, max_size=3)})),
    st.tuples(
        st.just("names"),
        st.fixed_dictionaries({"doctype": st.sampled_from(list(DOCTYPES)), "after": NAMES, "limit": st.integers(1, 5)}),
    ),
    st.tuples(st.just("events"), st.fixed_dictionaries({"cursor": CURSORS, "acknowledged": CURSORS})),
    st.tuples(
        st.just("find"),
        st.fixed_dictionaries({"doctype": st.sampled_from([*DOCTYPES, "Nonsense"]), "filters": FILTERS}),
    ),
)
HANDSHAKES = st.tuples(st.just("handshake"), st.builds(build_handshake, CONDITIONS))


def fuzz(url: str, credential: str, requests: st.SearchStrategy[tuple[str, dict[str, Any]]]) -> set[int]:
    """Send random requests for existing types and odd names. Returns the statuses of the answers."""
    statuses = set()
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {credential}"}

    @given(requests)
    def send(request: tuple[str, dict[str, Any]]) -> None:
        path, body = request
        connection.request("POST", f"/v1/{path}", json.dumps(body), headers)
        response = connection.getresponse()
        text = response.read()
        statuses.add(response.status)
        assert response.status < 500, (body, text)
        assert b"never to be seen" not in text
        json.loads(text)

    send()
    connection.close()
    return statuses


@pytest.mark.hypothesis
async def test_unknown_names_never_cause_an_internal_error(start: Any) -> None:
    hq = await start(max_wait_seconds=0, requests_per_minute=1_000_000)
    client = await hq.consumer("store", CONSUMER, "Invoice", "Note", "Employee")
    await hq.approve("Invoice", "Note", "Employee")
    assert await asyncio.to_thread(fuzz, hq.server.url, client.credential, REQUESTS) >= {200, 400}
    head = await hq.log.head()
    assert head is not None
    assert (await client.events(cursor=write_cursor(head.cursor))).status == 200


@pytest.mark.hypothesis
async def test_odd_conditions_never_cause_an_internal_error(start: Any) -> None:
    hq = await start(requests_per_minute=1_000_000)
    client = await hq.consumer("store", CONSUMER, "Invoice")
    assert await asyncio.to_thread(fuzz, hq.server.url, client.credential, HANDSHAKES) == {200, 400}
    (asked,) = await hq.peers.approvals("store")
    assert asked.status == "Pending"
    await hq.approve("Invoice")
    with hq.write() as connection:
        connection.execute("UPDATE Invoice SET total = '0' WHERE id = 1")
    await hq.capture.drain()
    assert (await client.events()).status == 200
