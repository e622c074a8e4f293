"""`streamd log`: what happened to documents here, and how those of others fared."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from streamd.cli.shared.entries import (
    PARKED,
    UPDATE,
    EntryId,
    event_of,
    kept_by_event,
    kept_row,
    label,
    parse_id,
    possible_names,
    sync_row,
    update_row,
)
from streamd.cli.shared.opening import Opened, finish, opened
from streamd.cli.shared.output import as_json_option, moment, print_json, print_table, short
from streamd.errors import NotFound
from streamd.model import LogEntry, QueueState, SyncStatus, name_text
from streamd.store.sync_log import SyncLog
from streamd.update_log import UpdateLog

Entry = dict[str, Any]

STATUSES = ("synced", "failed", "held", "discarded", "applying")
_KEPT = {"failed": QueueState.PARKED, "held": QueueState.HELD}

_doctype = click.option("--doctype", metavar="TYPE", help="Only entries of this document type.")
_name = click.option("--name", metavar="NAME", help="Only entries of the document with this name.")
_limit = click.option(
    "--limit", type=click.IntRange(1, 100_000), default=50, show_default=True, help="How many entries."
)


@click.group()
def log() -> None:
    """Show the Event Update Log and the Event Sync Log.

    Newest entries come first.
    """


@log.command()
@_doctype
@_name
@_limit
@as_json_option
@click.pass_context
def updates(ctx: click.Context, doctype: str | None, name: str | None, limit: int, as_json: bool) -> None:
    """List the Event Update Log: what happened to this site's documents. Ids look like u12."""

    async def work() -> list[Entry]:
        async with opened(ctx) as here:
            found: list[LogEntry] = []
            for text in [None] if name is None else map(name_text, possible_names(name)):
                found += await UpdateLog(here.state).entries(doctype=doctype, name=text, limit=limit)
            found.sort(key=lambda entry: -entry.sequence)
            return [update_row(entry) for entry in found[:limit]]

    rows = finish(work())
    if as_json:
        print_json(rows)
        return
    print_table(
        ("Id", "At", "Update type", "Document type", "Document", "Made"),
        [
            (
                row["id"],
                moment(row["at"]),
                row["update_type"],
                row["doctype"],
                row["docname"] + (f" (was {row['renamed_from']})" if row["renamed_from"] else ""),
                "here" if row["from_here"] else "at another site",
            )
            for row in rows
        ],
        empty="The Event Update Log has no such entry. (A type that no approved consumer has is not logged.)",
    )


@log.command()
@click.option(
    "--status",
    type=click.Choice(STATUSES, case_sensitive=False),
    help="Only entries of this status. failed: events that need attention.",
)
@_doctype
@_name
@_limit
@as_json_option
@click.pass_context
def syncs(
    ctx: click.Context, status: str | None, doctype: str | None, name: str | None, limit: int, as_json: bool
) -> None:
    """List the Event Sync Log: what happened to documents of producers.

    Parked and held events have ids like p12. Use these with `resync` and `discard`.
    """

    async def work() -> list[Entry]:
        async with opened(ctx) as here:
            kept = await _kept(here, _KEPT[status], doctype, name, limit) if status in _KEPT else []
            shown = {row["id"] for row in kept}
            synced = await _synced(here, status, doctype, name, limit)
            rows = kept + [row for row in synced if row["id"] not in shown]
            return sorted(rows, key=lambda row: -int(row["at"]))[:limit]

    rows = finish(work())
    if as_json:
        print_json(rows)
        return
    print_table(
        ("Id", "At", "Status", "Update type", "Document type", "Document", "Producer", "Error or note"),
        [
            (
                row["id"],
                moment(row["at"]),
                row["status"],
                row["update_type"],
                row["doctype"],
                row["docname"],
                row["producer"],
                short(row["error"] or row["note"]),
            )
            for row in rows
        ],
        empty="The Event Sync Log has no such entry.",
    )


