"""Requests that are malformed, too large, too frequent or without a key get a plain 4xx, and cost little."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from streamd.errors import ConfigurationError, SiteBusy
from tests.support.sites.serving import CONSUMER, OTHER, Answer, Client, ProducerSite, entry

JSON = "application/json"


def assert_error(answer: Answer, status: int, code: str) -> None:
    """The answer is this error, as JSON with a message."""
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (status, JSON), answer.text
    assert set(answer.json["error"]) == {"code", "message", "hint"}
    assert answer.code == code
    assert answer.json["error"]["message"]
    assert "Traceback" not in answer.text


@pytest.fixture
async def client(hq: ProducerSite) -> Client:
    """A consumer that is approved for invoices."""
    consumer = await hq.consumer("store", CONSUMER, "Invoice")
    await hq.approve("Invoice")
    return consumer


@pytest.mark.parametrize("path", ["handshake", "events", "documents", "names"])
@pytest.mark.parametrize(
    "credential",
    ["", "Bearer", "Bearer ", "Bearer x", "Bearer x:y", "Bearer :", "Basic eDp5", "bearer \x80\xff:é", "B " * 99],
)
async def test_requests_without_a_valid_key_are_refused(hq: ProducerSite, path: str, credential: str) -> None:
    headers = {"Content-Type": JSON, **({"Authorization": credential} if credential else {})}
    answer = await hq.client().send("POST", path, data=b"{", headers=headers)
    assert_error(answer, 401, "unauthorized")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_revoked_key_is_refused_at_once(hq: ProducerSite, client: Client) -> None:
    assert (await client.events()).status == 200
    await hq.peers.revoke_key(client.credential.partition(":")[0])
    assert_error(await client.events(), 401, "unauthorized")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("events", b"", "the body"),
        ("events", b"{", "the body"),
        ("events", b"[]", "the body"),
        ("events", b"null", "the body"),
        ("events", b"\xff\xfe", "the body"),
        ("events", b'{"limit": 0}', "limit"),
        ("events", b'{"limit": "many"}', "limit"),
        ("events", b'{"wait_seconds": NaN}', "the body"),
        ("events", b'{"wait_seconds": 1e400}', "wait_seconds"),
        ("events", b'{"cursor": "' + b"x" * 300 + b'"}', "cursor"),
        ("events", b'{"cursor": "x"}', "cursor"),
        ("events", b'{"cursor": "\\u0000"}', "cursor"),
        ("events", b'{"cursor": "\xc3\xa9"}', "cursor"),
        ("events", b'{"cursor": "\\ud800"}', "the body"),
        ("events", b'{"a":' + b"[" * 100_000, "the body"),
        ("events", b'{"limit":' + b"9" * 10_000 + b"}", "limit"),
        ("documents", b'{"documents": []}', "documents"),
        ("documents", b'{"documents": [{"doctype": "Invoice", "name": [null]}]}', "documents.0.name.0"),
        ("documents", b'{"documents": [{"doctype": "Invoice", "name": [NaN]}]}', "the body"),
        ("documents", b'{"documents": [{"doctype": "Invoice\\u0000", "name": [1]}]}', "documents.0.doctype"),
        ("names", b'{"doctype": ""}', "doctype"),
        ("handshake", b'{"protocols": [1], "site": "me", "name": "x", "doctypes": []}', "site"),
        (
            "handshake",
            json.dumps(
                {"protocols": [1], "site": OTHER, "name": "x", "doctypes": [{"doctype": "a"}, {"doctype": "\x1b[0m"}]}
            ).encode(),
            "doctypes.1.doctype",
        ),
    ],
)
async def test_an_error_names_the_wrong_field(client: Client, path: str, body: bytes, field: str) -> None:
    answer = await client.post(path, body)
    assert_error(answer, 400, "invalid_request")
    assert field in answer.json["error"]["message"]
    assert len(answer.text) < 1000


async def test_unknown_fields_are_ignored_so_that_a_newer_peer_can_say_more(client: Client) -> None:
    assert (await client.events(colour="blue", nested={"a": [1]})).status == 200


async def test_a_body_that_is_too_large_is_refused_with_and_without_a_length(start: Any) -> None:
    hq = await start(max_request_bytes=2048)
    client = await hq.consumer("store", CONSUMER, "Invoice")
    large = b'{"x":"' + b"y" * 4000 + b'"}'

    async def chunks() -> Any:
        for _ in range(10):
            yield large

    headers = {"Content-Type": JSON, "Authorization": f"Bearer {client.credential}"}
    for data in (large, chunks()):
        assert_error(await client.send("POST", "events", data=data, headers=headers), 413, "too_large")
    assert (await client.events()).status == 200


async def test_compressed_requests_are_refused_before_decompression(client: Client) -> None:
    bomb = gzip.compress(b" " * 1_000_000 + b"{}")
    for encoding in ("gzip", "deflate", "zstd", "br", "GZIP, identity"):
        assert_error(await client.post("events", bomb, **{"Content-Encoding": encoding}), 415, "unsupported_media")
    assert (await client.post("events", b"{}", **{"Content-Encoding": "identity"})).status == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "json", "multipart/form-data"])
async def test_only_json_is_accepted(client: Client, kind: str) -> None:
    assert_error(await client.post("events", b"{}", **{"Content-Type": kind}), 415, "unsupported_media")
    assert (await client.post("events", b"{}", **{"Content-Type": "application/json; charset=utf-8"})).status == 200


async def test_unknown_addresses_and_methods_get_json_errors(client: Client) -> None:
    for path in ("", "nothing", "events/", "../v1/nothing", "%00", "events%2f"):
        assert_error(await client.send("GET", path), 404, "not_found")
    for method in ("GET", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"):
        answer = await client.send(method, "events")
        assert_error(answer, 405, "method_not_allowed")
        assert answer.headers["Allow"] == "POST"
    for method in ("POST", "OPTIONS", "TRACE"):
        assert_error(await client.send(method, "health"), 405, "method_not_allowed")
    assert (await client.send("HEAD", "health")).status == 200
    assert (await client.send("HEAD", "events")).status == 405


async def test_health_and_the_api_description_need_no_key(hq: ProducerSite) -> None:
    client = hq.client()
    assert (await client.send("GET", "health")).json == {"status": "ok"}
    described = await client.send("GET", "openapi.json")
    assert described.json["openapi"].startswith("3.1")


async def test_the_rate_limit_of_one_key_does_not_affect_another(start: Any) -> None:
    hq = await start(requests_per_minute=20)
    client = await hq.consumer("store", CONSUMER, "Invoice")
    other = await hq.consumer("other", OTHER, "Invoice")
    answers = [await client.events() for _ in range(25)]
    refused = [answer for answer in answers if answer.status == 429]
    assert [answer.status for answer in answers[:19]] == [200] * 19
    assert_error(refused[-1], 429, "too_many_requests")
    assert 1 <= int(refused[-1].headers["Retry-After"]) <= 60
    assert (await other.events()).status == 200


async def test_guessing_is_slowed_down_without_locking_out_valid_keys(start: Any) -> None:
    hq = await start(requests_per_minute=100)
    known = await hq.consumer("store", CONSUMER, "Invoice")
    guesser = hq.client("guess:work")
    statuses = [(await guesser.events()).status for _ in range(15)]
    assert statuses == [401] * 10 + [429] * 5
    assert_error(await hq.client().send("GET", "health"), 429, "too_many_requests")
    assert (await known.events()).status == 200


def without_time(answer: Answer) -> dict[str, object]:
    """The page without the producer's time, which differs in each answer."""
    return {key: value for key, value in answer.json.items() if key != "clock_ms"}


