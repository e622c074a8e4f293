"""Why no connection came about, in plain words: the same for other sites and for servers of databases. Pure.

What libraries say (`ssl:default [...]`, `[Errno 111]`) never reaches a user; what happened is told from the kinds and
numbers of the errors below.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

_EXPIRED, _NOT_YET_VALID = 10, 9
_OTHER_NAME = frozenset({62, 64})
"""OpenSSL's numbers: the certificate is for another host name, or another IP address."""

_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST")
"""What OpenSSL calls an answer that is not TLS; it depends on its version."""

_NUMBER = re.compile(r"\[Errno (\d+)\]")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that we connect to. `setting` names it in the configuration, `service` says what should listen there.

    `trust`: how a certificate is made trusted. `mismatch`: what to do where one end uses TLS, and the other does not.
    """

    host: str
    port: int | None
    setting: str
    service: str
    trust: str = "use a certificate of an authority that this machine trusts"
    mismatch: str = "use TLS at both ends, or at none"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    def why(self, error: BaseException) -> tuple[str, str]:
        """What happened, and how to fix it."""
        for cause in _causes(error):
            if hasattr(cause, "os_error") or hasattr(cause, "certificate_error"):
                continue  # aiohttp's wrapping: it has the names of several classes, and the fields of none
            if isinstance(cause, ssl.SSLError):
                return self._tls(cause)
            if isinstance(cause, socket.gaierror):
                return self._name(cause)
            if isinstance(cause, OSError) and (found := self._network(cause)):
                return found
        return (
            f"{self} closed the connection without an answer",
            f"does {self.service} listen there? Else fix the port in {self.setting}; or {self.mismatch}",
        )

    def _name(self, error: socket.gaierror) -> tuple[str, str]:
        if error.errno == socket.EAI_AGAIN:
            return (
                f"the host name {self.host} cannot be looked up: the DNS server does not answer",
                f"check this machine's network and DNS, and the host in {self.setting}",
            )
        return f"there is no host named {self.host}", f"check the host in {self.setting}, and this machine's DNS"

    def _tls(self, error: ssl.SSLError) -> tuple[str, str]:
        if isinstance(error, ssl.SSLCertVerificationError):
            if error.verify_code == _EXPIRED:
                return f"the certificate of {self} has expired", "renew it there, and check this machine's clock"
            if error.verify_code == _NOT_YET_VALID:
                return f"the certificate of {self} is not valid yet", "check the clocks of both machines"
            if error.verify_code in _OTHER_NAME:
                return (
                    f"the certificate of {self} is for another host name",
                    f"write a host name that the certificate has in {self.setting}, or renew it there for {self.host}",
                )
            return f"the certificate of {self} is not trusted: {error.verify_message}", self.trust
        if error.reason in _NO_TLS:
            return f"there is no TLS at {self}", self.mismatch
        reason = (error.reason or "").replace("_", " ").lower() or "the other end ended it"
        return f"the TLS handshake with {self} failed: {reason}", "check the TLS versions and certificates of both ends"

    def _network(self, error: OSError) -> tuple[str, str] | None:
        number = _number_of(error)
        network = f"check this machine's network, firewalls on the way, and host and port in {self.setting}"
        if isinstance(error, TimeoutError) or number == errno.ETIMEDOUT:
            return f"{self} did not answer in time", f"is that machine on, and {self.service} running? Then {network}"
        if number == errno.ECONNREFUSED:
            return f"nothing listens at {self}", f"start {self.service} there, or fix host and port in {self.setting}"
        if number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL):
            return f"there is no route to {self}", network
        if number in (None, errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED):
            return None
        return f"{self} cannot be reached: {os.strerror(number).lower()}", network


def _number_of(error: OSError) -> int | None:
    """The operating system's number; several attempts in one error (one per address) have theirs in its words."""
    if error.errno is not None:
        return error.errno
    found = _NUMBER.search(str(error))
    return int(found[1]) if found else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was made from: libraries wrap what the operating system said."""
    waiting, seen = [error], set()
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = (getattr(one, name, None) for name in ("os_error", "certificate_error", "orig"))
        waiting += [each for each in (*inner, one.__cause__, one.__context__) if isinstance(each, BaseException)]
