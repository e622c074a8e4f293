"""`streamd producers`: the sites that this one subscribes to."""

from __future__ import annotations

import click

from streamd.cli.shared.opening import Opened, finish, opened
from streamd.cli.shared.output import ago, as_json_option, print_json, print_table, short
from streamd.status import ProducerStatus, Status, read_status
from streamd.store.engine import now_ms
from streamd.store.producers import Producers

NOT_YET = "not started yet"


@click.group()
def producers() -> None:
    """Manage the sites that this one subscribes to."""


@producers.command("list")
@as_json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the producers, their status, and which types they approved."""

    async def work() -> list[ProducerStatus]:
        async with opened(ctx) as here:
            return producer_rows(here, await read_status(here.site, here.state))

    found = finish(work())
    if as_json:
        print_json(found)
        return
    now = now_ms()
    print_table(
        ("Producer", "URL", "Status", "Behind", "Last heard", "Document types", "What is wrong"),
        [
            (
                row.name,
                row.url,
                row.status,
                "unknown" if row.lag is None else row.lag,
                ago(row.last_contact_at, now),
                ", ".join(f"{doctype}: {status}" for doctype, status in row.doctypes.items()),
                short(row.error),
            )
            for row in found
        ],
        empty="There are no producers: name one in the configuration, as [producers.NAME].",
    )


@producers.command()
@click.argument("name")
@click.pass_context
def pause(ctx: click.Context, name: str) -> None:
    """Stop asking a producer for events, until `resume`. Nothing is lost while its log keeps them."""
    _set_paused(ctx, name, True)
    click.echo(f"{name} is paused")


@producers.command()
@click.argument("name")
@click.pass_context
def resume(ctx: click.Context, name: str) -> None:
    """Resume a paused producer."""
    _set_paused(ctx, name, False)
    click.echo(f"{name} is resumed")


def producer_rows(here: Opened, found: Status) -> list[ProducerStatus]:
    """The producers that the daemon knows, and those of the configuration that it has not met yet."""
    known = found.producers
    met = {row.name for row in known}
    new = [
        ProducerStatus(
            name=name,
            url=producer.url,
            site=None,
            status=NOT_YET,
            error="",
            paused=False,
            sequence=0,
            head=0,
            lag=None,
            last_contact_at=None,
            last_event_at=None,
            doctypes=dict.fromkeys(producer.subscribed, "not asked yet"),
        )
        for name, producer in here.settings.producers.items()
        if name not in met
    ]
    return [*known, *new]


def _set_paused(ctx: click.Context, name: str, paused: bool) -> None:
    async def work() -> None:
        async with opened(ctx) as here:
            known = Producers(here.state)
            if name in here.settings.producers:
                await known.upsert(name, here.settings.producers[name].url)
            await known.set_paused(name, paused)

    finish(work())
