"""The peer API: its messages, and cursors as text.

Each message is declared once. It is encoded, checked, and described in the OpenAPI document by this declaration. Events
and documents are declared in `model.py`. `docs/reference/protocol.md` explains the protocol.

Values are JSON's own types. A number with a point is a decimal or a float, and is never rounded on its way. Bytes are
`{"$hex": "00ff"}`. Dates, times and UUIDs are ISO text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import sys
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from streamd.common.values import HEX as HEX
from streamd.common.values import Name
from streamd.common.values import decoder as decoder
from streamd.common.values import read_json as read_json
from streamd.common.values import read_lists as read_lists
from streamd.common.values import read_rows as read_rows
from streamd.common.values import write_json as write_json
from streamd.errors import InvalidRequest
from streamd.model import Cursor, DocumentType
from streamd.model import Documents as Documents
from streamd.model import Event as Event
from streamd.model import FetchedDocument as FetchedDocument
from streamd.model import FormerName as FormerName

PROTOCOL = 1
"""The version of the protocol that this release speaks."""

API = "/v1"

SITE_HEADER = "Streamd-Site"
"""The header with the consumer's site UUID. It gives no rights: a site refuses itself by it, before any key."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding a message raises if it is invalid."""

NAME_LIMIT = 140
"""Characters in the name of a site or document type, at most."""

PATH_LIMIT = 10_000
"""Documents on the path to a wanted document, at most."""

PARTIAL_VIEW = "partial_view"
"""The error code if the producer cannot see every document of a type, so that it lists none."""

END = r"$(?!\n)"
"""The end of a pattern. In Python, `$` alone also matches before a line break at the end."""

PRINTABLE = Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f]*" + END)
"""Text of a peer is shown in terminals, so it may not contain control characters."""

MULTILINE = Meta(pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*" + END)
"""The same for text that may have several lines."""

Text = Annotated[str, Meta(min_length=1, max_length=NAME_LIMIT), PRINTABLE]
SiteId = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}" + END)]
CursorText = Annotated[str, Meta(max_length=200)]
Finite = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
LongText = Annotated[str, Meta(max_length=4000)]
NameParts = Annotated[tuple[int | Finite | LongText, ...], Meta(min_length=1, max_length=16)]
OwnNames = Annotated[
    bool,
    Meta(description="whether the consumer names documents itself: then it is also said where they came from"),
]


class Message(msgspec.Struct):
    """A request or an answer. Unknown fields are ignored, so that a newer peer can send more."""


class ErrorDetail(Message):
    code: Annotated[str, Meta(description="for programs; listed in docs/reference/protocol.md")]
    message: Annotated[str, Meta(description="what is wrong, for people")]
    hint: Annotated[str, Meta(description="how to fix it")] = ""


class ErrorAnswer(Message):
    error: ErrorDetail


class HealthAnswer(Message):
    status: Annotated[Literal["ok", "troubled"], Meta(description="whether the daemon has no problem")] = "ok"


class WantedDoctype(Message, omit_defaults=True):
    doctype: Text
    use_same_name: bool = True
    unsubscribe: bool = False
    condition: Annotated[
        str, MULTILINE, Meta(max_length=2000, description="only documents for which this expression holds")
    ] = ""
    lookups: Annotated[
        list[Text], Meta(max_length=100, description="further types whose documents are looked up by their values")
    ] = []


class HandshakeRequest(Message, omit_defaults=True):
    """A consumer introduces itself, and says which types it wants. Types that it no longer lists are unsubscribed."""

    protocols: Annotated[
        list[int], Meta(min_length=1, max_length=16, description="the versions that the consumer speaks")
    ]
    site: SiteId
    name: Text
    doctypes: Annotated[list[WantedDoctype], Meta(max_length=1000)]
    version: Annotated[str, PRINTABLE, Meta(max_length=40)] = ""
    clock_ms: Annotated[
        int, Meta(ge=0, le=1 << 52, description="the consumer's wall clock, milliseconds since 1970")
    ] = 0
    trial: Annotated[bool, Meta(description="answer as to a handshake, but change nothing")] = False


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
    columns: list[ColumnDescriptor]
    links: list[LinkDescriptor]
    parent_key: list[str] = []


