"""`streamd consumers`: who subscribes to this site, and what they may have."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click

from streamd.cli.shared.opening import Opened, finish, opened
from streamd.cli.shared.output import ago, as_json_option, moment, print_json, print_table
from streamd.errors import NotInstalled, StreamdError
from streamd.lifecycle.preparing import catalogue_of
from streamd.model import ApprovalStatus, Catalogue
from streamd.store.engine import now_ms
from streamd.store.peers import Approval, Peers


@click.group()
def consumers() -> None:
    """Manage the sites that subscribe to this one."""


@consumers.command("list")
@as_json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the consumers, what they ask for, and what an approval would open.

    "Only where" is the condition: only documents for which it holds are sent. "May look for" lists types in which the
    consumer may find documents by their values, as its mappings need it.
    """

    async def work() -> list[dict[str, object]]:
        async with opened(ctx) as here:
            peers = Peers(here.state)
            asked = await peers.approvals()
            known = {consumer.name: consumer for consumer in await peers.consumers()}
            waiting = {key.consumer for key in await peers.keys() if key.active} - known.keys()
            rows: list[dict[str, object]] = [
                {
                    "name": name,
                    "site": consumer.consumer_site,
                    "calls_itself": consumer.consumer_name,
                    "version": consumer.version,
                    "registered_at": consumer.registered_at,
                    "last_seen_at": consumer.last_seen_at,
                    "acknowledged": consumer.acknowledged,
                    "doctypes": [_asked(row) for row in asked if row.consumer == name],
                }
                for name, consumer in known.items()
            ]
            return rows + [{"name": name, "site": None, "doctypes": []} for name in sorted(waiting)]

    found = finish(work())
    if as_json:
        print_json(found)
        return
    now = now_ms()
    rows: list[Sequence[object]] = []
    for consumer in found:
        seen = consumer.get("last_seen_at")
        last_seen = ago(seen if isinstance(seen, int) else None, now)
        types = consumer["doctypes"]
        if not isinstance(types, list) or not types:
            waits = "asks for nothing" if consumer["site"] else "has a key, and has not connected yet"
            rows.append((consumer["name"], "", waits, "", "", "", last_seen))
            continue
        for asked in types:
            rows.append(
                (
                    consumer["name"],
                    asked["doctype"],
                    asked["status"],
                    _in_one_line(asked["condition"]),
                    ", ".join(asked["opens"]),
                    ", ".join(asked["lookups"]),
                    last_seen,
                )
            )
    print_table(
        ("Consumer", "Document type", "Status", "Only where", "Opens through links", "May look for", "Last seen"),
        rows,
        empty="There are no consumers: create a key for one with `streamd keys create --for NAME`.",
    )


@consumers.command()
@click.argument("name")
@click.argument("doctypes", nargs=-1, metavar="[DOCTYPE]...")
@click.pass_context
def approve(ctx: click.Context, name: str, doctypes: tuple[str, ...]) -> None:
    """Approve document types for a consumer (default: all that are Pending).

    An approval covers changes from now on. It also opens the types that these link to: their documents can be
    fetched, but their changes are sent only if they are approved themselves. The condition, and the types that may be
    searched, are approved with the type, as `streamd consumers list` shows them. If the consumer asks for others, the
    type is Pending again.
    """

    async def work() -> tuple[list[Approval] | None, list[str]]:
        async with opened(ctx) as here:
            catalogue = await _capturing(here)
            peers = Peers(here.state)
            asked = await peers.approvals(name)
            if not doctypes and _has_all(asked):
                return None, []
            _refuse_what_cannot_be_judged(asked, doctypes, catalogue)
            approved = await peers.approve(name, doctypes or None, offers=catalogue.offers)
            pending = [] if doctypes else [row.doctype for row in asked if row.status == ApprovalStatus.PENDING]
            return approved, [doctype for doctype in pending if doctype not in catalogue.offers]

    approved, not_offered = finish(work())
    for doctype in not_offered:
        click.echo(f"{name} also asks for {doctype}, which this site does not offer: that stays Pending", err=True)
    if approved is None:
        click.echo(f"nothing of {name} is Pending: everything that it asked for is Approved")
        return
    for row in approved:
        only = f", only where {_in_one_line(row.condition)}" if row.condition else ""
        opens = f" (opens, for its links: {', '.join(row.opens)})" if row.opens else ""
        click.echo(f"{name} may have {row.doctype}{only}: every change from now on{opens}")
        if row.lookups:
            click.echo(f"  and may look for {', '.join(row.lookups)} by value")
    if not approved:
        click.echo("nothing new: that was approved already")


