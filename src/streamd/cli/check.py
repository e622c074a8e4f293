"""`streamd check`: everything that can be checked before running."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from streamd import catalog
from streamd.apply import mapped_types, naming_problems, own_names
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
from streamd.errors import ConfigurationError, NotInstalled, PeerError, StateError, StreamdError
from streamd.lifecycle.installing import require_tables
from streamd.lifecycle.preparing import require_usable
from streamd.model import Catalogue
from streamd.pull import Peer, wanted_doctypes
from streamd.settings import Settings, load, remote_doctype, secret_of
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
    findings: list[Finding] = []
    code = 0
    try:
        settings = load(config)
        findings.append(ok("configuration", f"{config} is valid"))
        if os.name == "posix":
            findings += judge_file(settings, str(config), config.stat().st_mode)
        require_usable(settings)
        finish(_look(settings, findings))
    except ConfigurationError as error:
        findings += from_problems(error.problems)
        code = ConfigurationError.exit_code
    except StreamdError as error:
        # What was found before it stands all the same.
        findings.append(problem("site.database", error.message, hint=error.hint))
    # One mapping may serve several producers, and be judged again when these have answered.
    findings = list(dict.fromkeys(findings))
    if any(finding.severity is Severity.PROBLEM for finding in findings):
        code = code or 1
    if as_json:
        print_json(findings)
    else:
        _say(findings)
    ctx.exit(code)


async def _look(settings: Settings, findings: list[Finding]) -> None:
    """Add what is found: here first, then at the producers. Raises `StreamdError` where nobody can look."""
    async with opened_site(settings) as site:
        tables = await site.tables()
        metadata = await catalog.read_metadata(settings, tables, site.table_rows)
        catalogue = catalog.build(settings, tables, metadata)
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
        if not catalogue.doctypes:
            findings.append(
                warning("doctypes", "no document type is declared", "nothing can be synced", "add [doctypes.NAME]")
            )
        findings += await _state(settings)
        findings += judge_addresses(settings)
        identity = await site.identity()
        if identity is None:
            findings.append(
                problem(
                    "site.database",
                    "streamd is not installed in it",
                    "the site has no identity yet, so its producers were not asked",
                    "run `streamd install`, then `streamd check` again",
                )
            )
            return
        try:
            require_tables(identity)
        except NotInstalled as error:
            findings.append(problem("site.database", error.message, "the daemon does not start", error.hint))
        wanted = site.wanted_triggers(catalogue, tables)
        findings += judge_triggers(await site.our_triggers(), wanted, settings.site.install)
        findings += await _producers(settings, site, identity.site, catalogue)


async def _state(settings: Settings) -> list[Finding]:
    try:
        revision = await state_revision(settings)
    except StateError as error:
        return [problem("state.database", error.message, hint=error.hint)]
    if revision == HEAD:
        return [ok("state.database", "has this release's schema")]
    what = "has another release's schema" if revision is not None else "does not exist yet"
    hint = "run `streamd install` (`streamd run` does it when it starts)"
    return [problem("state.database", what, "the daemon keeps its logs, keys and consumers there", hint)]


async def _producers(settings: Settings, site: SiteDatabase, own: str, catalogue: Catalogue) -> list[Finding]:
    findings: list[Finding] = []
    sites: dict[str, str] = {}
    for name, producer in settings.producers.items():
        peer = Peer(name, producer, secret_of(producer, name), wanted_doctypes(producer, settings.mappings))
        asked_at = now_ms()
        try:
            answer = await peer.handshake(own, settings.site.name, trial=True)
        except PeerError as error:
            findings.append(problem(f"producers.{name}", error.message, hint=error.hint))
            continue
        finally:
            await peer.close()
        here = (asked_at + now_ms()) // 2
        sites[name] = answer.site
        mappings = settings.mappings
        mapped = mapped_types(mappings, producer.doctypes, catalogue, answer.doctypes)
        wanted = [remote_doctype(entry, mappings) for entry in producer.doctypes if not entry.unsubscribe]
        findings += judge_answer(name, wanted, catalogue, answer, here, mapped=mapped)
        findings += judge_mappings(producer.doctypes, mappings, catalogue, answer.doctypes)
        there = {entry.doctype: remote_doctype(entry, mappings) for entry in producer.doctypes}
        findings += judge_descriptors(
            name,
            producer.subscribed,
            catalogue,
            answer.doctypes,
            enforced=site.enforces_types,
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
