"""An event, as it travels and as the log keeps it: what happened to one document."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from streamd.common.names import DocumentId, LinkId, Name, RowId, Scalar

SaidRows = dict[str, list[tuple[Scalar, RowId]]]
"""By field, the keys of child rows with the ids that the rows have, where these say something else."""


class Operation(StrEnum):
    """What an event does to its document; a gap says that events of a type are missing.

    A leave says that the document ceased to satisfy the consumer's condition: it is still there at the producer.
    """

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    LEAVE = "leave"
    GAP = "gap"


class Origin(msgspec.Struct, frozen=True):
    """Where an event was first made: the site, its log, the sequence there, and every site it has been at."""

    site: str
    log: str
    sequence: int
    path: tuple[str, ...]


class Mark(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an applying transaction leaves on the rows it writes, so that capture knows where they came from."""

    origin: Origin
    clock: str
    id: DocumentId | None = None
    links: tuple[LinkId, ...] = ()
    rows: SaidRows = {}


class Event(msgspec.Struct, omit_defaults=True):
    """One entry of the Event Update Log, as it travels.

    `data` is JSON: for a create the whole document (columns, and each child table's field as a list of rows);
    for an update the difference (`Difference`); for a delete null; for a gap `{"reason": …}`.
    `origin` is None for an event that was made at the site which serves it. `enters` says that the document came to
    satisfy the consumer's condition: it has to be taken whole, whatever is in `data`. `id` says which document
    it is, where that is not the natural one of its name, `links` the same of documents that it links to, and `rows` of
    child rows. `birth` is the site where the document came from, if the id does not say it: consumers that name
    documents themselves are told.
    """

    sequence: int
    nonce: str
    tx: int
    doctype: str
    name: Name
    operation: str
    clock: str
    at: int
    data: msgspec.Raw = msgspec.Raw(b"null")
    last_in_tx: bool = True
    renamed_from: Name | None = None
    origin: Origin | None = None
    enters: bool = False
    id: DocumentId | None = None
    links: tuple[LinkId, ...] = ()
    rows: SaidRows = {}
    birth: str = ""


Row = dict[str, Any]


class OldValues(msgspec.Struct, omit_defaults=True):
    """The values that an update replaced: of the parent's columns, of child rows, and whole removed rows."""

    changed: Row = {}
    row_changed: dict[str, list[Row]] = {}
    removed: dict[str, list[Row]] = {}


class Difference(msgspec.Struct, omit_defaults=True):
    """An update's data, in the ancestor's form.

    `changed`: columns of the parent; `added`: whole child rows by field; `removed`: names of child rows by field;
    `row_changed`: by field, each row's key with the columns that changed; `old`: what was there; `whole`: more may have
    become of child rows, so the document is to be taken as it is there; `made`: its making, where its row was replaced.
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
    """An event as the update log keeps it: with the parent row before and after, whole.

    `path` holds the sites that it has been at, this one last. `id`, `links` and `rows` are those of the event, as JSON.
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
    """A name that a document had until the log's entry `sequence` (`wire.FormerNameModel`)."""

    name: Name
    sequence: int
    clock: str


class FetchedDocument(msgspec.Struct, omit_defaults=True):
    """A document as it is now (`wire.DocumentModel`)."""

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
    """An answer with documents (`wire.DocumentsAnswer`)."""

    documents: list[FetchedDocument]
    as_of: str
    gone: dict[str, list[Name]] = {}
    unreadable: dict[str, list[tuple[Name, str]]] = {}
