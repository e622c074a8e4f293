"""How a site is doing, as one value: for the command line, and for whatever else shows it."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from streamd.apply.batch import paused_reason
from streamd.db.base import SiteDatabase
from streamd.errors import NotInstalled
from streamd.model import ApprovalStatus, QueueState
from streamd.store.engine import State, now_ms
from streamd.store.heartbeat import Beat, Heartbeat, Request, Requests
from streamd.store.peers import Approval, Consumer, Peers
from streamd.store.producers import AWAY, PAUSED, REFUSED, Producer, Producers, SubscribedType
from streamd.store.sync_log import SyncLog
from streamd.update_log import Head, UpdateLog


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """Whether the daemon runs, and what it said last. Times are in milliseconds since 1970."""

    running: bool
    pid: int | None = None
    host: str | None = None
    version: str | None = None
    started_at: int | None = None
    beat_at: int | None = None
    captured: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class LogStatus:
    """The Event Update Log: its last entry, and how far it was trimmed."""

    log: str
    sequence: int
    trimmed_to: int


@dataclass(frozen=True, slots=True)
class ConsumerStatus:
    """A site that subscribes to us. `lag` counts the log's entries that it has not acknowledged yet.

    It is None where nothing is approved.
    """

    name: str
    site: str | None
    calls_itself: str | None
    version: str | None
    last_seen_at: int | None
    acknowledged: int
    lag: int | None
    doctypes: dict[str, str]


@dataclass(frozen=True, slots=True)
class ProducerStatus:
    """A site that we subscribe to. `lag` counts its log's entries that are not applied yet, as we last heard.

    `paused_types`: types whose events are held, because they cannot be applied here as the two sites are; and why.
    `unmapped`: by type, the producer's fields that its mapping drops.
    """

    name: str
    url: str
    site: str | None
    status: str
    error: str
    paused: bool
    sequence: int
    head: int
    lag: int
    last_contact_at: int | None
    last_event_at: int | None
    doctypes: dict[str, str]
    paused_types: dict[str, str] = field(default_factory=dict)
    unmapped: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Status:
    """One site at one moment (`at`, ms since 1970).

    `waiting_changes` counts committed changes that are not in the log yet; `pending` the types that a person
    has to approve or reject; `requests` what commands asked of the daemon and is not done, and `waiting` why, for each;
    `gaps` the notices that changes are missing, of the types `incomplete`, which stay until these are read again.
    """

    at: int
    site: str
    name: str
    daemon: DaemonStatus
    log: LogStatus | None
    waiting_changes: int
    consumers: tuple[ConsumerStatus, ...]
    producers: tuple[ProducerStatus, ...]
    parked: int
    held: int
    pending: int
    requests: int
    gaps: int
    incomplete: tuple[str, ...]
    waiting: tuple[str, ...] = ()


async def read_status(site: SiteDatabase, state: State) -> Status:
    """Look at everything once. Raises `NotInstalled`, `SiteError`, `StateError`."""
    now = now_ms()
    identity = await site.identity()
    if identity is None:
        raise NotInstalled("streamd is not installed in the site's database", hint="run `streamd install`")
    async with site.snapshot() as snapshot:
        queued = await snapshot.queue()
        queue = [event.state for event in queued]
        claim = await snapshot.last_claim()
        waiting = await snapshot.waiting_changes(claim)
    head = await UpdateLog(state).head()
    gaps = await SyncLog(state).gaps()
    peers, known = Peers(state), Producers(state)
    approvals = await peers.approvals()
    producers = []
    for producer in await known.all():
        types = await known.subscriptions(producer.name)
        paused = {
            event.doctype: reason
            for event in queued
            if event.producer == producer.producer_site and (reason := paused_reason(event))
        }
        producers.append(_producer(producer, types, paused))
    asked = await Requests(state).pending()
    return Status(
        at=now,
        site=identity.site,
        name=identity.name,
        daemon=_daemon(await Heartbeat(state).current(), now),
        log=LogStatus(head.log, head.sequence, head.trimmed_to) if head is not None else None,
        waiting_changes=waiting,
        consumers=tuple(_consumer(consumer, approvals, head) for consumer in await peers.consumers()),
        producers=tuple(producers),
        parked=queue.count(QueueState.PARKED),
        held=queue.count(QueueState.HELD),
        pending=sum(row.status == ApprovalStatus.PENDING for row in approvals),
        requests=len(asked),
        gaps=sum(gaps.values()),
        incomplete=tuple(gaps),
        waiting=tuple(_waiting(request, producers) for request in asked),
    )


def _waiting(request: Request, producers: Sequence[ProducerStatus]) -> str:
    """What was asked for, and why it is not done yet, as far as that is known."""
    status = next((each.status for each in producers if each.name == request.producer), "not asked yet")
    away = status in (PAUSED, AWAY, REFUSED)
    reason = f"{request.producer} is {status}" if away else request.result or "the daemon is about to do it"
    return f"{request.doctype} is to be read whole from {request.producer}: {reason}"


def is_running(beat: Beat | None, now: int) -> bool:
    """Whether the daemon that gave this sign of life runs at `now` (ms since 1970).

    On our own machine we look for its process, since one that was killed said no farewell.
    """
    if beat is None or not beat.alive(now):
        return False
    if beat.host != socket.gethostname()[:255]:
        return True
    if beat.pid == os.getpid():  # in a container, the daemon before us had our number
        return False
    try:
        os.kill(beat.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _daemon(beat: Beat | None, now: int) -> DaemonStatus:
    if beat is None:
        return DaemonStatus(running=False)
    running = is_running(beat, now)
    return DaemonStatus(
        running=running,
        pid=beat.pid,
        host=beat.host,
        version=beat.version,
        started_at=beat.started_at,
        beat_at=beat.beat_at,
        captured=beat.captured,
        problem=beat.problem if running else "",
    )


def _consumer(consumer: Consumer, approvals: Sequence[Approval], head: Head | None) -> ConsumerStatus:
    types = {row.doctype: row.status for row in approvals if row.consumer == consumer.name}
    lag = None
    if head is not None and ApprovalStatus.APPROVED in types.values():
        acknowledged = consumer.acknowledged if consumer.acknowledged_log == head.log else _begin(approvals, consumer)
        lag = max(head.sequence - acknowledged, 0)
    return ConsumerStatus(
        name=consumer.name,
        site=consumer.consumer_site,
        calls_itself=consumer.consumer_name,
        version=consumer.version,
        last_seen_at=consumer.last_seen_at,
        acknowledged=consumer.acknowledged,
        lag=lag,
        doctypes=types,
    )


def _begin(approvals: Sequence[Approval], consumer: Consumer) -> int:
    """Where the consumer's part of the log begins, while it has acknowledged nothing."""
    return min(
        row.from_sequence or 0
        for row in approvals
        if row.consumer == consumer.name and row.status == ApprovalStatus.APPROVED
    )


def _producer(producer: Producer, types: Sequence[SubscribedType], paused: dict[str, str]) -> ProducerStatus:
    return ProducerStatus(
        name=producer.name,
        url=producer.url,
        site=producer.producer_site,
        status=PAUSED if producer.paused else producer.status,
        error=producer.error,
        paused=producer.paused,
        sequence=producer.sequence,
        head=producer.head,
        lag=max(producer.head - producer.sequence, 0),
        last_contact_at=producer.last_contact_at,
        last_event_at=producer.last_event_at,
        doctypes={row.doctype: row.status for row in types} | dict.fromkeys(paused, PAUSED.capitalize()),
        paused_types=paused,
        unmapped={row.doctype: row.unmapped for row in types if row.unmapped},
    )