@log.command()
@click.argument("id", metavar="ID")
@as_json_option
@click.pass_context
def show(ctx: click.Context, id: str, as_json: bool) -> None:
    """Show one entry: 12 (sync log), u12 (update log) or p12 (parked or held)."""
    wanted = parse_id(id)

    async def work() -> Entry:
        async with opened(ctx) as here:
            if wanted.kind == UPDATE:
                return await _show_update(here, wanted)
            if wanted.kind == PARKED:
                return await _show_kept(here, wanted)
            return await _show_sync(here, wanted)

    entry = finish(work())
    if as_json:
        print_json(entry)
        return
    for key, value in entry.items():
        if value is None or value == "":
            continue
        title = key.replace("_", " ").capitalize()
        if isinstance(value, msgspec.Raw):
            click.echo(f"{title}:\n{_pretty(value)}")
        else:
            click.echo(f"{title + ':':<16} {_readable(key, value)}")


async def _kept(here: Opened, state: QueueState, doctype: str | None, name: str | None, limit: int) -> list[Entry]:
    names = None if name is None else possible_names(name)
    producers = await here.producer_names()
    async with here.site.snapshot() as snapshot:
        queue = await snapshot.queue(doctype)
    fitting = [each for each in queue if each.state == state and (names is None or each.event.name in names)]
    return [kept_row(each, producers.get(each.producer, each.producer)) for each in reversed(fitting[-limit:])]


async def _synced(here: Opened, status: str | None, doctype: str | None, name: str | None, limit: int) -> list[Entry]:
    async with here.site.snapshot() as snapshot:
        kept = kept_by_event(await snapshot.queue(doctype), await here.producer_names())
    entries = []
    for text in [None] if name is None else map(name_text, possible_names(name)):
        entries += await SyncLog(here.state).list(
            status=SyncStatus(status.capitalize()) if status else None, doctype=doctype, name=text, limit=limit
        )
    entries.sort(key=lambda entry: -entry.id)
    waiting = (SyncStatus.FAILED, SyncStatus.HELD)
    return [
        sync_row(entry, kept.get(event_of(entry)) if entry.status in waiting else None) for entry in entries[:limit]
    ]


async def _show_update(here: Opened, id: EntryId) -> Entry:
    found = await UpdateLog(here.state).entries(sequence=id.number, limit=1)
    if not found:
        raise NotFound(f"there is no entry {id} in the Event Update Log", hint="see `streamd log updates`")
    entry = found[0]
    return {
        **update_row(entry),
        "tx": entry.tx,
        "clock": entry.clock,
        "origin": msgspec.Raw(entry.origin.encode()) if entry.origin else None,
        "path": entry.path.split(),
        "data": msgspec.Raw(entry.data.encode()),
    }


async def _show_sync(here: Opened, id: EntryId) -> Entry:
    entry = await SyncLog(here.state).get(id.number)
    async with here.site.snapshot() as snapshot:
        queue = kept_by_event(await snapshot.queue(entry.doctype), await here.producer_names())
    kept = queue.get(event_of(entry)) if entry.status in (SyncStatus.FAILED, SyncStatus.HELD) else None
    return {
        **sync_row(entry, kept),
        "id": str(entry.id),
        "kept_as": f"p{kept.id}" if kept else None,
        **_data(entry.data),
    }


async def _show_kept(here: Opened, id: EntryId) -> Entry:
    producers = await here.producer_names()
    async with here.site.snapshot() as snapshot:
        found = next((each for each in await snapshot.queue() if each.id == id.number), None)
    if found is None:
        raise NotFound(f"no event {id} is parked or held here", hint="see `streamd log syncs --status failed`")
    return {
        **kept_row(found, producers.get(found.producer, found.producer)),
        "renamed_from": label(name_text(found.event.renamed_from)) if found.event.renamed_from else None,
        "data": found.event.data,
    }


def _data(text: str) -> Entry:
    """Data as JSON, whatever was stored: an event's data is JSON, but nothing here should fail if it is not."""
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return {"data": text}
    return {"data": msgspec.Raw(text.encode())}


def _readable(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and (key == "at" or key.endswith("_at")):
        return moment(value)
    return ", ".join(value) if isinstance(value, list) else str(value)


def _pretty(raw: msgspec.Raw) -> str:
    return msgspec.json.format(bytes(raw), indent=2).decode()
