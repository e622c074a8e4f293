"""`streamd status`: how this site is doing, on one screen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

import click

from streamd.cli.producers import producer_rows
from streamd.cli.shared.opening import finish, holder_of, opened
from streamd.cli.shared.output import ago, as_json_option, clock_time, count, print_json, print_table, short
from streamd.errors import SiteBusy
from streamd.model import ApprovalStatus
from streamd.status import (
    MAX_AGE,
    STARTING_OR_ELSEWHERE,
    Completeness,
    ConsumerStatus,
    Life,
    Limits,
    Status,
    TypeStatus,
    attention,
    read_status,
)
from streamd.store.heartbeat import STARTING

ATTENTION = 6
"""The exit code of `--check` where there is something for a person to look at."""


ANSWER_SECONDS = 20.0
"""How long the databases may take to answer."""


@click.command()
@as_json_option
@click.option("--check", is_flag=True, help=f"Exit with code {ATTENTION} if something needs attention.")
@click.option(
    "--max-age",
    type=click.FloatRange(min=0),
    default=MAX_AGE,
    show_default=True,
    metavar="SECONDS",
    help="How far a type, or a consumer, may be behind.",
)
@click.option(
    "--max-behind",
    type=click.IntRange(min=0),
    metavar="N",
    help="How many entries of a log may be missing (default: no limit).",
)
@click.pass_context
def status(ctx: click.Context, as_json: bool, check: bool, max_age: float, max_behind: int | None) -> None:
    """Show how this site is doing, and what needs your attention."""

    async def work() -> Status:
        async with opened(ctx) as here:
            found = await read_status(here.site, here.state)
            if found.daemon.state == Life.STOPPED:
                holder = await holder_of(here.settings)
                found = replace(found, daemon=replace(found.daemon, held_by=holder))
            found = replace(found, producers=tuple(producer_rows(here, found)))
            return replace(found, attention=attention(found, Limits(max_age, max_behind)))

    found = finish(_in_time(work()))
    if as_json:
        print_json(found)
    else:
        _say_site(found)
        _say_peers(found)
        _say_what_waits(found)
    if check and found.attention:
        ctx.exit(ATTENTION)


async def _in_time(work: Awaitable[Status]) -> Status:
    """Raises `SiteBusy` where a database does not answer: a status that never comes says nothing."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await work
    except TimeoutError:
        raise SiteBusy(
            f"the site's database, or the state database, did not answer within {ANSWER_SECONDS:.0f} s",
            hint="the state of this site is unknown: look at its databases, and at the daemon's log",
        ) from None


def _say_site(found: Status) -> None:
    click.echo(f"Site       {found.name or '(no name)'}  {found.site}")
    daemon = found.daemon
    if daemon.running and daemon.problem == STARTING:
        click.echo(
            f"Daemon     {STARTING}: process {daemon.pid} on {daemon.host}, since {ago(daemon.beat_at, found.at)}"
        )
    elif daemon.running:
        click.echo(
            f"Daemon     running: process {daemon.pid} on {daemon.host}, release {daemon.version}, "
            f"started {ago(daemon.started_at, found.at)}, {count(daemon.captured, 'change')} captured since"
        )
    elif daemon.state == Life.SILENT:
        click.echo(
            f"Daemon     gives no sign of life since {clock_time(daemon.beat_at, found.at)}: process {daemon.pid} is "
            "stopped, or its state database does not answer"
        )
    elif daemon.held_by is not None:
        click.echo(f"Daemon     {STARTING_OR_ELSEWHERE}: {daemon.held_by or 'it does not say which'}")
    else:
        last = f" (last seen {ago(daemon.beat_at, found.at)})" if daemon.beat_at else ""
        click.echo(f"Daemon     not running{last}: start it with `streamd run`")
    if daemon.problem and daemon.problem != STARTING:
        click.echo(f"           problem: {daemon.problem}")
    log = found.log
    kept = f", kept from {log.trimmed_to + 1} on" if log is not None and log.trimmed_to else ""
    last = f"entry {log.sequence} is the last one{kept}" if log is not None and log.sequence else "no entries yet"
    click.echo(f"Log        {last if log is not None else 'not started yet'}")
    if log is not None and log.last_gap_at is not None:
        click.echo(f"           last gap {ago(log.last_gap_at, found.at)}: {log.last_gap}")
    capture = found.capture
    unknown = f"; unknown{' since then' if capture.captured_to_at else ''}: {capture.why}" if capture.why else ""
    click.echo(f"Captured   {_up_to(capture.captured_to_at, capture.age_seconds, found.at)}{unknown}")
    if found.waiting_changes:
        click.echo(f"           {count(found.waiting_changes, 'changed row')} not captured yet")


def _say_peers(found: Status) -> None:
    click.echo("\nConsumers: sites that subscribe to this one")
    print_table(
        ("Name", "Last seen", "Behind", "Document types"),
        [(row.name, ago(row.last_seen_at, found.at), _behind(row), _types(row.doctypes)) for row in found.consumers],
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
                "unknown" if row.lag is None else count(row.lag, "entry", "entries"),
                _types(row.doctypes),
                short(row.error),
            )
            for row in found.producers
        ],
        empty="none",
    )
    rows = [
        (row.name, ", ".join(doctypes), text)
        for row in found.producers
        for text, doctypes in _by_completeness(row.types, found.at).items()
    ]
    if rows:
        click.echo("\nCompleteness of their types (times are the producers')")
        print_table(("Producer", "Document types", "Complete"), rows, empty="")


def _behind(row: ConsumerStatus) -> str:
    if row.lag is None:
        return "unknown" if ApprovalStatus.APPROVED in row.doctypes.values() else ""
    age = f", {row.lag_seconds:.0f} s" if row.lag and row.lag_seconds is not None else ""
    return count(row.lag, "entry", "entries") + age


def _by_completeness(types: tuple[TypeStatus, ...], now: int) -> dict[str, list[str]]:
    """Types by what is said of them."""
    found: dict[str, list[str]] = {}
    for each in types:
        text = _up_to(each.complete_to_at, each.age_seconds, now)
        if each.state == Completeness.UNKNOWN:
            since = f" since {clock_time(each.unknown_since_at, now)}" if each.unknown_since_at else ""
            text += f"; unknown{since}: {each.why}"
        elif each.why:
            text += f"; {each.why}"
        found.setdefault(text, []).append(each.doctype)
    return found


def _up_to(moment: int | None, age_seconds: float | None, now: int) -> str:
    """`complete up to 12:03:07 (4 s ago)`."""
    if moment is None or age_seconds is None:
        return "not known to be complete"
    return f"complete up to {clock_time(moment, now)} ({ago(now - round(age_seconds * 1000), now)})"


def _say_what_waits(found: Status) -> None:
    lines = [*found.attention, *found.waiting]
    for row in found.producers:
        lines += [
            f"{row.name}: {count(len(fields), 'field')} of {doctype} not mapped, and left out: {', '.join(fields)}"
            for doctype, fields in row.unmapped.items()
        ]
    if lines:
        click.echo("\nNeeds your attention")
        for line in lines:
            click.echo(f"• {line}")


def _types(doctypes: dict[str, str]) -> str:
    """Types grouped by status: `Approved: Invoice, Track; Pending: Note`."""
    groups: dict[str, list[str]] = {}
    for doctype, state in doctypes.items():
        groups.setdefault(state, []).append(doctype)
    return "; ".join(f"{state}: {', '.join(names)}" for state, names in groups.items())
