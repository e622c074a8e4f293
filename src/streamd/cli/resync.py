"""`streamd resync` and `streamd discard`: what a person decides about events that failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import click

from streamd.cli.shared.entries import SYNC, choose, parse_id
from streamd.cli.shared.opening import Opened, finish, opened
from streamd.cli.shared.output import count
from streamd.common.spelling import did_you_mean
from streamd.db.base import Transaction
from streamd.errors import NotFound
from streamd.model import (
    ApprovalStatus,
    Operation,
    QueuedEvent,
    QueueRequest,
    SyncEntry,
    SyncStatus,
    name_label,
    name_text,
)
from streamd.settings import Settings
from streamd.store.heartbeat import WHOLE, Requests
from streamd.store.peers import Peers
from streamd.store.producers import AWAY, REFUSED, Producers
from streamd.store.sync_log import SyncLog

BY_HAND = "discarded by hand"


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "everything", is_flag=True, help="All parked and held events.")
@click.option("--doctype", metavar="TYPE", help="All parked and held events of this document type.")
@click.option(
    "--whole",
    is_flag=True,
    help="Take whole documents, as they are at the producer now. With --all or --doctype: all documents of the "
    "subscribed types, also those that never failed. This ends “resync required”.",
)
@click.pass_context
def resync(ctx: click.Context, ids: tuple[str, ...], everything: bool, doctype: str | None, whole: bool) -> None:
    """Retry failed events, or fetch documents whole.

    IDs look like p12: see `streamd log syncs --status failed`. The daemon does the work. If it
    does not run, it does so when it starts.
    """
    if bool(ids) + everything + (doctype is not None) != 1:
        raise click.UsageError("name one of: the ids of parked events, --all, or --doctype TYPE")

    async def work() -> list[str]:
        async with opened(ctx) as here:
            types = [] if ids or not whole else await _subscribed(here, doctype)
            types, waiting = await _readable(here, types)
            entries = await _entries(here, ids)
            async with here.site.transaction() as transaction:
                chosen = await _chosen(transaction, ids, entries, doctype, await here.producer_names())
                request = QueueRequest.WHOLE if whole else QueueRequest.RETRY
                await transaction.update_queue([replace(event, request=request) for event in chosen])
            # Together: where all types are read at once, pulling goes on from there.
            await Requests(here.state).add_all(WHOLE, types)
            if not chosen and not types:
                _require_known(here.settings, doctype)
                return ["nothing is parked or held"]
            asked_of = {name for name, _ in types} | {event.producer for event in chosen if whole}
            obstacle = await _obstacle(here, asked_of)
            now = not (obstacle or waiting)
            return [*_said(chosen, types, now=now), *waiting, *([obstacle] if obstacle else [await here.when()])]

    for line in finish(work()):
        click.echo(line)


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.pass_context
def discard(ctx: click.Context, ids: tuple[str, ...]) -> None:
    """Discard failed events.

    IDs look like p12. Later events of the document continue without the discarded ones.
    This also closes a gap: a notice that changes are missing, with an id like 15.
    """

    async def work() -> list[QueuedEvent]:
        async with opened(ctx) as here:
            entries = await _entries(here, ids)
            gaps = {text: entry for text, entry in entries.items() if _is_gap(entry)}
            await SyncLog(here.state).discard([replace(entry, note=BY_HAND) for entry in gaps.values()])
            events = [text for text in ids if text not in gaps]
            if not events:
                return []
            producers = await here.producer_names()
            async with here.site.transaction() as transaction:
                gone = await _chosen(transaction, events, entries, None, producers)
                await transaction.dequeue([event.id for event in gone])
                # Before the commit: an event that is gone from the queue, and stands as failed, would count as applied.
                await SyncLog(here.state).discard([_discarded(event, producers.get(event.producer)) for event in gone])
            return gone

    gone = finish(work())
    for event in gone:
        click.echo(f"discarded p{event.id}: {_label(event)}")
    if len(gone) < len(set(ids)):
        click.echo(f"discarded {count(len(set(ids)) - len(gone), 'notice')} of missing changes")


def _is_gap(entry: SyncEntry) -> bool:
    """Whether the entry is no event, but says that some are missing."""
    return entry.update_type == Operation.GAP and entry.status == SyncStatus.FAILED


async def _entries(here: Opened, ids: Iterable[str]) -> dict[str, SyncEntry]:
    """The sync log's entries of these numbers, where there are such."""
    found = {}
    for text in ids:
        id = parse_id(text)
        if id.kind == SYNC:
            try:
                found[text] = await SyncLog(here.state).get(id.number)
            except NotFound:
                continue  # then it can only be the number of a parked event
    return found


async def _chosen(
    transaction: Transaction,
    ids: Sequence[str],
    entries: dict[str, SyncEntry],
    doctype: str | None,
    producers: Mapping[str, str],
) -> list[QueuedEvent]:
    """The events that a command is about, as they are now: the daemon may have healed some since they were listed."""
    queue = await transaction.queue(doctype)
    if not ids:
        return queue
    chosen = {
        event.id: event for event in (choose(parse_id(text), queue, entries.get(text), producers) for text in ids)
    }
    return list(chosen.values())


