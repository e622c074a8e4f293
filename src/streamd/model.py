"""The glossary: what each word means in streamd, as values.

site            one database with the daemon beside it; a UUID made at install, kept in the database
document type   ("doctype") a parent table with its child tables, what names a document, and what links it to others
document        one row of a document type's parent table, with the rows of its child tables
name            the values of a document's key columns, in order: `(12,)`, `("AB", 2024)`
change          one row of the change table: what a trigger saw of one row
event           one entry of the Event Update Log: what happened to one document (create, update, delete, gap)
origin          where an event was first made, and the path of sites that it has been at since
clock           a reading of the hybrid logical clock (`clock.py`)
claim           a batch of changes that the capture has taken; kept in the site's database
cursor          a place in a producer's log: the log's id, a sequence, and that entry's nonce
producer        a site that we subscribe to; consumer: a site that subscribes to us
approval        what a consumer may have of one document type, from which sequence on
checkpoint      how far we have applied a producer's log; committed together with the rows
record          what we remember of one synced document, beside it (`streamd_document`)
parked / held   an event that failed / an event that waits behind a failed one
id              which document is meant, whatever it is called (`identity.py`)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from streamd.common.names import DocumentId, LinkId, Name, RowId, Scalar, name_from_text, name_label, name_text
from streamd.doctypes import Catalogue, ChildTable, Column, DocumentType, ForeignKey, Kind, Link, Table
from streamd.events import Difference, Event, LogEntry, Mark, OldValues, Operation, Origin, Row, SaidRows

__all__ = [
    "LOCAL",
    "ApprovalStatus",
    "Catalogue",
    "Change",
    "ChangeOp",
    "ChildTable",
    "Claim",
    "Column",
    "Cursor",
    "Difference",
    "Document",
    "DocumentId",
    "DocumentType",
    "Event",
    "ForeignKey",
    "Kind",
    "Link",
    "LinkId",
    "LogEntry",
    "Mark",
    "Name",
    "OldValues",
    "Operation",
    "Origin",
    "QueueState",
    "QueuedEvent",
    "Record",
    "Row",
    "RowId",
    "SaidRows",
    "Scalar",
    "Subscription",
    "SyncEntry",
    "SyncStatus",
    "Table",
    "name_from_text",
    "name_label",
    "name_text",
]

LOCAL = ""
"""The origin mark of a change that was made at this site."""


class ChangeOp(StrEnum):
    """What happened to a row; or that its table was emptied, row by row unseen."""

    INSERT = "I"
    UPDATE = "U"
    DELETE = "D"
    TRUNCATE = "T"


@dataclass(slots=True)
class Change:
    """One row of the change table. `before` and `after` are JSON objects of the row's columns, or None.

    `at` is in milliseconds since 1970. `origin` is the mark of the applying transaction (`Mark` as JSON), or
    `LOCAL`. `tx` is equal for the changes of one transaction; it is 0 where the engine cannot tell transactions
    apart: then what one read saw counts as one.
    """

    id: int
    table: str
    op: str
    before: bytes | None
    after: bytes | None
    origin: str
    fingerprint: str
    at: int
    tx: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """What capture has taken last: batch number, the highest change in it, a digest of it, the clock after it.

    `ids` says exactly which changes these are (`names.id_ranges`): ids are given before transactions commit, so one
    that is lower than `last_change` may still appear. `previous_*` are those of the claim before.
    """

    log: str
    batch: int
    last_change: int
    digest: str
    clock: str
    previous_change: int = 0
    previous_clock: str = ""
    ids: str = ""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a producer's log. `sequence` 0 is before the first entry, and has an empty nonce."""

    log: str
    sequence: int
    nonce: str


@dataclass(frozen=True, slots=True)
class Document:
    """One document as it is in a database: its columns and its child rows (JSON values, decoded)."""

    doctype: str
    name: Name
    fields: Row
    children: dict[str, list[Row]] = field(default_factory=dict)


@dataclass(slots=True)
class Record:
    """What a site remembers of one synced document, beside it.

    `source` is the site that it came from (or this site); `seen` maps a log's id to the last sequence of that log
    which is contained in the document; `field_clocks` holds the clock of each field that was edited
    after the document was made (`column`, or `field/row key/column` in child rows), and `clock` is that of all
    others. `deleted_at` makes it a tombstone. `id` is the document's, where that is not the natural one of its name.
    """

    doctype: str
    name: Name
    source: str
    remote_name: Name
    clock: str = ""
    field_clocks: dict[str, str] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    deleted_at: int | None = None
    id: DocumentId | None = None

    @property
    def is_only_made(self) -> bool:
        """Whether all that is remembered is when the document was made here: no other site has been heard of it."""
        return not (self.deleted_at is not None or self.seen or self.field_clocks or self.id)

    def was_here(self, site: str, clock: str) -> bool:
        """Whether a document that came from another site than `site` has the name, and had it before this reading."""
        return self.deleted_at is None and self.source != site and self.clock < clock

    def clock_of(self, fieldname: str) -> str:
        """When this field was last written, as far as we know."""
        return max(self.field_clocks.get(fieldname, ""), self.clock)


class QueueState(StrEnum):
    """Why an event is kept back."""

    PARKED = "parked"
    HELD = "held"


class QueueRequest(StrEnum):
    """What was asked for, of a parked or held event: to try it again, or to take its document whole."""

    RETRY = "retry"
    WHOLE = "whole"


@dataclass(slots=True)
class QueuedEvent:
    """A parked or held event, kept in the site's database until it is applied, or discarded by hand.

    `doctype` is its type as it is called here; `event` is as the producer sent it.
    `waits_for` names the document (type, name as text) that it needs, where that is what it waits for.
    `request` is what was asked for (`QueueRequest`), or "".
    `tried_to` is the `parked_at` of the last event that was tried together with this one.
    """

    id: int
    producer: str
    log: str
    event: Event
    state: str
    error: str
    attempts: int
    retry_at: int
    waits_for: tuple[str, str] | None = None
    request: str = ""
    parked_at: int = 0
    tried_to: int = 0
    doctype: str = ""

    def __post_init__(self) -> None:
        self.doctype = self.doctype or self.event.doctype


class ApprovalStatus(StrEnum):
    """What the producer's operator decided about one document type for one consumer."""

    PENDING = "Pending"
    APPROVED = "Approved"
    REJECTED = "Rejected"
    UNSUBSCRIBED = "Unsubscribed"


@dataclass(frozen=True, slots=True)
class Subscription:
    """One document type that we want of a producer."""

    doctype: str
    use_same_name: bool = True
    unsubscribe: bool = False


class SyncStatus(StrEnum):
    """How an event fared here, in the Event Sync Log."""

    SYNCED = "Synced"
    FAILED = "Failed"
    HELD = "Held"
    DISCARDED = "Discarded"
    APPLYING = "Applying"


@dataclass(slots=True)
class SyncEntry:
    """One entry of the Event Sync Log. `note` says what was decided, where that is not obvious."""

    update_type: str
    status: str
    doctype: str
    producer: str
    docname: str
    remote_docname: str
    use_same_name: bool
    data: str
    sequence: int
    error: str = ""
    note: str = ""
    at: int = 0
    id: int = 0
