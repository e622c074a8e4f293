"""`streamd check`: everything that can be checked before running."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping, Sequence

import click

from streamd import catalog
from streamd.apply import mapped_types, naming_problems, own_names
from streamd.catalog.naming import path
from streamd.check.columns import judge_descriptors
from streamd.check.judging import (
    Finding,
    Severity,
    from_problems,
    judge_addresses,
    judge_answer,
    judge_file,
    judge_triggers,
    ok,
    problem,
    same_site_twice,
    warning,
)
from streamd.check.mappings import judge_mappings
from streamd.cli.main import chosen_config
from streamd.cli.shared.opening import finish, opened_site, state_revision
from streamd.cli.shared.output import as_json_option, count, print_json
from streamd.db.base import SiteDatabase
from streamd.errors import ConfigurationError, NotInstalled, PeerError, Problem, StreamdError
from streamd.lifecycle.installing import require_tables
from streamd.lifecycle.preparing import require_usable
from streamd.model import Catalogue
from streamd.pull import Peer, wanted_doctypes
from streamd.settings import ProducerSettings, Settings, load, remote_doctype, secret_of, shown_url
from streamd.store.engine import now_ms
from streamd.store.migrate import HEAD

MARKS = {Severity.OK: "✓", Severity.WARNING: "!", Severity.PROBLEM: "✗"}


@click.command()
@as_json_option
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Validate configuration, databases, triggers and peers.

    This also compares the columns of both sites. It asks the producers what they would answer
    the daemon. It changes nothing.
    """
    config = chosen_config(ctx)
    try:
        settings = load(config)
    except ConfigurationError as error:
        findings, code = from_problems(error.problems), ConfigurationError.exit_code
    else:
        findings = [ok("configuration", f"{config} is valid")]
        if os.name == "posix":
            findings += judge_file(settings, str(config), config.stat().st_mode)
        code = finish(_look(settings, findings))
    # One mapping may serve several producers, and be judged again when these have answered.
    findings = list(dict.fromkeys(findings))
    if any(finding.severity is Severity.PROBLEM for finding in findings):
        code = code or 1
    if as_json:
        print_json(findings)
    else:
        _say(findings)
    ctx.exit(code)


async def _look(settings: Settings, findings: list[Finding]) -> int:
    """Add what is found, whatever is wrong elsewhere. Returns 2 for a faulty configuration, else 0.

    In the order in which things are fixed: the file, what it names, this site's databases, the producers.
    """
    code, unusable = 0, tuple[Problem, ...]()
    try:
        require_usable(settings)
    except ConfigurationError as error:
        code, unusable = error.exit_code, error.problems
        findings += from_problems(unusable)
    findings += judge_addresses(settings)
    try:
        async with opened_site(settings) as site:
            catalogue, problems = await _site(settings, site, findings)
            findings += from_problems(problems)
            code = ConfigurationError.exit_code if problems else code
            own, enforced = await _installed(settings, site, catalogue, findings), site.enforces_types
    except StreamdError as error:
        # What was found before it stands all the same.
        findings.append(problem("site.database", error.message, hint=error.hint))
        catalogue, own, enforced = None, None, True
    findings += await _state(settings)
    asked = {
        name: producer
        for name, producer in settings.producers.items()
        if not any(each.where.startswith(f"{path('producers', name)}.") for each in unusable)
    }
    findings += await _producers(settings, asked, own, catalogue, enforced=enforced)
    return code


async def _site(
    settings: Settings, site: SiteDatabase, findings: list[Finding]
) -> tuple[Catalogue | None, Sequence[Problem]]:
    """Judge the tables. Returns the document types; None, and the problems, where the configuration does not fit."""
    tables = await site.tables()
    if not tables:
        findings.append(
            problem(
                "site.database",
                f"{shown_url(settings.site.database)} has no tables",
                "there is nothing to sync",
                "is it the right database, and the right schema? Create your application's tables first; then "
                "`streamd init --force` writes a configuration for them",
            )
        )
    try:
        metadata = await catalog.read_metadata(settings, tables, site.table_rows)
        catalogue = catalog.build(settings, tables, metadata)
    except ConfigurationError as error:
        return None, error.problems
    findings.append(ok("catalogue", f"{count(len(catalogue.doctypes), 'document type')}, {_offered(catalogue)}"))
    findings += from_problems(catalog.warnings(settings, tables, metadata))
    findings += from_problems(naming_problems(settings, catalogue))
    for producer in settings.producers.values():
        findings += judge_mappings(producer.doctypes, settings.mappings, catalogue, ())
    if catalogue.offers:
        findings += [
            problem("site.database", text, "changes would be lost, or arrive out of order", "fix that first")
            for text in await site.blind_spots(catalogue, tables)
        ]
    findings += [warning("site.database", text) for text in await site.warnings(catalogue)]
    written = {doctype for producer in settings.producers.values() for doctype in producer.subscribed}
    findings += from_problems(await site.missing_rights(catalogue, written))
    findings += [
        warning(
            "site.database",
            f"{table.name} has triggers of its own: {', '.join(table.triggers)}",
            "they also run for rows that arrive from other sites: they can change or swallow them, and what they "
            "write elsewhere is a change of this site",
            "make sure that they do not repeat work that the other site has done",
        )
        for table in tables.values()
        if table.triggers and table.name in _synced_tables(catalogue)
    ]
    if tables and not catalogue.doctypes:
        names = f"add [doctypes.NAME] for the tables to sync, of {', '.join(sorted(tables))}"
        findings.append(warning("doctypes", "no document type is declared", "nothing can be synced", names))
    return catalogue, ()


