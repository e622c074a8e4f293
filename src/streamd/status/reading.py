"""Reads how a site is doing from its two databases."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace

from streamd.db.base import SiteDatabase
from streamd.errors import NotInstalled
from streamd.model import ApprovalStatus, QueuedEvent, QueueState
from streamd.status.judging import capture_status, lag_of, silence, type_status
from streamd.status.values import (
    ConsumerStatus,
    DaemonStatus,
    Life,
    LogStatus,
    ProducerStatus,
    Status,
)
from streamd.store.engine import State, now_ms
from streamd.store.heartbeat import ALIVE_MS, Beat, Heartbeat, Request, Requests
from streamd.store.peers import Approval, Consumer, Peers
from streamd.store.producers import (
    AWAY,
    CATCHING_UP,
    CONNECTED,
    PAUSED,
    REFUSED,
    Obstacles,
    Producer,
    Producers,
    SubscribedType,
)
from streamd.store.sync_log import SyncLog
from streamd.update_log import Head, UpdateLog


async def read_status(site: SiteDatabase, state: State) -> Status:
    """Look at everything once. Raises `NotInstalled`, `SiteError`, `StateError`."""
    now = now_ms()
    identity = await site.identity()
    if identity is None:
        raise NotInstalled("streamd is not installed in the site's database", hint="run `streamd install`")
    async with site.snapshot() as snapshot:
        queued = await snapshot.queue()
        waiting = await snapshot.waiting_changes(await snapshot.last_claim())
    update_log, peers = UpdateLog(state), Peers(state)
    head = await update_log.head()
    gaps = await SyncLog(state).gaps()
    requests = await Requests(state).pending()
    approvals = await peers.approvals()
    beat = await Heartbeat(state).current()
    daemon = _daemon(beat, now)
    capture = capture_status(beat, daemon, now)
    consumers = []
    for consumer in await peers.consumers():
        rows = [row for row in approvals if row.consumer == consumer.name]
        since = _begin(rows, consumer, head) if head is not None else None
        oldest = None
        if since is not None:
            mine = [row.doctype for row in rows if row.status == ApprovalStatus.APPROVED]
            oldest = await update_log.first_after(since, mine)
        lag = None if since is None or head is None else max(head.sequence - since, 0)
        seems_none = capture.why or waiting or any(row.status == ApprovalStatus.PENDING for row in rows)
        known = lag is not None and (lag > 0 or not seems_none)
        seconds = 0.0 if oldest is None else max(now - oldest, 0) / 1000
        consumers.append(_consumer(consumer, rows, lag if known else None, seconds if known else None))
    known_producers = Producers(state)
    producers = []
    for producer in await known_producers.all():
        types = await known_producers.subscriptions(producer.name)
        missing = await SyncLog(state).gaps(producer.name)
        obstacles = _obstacles(producer, types, queued, missing, requests)
        producers.append(_producer(producer, types, obstacles, daemon, now))
    states = [event.state for event in queued]
    return Status(
        at=now,
        site=identity.site,
        name=identity.name,
        daemon=daemon,
        log=None if head is None else await _log(update_log, head),
        capture=capture,
        waiting_changes=waiting,
        consumers=tuple(consumers),
        producers=tuple(producers),
        parked=states.count(QueueState.PARKED),
        held=states.count(QueueState.HELD),
        pending=sum(row.status == ApprovalStatus.PENDING for row in approvals),
        requests=len(requests),
        gaps=sum(gaps.values()),
        incomplete=tuple(gaps),
        waiting=tuple(_waiting(request, producers) for request in requests),
    )


async def _log(update_log: UpdateLog, head: Head) -> LogStatus:
    found = LogStatus(head.log, head.sequence, head.trimmed_to)
    gap = await update_log.last_gap()
    return found if gap is None else replace(found, last_gap=f"{gap[0]}: {gap[1]}", last_gap_at=gap[2])


def _waiting(request: Request, producers: Sequence[ProducerStatus]) -> str:
    """What was asked for, and why it is not done yet, as far as that is known."""
    status = next((each.status for each in producers if each.name == request.producer), "not asked yet")
    away = status in (PAUSED, AWAY, REFUSED)
    reason = f"{request.producer} is {status}" if away else request.result or "the daemon is about to do it"
    return f"{request.doctype} will be read again from {request.producer}: {reason}"


def life_of(beat: Beat | None, now: int) -> Life:
    """Whether the daemon that gave this sign of life works at `now` (ms since 1970).

    On our own machine we look for its process, since one that was killed said no farewell.
    """
    if beat is None or beat.stopped_at is not None:
        return Life.STOPPED
    if beat.host != socket.gethostname()[:255]:
        return Life.RUNNING if beat.alive(now) else Life.STOPPED
    if beat.pid == os.getpid():  # in a container, the daemon before us had our number
        return Life.STOPPED
    try:
        os.kill(beat.pid, 0)
    except ProcessLookupError:
        return Life.STOPPED
    except PermissionError:
        pass
    # A sign from the future is an old one: the clock was set back since, and on one machine there is one clock.
    return Life.RUNNING if abs(now - beat.beat_at) < ALIVE_MS else Life.SILENT


def is_running(beat: Beat | None, now: int) -> bool:
    """Whether the daemon that gave this sign of life runs at `now` (ms since 1970)."""
    return life_of(beat, now) == Life.RUNNING


def _daemon(beat: Beat | None, now: int) -> DaemonStatus:
    if beat is None:
        return DaemonStatus(running=False)
    state = life_of(beat, now)
    return DaemonStatus(
        running=state == Life.RUNNING,
        state=state,
        pid=beat.pid,
        host=beat.host,
        version=beat.version,
        started_at=beat.started_at,
        beat_at=beat.beat_at,
        captured=beat.captured,
        problem=beat.problem if state != Life.STOPPED else "",
    )


def _consumer(
    consumer: Consumer, rows: Sequence[Approval], lag: int | None, lag_seconds: float | None
) -> ConsumerStatus:
    return ConsumerStatus(
        name=consumer.name,
        site=consumer.consumer_site,
        calls_itself=consumer.consumer_name,
        version=consumer.version,
        last_seen_at=consumer.last_seen_at,
        acknowledged=consumer.acknowledged,
        lag=lag,
        doctypes={row.doctype: row.status for row in rows},
        lag_seconds=lag_seconds,
    )


def _begin(rows: Sequence[Approval], consumer: Consumer, head: Head) -> int | None:
    """Up to where the consumer has the log: what it acknowledged, or where its part begins. None if it has none."""
    begins = [row.from_sequence or 0 for row in rows if row.status == ApprovalStatus.APPROVED]
    if not begins:
        return None
    return consumer.acknowledged if consumer.acknowledged_log == head.log else min(begins)


def _obstacles(
    producer: Producer,
    types: Sequence[SubscribedType],
    queued: Sequence[QueuedEvent],
    gaps: Mapping[str, int],
    requests: Sequence[Request],
) -> Obstacles:
    paused = {each.doctype: each.paused for each in types if each.paused}
    waiting = {event.doctype for event in queued if event.producer == producer.producer_site}
    requested = {request.doctype for request in requests if request.producer == producer.name}
    return Obstacles(paused, waiting, gaps.keys(), requested)


UNKNOWN = "unknown"


def _status(producer: Producer, silent: str) -> str:
    """How it goes with a producer; what was said last does not count where nobody knows any more."""
    if producer.paused:
        return PAUSED
    return UNKNOWN if silent and producer.status in (CONNECTED, CATCHING_UP) else producer.status


def _producer(
    producer: Producer, types: Sequence[SubscribedType], obstacles: Obstacles, daemon: DaemonStatus, now: int
) -> ProducerStatus:
    silent = silence(producer, daemon, now)
    found = tuple(type_status(row, producer, obstacles, silent, now) for row in types)
    return ProducerStatus(
        name=producer.name,
        url=producer.url,
        site=producer.producer_site,
        status=_status(producer, silent),
        error=producer.error,
        paused=producer.paused,
        sequence=producer.sequence,
        head=producer.head,
        lag=lag_of(producer, found),
        last_contact_at=producer.last_contact_at,
        last_event_at=producer.last_event_at,
        doctypes={row.doctype: row.status for row in types} | dict.fromkeys(obstacles.paused, PAUSED.capitalize()),
        paused_types=dict(obstacles.paused),
        unmapped={row.doctype: row.unmapped for row in types if row.unmapped},
        unknown_since_at=producer.last_contact_at if silent else None,
        why=silent,
        types=found,
    )
