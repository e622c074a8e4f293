"""What may be said of a site from what is known, and what a person should look at. Pure.

Nothing is called complete, or zero entries behind, that is only not known to be otherwise.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from streamd.model import ApprovalStatus
from streamd.status.values import (
    CaptureStatus,
    Completeness,
    ConsumerStatus,
    DaemonStatus,
    Life,
    ProducerStatus,
    Status,
    TypeStatus,
)
from streamd.store.heartbeat import STARTING, Beat
from streamd.store.producers import CATCHING_UP, CONNECTED, PAUSED, Obstacles, Producer, SubscribedType

STALE_SECONDS = 60.0
"""A moment up to which all is known, and which is older than this, does not move on as it should."""


STARTING_OR_ELSEWHERE = (
    "the daemon is starting, or another one works on the site's database with another state database"
)

MAX_AGE = 300.0
"""Seconds: what is older is something to look at, where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on a lag is something to look at: in seconds, and in entries of a log (None: whatever it is)."""

    max_age: float = MAX_AGE
    max_behind: int | None = None


def capture_status(beat: Beat | None, daemon: DaemonStatus, now: int) -> CaptureStatus:
    """How far this site's own changes are known to be in the log."""
    to = beat.captured_to if beat is not None else None
    if beat is None or to is None:
        since = beat.started_at if beat is not None else None
        return CaptureStatus(None, None, since, _not_working(daemon) or "it has not read all changes yet")
    age = max(now - to, 0) / 1000
    why = _not_working(daemon)
    if not why and age > STALE_SECONDS:
        why = "capture has not caught up"
    return CaptureStatus(to, age, to if why else None, why)


def silence(producer: Producer, daemon: DaemonStatus, now: int) -> str:
    """Why it is not known what happened at a producer since we last heard from it; nothing where it is known."""
    if why := _not_working(daemon):
        return why
    if producer.paused:
        return PAUSED
    if producer.status not in (CONNECTED, CATCHING_UP):
        return producer.status
    if producer.status == CONNECTED and abs(now - (producer.last_contact_at or 0)) > STALE_SECONDS * 1000:
        return "no word from it"
    return ""


def type_status(entry: SubscribedType, producer: Producer, obstacles: Obstacles, silent: str, now: int) -> TypeStatus:
    """What may be said of one type. `silent`: why nothing is known of the producer, or nothing."""
    known = entry.complete
    age = None if known is None else known.age_at(now) / 1000
    heard = producer.last_contact_at
    blocked = obstacles.before(entry.doctype, entry.status)

    def found(state: Completeness, why: str = "", since: int | None = None) -> TypeStatus:
        moment = None if known is None else known.moment
        return TypeStatus(entry.doctype, entry.status, state, moment, age, since, why, entry.paused_at)

    if silent:
        return found(Completeness.UNKNOWN, "; ".join(filter(None, (silent, blocked))), heard)
    if blocked:
        return found(Completeness.INCOMPLETE, blocked)
    if producer.head > producer.sequence:
        return found(Completeness.INCOMPLETE, "there is more to fetch")
    if known is None or age is None:
        return found(Completeness.UNKNOWN, "the producer has not reported yet up to when its log is complete", heard)
    if age > STALE_SECONDS:
        return found(Completeness.UNKNOWN, "its capture has not caught up since then", now - round(age * 1000))
    return found(Completeness.COMPLETE)


def lag_of(producer: Producer, types: Sequence[TypeStatus]) -> int | None:
    """How many entries of a producer's log are not applied yet; None where nobody can say."""
    lag = max(producer.head - producer.sequence, 0)
    wanted = [each for each in types if each.approval != ApprovalStatus.UNSUBSCRIBED]
    if any(each.state == Completeness.UNKNOWN for each in wanted) or not wanted:
        return None
    return lag if lag or all(each.state == Completeness.COMPLETE for each in wanted) else None


def attention(found: Status, limits: Limits) -> tuple[str, ...]:
    """What a person should look at, a line each; nothing where all goes well."""
    lines = [*_here(found, limits)]
    for producer in found.producers:
        lines += _producer(producer, limits, found.at)
    for consumer in found.consumers:
        lines += _consumer(consumer, limits)
    return tuple(lines)


