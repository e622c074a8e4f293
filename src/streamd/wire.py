"""The peer API's words: requests and answers, cursors, and how documents are written as JSON.

Small messages are pydantic models, of which the OpenAPI document is made; pages of events are encoded and
decoded with msgspec, because they are the hot path (`EventsPage` describes them for readers and for the
OpenAPI document, and a test holds both against each other). `docs/reference/protocol.md` explains the whole.

Values: JSON's own types; a number with a point is a decimal or float and is never rounded on its way;
bytes are `{"$hex": "00ff"}`; dates, times and UUIDs are ISO text.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from streamd.common.json_values import HEX as HEX
from streamd.common.json_values import read_json as read_json
from streamd.common.json_values import read_lists as read_lists
from streamd.common.json_values import read_rows as read_rows
from streamd.common.json_values import write_json as write_json
from streamd.errors import InvalidRequest
from streamd.events import Documents as Documents
from streamd.events import Event
from streamd.events import FetchedDocument as FetchedDocument
from streamd.events import FormerName as FormerName
from streamd.model import Cursor

PROTOCOL = 1
"""The version of the protocol that this release speaks."""

API = "/v1"

SITE_HEADER = "Streamd-Site"
"""The header with the consumer's site UUID. It gives no rights: a site refuses itself by it, before any key."""

NAME_LIMIT = 140
PATH_LIMIT = 10_000
"""Characters in the name of a site or document type, at most."""

PARTIAL_VIEW = "partial_view"
"""The code of a refusal where the producer may not see all documents of a type, so that it lists none."""

PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""What a peer says of itself is shown in terminals, so it may hold no control characters."""

SHOWABLE = r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$"
"""The same for what may have several lines."""

Text = Annotated[str, Field(min_length=1, max_length=NAME_LIMIT, pattern=PRINTABLE)]
SiteId = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
CursorText = Annotated[str, Field(max_length=200)]
Finite = Annotated[StrictFloat, Field(allow_inf_nan=False)]
NamePart = StrictInt | Finite | Annotated[StrictStr, Field(max_length=4000)]
NameParts = Annotated[list[NamePart], Field(min_length=1, max_length=16)]
RowPairs = dict[str, list[tuple[NamePart, tuple[NamePart, str]]]]


class Message(BaseModel):
    """A request or an answer. Unknown fields are ignored, so that a newer peer can say more."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class ErrorDetail(Message):
    code: str = Field(description="for programs; listed in docs/reference/protocol.md")
    message: str = Field(description="what is wrong, for people")
    hint: str = Field("", description="how to fix it")


class ErrorAnswer(Message):
    error: ErrorDetail


class HealthAnswer(Message):
    status: Literal["ok", "troubled"] = Field("ok", description="whether all that the daemon does goes well")


class WantedDoctype(Message):
    doctype: Text
    use_same_name: bool = True
    unsubscribe: bool = False
    condition: str = Field(
        "", max_length=2000, pattern=SHOWABLE, description="only documents for which this holds (an expression)"
    )
    lookups: list[Text] = Field(
        default=[], max_length=100, description="further types of which documents are looked for by their values"
    )


class HandshakeRequest(Message):
    """A consumer introduces itself, and says what it wants. What it no longer names, it no longer wants."""

    protocols: list[int] = Field(min_length=1, max_length=16, description="the versions that the consumer speaks")
    site: SiteId
    name: Text
    version: str = Field("", max_length=40, pattern=PRINTABLE)
    clock_ms: int = Field(0, ge=0, le=1 << 52, description="the consumer's wall clock, milliseconds since 1970")
    doctypes: list[WantedDoctype] = Field(max_length=1000)
    trial: bool = Field(False, description="answer as to a handshake, and change nothing")


class ColumnDescriptor(Message):
    name: str
    kind: str
    declared: str
    nullable: bool
    generated: bool


class LinkDescriptor(Message):
    columns: list[str]
    doctype: str | None = None
    type_column: str | None = None