@consumers.command()
@click.argument("name")
@click.argument("doctypes", nargs=-1, metavar="[DOCTYPE]...")
@click.pass_context
def reject(ctx: click.Context, name: str, doctypes: tuple[str, ...]) -> None:
    """Reject document types for a consumer (default: all that are Pending). Approved ones end at once."""

    async def work() -> list[Approval]:
        async with opened(ctx) as here:
            return await Peers(here.state).reject(name, doctypes or None)

    rejected = finish(work())
    for row in rejected:
        click.echo(f"{name} gets nothing of {row.doctype}")
    if not rejected:
        click.echo("nothing new: that was rejected already")


@consumers.command()
@click.argument("name")
@click.pass_context
def remove(ctx: click.Context, name: str) -> None:
    """Remove a consumer: revoke its keys, and delete its approvals."""

    async def work() -> None:
        async with opened(ctx) as here:
            await Peers(here.state).remove(name)

    finish(work())
    click.echo(f"{name} is removed, and its keys are revoked")


async def _capturing(here: Opened) -> Catalogue:
    """The catalogue. Raises `NotInstalled` where triggers are missing: an approval would promise too much."""
    catalogue, tables = await catalogue_of(here.settings, here.site)
    missing = here.site.wanted_triggers(catalogue, tables).keys() - (await here.site.our_triggers()).keys()
    if missing:
        raise NotInstalled(
            f"triggers are missing ({', '.join(sorted(missing))}): changes would not be seen",
            hint="run `streamd install`, then approve",
        )
    return catalogue


def _refuse_what_cannot_be_judged(asked: Sequence[Approval], named: Sequence[str], catalogue: Catalogue) -> None:
    """Raises `StreamdError` for a condition that this site cannot judge: nothing of the type would be served."""
    from streamd.serve.conditions import compile_condition  # with the server behind it, which no other command needs

    for row in asked:
        chosen = row.doctype in named if named else row.status == ApprovalStatus.PENDING
        if not (chosen and row.condition and row.doctype in catalogue.offers and row.doctype in catalogue):
            continue
        try:
            compile_condition(row.condition, catalogue[row.doctype])
        except StreamdError as error:
            raise StreamdError(
                error.message,
                hint=f"{row.consumer} must ask for another condition; or reject it: "
                f"`streamd consumers reject {row.consumer} {shlex.quote(row.doctype)}`",
            ) from error


def _in_one_line(condition: str) -> str:
    return " ".join(condition.split())


def _has_all(asked: Sequence[Approval]) -> bool:
    """Whether a consumer asks for something, and has been approved for all of it."""
    return {row.status for row in asked if row.status != ApprovalStatus.UNSUBSCRIBED} == {ApprovalStatus.APPROVED}


def _asked(row: Approval) -> dict[str, object]:
    return {
        "doctype": row.doctype,
        "status": row.status,
        "condition": row.condition,
        "opens": list(row.opens),
        "lookups": list(row.lookups),
        "from_sequence": row.from_sequence if row.status == ApprovalStatus.APPROVED else None,
        "asked_at": row.asked_at,
        "decided_at": row.decided_at,
        "decided": moment(row.decided_at) if row.decided_at else None,
    }
