"""`streamd install` and `streamd uninstall`: our tables and triggers in the site's database."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import click

from streamd.catalog import left_out
from streamd.cli.shared import installing
from streamd.cli.shared.installing import migrate_state
from streamd.cli.shared.opening import (
    alone,
    finish,
    opened_site,
    opened_state,
    settings_of,
    state_is_current,
)
from streamd.cli.shared.output import count
from streamd.common.spelling import did_you_mean
from streamd.db.base import REMOTE_COLUMNS, SITE_SCHEMA, SiteDatabase
from streamd.errors import NotFound
from streamd.lifecycle.installing import add_remote_columns, missing_triggers, note_migration
from streamd.lifecycle.preparing import catalogue_of, catalogue_with
from streamd.model import Catalogue, DocumentType, Table
from streamd.settings import shown_url


@click.command()
@click.option("--sql", is_flag=True, help="Print the SQL for the site's database, and change nothing.")
@click.option(
    "--remote-columns",
    "doctypes",
    metavar="DOCTYPE",
    multiple=True,
    help="Add remote_site_name and remote_docname to this type's table. They say where a document came from.",
)
@click.option("--grant", "role", metavar="ROLE", help="Grant this role what the daemon needs (PostgreSQL).")
@click.pass_context
def install(ctx: click.Context, sql: bool, role: str | None, doctypes: tuple[str, ...]) -> None:
    """Create streamd's tables and triggers, and the state database.

    Existing objects are kept. Triggers that differ from the configuration are renewed.
    """
    settings = settings_of(ctx)

    async def work() -> None:
        async with opened_site(settings) as site:
            catalogue, tables = await catalogue_of(settings, site)
            grants = [] if role is None else site.grant_script(role)
            columns, after = add_remote_columns(site, _named(doctypes, catalogue), tables)
            seen = bool(columns) and await _everything_is_seen(site, catalogue, tables)
            if columns:
                catalogue, tables = await catalogue_with(settings, site, after), after
            if sql:
                click.echo(site.script_text([*columns, *site.install_script(catalogue, tables), *grants]))
                return
            done = await migrate_state(settings)
            if columns:
                # With the triggers that see them, at once: then there is nothing in between that is not seen.
                await site.run_script([*columns, *(site.install_script(catalogue, tables) if seen else ())])
                done.append(f"added {' and '.join(REMOTE_COLUMNS)} to {', '.join(doctypes)}, where they were not there")
            done += await installing.install(settings, site, catalogue, tables)
            if grants:
                await site.run_script(grants)
                done.append(f"granted {role} what the daemon needs of streamd's tables")
            identity = await site.identity()
        for line in done or ["nothing to do: everything is installed"]:
            click.echo(line)
        for warning in left_out(catalogue, tables):
            click.echo(f"! {warning}", err=True)
        if identity is not None:
            click.echo(f"This site is {settings.site.name}, {identity.site}.")

    finish(work())


@click.command()
@click.option(
    "--for-migration",
    is_flag=True,
    help="Remove only the triggers, before your own migration. `install` or `run` creates them again.",
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--sql", is_flag=True, help="Print the SQL, and change nothing.")
@click.pass_context
def uninstall(ctx: click.Context, for_migration: bool, yes: bool, sql: bool) -> None:
    """Remove streamd's triggers and tables from the site's database.

    The tables hold this site's identity, and how far each producer was applied. After an uninstall, this is a
    new site to its peers. Before your own migration, use --for-migration. Changes made without triggers are not
    captured: consumers read the types again afterwards.
    """
    settings = settings_of(ctx)

    async def work() -> None:
        async with opened_site(settings) as site:
            triggers = sorted(await site.our_triggers())
            statements = site.uninstall_script(triggers, keep_tables=for_migration)
            if sql:
                click.echo(site.script_text(statements))
                return
            if not triggers and await site.identity() is None:
                click.echo("nothing is installed")
                return
            async with alone(settings):  # a daemon would make the triggers again
                if not (for_migration or yes):
                    _ask()
                identity = await site.identity()
                if for_migration and triggers and identity is not None and await state_is_current(settings):
                    async with opened_state(settings, identity.site) as state:
                        await note_migration(state)
                await site.run_script(statements)
        click.echo(f"removed {count(len(triggers), 'trigger')}" + ("" if for_migration else ", and streamd's tables"))
        if for_migration:
            click.echo("Change your schema now. Then run `streamd install`, or `streamd run`, which installs.")
        else:
            click.echo(
                "This site's identity, keys and consumers are removed. After another `streamd install` it is a new "
                "site to its peers, with new keys and approvals."
            )
            click.echo(f"The state database is kept: {shown_url(settings.state.database)}")

    finish(work())


def _named(names: Sequence[str], catalogue: Catalogue) -> list[DocumentType]:
    """The document types of these names. Raises `NotFound`."""
    for name in names:
        if name not in catalogue:
            hint = did_you_mean(name, list(catalogue.doctypes), "see [doctypes] in the configuration")
            raise NotFound(f"there is no document type {name} here", hint=hint)
    return [catalogue[name] for name in dict.fromkeys(names)]


async def _everything_is_seen(site: SiteDatabase, catalogue: Catalogue, tables: Mapping[str, Table]) -> bool:
    """Whether our tables and triggers are as they ought to be, so that renewing them hides no gap."""
    identity = await site.identity()
    if identity is None or identity.schema != SITE_SCHEMA:
        return False
    return not missing_triggers(await site.our_triggers(), site.wanted_triggers(catalogue, tables))


def _ask() -> None:
    """Raises `click.Abort` where a person says no, and `click.UsageError` where there is nobody to ask."""
    if not sys.stdin.isatty():
        raise click.UsageError(
            "this removes the site's identity, keys and consumers, and there is no terminal to confirm it: use --yes, "
            "or --for-migration to remove only the triggers"
        )
    click.confirm("Remove this site's identity, keys, consumers, checkpoints and parked events?", abort=True)
