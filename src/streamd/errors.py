"""Every error that streamd raises on purpose.

The class of an error decides what happens next. Retryable errors are retried. `RowRefused` parks the document.
`TypeRefused` pauses the document type. `PeerError` affects that producer alone. A loop of the daemon logs any other
error and starts again. An unknown error that a statement of a document raised belongs to that document. Therefore each
engine lists the errors that do *not* belong to a document (`errors.py` of the engine), never those that do.
"""

from __future__ import annotations

from dataclasses import dataclass


class StreamdError(Exception):
    """The root. `message` says what is wrong and where, `hint` what to do.

    `retryable`: the same call may succeed later although nobody does anything.
    """

    retryable = False
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.hint else self.message


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a configuration: where (path of the key), what is wrong, and a hint.

    `fatal` is False for a warning: the daemon runs, but an operator should know.
    """

    where: str
    what: str
    hint: str = ""
    fatal: bool = True

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  → {self.hint}" if self.hint else text


class ConfigurationError(StreamdError):
    """The configuration is invalid. `problems` holds one entry per fault."""

    exit_code = 2

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class ExpressionError(StreamdError):
    """An expression does not compile, or has no result for a document."""

    exit_code = 2


class SiteError(StreamdError):
    """The site's database has a fault."""


class NotInstalled(SiteError):
    """streamd's tables or triggers are missing in the site's database."""

    exit_code = 3


class SiteBusy(SiteError):
    """Another writer holds the site's database, the server is away, or the disk is full."""

    retryable = True


class SiteHeld(SiteBusy):
    """Another daemon works on the site's database, so that this process may not; until that one ends."""

    exit_code = 4


class Fenced(SiteError):
    """Another daemon works on this site: it has claimed changes since this daemon last read its claim, or will."""

    exit_code = 4


class RowRefused(SiteError):
    """The database refused a write because of a constraint, a type, or a trigger of the user."""


class TypeRefused(RowRefused):
    """The database would refuse every document of the type: a permission or a collation is missing.

    The type is paused, and no document is parked. `table` is the table that was written, or empty.
    """

    def __init__(self, message: str, *, hint: str = "", table: str = "") -> None:
        super().__init__(message, hint=hint)
        self.table = table


class PartialView(TypeRefused):
    """Row-level security hides some of the table's rows from streamd.

    Hidden rows would look deleted, so nothing is read.
    """


class ValueTaken(RowRefused):
    """Another row has the value, which must be unique or must not overlap. That row may be about to change.

    `columns` are those of the value, where the database says so.
    """

    def __init__(self, message: str, *, hint: str = "", columns: tuple[str, ...] = ()) -> None:
        super().__init__(message, hint=hint)
        self.columns = columns


class SchemaChanged(SiteError):
    """A table or column of a document type no longer exists. The daemon must read the schema again.

    No document is at fault, so none is parked.
    """


class SiteReplaced(SchemaChanged):
    """The site's database was restored, or replaced by a copy, while the daemon had it open.

    Nothing that the daemon knows about it is valid any longer. The daemon must open it again.
    """


class StateError(StreamdError):
    """The daemon's state database has a fault."""


class StateReplaced(StateError):
    """The file of the state database was removed or replaced while it was open. It must be opened again."""


class StateBusy(StateError):
    """Another writer holds the state database."""

    retryable = True


class PeerError(StreamdError):
    """Something is wrong at another site, or between the sites.

    `code` is the peer's error code. `retry_after` is in seconds.
    """

    def __init__(self, message: str, *, hint: str = "", code: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.retry_after = retry_after


class PeerUnreachable(PeerError):
    """No connection, no complete answer, or a 5xx: the peer has a fault of its own."""

    retryable = True


class TransferBroken(PeerUnreachable):
    """The answer was cut off after `received` bytes. A smaller answer may arrive."""

    def __init__(self, message: str, *, received: int) -> None:
        hint = "streamd now requests smaller pages; if this continues, check the network between the sites"
        super().__init__(message, hint=hint)
        self.received = received


class TransferStalled(TransferBroken):
    """The answer stopped arriving, or arrives too slowly."""


class PeerRefused(PeerError):
    """The peer refused the request. Someone must act before it can succeed."""


class ResyncRequired(PeerError):
    """This site's position in the producer's log is gone: the log was trimmed, or replaced by a new one."""


class InvalidRequest(StreamdError):
    """A malformed request or page. It is answered with the 4xx `status`. `retry_after` is in seconds."""

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        status: int = 400,
        code: str = "invalid_request",
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class NotFound(StreamdError):
    """A command named a consumer, producer, key or log entry that does not exist."""

    exit_code = 5