async def test_large_answers_are_compressed_as_the_client_accepts(hq: ProducerSite, client: Client) -> None:
    await hq.append(
        *(entry("Invoice", number, tx=number, data='{"text":"' + "x" * 400 + '"}') for number in range(300))
    )
    whole = without_time(await client.events())
    for accepted, used in {
        "zstd, gzip": "zstd",
        "gzip;q=0.5, zstd;q=1": "zstd",
        "gzip, deflate": "gzip",
        "zstd;q=0, gzip": "gzip",
        "br": None,
        "identity": None,
    }.items():
        answer = await client.post("events", {}, **{"Accept-Encoding": accepted})
        assert answer.headers.get("Content-Encoding") == used
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert without_time(answer) == whole
    small = await client.post("names", {"doctype": "Nonsense"}, **{"Accept-Encoding": "zstd"})
    assert "Content-Encoding" not in small.headers


async def test_a_busy_site_says_when_to_retry(hq: ProducerSite, client: Client) -> None:
    async def busy() -> None:
        raise SiteBusy("site.db is busy: database is locked")

    object.__setattr__(hq.server._services, "drain_capture", busy)
    answer = await client.documents({"doctype": "Invoice", "name": [1]})
    assert_error(answer, 503, "unavailable")
    assert int(answer.headers["Retry-After"]) >= 1


