"""`streamd status`: how this site is doing, on one screen."""

from __future__ import annotations

import shlex
from dataclasses import replace

import click

from streamd.cli.opening import finish, opened
from streamd.cli.output import ago, as_json_option, count, print_json, print_table, short
from streamd.cli.producers import producer_rows
from streamd.status import Status, read_status


@click.command()
@as_json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show how this site is doing: daemon, log, consumers, producers, and what waits for a person."""

    async def work() -> Status:
        async with opened(ctx) as here:
            found = await read_status(here.site, here.state)
            return replace(found, producers=tuple(await producer_rows(here)))

    found = finish(work())
    if as_json:
        print_json(found)
        return
    _say_site(found)
    _say_peers(found)
    _say_what_waits(found)


def _say_site(found: Status) -> None:
    click.echo(f"Site       {found.name or '(no name)'}  {found.site}")
    daemon = found.daemon
    if daemon.running:
        click.echo(
            f"Daemon     running: process {daemon.pid} on {daemon.host}, release {daemon.version}, "
            f"started {ago(daemon.started_at, found.at)}, {count(daemon.captured, 'change')} captured since"
        )
    else:
        last = f" (last seen {ago(daemon.beat_at, found.at)})" if daemon.beat_at else ""
        click.echo(f"Daemon     not running{last}: start it with `streamd run`")
    if daemon.problem:
        click.echo(f"           capture is held up: {daemon.problem}")
    log = found.log
    kept = f", kept from {log.trimmed_to + 1} on" if log is not None and log.trimmed_to else ""
    click.echo(f"Log        {f'entry {log.sequence} is the last one{kept}' if log else 'not begun yet'}")
    if found.waiting_changes:
        click.echo(f"           {count(found.waiting_changes, 'changed row')} not captured yet")


def _say_peers(found: Status) -> None:
    click.echo("\nConsumers: sites that subscribe to this one")
    print_table(
        ("Name", "Last seen", "Behind", "Document types"),
        [
            (
                row.name,
                ago(row.last_seen_at, found.at),
                "" if row.lag is None else count(row.lag, "entry", "entries"),
                _types(row.doctypes),
            )
            for row in found.consumers
        ],
        empty="none",
    )
    click.echo("\nProducers: sites that this one subscribes to")
    print_table(
        ("Name", "Status", "Last heard", "Behind", "Document types", "What is wrong"),
        [
            (
                row.name,
                row.status,
                ago(row.last_contact_at, found.at),
                count(row.lag, "entry", "entries"),
                _types(row.doctypes),
                short(row.error),
            )
            for row in found.producers
        ],
        empty="none",
    )


def _say_what_waits(found: Status) -> None:
    lines = []
    if found.pending:
        lines.append(f"{count(found.pending, 'document type')} Pending: `streamd consumers list`, then `… approve`")
    if found.parked or found.held:
        lines.append(
            f"{count(found.parked, 'event')} parked, {found.held} held behind: `streamd log syncs --status failed`"
        )
    lines += [
        f"{doctype}: changes are missing: `streamd resync --doctype {shlex.quote(doctype)} --whole` reads it again"
        for doctype in found.incomplete
    ]
    lines += found.waiting
    for row in found.producers:
        if row.error:
            lines.append(f"{row.name}: {row.status}: {row.error}")
        lines += [
            f"{row.name}: {doctype} is paused, and its events are held: {reason}"
            for doctype, reason in row.paused_types.items()
        ]
        lines += [
            f"{row.name}: {count(len(fields), 'field')} of {doctype} not mapped, and left out: {', '.join(fields)}"
            for doctype, fields in row.unmapped.items()
        ]
    if lines:
        click.echo("\nFor you to look at")
        for line in lines:
            click.echo(f"• {line}")


def _types(doctypes: dict[str, str]) -> str:
    """Types grouped by status: `Approved: Invoice, Track; Pending: Note`."""
    groups: dict[str, list[str]] = {}
    for doctype, state in doctypes.items():
        groups.setdefault(state, []).append(doctype)
    return "; ".join(f"{state}: {', '.join(names)}" for state, names in groups.items())
