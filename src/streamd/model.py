"""The glossary: what each word means in streamd, as values.

Five nouns come first. They are used in no other sense:

site            one database with the daemon beside it; a UUID created at install and kept in the database
document type   ("doctype") a parent table with its child tables, the columns that name a document, and its links
document        one row of a document type's parent table, with the rows of its child tables
name            the values of a document's key columns, in order: `(12,)`, `("AB", 2024)`
event           one entry of the Event Update Log: what happened to one document (create, update, delete, leave, gap)

change          one row of the change table: what a trigger recorded of one row
origin          where an event was first made, and the path of sites that it has passed through
clock           a reading of the hybrid logical clock (`common/clock.py`)
claim           a batch of changes that capture has taken; kept in the site's database
cursor          a position in a producer's log: the log's id, a sequence, and that entry's nonce
producer        a site that this one subscribes to; consumer: a site that subscribes to this one
approval        what a consumer may read of one document type, from which sequence on
checkpoint      how far this site has applied a producer's log; committed together with the rows
record          what a site stores about one synced document, beside it (`streamd_document`)
parked / held   an event that failed / an event that waits behind a failed one
id              identifies a document for its whole life, also across renames (`identity.py`)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from streamd.common.values import *  # noqa: F403  # a name or an id is part of the glossary
from streamd.common.values import DocumentId, LinkId, Name, RowId, Scalar
from streamd.doctypes import *  # noqa: F403  # and so is a document type

Row = dict[str, Any]

SaidRows = dict[str, list[tuple[Scalar, RowId]]]
"""By field, the keys of child rows with the ids that the rows have, where these say something else."""


class Operation(StrEnum):
    """What an event does to its document. A gap means that events of a type are missing.

    A leave means that the document no longer satisfies the consumer's condition. The producer still has it.
    """

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    LEAVE = "leave"
    GAP = "gap"


class Origin(msgspec.Struct, frozen=True):
    """Where an event was first made: the site, its log, the sequence there, and the sites that it passed through."""

    site: str
    log: str
    sequence: int
    path: tuple[str, ...]


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """The mark of an applying transaction on the rows that it writes. It tells capture where they came from."""

    origin: Origin
    clock: str
    id: DocumentId | None = None
    links: tuple[LinkId, ...] = ()
    rows: SaidRows = {}


class Event(msgspec.Struct, omit_defaults=True):
    """One entry of the Event Update Log, as it is sent.

    `data` is JSON: for a create the whole document (columns, and each child table's field as a list of rows); for an
    update the difference (`Difference`); for a delete null; for a gap `{"reason": …}`. `origin` is None for an event
    that was made at the site that serves it. `enters`: the document now satisfies the consumer's condition, so it must
    be fetched whole. `id` is the document's id, if that is not the natural one of its name; `links` has such ids of
    documents that it links to, and `rows` of its child rows. `birth` is the site where the document came from, if the
    id does not say it: consumers that name documents themselves are told.
    """

    sequence: int
    nonce: str
    tx: int
    doctype: str
    name: Name
    operation: str
    clock: str
    at: int
    data: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))
    last_in_tx: bool = True
    renamed_from: Name | None = None
    origin: Origin | None = None
    enters: bool = False
    id: DocumentId | None = None
    links: tuple[LinkId, ...] = ()
    rows: SaidRows = {}
    birth: str = ""


class OldValues(msgspec.Struct, omit_defaults=True):
    """The values that an update replaced: of the parent row, of child rows, and whole removed rows."""

    changed: Row = {}
    row_changed: dict[str, list[Row]] = {}
    removed: dict[str, list[Row]] = {}


class Difference(msgspec.Struct, omit_defaults=True):
    """An update's data.

    `changed`: columns of the parent row; `added`: whole child rows by field; `removed`: keys of child rows by field;
    `row_changed`: by field, each row's key with the columns that changed; `old`: the old values; `whole`: the document
    must be fetched whole, as other child rows may have changed; `made`: when it was created, if its row was replaced.
    """

    changed: Row = {}
    added: dict[str, list[Row]] = {}
    removed: dict[str, list[list[Any]]] = {}
    row_changed: dict[str, list[Row]] = {}
    old: OldValues = msgspec.field(default_factory=OldValues)
    whole: bool = False
    made: str = ""


@dataclass(slots=True)
class LogEntry:
    """An event as the update log stores it, with the whole parent row before and after.

    `path` has the sites that it has passed through, this one last. `id`, `links` and `rows` are the event's, as JSON.
    """

    sequence: int
    nonce: str
    tx: int
    last_in_tx: bool
    doctype: str
    name: str
    operation: str
    clock: str
    at: int
    data: str
    before: str | None
    after: str | None
    renamed_from: str | None
    origin: str | None
    path: str
    id: str | None = None
    links: str | None = None
    rows: str | None = None


class FormerName(msgspec.Struct, omit_defaults=True):
    """A name that a document had until it was renamed by the log's entry `sequence`."""

    name: Name
    sequence: int
    clock: str


class FetchedDocument(msgspec.Struct, omit_defaults=True):
    """A document as it is now.

    `source` is the site that it came from, if known. `clocks` are those of its fields; that of all others is under the
    empty name. A new column without edits has an empty clock. `former` are its earlier names, the latest first.
    """

    doctype: str
    name: Name
    data: msgspec.Raw
    clock: str
    source: str = ""
    clocks: dict[str, str] = {}
    id: DocumentId | None = None
    links: tuple[LinkId, ...] = ()
    rows: SaidRows = {}
    birth: str = ""
    former: tuple[FormerName, ...] = ()


class Documents(msgspec.Struct, omit_defaults=True):
    """Documents as they are now, up to the cursor `as_of` of the log.

    Absent and forbidden documents are left out. Linked ones (`follow`) come after the wanted ones. By approved type,
    `gone` has those that do not exist for the consumer; `unreadable` those that cannot be read, each with the reason.
    """

    documents: list[FetchedDocument]
    as_of: str
    gone: dict[str, list[Name]] = {}
    unreadable: dict[str, list[tuple[Name, str]]] = {}


LOCAL = ""
"""The origin mark of a change that was made at this site."""


class ChangeOp(StrEnum):
    """What happened to a row; or that its table was truncated, so that no trigger fired for its rows."""

    INSERT = "I"
    UPDATE = "U"
    DELETE = "D"
    TRUNCATE = "T"


@dataclass(slots=True)
class Change:
    """One row of the change table. `before` and `after` are JSON objects of the row's columns, or None.

    `at` is in milliseconds since 1970. `origin` is the mark of the applying transaction (`Mark` as JSON), or `LOCAL`.
    `tx` is equal for the changes of one transaction. It is 0 if the engine cannot tell transactions apart: then the
    changes of one read count as one transaction.
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
    """The batch that capture has taken last: its number, highest change and digest, and the clock after it.

    `ids` are exactly the changes in it (`id_ranges`). Ids are allocated before transactions commit, so one below
    `last_change` may still appear. `previous_*` are those of the previous claim.
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
    """A position in a producer's log. `sequence` 0 is before the first entry, and has an empty nonce."""

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
    """What a site stores about one synced document, beside it.

    `source` is the site that it came from, or this site. `seen` maps a log's id to the last sequence of that log that
    the document contains. `field_clocks` has the clock of each field that was edited after the document was created
    (`column`, or `field/row key/column` in child rows); `clock` is that of all others. `deleted_at` makes it a
    tombstone. `id` is the document's id, if that is not the natural one of its name.
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
        """Whether it only records when the document was created here."""
        return not (self.deleted_at is not None or self.seen or self.field_clocks or self.id)

    def was_here(self, site: str, clock: str) -> bool:
        """Whether it is of a document that came from another site than `site`, and had its name before this reading."""
        return self.deleted_at is None and self.source != site and self.clock < clock

    def clock_of(self, fieldname: str) -> str:
        """When this field was last written, as far as is known."""
        return max(self.field_clocks.get(fieldname, ""), self.clock)


class QueueState(StrEnum):
    """Why an event is not applied yet."""

    PARKED = "parked"
    HELD = "held"


class QueueRequest(StrEnum):
    """What a command requested for a parked or held event: to retry it, or to fetch its document whole."""

    RETRY = "retry"
    WHOLE = "whole"


@dataclass(slots=True)
class QueuedEvent:
    """A parked or held event, stored in the site's database until it is applied, or discarded by a command.

    `doctype` is the local name of its type; `event` is as the producer sent it. `waits_for` is the document (type, name
    as text) that it needs, if it waits for one. `request` is a `QueueRequest` or "". `tried_to` is the `parked_at` of
    the last event that was tried together with this one.
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


class SyncStatus(StrEnum):
    """The status of an event in the Event Sync Log."""

    SYNCED = "Synced"
    FAILED = "Failed"
    HELD = "Held"
    DISCARDED = "Discarded"
    APPLYING = "Applying"


@dataclass(slots=True)
class SyncEntry:
    """One entry of the Event Sync Log. `note` explains a decision that is not obvious."""

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