async def test_an_internal_error_is_logged_once_and_not_shown_to_the_client(hq: ProducerSite, client: Client) -> None:
    async def broken() -> None:
        raise RuntimeError("a private detail")

    object.__setattr__(hq.server._services, "drain_capture", broken)
    with capture_logs() as logged:
        answer = await client.documents({"doctype": "Invoice", "name": [1]})
    assert_error(answer, 500, "internal_error")
    assert "private" not in answer.text
    (failure,) = [each for each in logged if each["event"] == "request_failed"]
    assert failure["path"] == "/v1/documents"
    assert client.credential.partition(":")[2] not in str(logged)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET /v1/health HTTP/9.9\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 100_000 + b"\r\n\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/health HTTP/1.1\r\nHost: x\r\nExpect: nonsense\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=range(8),
)
async def test_malformed_http_gets_a_4xx(hq: ProducerSite, raw: bytes, caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", hq.server.port)
    writer.write(raw)
    async with asyncio.timeout(5):
        line = await reader.readline()
    writer.close()
    assert line == b"" or line.split()[1][:1] == b"4", line
    assert (await hq.client().send("GET", "health")).status == 200
    assert "Traceback" not in caplog.text


async def test_a_damaged_body_is_not_an_internal_error(hq: ProducerSite, client: Client) -> None:
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\n"
        f"Authorization: Bearer {client.credential}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with capture_logs() as logged:
        reader, writer = await asyncio.open_connection("127.0.0.1", hq.server.port)
        writer.write(head.encode() + b"zz\r\nno chunk\r\n")
        async with asyncio.timeout(5):
            line = await reader.readline()
        writer.close()
        with socket.create_connection(("127.0.0.1", hq.server.port)) as cut:
            cut.sendall(head.encode() + b"50\r\nhalf a chunk")
        assert (await client.events()).status == 200
    assert line == b"" or line.split()[1][:1] == b"4", line
    assert not [each for each in logged if each["event"] == "request_failed"]


async def test_a_server_with_a_certificate_uses_tls(start: Any, certificate: tuple[Path, Path]) -> None:
    pem, key = certificate
    hq = await start(certificate=pem, certificate_key=key)
    assert hq.server.url.startswith("https://")
    trusting = ssl.create_default_context(cafile=pem)
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{hq.server.url}/v1/health", ssl=trusting) as response,
    ):
        assert response.status == 200


async def test_an_unusable_certificate_is_reported_in_plain_words(start: Any, tmp_path: Path) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nothing")
    with pytest.raises(ConfigurationError, match=r"server\.certificate: cannot be used"):
        await start(certificate=nonsense, certificate_key=nonsense)
