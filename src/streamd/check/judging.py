"""Everything that can be judged before documents move. Pure: what is found out stands in the arguments."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from streamd.common import clock
from streamd.common.addresses import is_loopback
from streamd.errors import Problem
from streamd.model import ApprovalStatus, Catalogue
from streamd.settings import Settings
from streamd.wire import HandshakeAnswer

CLOCK_WARNING_MS = 10_000
"""Clocks that differ by more than this (10 seconds) are worth a word."""


class Severity(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was found, why it matters, and how to fix it."""

    area: str
    severity: Severity
    what: str
    why: str = ""
    hint: str = ""


def ok(area: str, what: str) -> Finding:
    return Finding(area, Severity.OK, what)


def warning(area: str, what: str, why: str = "", hint: str = "") -> Finding:
    return Finding(area, Severity.WARNING, what, why, hint)


def problem(area: str, what: str, why: str = "", hint: str = "") -> Finding:
    return Finding(area, Severity.PROBLEM, what, why, hint)


def from_problems(problems: Iterable[Problem]) -> list[Finding]:
    """Faults of the configuration, and warnings about it, as findings."""
    return [
        Finding(each.where, Severity.PROBLEM if each.fatal else Severity.WARNING, each.what, "", each.hint)
        for each in problems
    ]


def judge_triggers(ours: Mapping[str, str], wanted: Mapping[str, str], may_install: bool) -> list[Finding]:
    """Whether every change in scope is seen. `may_install` says whether `run` fixes it by itself."""
    hint = "run `streamd install`" + (" (`streamd run` does it when it starts)" if may_install else "")
    found = []
    for names, what, why in (
        (wanted.keys() - ours.keys(), "missing", "changes of their tables are not seen"),
        (
            {name for name in wanted.keys() & ours.keys() if wanted[name] != ours[name]},
            "out of date",
            "a table or the configuration changed since they were created",
        ),
        (ours.keys() - wanted.keys(), "no longer needed", "they slow down writes to tables that no site may have"),
    ):
        if names:
            found.append(problem("triggers", f"{', '.join(sorted(names))}: {what}", why, hint))
    return found or [ok("triggers", f"{len(wanted)} triggers are in place")]


def judge_addresses(settings: Settings) -> list[Finding]:
    """Plain HTTP beyond this machine, where keys and documents can be read on the way; and a site's own address."""
    why = "keys and documents can be read, and changed, on the way"
    found = []
    server = settings.server
    if server.certificate is None and not is_loopback(server.host):
        found.append(
            warning(
                "server",
                f"listens on {server.host} without TLS",
                why,
                "set certificate and certificate_key in [server], or put a proxy with TLS in front",
            )
        )
    for name, producer in settings.producers.items():
        parts = urlsplit(producer.url)
        host = parts.hostname or ""
        everywhere = is_loopback(host) and (is_loopback(server.host) or server.host in ("0.0.0.0", "::"))  # noqa: S104
        if parts.port == server.port and (everywhere or host == server.host):
            found.append(
                problem(
                    f"producers.{name}",
                    f"{producer.url} is this very site: [server] listens there",
                    "a site does not receive its own documents",
                    "write the other site's address, or change port in [server]",
                )
            )
        if parts.scheme == "http" and not is_loopback(host):
            found.append(warning(f"producers.{name}", f"{producer.url} is plain HTTP", why, "use its https:// address"))
    return found


def judge_file(settings: Settings, file: str, mode: int) -> list[Finding]:
    """A configuration file (with this `st_mode`) that holds a secret, and that others on the machine may read."""
    if not mode & 0o044 or all(producer.api_secret is None for producer in settings.producers.values()):
        return []
    why = "it holds an api_secret: anyone who has it can read what this site may have"
    return [warning("configuration", f"{file} can be read by others on this machine", why, f"chmod 600 {file}")]


def judge_answer(
    name: str,
    wanted: Sequence[str],
    catalogue: Catalogue | None,
    answer: HandshakeAnswer,
    here_ms: int,
    *,
    mapped: Collection[str] = (),
) -> list[Finding]:
    """What a producer's answer says about it and our subscriptions.

    `here_ms` is our clock when it answered. `wanted` are types as the producer calls them, and so are the `mapped`
    ones, which need not be called alike here. `catalogue`: None where this site's types are not known.
    """
    area = f"producers.{name}"
    found = [ok(area, f"answers: {answer.name} ({answer.site}), release {answer.version or 'unknown'}")]
    found += _clock(area, answer.clock_ms - here_ms)
    said = {row.doctype: row for row in answer.subscriptions}
    there = {each.doctype for each in answer.doctypes}
    for doctype in wanted:
        row = said.get(doctype)
        found.append(_subscription(area, name, doctype, row.status if row else "unknown", doctype in there))
        if row and catalogue and (missing := sorted(set(row.opens) - catalogue.doctypes.keys() - set(mapped))):
            found.append(
                warning(
                    area,
                    f"{doctype} links to {', '.join(missing)} there, which this site does not have",
                    "linked documents of these types cannot be fetched",
                    "declare them here as document types, if their tables exist",
                )
            )
    return found


def same_site_twice(sites: Mapping[str, str]) -> list[Finding]:
    """Two producers (name → UUID) that are one site: each event would arrive on two routes."""
    first: dict[str, str] = {}
    return [
        problem(
            f"producers.{name}",
            f"is the same site as producers.{first[site]}",
            "each event would arrive twice",
            "join the two into one",
        )
        for name, site in sites.items()
        if first.setdefault(site, name) != name
    ]


def _clock(area: str, difference: int) -> list[Finding]:
    if abs(difference) < CLOCK_WARNING_MS:
        return []
    text = f"its clock is {abs(difference) / 1000:.0f} s {'ahead of' if difference > 0 else 'behind'} ours"
    why = "where both sites edit one field, the site with the later clock wins too often"
    hint = "run NTP at both sites"
    grave = abs(difference) > clock.MAX_AHEAD_MS
    return [(problem if grave else warning)(area, text, why, hint)]


def _subscription(area: str, producer: str, doctype: str, status: str, described: bool) -> Finding:
    if status == ApprovalStatus.APPROVED:
        if described:
            return ok(area, f"{doctype} is Approved")
        return problem(
            area,
            f"{doctype} is Approved, but the producer no longer has this type",
            "nothing of it will arrive",
            f"declare it at {producer}, or remove it from doctypes here",
        )
    if status == ApprovalStatus.REJECTED:
        return problem(
            area,
            f"{doctype} was Rejected",
            "nothing of it will arrive",
            "ask the operator of that site, or remove it from doctypes here",
        )
    return warning(
        area,
        f"{doctype} is {status}",
        "nothing of it arrives until it is approved, and its columns can be compared only then",
        f"when a daemon here has asked for it, `streamd consumers list` at {producer} shows under which NAME: there, "
        f"`streamd consumers approve NAME {shlex.quote(doctype)}`. Is the type called so there?",
    )
