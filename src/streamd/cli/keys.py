"""`streamd keys`: API keys of consumers."""

from __future__ import annotations

import click

from streamd.cli.shared.opening import finish, opened
from streamd.cli.shared.output import as_json_option, moment, print_json, print_table
from streamd.store.keys import NAME_LIMIT
from streamd.store.peers import Peers


@click.group()
def keys() -> None:
    """Manage API keys for sites that subscribe to this one."""


def _name(_ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not value.strip() or not value.isprintable() or len(value) > NAME_LIMIT:
        raise click.BadParameter(f"give the name of the site that will use it: 1 to {NAME_LIMIT} printable characters")
    return value


@keys.command()
@click.option(
    "--for", "consumer", required=True, metavar="NAME", callback=_name, help="The consumer's name, for people."
)
@as_json_option
@click.pass_context
def create(ctx: click.Context, consumer: str, as_json: bool) -> None:
    """Create a key for a consumer. Its secret is shown once, and stored only as a hash.

    A consumer can have two keys, so that one can replace the other without a pause.
    """

    async def work() -> tuple[str, str]:
        async with opened(ctx) as here:
            return await Peers(here.state).create_key(consumer)

    api_key, api_secret = finish(work())
    if as_json:
        print_json({"consumer": consumer, "api_key": api_key, "api_secret": api_secret})
        return
    # The prose goes to stderr: `streamd keys create … >> streamd.toml` writes what belongs there.
    click.echo(
        f"A key for {consumer}. The secret is shown only now: put both lines into [producers.NAME] there.", err=True
    )
    click.echo(f'api_key = "{api_key}"\napi_secret = "{api_secret}"')


@keys.command("list")
@as_json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List all keys, without their secrets."""

    async def work() -> list[dict[str, object]]:
        async with opened(ctx) as here:
            return [
                {
                    "api_key": key.api_key,
                    "consumer": key.consumer,
                    "active": key.active,
                    "created_at": key.created_at,
                    "last_used_at": key.last_used_at,
                    "revoked_at": key.revoked_at,
                }
                for key in await Peers(here.state).keys()
            ]

    found = finish(work())
    if as_json:
        print_json(found)
        return
    print_table(
        ("API key", "Consumer", "State", "Created", "Last used"),
        [
            (
                key["api_key"],
                key["consumer"],
                "active" if key["active"] else f"revoked {moment(_time(key['revoked_at']))}",
                moment(_time(key["created_at"])),
                moment(_time(key["last_used_at"])),
            )
            for key in found
        ],
        empty="There are no keys: create one with `streamd keys create --for NAME`.",
    )


@keys.command()
@click.argument("api_key")
@click.pass_context
def revoke(ctx: click.Context, api_key: str) -> None:
    """Revoke a key, and close its open connections."""

    async def work() -> None:
        async with opened(ctx) as here:
            await Peers(here.state).revoke_key(api_key)

    finish(work())
    click.echo(f"{api_key} is revoked")


def _time(value: object) -> int | None:
    return value if isinstance(value, int) else None