class ChildDescriptor(Message):
    field: str
    key: list[str]
    parent_key: list[str] = []
    columns: list[ColumnDescriptor]
    links: list[LinkDescriptor]


class DoctypeDescriptor(Message):
    """How a document type looks at this site, so that the other side can be judged before a document arrives."""

    doctype: str
    key: list[str]
    columns: list[ColumnDescriptor]
    links: list[LinkDescriptor]
    children: list[ChildDescriptor]
    fingerprint: str


class SubscriptionState(Message):
    doctype: str
    status: Literal["Pending", "Approved", "Rejected", "Unsubscribed"]
    opens: list[str] = Field(default=[], description="further types that the approval opens through links")
    approved_at: int | None = Field(None, description="when it was approved, milliseconds since 1970")
    resumed: bool = Field(False, description="approved again after a break: what was logged in between is not served")


class HandshakeAnswer(Message):
    protocol: int
    site: str
    name: str
    version: str
    log: str
    clock_ms: int
    subscriptions: list[SubscriptionState]
    doctypes: list[DoctypeDescriptor] = Field(description="the approved types, and those that they open")


_OWN_NAMES = Field(
    False,
    description="whether the consumer names documents itself: then it is also said where they came from",
)


class EventsRequest(Message):
    """Ask for the entries of the log after a cursor. Without a cursor: from where the approvals begin."""

    cursor: CursorText | None = None
    acknowledged: CursorText | None = Field(None, description="everything up to here is durable at the consumer")
    limit: int = Field(1000, ge=1, le=20_000)
    max_bytes: int | None = Field(
        None, ge=1, description="how large the answer may be, about; one event is given in any case"
    )
    wait_seconds: float = Field(0, ge=0, le=120, description="how long to wait if there is nothing yet")
    subscriptions: dict[str, str] | None = Field(
        None,
        max_length=1000,
        description="what the consumer knows of its subscriptions: the status by type. Where one is another now, there "
        "is no waiting",
    )
    own_names: bool = _OWN_NAMES


class OriginModel(Message):
    site: SiteId
    log: str
    sequence: int
    path: list[SiteId]


class IdModel(Message):
    """Which document is meant, whatever it is called: the name that it was made under, and what sets it apart."""

    name: NameParts
    clock: str = Field("", description="of the event that made it, where its name had been another document's")
    site: str = Field("", description="where it was made, once it came to a site that names documents itself")


_BIRTH = Field("", description="the site that the document came from, for consumers that name documents themselves")


class LinkIdModel(Message):
    doctype: str
    name: NameParts
    id: IdModel | None = Field(None, description="null where no document had the name")
    birth: str = _BIRTH


_ID = Field(None, description="which document it is; absent where that is the one that was made under the name first")
_LINKS: list[LinkIdModel] = Field(default=[], description="the same of documents that it links to")
_ROWS: RowPairs = Field(
    default={},
    description="the same of child rows, by field: the key, and the id of the row, which is the key that it got where "
    "it was added, and that site, or an empty text",
)


class EventModel(Message):
    """One entry of the Event Update Log."""

    sequence: int
    nonce: str
    tx: int
    last_in_tx: bool = True
    doctype: str
    name: NameParts
    operation: str = Field(description="create, update, delete, leave or gap")
    clock: str
    at: int
    data: Any = None
    renamed_from: NameParts | None = None
    origin: OriginModel | None = Field(None, description="absent for an event that was made at the producer")
    enters: bool = Field(False, description="the document came to satisfy the condition: it is to be taken whole")
    id: IdModel | None = _ID
    links: list[LinkIdModel] = _LINKS
    rows: RowPairs = _ROWS
    birth: str = _BIRTH


class EventsPage(Message):
    events: list[EventModel]
    next: str = Field(description="the cursor to ask with next")
    head: int = Field(description="the sequence of the log's last entry")
    subscriptions: dict[str, str] = Field(description="each type's status, as it is now")
    complete_to: int | None = Field(
        None,
        description="everything that was committed at this site before this moment (its clock, ms since 1970) is in "
        "the log up to `next`; null where that is not known",
    )
    clock_ms: int = Field(0, description="this site's wall clock, ms since 1970")