async def _subscribed(here: Opened, doctype: str | None) -> list[tuple[str, str]]:
    """(producer, type) for everything subscribed to, or for one type. Raises `NotFound`."""
    every = [(name, each) for name, producer in here.settings.producers.items() for each in producer.subscribed]
    found = [(name, each) for name, each in every if doctype in (None, each)]
    if found:
        return found
    asking = {row.consumer for row in await Peers(here.state).approvals() if doctype in (None, row.doctype)}
    if asking:
        hint = f"a resync is run at the site that receives: {', '.join(sorted(asking))} receives it from here"
    elif every:
        hint = did_you_mean(doctype or "", sorted({each for _, each in every}), "name a type that it subscribes to")
    else:
        hint = "a resync is run at the site that receives; this one has no [producers.NAME] in its configuration"
    raise NotFound(f"this site does not subscribe to {doctype or 'anything'}", hint=hint)


async def _readable(here: Opened, types: Sequence[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[str]]:
    """Those of these (producer, type) that may be read, with what some of them wait for.

    Raises `NotFound` where the producer refuses all of them.
    """
    found: list[tuple[str, str]] = []
    waiting: list[str] = []
    refused: list[str] = []
    for producer, doctype in types:
        known = {each.doctype: each.status for each in await Producers(here.state).subscriptions(producer)}
        status = known.get(doctype)
        if status in (ApprovalStatus.REJECTED, ApprovalStatus.UNSUBSCRIBED):
            refused.append(f"{producer}: {doctype} is {status} there, so it is not read")
            continue
        found.append((producer, doctype))
        if status is None:
            waiting.append(f"{producer}: {doctype} waits until {producer} was asked whether this site may have it")
        elif status == ApprovalStatus.PENDING:
            waiting.append(f"{producer}: {doctype} waits until {producer} approves it")
    if refused and not found:
        raise NotFound("; ".join(refused), hint="ask the producer's operator to approve it")
    return found, [*refused, *waiting]


def _require_known(settings: Settings, doctype: str | None) -> None:
    """Raises `NotFound` for a document type that this site neither has nor subscribes to."""
    subscribed = {each for producer in settings.producers.values() for each in producer.subscribed}
    known = settings.doctypes.keys() | subscribed
    if doctype is not None and doctype not in known:
        hint = did_you_mean(doctype, sorted(known), "see [doctypes] in the configuration")
        raise NotFound(f"there is no document type {doctype} here", hint=hint)


async def _obstacle(here: Opened, asked_of: set[str]) -> str:
    """What has to come first, in words; nothing where the daemon does it now.

    `asked_of` are the producers (names or UUIDs) whose answer it needs.
    """
    if not await here.daemon_runs():
        return await here.when()
    asked = [
        each
        for each in await Producers(here.state).all()
        if each.name in asked_of or (each.producer_site is not None and each.producer_site in asked_of)
    ]
    paused = [each.name for each in asked if each.paused]
    silent = [each.name for each in asked if not each.paused and each.status in (AWAY, REFUSED)]
    found = [f"{' and '.join(paused)} {'is' if len(paused) == 1 else 'are'} resumed"] if paused else []
    found += [f"{' and '.join(silent)} {'answers' if len(silent) == 1 else 'answer'} again"] if silent else []
    return f"The daemon runs, and does it as soon as {', and '.join(found)}; see `streamd status`." if found else ""


def _said(chosen: Sequence[QueuedEvent], types: Sequence[tuple[str, str]], *, now: bool) -> list[str]:
    """What was asked for; `now` says whether the daemon does it now, and nothing has to come first."""
    tried, read = ("is tried again", "is read again") if now else ("will be tried again", "will be read again")
    lines = [f"p{event.id}: {_label(event)} {tried}" for event in chosen[:20]]
    if len(chosen) > 20:
        lines.append(f"… and {count(len(chosen) - 20, 'event')} more")
    for name in dict.fromkeys(producer for producer, _ in types):
        lines.append(f"{name}: all of {', '.join(each for producer, each in types if producer == name)} {read}")
    return lines


def _discarded(event: QueuedEvent, producer: str | None) -> SyncEntry:
    name = name_text(event.event.name)
    return SyncEntry(
        update_type=event.event.operation,
        status=SyncStatus.DISCARDED,
        doctype=event.doctype,
        producer=producer or event.producer,
        docname=name,
        remote_docname=name,
        use_same_name=True,
        data=bytes(event.event.data).decode("utf-8", "replace"),
        sequence=event.event.sequence,
        error=event.error,
        note=BY_HAND,
    )


def _label(event: QueuedEvent) -> str:
    return f"{event.event.operation} of {event.doctype} {name_label(event.event.name)}"