async def _installed(
    settings: Settings, site: SiteDatabase, catalogue: Catalogue | None, findings: list[Finding]
) -> str | None:
    """Judge streamd's own tables and triggers. Returns this site's UUID; None if it has none yet."""
    identity = await site.identity()
    if identity is None:
        findings.append(
            problem(
                "site.database",
                "streamd is not installed in it",
                "no change is seen yet, and the site has no identity",
                "run `streamd install`",
            )
        )
        return None
    try:
        require_tables(identity)
    except NotInstalled as error:
        findings.append(problem("site.database", error.message, "the daemon does not start", error.hint))
    if catalogue is not None:
        wanted = site.wanted_triggers(catalogue, await site.tables())
        findings += judge_triggers(await site.our_triggers(), wanted, settings.site.install)
    return identity.site


async def _state(settings: Settings) -> list[Finding]:
    try:
        revision = await state_revision(settings)
    except StreamdError as error:
        return [problem("state.database", error.message, hint=error.hint)]
    if revision == HEAD:
        return [ok("state.database", "has this release's schema")]
    what = "has another release's schema" if revision is not None else "does not exist yet"
    hint = "run `streamd install` (`streamd run` does it when it starts)"
    return [problem("state.database", what, "the daemon keeps its logs, keys and consumers there", hint)]


async def _producers(
    settings: Settings,
    asked: Mapping[str, ProducerSettings],
    own: str | None,
    catalogue: Catalogue | None,
    *,
    enforced: bool,
) -> list[Finding]:
    """Ask these producers, as a trial. `own` is this site's UUID, or None; `enforced`: its database enforces types."""
    findings: list[Finding] = []
    sites: dict[str, str] = {}
    mappings = settings.mappings
    for name, producer in asked.items():
        peer = Peer(name, producer, secret_of(producer, name), wanted_doctypes(producer, mappings))
        asked_at = now_ms()
        try:
            answer = await peer.handshake(own or str(uuid.uuid4()), settings.site.name, trial=True)
        except PeerError as error:
            if own is None and error.code == "duplicate_site":
                findings.append(ok(f"producers.{name}", "answers; more is known when this site's database is"))
                continue
            findings.append(problem(f"producers.{name}", error.message.removeprefix(f"{name}: "), hint=error.hint))
            continue
        finally:
            await peer.close()
        here = (asked_at + now_ms()) // 2
        sites[name] = answer.site
        wanted = [remote_doctype(entry, mappings) for entry in producer.doctypes if not entry.unsubscribe]
        if catalogue is None:
            findings += judge_answer(name, wanted, None, answer, here)
            continue
        mapped = mapped_types(mappings, producer.doctypes, catalogue, answer.doctypes)
        findings += judge_answer(name, wanted, catalogue, answer, here, mapped=mapped)
        findings += judge_mappings(producer.doctypes, mappings, catalogue, answer.doctypes)
        there = {entry.doctype: remote_doctype(entry, mappings) for entry in producer.doctypes}
        findings += judge_descriptors(
            name,
            producer.subscribed,
            catalogue,
            answer.doctypes,
            enforced=enforced,
            mapped=mapped,
            renamed={there.get(doctype, doctype) for doctype in own_names(producer, catalogue)},
        )
    return findings + same_site_twice(sites)


def _offered(catalogue: Catalogue) -> str:
    return f"{len(catalogue.offers)} of them offered to others"


def _synced_tables(catalogue: Catalogue) -> set[str]:
    types = catalogue.doctypes.values()
    return {doctype.table for doctype in types} | {child.table for doctype in types for child in doctype.children}


def _say(findings: Sequence[Finding]) -> None:
    for finding in findings:
        click.echo(f"{MARKS[finding.severity]} {finding.area}: {finding.what}")
        if finding.why:
            click.echo(f"    why: {finding.why}")
        if finding.hint:
            click.echo(f"    → {finding.hint}")
    problems = sum(finding.severity is Severity.PROBLEM for finding in findings)
    warnings = sum(finding.severity is Severity.WARNING for finding in findings)
    click.echo(f"\n{count(problems, 'problem')}, {count(warnings, 'warning')}")
