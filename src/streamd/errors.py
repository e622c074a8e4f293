"""Every error that streamd raises on purpose, as one tree.

    StreamdError                    what went wrong, where, and how to fix it
    ├── ConfigurationError          the TOML file, or what it says of the database (exit code 2)
    ├── ExpressionError             a condition, filter or name that cannot be understood or worked out (2)
    ├── SiteError                   the site's database
    │   ├── NotInstalled            our tables or triggers are missing
    │   ├── SiteBusy                locked, away, its disk full; try again         (retryable)
    │   ├── Fenced                  another daemon captures this site
    │   ├── RowRefused              the database refused a row (constraint, type, trigger)
    │   │   └── TypeRefused         … and would refuse every row of that table
    │   │       └── PartialView     … as it would show a part of its rows only
    │   └── SchemaChanged           a table or column that we know is not there any more
    │       └── SiteReplaced        the database is another one than the daemon opened
    ├── StateError                  the daemon's state database
    │   ├── StateReplaced           the file is another one than the daemon opened
    │   └── StateBusy               locked by another writer; try again            (retryable)
    ├── PeerError                   another site
    │   ├── PeerUnreachable         no connection, no answer, a 5xx                (retryable)
    │   │   └── TransferBroken      an answer was cut off; TransferStalled: it ceased to come
    │   ├── PeerRefused             credentials, protocol, approval: a person has to act
    │   └── ResyncRequired          the cursor does not fit the producer's log any more
    ├── InvalidRequest              a peer sent what cannot be understood
    └── NotFound                    a command named something that is not there

Where an error belongs decides what follows from it. What is retryable is tried again; `RowRefused` parks the document,
`TypeRefused` pauses the type; `PeerError` is the producer's; what else a loop of the daemon meets is said, and the
loop begins again. What nobody has foreseen is the document's where a statement of a document raised it, so each engine
lists what is *not* a document's (`db/…_errors.py`), and never what is.

An error carries a message (what is wrong and where) and a hint (how to fix it). `retryable` says whether
the same call may succeed later without anybody doing anything.
"""

from __future__ import annotations

from dataclasses import dataclass


class StreamdError(Exception):
    """The root: a message in plain words, and a hint that says how to fix it."""

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
    """One thing that is wrong with a configuration: where (path of the key), what, and the hint.

    `fatal` is False for a warning: the daemon runs, but a person should know.
    """

    where: str
    what: str
    hint: str = ""
    fatal: bool = True

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  → {self.hint}" if self.hint else text


class ConfigurationError(StreamdError):
    """The configuration is wrong; `problems` holds each fault with the path of its key."""

    exit_code = 2

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class ExpressionError(StreamdError):
    """The text of an expression cannot be compiled, or has no result for a document."""

    exit_code = 2


class SiteError(StreamdError):
    """Something is wrong with the site's database."""


class NotInstalled(SiteError):
    """Our tables or triggers are missing in the site's database."""

    exit_code = 3


class SiteBusy(SiteError):
    """Another writer holds the site's database, or it is away, or its disk is full."""

    retryable = True


class Fenced(SiteError):
    """Another daemon has claimed changes of this site since we looked."""

    exit_code = 4


class RowRefused(SiteError):
    """The database refused what we wrote: a constraint, a type, a trigger of the user's."""


class TypeRefused(RowRefused):
    """The database would refuse whatever document of the type: a right, or a collation, is missing.

    So the type is paused, and no document is parked for it. `table` is the one to which was written, if it was.
    """

    def __init__(self, message: str, *, hint: str = "", table: str = "") -> None:
        super().__init__(message, hint=hint)
        self.table = table


class PartialView(TypeRefused):
    """The database would show us a part of a table's rows only, as its policies (row-level security) say.

    What is not shown would be taken for deleted; so nothing is read.
    """


class ValueTaken(RowRefused):
    """A value that must be unique (or not overlap) is another row's at this moment; that row may be about to change."""


class SchemaChanged(SiteError):
    """A table or column of a document type is not there any more: what we know of the tables is old.

    No document is to blame, so none is parked for it; the tables have to be read again.
    """


class SiteReplaced(SchemaChanged):
    """The site's database is another one than the daemon opened: a copy was put in its place, or it was restored.

    Nothing that is known of it holds any longer; it has to be opened again.
    """


class StateError(StreamdError):
    """Something is wrong with the daemon's state database."""


class StateReplaced(StateError):
    """The state database's file was removed or replaced while it was open; it has to be opened again."""


class StateBusy(StateError):
    """Another writer holds the state database."""

    retryable = True


class PeerError(StreamdError):
    """Something is wrong with, or at, another site."""

    def __init__(self, message: str, *, hint: str = "", code: str = "", retry_after: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.retry_after = retry_after


class PeerUnreachable(PeerError):
    """No connection, no complete answer, or an answer that says that the peer itself is in trouble."""

    retryable = True


class TransferBroken(PeerUnreachable):
    """The answer began to come, and was cut off: less may pass. `received`: how many bytes of it had come."""

    def __init__(self, message: str, *, received: int) -> None:
        super().__init__(message, hint="less is asked for at once; if that goes on, look at the line between the sites")
        self.received = received


class TransferStalled(TransferBroken):
    """The answer began to come, and ceased to, or comes too slowly."""


class PeerRefused(PeerError):
    """The peer answered, and said no. Somebody has to do something before it can say yes."""


class ResyncRequired(PeerError):
    """Our place in the producer's log is gone: trimmed, or the log is another one than it was."""


class InvalidRequest(StreamdError):
    """A request, or a page, that cannot be understood. Answered with a 4xx."""

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
    """A command named a consumer, producer, key or log entry that is not there."""

    exit_code = 5