def _here(found: Status, limits: Limits) -> Iterator[str]:
    if why := _not_working(found.daemon):
        yield f"{why}: nothing is captured, sent or applied"
    if found.daemon.problem == STARTING:
        yield "the daemon is starting: nothing is captured, sent or applied yet"
    elif found.daemon.problem:
        yield f"problem: {found.daemon.problem}"
    age = found.capture.age_seconds
    if found.daemon.running and age is not None and age > limits.max_age:
        yield f"this site's own changes are captured only up to {age:.0f} s ago"
    for state, number in (("failed", found.parked), ("held", found.held)):
        if number:
            word = {"failed": "parked", "held": "held"}[state]
            events = "event" if number == 1 else "events"
            yield f"{number} {events} {word}: `streamd log syncs --status {state}` lists them, with the reasons"
    for doctype in found.incomplete:
        again = f"`streamd resync --doctype {shlex.quote(doctype)} --whole` reads it again"
        yield f"{doctype}: changes are missing: {again}"


def _producer(row: ProducerStatus, limits: Limits, now: int) -> Iterator[str]:
    if row.error:
        yield f"{row.name}: {row.status}: {row.error.removeprefix(f'{row.name}: ')}"
    elif row.why:
        yield f"{row.name}: nothing is known since the last contact: {row.why}"
    since = {each.doctype: each.paused_since_at for each in row.types}
    for doctype, reason in row.paused_types.items():
        seconds = (now - (since.get(doctype) or now)) // 1000
        yield (
            f"{row.name}: {doctype} is paused since {seconds} s ago, and its events are held: {reason}. Fix that: it "
            "continues by itself within a minute"
        )
    if limits.max_behind is not None and row.lag is not None and row.lag > limits.max_behind:
        yield f"{row.name}: {row.lag} entries behind"
    if row.why:
        return
    for each in row.types:
        if each.approval == ApprovalStatus.UNSUBSCRIBED or each.doctype in row.paused_types:
            continue
        if each.approval != ApprovalStatus.APPROVED:
            yield f"{row.name}: {each.doctype} is {each.approval} there: {_undecided(each)}"
        elif each.age_seconds is None and each.state == Completeness.UNKNOWN:
            yield f"{row.name}: {each.doctype}: {each.why}"
        elif each.age_seconds is not None and each.age_seconds > limits.max_age:
            why = f": {each.why}" if each.why else ""
            yield f"{row.name}: {each.doctype} is complete only up to {each.age_seconds:.0f} s ago{why}"


def _undecided(entry: TypeStatus) -> str:
    doctype = shlex.quote(entry.doctype)
    if entry.approval != ApprovalStatus.PENDING:
        return "nothing of it arrives. Ask that site's operator, or remove it from doctypes here"
    return (
        f"nothing of it arrives until somebody runs `streamd consumers approve NAME {doctype}` at that site "
        "(`streamd consumers list` shows this site's NAME there)"
    )


def _consumer(row: ConsumerStatus, limits: Limits) -> Iterator[str]:
    pending = [doctype for doctype, status in row.doctypes.items() if status == ApprovalStatus.PENDING]
    if pending:
        yield (
            f"consumer {row.name} asks for {', '.join(pending)}: Pending, nothing of it is sent until you run "
            f"`streamd consumers approve {shlex.join([row.name, *pending])}`"
        )
    late = row.lag_seconds is not None and row.lag_seconds > limits.max_age
    far = limits.max_behind is not None and row.lag is not None and row.lag > limits.max_behind
    if late or far:
        age = "" if row.lag_seconds is None else f", the oldest from {row.lag_seconds:.0f} s ago"
        yield f"consumer {row.name} is {row.lag} entries behind{age}"


def _not_working(daemon: DaemonStatus) -> str:
    if daemon.state == Life.STOPPED:
        return "the daemon does not run" if daemon.held_by is None else f"{STARTING_OR_ELSEWHERE} ({daemon.held_by})"
    return "the daemon gives no sign of life" if daemon.state == Life.SILENT else ""