class DoctypeDescriptor(Message):
    """How a document type looks at this site, so that a consumer can check compatibility before a document arrives."""

    doctype: str
    key: list[str]
    columns: list[ColumnDescriptor]
    links: list[LinkDescriptor]
    children: list[ChildDescriptor]
    fingerprint: str


class SubscriptionState(Message):
    doctype: str
    status: Literal["Pending", "Approved", "Rejected", "Unsubscribed"]
    opens: Annotated[list[str], Meta(description="further types that the approval opens through links")] = []
    approved_at: Annotated[int | None, Meta(description="when it was approved, milliseconds since 1970")] = None
    resumed: Annotated[
        bool, Meta(description="approved again after a break: changes during the break are not served")
    ] = False


class HandshakeAnswer(Message):
    protocol: int
    site: str
    name: str
    version: str
    log: str
    clock_ms: int
    subscriptions: list[SubscriptionState]
    doctypes: Annotated[list[DoctypeDescriptor], Meta(description="the approved types, and those that they open")]


class EventsRequest(Message, omit_defaults=True):
    """Asks for the log's entries after a cursor. Without a cursor: from where the approvals begin."""

    cursor: CursorText | None = None
    acknowledged: Annotated[
        CursorText | None, Meta(description="everything up to this cursor is durable at the consumer")
    ] = None
    limit: Annotated[int, Meta(ge=1, le=20_000)] = 1000
    max_bytes: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="approximate size of the answer; it has at least one event")
    ] = None
    wait_seconds: Annotated[float, Meta(ge=0, le=120, description="how long to wait for the next event")] = 0
    subscriptions: Annotated[
        Annotated[dict[str, str], Meta(max_length=1000)] | None,
        Meta(description="the status of each type, as the consumer knows it; if one has changed, there is no wait"),
    ] = None
    own_names: OwnNames = False


class Page(Message):
    """A page of the Event Update Log."""

    events: list[Event]
    next: Annotated[str, Meta(description="the cursor to send next")]
    head: Annotated[int, Meta(description="the sequence of the log's last entry")]
    subscriptions: Annotated[dict[str, str], Meta(description="the current status of each type")] = {}
    complete_to: Annotated[
        int | None,
        Meta(
            description="everything that was committed at this site before this moment (its clock, ms since 1970) is "
            "in the log up to `next`; null if unknown"
        ),
    ] = None
    clock_ms: Annotated[int, Meta(description="this site's wall clock, ms since 1970")] = 0


class DocumentRef(Message):
    doctype: Text
    name: NameParts


class WantedDocument(Message, omit_defaults=True):
    """A document that the consumer misses.

    `path` leads from a document of an approved type to the one that links to this document. It is empty if the type
    itself is approved.
    """

    doctype: Text
    name: NameParts
    path: Annotated[list[DocumentRef], Meta(max_length=PATH_LIMIT)] = []


class DocumentsRequest(Message, omit_defaults=True):
    documents: Annotated[list[WantedDocument], Meta(min_length=1, max_length=5000)]
    own_names: OwnNames = False
    follow: Annotated[
        int, Meta(ge=0, description="how many further documents may be added: those that the wanted ones link to")
    ] = 0


class FindRequest(Message, omit_defaults=True):
    """Looks up documents of a type by the values of their columns. The answer has at most two."""

    doctype: Text
    filters: Annotated[dict[Text, bool | int | Finite | LongText], Meta(min_length=1, max_length=16)]
    own_names: OwnNames = False


class NamesRequest(Message, omit_defaults=True):
    """Asks for the names of all documents of an approved type, in pages."""

    doctype: Text
    after: NameParts | None = None
    limit: Annotated[int, Meta(ge=1, le=5000)] = 1000


class NamesAnswer(Message):
    names: list[Name]
    more: bool
    as_of: str


def describe(doctype: DocumentType) -> DoctypeDescriptor:
    """Describe the type's columns, links and child tables. Equal types have equal fingerprints."""
    shared = {field: getattr(doctype, field) for field in ("key", "columns", "links", "children")}
    values = {"doctype": doctype.name, "fingerprint": "", **shared}
    descriptor = msgspec.convert(values, DoctypeDescriptor, from_attributes=True)
    descriptor.fingerprint = hashlib.sha256(msgspec.json.encode(descriptor)).hexdigest()[:16]
    return descriptor


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
            "the cursor does not come from this site", hint="send the cursor of the last page unchanged"
        ) from None