class DocumentRef(Message):
    doctype: Text
    name: NameParts


class WantedDocument(Message):
    """A document that the consumer misses, and the way on which it came to need it.

    `path` goes from a document of an approved type to the one that links to this; it is empty where the type
    itself is approved.
    """

    doctype: Text
    name: NameParts
    path: list[DocumentRef] = Field(default=[], max_length=PATH_LIMIT)


class DocumentsRequest(Message):
    documents: list[WantedDocument] = Field(min_length=1, max_length=5000)
    own_names: bool = _OWN_NAMES
    follow: int = Field(
        0, ge=0, description="how many further documents may come along: those that the wanted ones link to, in turn"
    )


class FormerNameModel(Message):
    """A name that a document had until it was renamed by the log's entry `sequence`."""

    name: NameParts
    sequence: int
    clock: str


class DocumentModel(Message):
    doctype: str
    name: NameParts
    data: Any
    clock: str
    source: str = Field("", description="the site that it came from, if the producer remembers that it came")
    clocks: dict[str, str] = Field(
        default={},
        description="when its fields were edited, where that is remembered; all others under the empty name. Empty for "
        "a column that is new there: but for what has a clock, its values are nobody's edits",
    )
    id: IdModel | None = _ID
    links: list[LinkIdModel] = _LINKS
    rows: RowPairs = _ROWS
    birth: str = _BIRTH
    former: list[FormerNameModel] = Field([], description="its names before renames that the log has, the newest first")


class DocumentsAnswer(Message):
    """The documents as they are now. What is absent, and what is forbidden, is simply not among them.

    Those that come along (`follow`) stand behind the wanted ones. An older producer gives none.
    """

    documents: list[DocumentModel]
    as_of: str = Field(description="the cursor up to which the log's entries are contained in them")
    gone: dict[str, list[NameParts]] = Field(
        {}, description="by approved type, those that surely are not there for you"
    )
    unreadable: dict[str, list[tuple[NameParts, str]]] = Field(
        {}, description="by approved type, those that exist and cannot be read, each with the reason"
    )


class FindRequest(Message):
    """Look for documents of a type by the values of their columns: for a mapping's remote value filters.

    The answer holds two at the most: more than one is as good as none.
    """

    doctype: Text
    filters: dict[Text, StrictInt | Finite | StrictBool | Annotated[StrictStr, Field(max_length=4000)]] = Field(
        min_length=1, max_length=16
    )
    own_names: bool = _OWN_NAMES


class NamesRequest(Message):
    """Ask for the names of all documents of an approved type, a page at a time."""

    doctype: Text
    after: NameParts | None = None
    limit: int = Field(1000, ge=1, le=5000)


class NamesAnswer(Message):
    names: list[NameParts]
    more: bool
    as_of: str


class Page(msgspec.Struct):
    """`EventsPage` as it is encoded and decoded."""

    events: list[Event]
    next: str
    head: int
    subscriptions: dict[str, str] = {}
    complete_to: int | None = None
    clock_ms: int = 0


def write_cursor(cursor: Cursor) -> str:
    """A cursor as opaque text."""
    plain = f"{cursor.log}:{cursor.sequence}:{cursor.nonce}"
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def read_cursor(text: str) -> Cursor:
    """The inverse of `write_cursor`. Raises `InvalidRequest`."""
    try:
        plain = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4)).decode("ascii")
        log, sequence, nonce = plain.split(":")
        if not (sequence.isascii() and sequence.isdigit() and len(sequence) < 19):
            raise ValueError(sequence)
        return Cursor(log, int(sequence), nonce)
    except (ValueError, binascii.Error):
        raise InvalidRequest(
            "the cursor is none that this site gave out", hint="send the cursor of the last page unchanged"
        ) from None
