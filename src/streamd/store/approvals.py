"""What a consumer asked for, and what an operator decided: the values, and the rules by which they change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from streamd.model import ApprovalStatus
from streamd.store.schema import approvals

_PENDING, _APPROVED = ApprovalStatus.PENDING, ApprovalStatus.APPROVED
_REJECTED, _UNSUBSCRIBED = ApprovalStatus.REJECTED, ApprovalStatus.UNSUBSCRIBED

APPROVAL_FIELDS = tuple(column for column in approvals.c if column.name != "site")


@dataclass(frozen=True, slots=True)
class Approval:
    """One document type that a consumer asked for. Entries of `log` after `from_sequence` are its.

    `resumed` says that it was approved before, and that what was logged in between was never its.
    """

    consumer: str
    doctype: str
    status: str
    opens: tuple[str, ...]
    log: str | None
    from_sequence: int | None
    asked_at: int
    decided_at: int | None
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """What the holder of a key may have at this moment. `site` is None before its first handshake."""

    consumer: str
    site: str | None
    acknowledged: int
    acknowledged_log: str
    approvals: tuple[Approval, ...]

    def intervals(self) -> dict[str, int]:
        """Each approved type with the sequence after which its entries may be read."""
        return {row.doctype: row.from_sequence or 0 for row in self.approvals if row.status == _APPROVED}

    def statuses(self) -> dict[str, str]:
        return {row.doctype: row.status for row in self.approvals}

    def opens(self) -> dict[str, frozenset[str]]:
        """Each approved type with the types that its approval opens through links."""
        return {row.doctype: frozenset(row.opens) for row in self.approvals if row.status == _APPROVED}


def asked_again(row: Approval, wanted: bool, opened: tuple[str, ...]) -> dict[str, Any]:
    """What a new handshake changes in a known row.

    An approval never grows by itself: where it would open more types than a person saw, it is Pending again.
    """
    if row.status == _REJECTED:
        return {"opens": write_opens(opened)} if wanted and opened != row.opens else {}
    if not wanted:
        return {} if row.status == _UNSUBSCRIBED else {"status": _UNSUBSCRIBED}
    values: dict[str, Any] = {"opens": write_opens(opened)} if opened != row.opens else {}
    if row.status == _UNSUBSCRIBED or (row.status == _APPROVED and not set(opened) <= set(row.opens)):
        values["status"] = _PENDING
    return values


def read_approval(row: Any) -> Approval:
    consumer, doctype, status, opens, log, from_sequence, asked_at, decided_at, resumed = row
    return Approval(
        consumer, doctype, status, _OPENS.decode(opens), log, from_sequence, asked_at, decided_at, bool(resumed)
    )


def write_opens(opens: tuple[str, ...]) -> str:
    """The types that an approval opens, as they are stored."""
    return msgspec.json.encode(opens).decode()


_OPENS = msgspec.json.Decoder(tuple[str, ...])
