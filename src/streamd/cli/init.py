"""`streamd init`: a first configuration file, or a new identity for a cloned site."""

from __future__ import annotations

import os
from pathlib import Path

import click
from sqlalchemy.engine import make_url

from streamd.cli.main import chosen_config
from streamd.cli.shared.first_file import first_file
from streamd.cli.shared.opening import alone, finish, opened_site, settings_of
from streamd.db import open_site
from streamd.db.urls import anchored, canonical, file_url, loosened
from streamd.errors import NotInstalled, StreamdError
from streamd.model import Table
from streamd.settings import database_url, load, shown_url


@click.command()
@click.argument("database", required=False)
@click.option("--name", help="The site's name, for people. Default: the name of the database.")
@click.option("--force", is_flag=True, help="Overwrite an existing configuration file.")
@click.option(
    "--new-identity",
    is_flag=True,
    help="Give a cloned site an identity of its own.",
)
@click.pass_context
def init(ctx: click.Context, database: str | None, name: str | None, force: bool, new_identity: bool) -> None:
    """Write a first configuration file for DATABASE.

    DATABASE is a SQLite file, or a URL. It is read, and not changed. The configuration file is complete and commented.
    """
    if new_identity:
        if database is not None or name is not None or force:
            raise click.UsageError("--new-identity takes the site from the configuration file, and no other option")
        _new_identity(ctx)
        return
    if database is None:
        raise click.UsageError("name the database: `streamd init shop.db`")
    config = chosen_config(ctx)
    if config.exists() and not force:
        raise StreamdError(f"{config} exists already", hint="name another file with --config, or use --force")
    url = _absolute(database)
    site_name = name or _stem(url)
    tables = finish(_tables(url))
    text = first_file(site_name, _relative(url, config), tables)
    _write(config, text)
    load(config)
    click.echo(f"wrote {config}: {len(tables)} tables of {make_url(url).render_as_string()}")
    if not tables:
        click.echo(
            "! That database has no tables: is it the right one, and the right schema? Create your application's "
            "tables first, then run `streamd init --force` again.",
            err=True,
        )
        return
    click.echo("Edit it, then run `streamd install`, `streamd check` and `streamd run`.")


def _new_identity(ctx: click.Context) -> None:
    settings = settings_of(ctx)

    async def work() -> tuple[str, str]:
        async with opened_site(settings) as site:
            before = await site.identity()
            if before is None:
                raise NotInstalled(
                    "streamd is not installed in the site's database: it has no identity yet",
                    hint="run `streamd install`, which makes one",
                )
            async with alone(settings):
                return before.site, await site.new_identity()

    old, new = finish(work())
    click.echo(f"This site was {old}, and is {new} from now on.")
    click.echo(
        "To others it is a new site: its log starts again, its consumers need new keys (`streamd keys create`), "
        "and its producers must create a key for it and approve it."
    )


async def _tables(url: str) -> dict[str, Table]:
    site = open_site(url)
    try:
        return await site.tables()
    finally:
        await site.close()


def _absolute(database: str) -> str:
    """The URL of what was typed. Raises `StreamdError` (exit code 1) or `click.UsageError`."""
    if "://" not in database:
        return file_url(Path(database).absolute())
    try:
        database_url(database)
    except ValueError as error:
        raise click.UsageError(f"{shown_url(database)}: {error}") from None
    return anchored(canonical(database), Path.cwd())


def _relative(url: str, config: Path) -> str:
    """The URL as it stands in the file: relative to it, where it is a file in its folder or below."""
    return loosened(url, config.absolute().parent)


def _stem(url: str) -> str:
    return Path(make_url(url).database or "").stem or "site"


def _write(config: Path, text: str) -> None:
    """Write the file so that only its owner can read it: it will hold secrets."""
    try:
        descriptor = os.open(config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise StreamdError(
            f"{config} cannot be written: {error.strerror}", hint="fix the path or its permissions"
        ) from error
