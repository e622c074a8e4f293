"""What is known of a site at one moment. Times (`…_at`) are in milliseconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Life(StrEnum):
    """Whether the daemon works."""

    RUNNING = "running"
    SILENT = "silent"
    """Its process is there, and gives no sign of life: it is stopped, or its state database does not answer."""

    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """Whether the daemon runs, and what it said last. `problem`: what is wrong with its loops.

    `held_by`: who works on the site's database although no daemon says here that it runs; None: nobody.
    """

    running: bool
    state: Life = Life.STOPPED
    pid: int | None = None
    host: str | None = None
    version: str | None = None
    started_at: int | None = None
    beat_at: int | None = None
    captured: int = 0
    problem: str = ""
    held_by: str | None = None


@dataclass(frozen=True, slots=True)
class LogStatus:
    """The Event Update Log: its last entry, and how far it was trimmed.

    `last_gap` is the last change that could not be recorded in it, as type and reason, and `last_gap_at` its time.
    """

    log: str
    sequence: int
    trimmed_to: int
    last_gap: str = ""
    last_gap_at: int | None = None


@dataclass(frozen=True, slots=True)
class CaptureStatus:
    """How far this site's own changes are in the log: all that were committed before `captured_to_at`.

    `unknown_since_at`: nothing is known of what was committed later, and why.
    """

    captured_to_at: int | None
    age_seconds: float | None
    unknown_since_at: int | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class ConsumerStatus:
    """A site that subscribes to us.

    `lag` counts the log's entries that it has not acknowledged yet, `lag_seconds` says how old the oldest of them is
    that it may have. Both are None where that is not known: nothing is approved, some types are Pending, or this
    site's own changes are not all in the log.
    """

    name: str
    site: str | None
    calls_itself: str | None
    version: str | None
    last_seen_at: int | None
    acknowledged: int
    lag: int | None
    doctypes: dict[str, str]
    lag_seconds: float | None = None


class Completeness(StrEnum):
    """What a consumer can say of a type."""

    COMPLETE = "complete"
    """Everything is here that was committed at the producer up to a moment, which moves on."""

    INCOMPLETE = "incomplete"
    """It is known that something is not here, or may not be: the moment stands still."""

    UNKNOWN = "unknown"
    """What happened at the producer since then is not known."""


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """One type that we asked of a producer.

    Everything is here that was committed there before `complete_to_at` (its clock), which was `age_seconds` ago; None
    where that is not known. `why`: what makes it incomplete or unknown. `unknown_since_at` and
    `paused_since_at` (its events are held, as they cannot be applied here) are by our clock.
    """

    doctype: str
    approval: str
    state: Completeness
    complete_to_at: int | None
    age_seconds: float | None
    unknown_since_at: int | None = None
    why: str = ""
    paused_since_at: int | None = None


@dataclass(frozen=True, slots=True)
class ProducerStatus:
    """A site that we subscribe to. `lag` counts its log's entries that are not applied yet, as we last heard.

    It is None where that is not known, or where it would be 0 although not everything is here. `unknown_since_at`: what
    happened there since then is not known, because of `why`. `paused_types`: types whose events are held, because they
    cannot be applied here as the two sites are; and why. `unmapped`: by type, the producer's fields that its mapping
    drops.
    """

    name: str
    url: str
    site: str | None
    status: str
    error: str
    paused: bool
    sequence: int
    head: int
    lag: int | None
    last_contact_at: int | None
    last_event_at: int | None
    doctypes: dict[str, str]
    paused_types: dict[str, str] = field(default_factory=dict)
    unmapped: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unknown_since_at: int | None = None
    why: str = ""
    types: tuple[TypeStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """One site at one moment (`at`).

    `waiting_changes` counts committed changes that are not in the log yet; `pending` the types that a person
    has to approve or reject; `requests` what commands asked of the daemon and is not done, and `waiting` why, for each;
    `gaps` the notices that changes are missing, of the types `incomplete`, which stay until these are read again.
    `attention` says what a person should look at, a line each.
    """

    at: int
    site: str
    name: str
    daemon: DaemonStatus
    log: LogStatus | None
    capture: CaptureStatus
    waiting_changes: int
    consumers: tuple[ConsumerStatus, ...]
    producers: tuple[ProducerStatus, ...]
    parked: int
    held: int
    pending: int
    requests: int
    gaps: int
    incomplete: tuple[str, ...]
    attention: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
