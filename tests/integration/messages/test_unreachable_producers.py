"""Whatever keeps a producer from being reached is said in plain words: what, where, and how to fix it."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from streamd.errors import PeerError
from streamd.pull import Peer
from streamd.settings import ProducerSettings
from tests.support.processes.ports import free_port

SITE = "11111111-1111-4111-8111-111111111111"
JARGON = re.compile(r"Errno|ssl:|_ssl\.c|Error\b|Exception|Cannot connect|Connect call|\[SSL|None\b|Response|<")
"""What only a library says."""


async def refusal(url: str, **settings: object) -> PeerError:
    made = ProducerSettings.model_validate(
        {"url": url, "doctypes": [], "use_same_name": True, "timeout_seconds": 2, **settings}
    )
    peer = Peer("hq", made, ("key", "secret"), [])
    try:
        with pytest.raises(PeerError) as raised:
            await peer.handshake(SITE, "store")
    finally:
        await peer.close()
    assert not JARGON.search(str(raised.value)), raised.value
    assert raised.value.hint
    return raised.value


@asynccontextmanager
async def listening(answer: bytes | None, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Something that answers each connection with these bytes and closes it; None: never."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1)
            if answer is not None:
                writer.write(answer)
                await writer.drain()
                writer.close()
        except OSError:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def http(status: str, body: str = "<html>no</html>", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", body]
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize(
    ("answer", "what", "hint"),
    [
        (http("404 Not Found"), r"not streamd \(HTTP 404\)", r"producers\.hq\.url"),
        (http("200 OK"), "not what a streamd site", r"producers\.hq\.url"),
        (http("501 Not Implemented"), "not streamd", r"producers\.hq\.url"),
        (http("502 Bad Gateway"), "a proxy .* does not reach the site", "start streamd behind it"),
        (http("413 Too Large"), "size of a request", "limit"),
        (http("407 Login"), "asks for a login", "key"),
        (http("301 Moved", "", "Location: https://hq.example.com/v1/handshake"), "redirects to https://hq", "address"),
        (http("400 Bad", "The plain HTTP request was sent to HTTPS port"), "there is TLS at 127", "write https://"),
        (b"", "closed the connection without an answer", "write https:// in producers.hq.url"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not speak HTTP", r"producers\.hq\.url"),
    ],
    ids=["404", "200", "501", "502", "413", "407", "301", "plain to TLS", "nothing", "ssh"],
)
async def test_another_service_at_the_address_is_described(answer: bytes, what: str, hint: str) -> None:
    async with listening(answer) as port:
        error = await refusal(f"http://127.0.0.1:{port}")
    assert re.search(what, error.message), error
    assert re.search(hint, error.hint), error
    assert "127.0.0.1" in error.message or "what a streamd site" in error.message


async def test_a_path_that_leads_nowhere_is_to_be_left_out() -> None:
    async with listening(http("404 Not Found")) as port:
        error = await refusal(f"http://127.0.0.1:{port}/foo")
    assert "write it without /foo" in error.hint
    assert error.hint.endswith(f"http://127.0.0.1:{port}")


async def test_an_address_where_nothing_listens_is_named() -> None:
    port = free_port()
    error = await refusal(f"http://127.0.0.1:{port}")
    assert error.message == f"hq: nothing listens at 127.0.0.1:{port}"
    assert "producers.hq.url" in error.hint


async def test_both_addresses_of_localhost_are_one_refusal() -> None:
    assert "nothing listens at localhost:" in (await refusal(f"http://localhost:{free_port()}")).message


async def test_a_site_that_never_answers_is_said_to_be_silent() -> None:
    async with listening(None) as port:
        assert "did not answer in time" in (await refusal(f"http://127.0.0.1:{port}", timeout_seconds=0.2)).message


@pytest.mark.parametrize(
    ("number", "what"),
    [
        (socket.EAI_NONAME, "there is no host named hq.example.com"),
        (socket.EAI_AGAIN, "the DNS server does not answer"),
    ],
)
async def test_a_host_name_that_is_not_found_is_said(monkeypatch: pytest.MonkeyPatch, number: int, what: str) -> None:
    async def not_found(*_args: object, **_options: object) -> None:
        raise socket.gaierror(number, "words of the C library")

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", not_found)
    error = await refusal("https://hq.example.com")
    assert what in error.message
    assert "DNS" in error.message + error.hint


async def test_no_tls_where_it_is_expected_is_said() -> None:
    async with listening(http("400 Bad Request")) as port:
        error = await refusal(f"https://127.0.0.1:{port}")
    assert error.message == f"hq: there is no TLS at 127.0.0.1:{port}"
    assert "write http:// in producers.hq.url" in error.hint


@pytest.fixture
def make_certificate(tmp_path: Path) -> Callable[..., tuple[ssl.SSLContext, Path]]:
    def make(name: str, *dates: str) -> tuple[ssl.SSLContext, Path]:
        """A server with a certificate for this name, and the file that makes it trusted."""
        key, pem, request = (tmp_path / file for file in ("key.pem", "certificate.pem", "request.pem"))
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key)
        names = tmp_path / "names.cnf"
        names.write_text(f"subjectAltName={name}\n", encoding="utf-8")
        (tmp_path / "index.txt").touch()
        (tmp_path / "serial").write_text("01\n", encoding="utf-8")
        authority = tmp_path / "ca.cnf"
        authority.write_text(
            f"[ca]\ndefault_ca=a\n[a]\ndatabase={tmp_path}/index.txt\nserial={tmp_path}/serial\n"
            f"new_certs_dir={tmp_path}\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n",
            encoding="utf-8",
        )
        for command in (
            ("openssl", "req", "-new", *curve, "-subj", "/CN=hq", "-out", request),
            (
                *("openssl", "ca", "-batch", "-selfsign", "-config", authority, "-keyfile", key, "-in", request),
                *("-out", pem, "-notext", "-extfile", names, *(dates or ("-days", "2"))),
            ),
        ):
            subprocess.run(command, check=True, capture_output=True)
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(pem, key)
        return server, pem

    return make


LONG_AGO = ("-startdate", "200101000000Z", "-enddate", "200201000000Z")
ONE_DAY = ("-startdate", "480101000000Z", "-enddate", "490101000000Z")


@pytest.mark.parametrize(
    ("name", "dates", "trusted", "what", "hint"),
    [
        ("IP:127.0.0.1", (), False, "is not trusted", "producers.hq.certificate_authority"),
        ("IP:127.0.0.1", LONG_AGO, True, "has expired", "renew it"),
        ("IP:127.0.0.1", ONE_DAY, True, "not valid yet", "clocks"),
        ("DNS:hq.example.com", (), True, "for another host name", "producers.hq.url"),
    ],
    ids=["unknown", "expired", "future", "another name"],
)
async def test_each_fault_of_a_certificate_is_told_apart(
    make_certificate: Callable[..., tuple[ssl.SSLContext, Path]],
    name: str,
    dates: tuple[str, ...],
    trusted: bool,
    what: str,
    hint: str,
) -> None:
    server, pem = make_certificate(name, *dates)
    async with listening(http("200 OK"), server) as port:
        authority = {"certificate_authority": pem} if trusted else {}
        error = await refusal(f"https://127.0.0.1:{port}", **authority)
    assert f"the certificate of 127.0.0.1:{port}" in error.message
    assert what in error.message, error
    assert hint in error.hint, error


async def test_plain_http_to_a_site_with_tls_is_sent_to_https(
    make_certificate: Callable[..., tuple[ssl.SSLContext, Path]],
) -> None:
    server, _ = make_certificate("IP:127.0.0.1")
    async with listening(http("200 OK"), server) as port:
        assert "write https:// in producers.hq.url" in (await refusal(f"http://127.0.0.1:{port}")).hint


async def test_an_authority_that_is_no_pem_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "authority.pem"
    file.write_text("not a certificate", encoding="utf-8")
    error = await refusal("https://127.0.0.1:1", certificate_authority=file)
    assert error.message == f"{file} cannot be used: it is no PEM file"
