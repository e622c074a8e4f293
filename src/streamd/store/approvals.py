"""What a consumer asked for, and what an operator decided: the values, and the rules by which they change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from streamd.model import ApprovalStatus
from streamd.store.schema import approvals

_PENDING, _APPROVED = ApprovalStatus.PENDING, ApprovalStatus.APPROVED
_REJECTED, _UNSUBSCRIBED = ApprovalStatus.REJECTED, ApprovalStatus.UNSUBSCRIBED

APPROVAL_FIELDS = tuple(column for column in approvals.c if column.name != "site")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a person has to see before a type is approved.

    `opens` are the further types that the approval opens through links; `condition` says of which documents the
    consumer wants to hear (empty: of all); `lookups` are the types of which it may find documents by their values.
    """

    opens: tuple[str, ...] = ()
    condition: str = ""
    lookups: tuple[str, ...] = ()

    def stored(self) -> dict[str, str]:
        """As the columns of the table keep them."""
        return {"opens": _write(self.opens), "condition": self.condition, "lookups": _write(self.lookups)}


def terms(opens: Iterable[str], condition: str, lookups: Iterable[str]) -> Terms:
    """Terms that are equal where they mean the same, in whatever order types were named."""
    return Terms(tuple(sorted(set(opens))), condition.strip(), tuple(sorted(set(lookups))))


@dataclass(frozen=True, slots=True)
class Approval:
    """One document type that a consumer asked for. Entries of `log` after `from_sequence` are its.

    `resumed` says that it was approved before, and that what was logged in between was never its. `condition` and
    `lookups` are what `Terms` says of them.
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
    condition: str = ""
    lookups: tuple[str, ...] = ()

    @property
    def terms(self) -> Terms:
        return Terms(self.opens, self.condition, self.lookups)


@dataclass(frozen=True, slots=True)
class Standing:
    """What the holder of a key may have at this moment. `site` is None before its first handshake."""

    consumer: str
    site: str | None
    acknowledged: int
    acknowledged_log: str
    approvals: tuple[Approval, ...]

    @property
    def approved(self) -> tuple[Approval, ...]:
        return tuple(row for row in self.approvals if row.status == _APPROVED)

    def intervals(self) -> dict[str, int]:
        """Each approved type with the sequence after which its entries may be read."""
        return {row.doctype: row.from_sequence or 0 for row in self.approved}

    def statuses(self) -> dict[str, str]:
        return {row.doctype: row.status for row in self.approvals}

    def opens(self) -> dict[str, frozenset[str]]:
        """Each approved type with the types that its approval opens through links."""
        return {row.doctype: frozenset(row.opens) for row in self.approved}


def asked_again(row: Approval, wanted: Terms | None) -> dict[str, Any]:
    """What a new handshake changes in a known row; `wanted` is None where the type is wanted no longer.

    An approval never grows by itself: where it would open more types than a person saw, or stand under another
    condition, or let other types be looked into, it is Pending again. A rejected type stays rejected.
    """
    if wanted is None:
        return {} if row.status in (_REJECTED, _UNSUBSCRIBED) else {"status": _UNSUBSCRIBED}
    before, after = row.terms.stored(), wanted.stored()
    values: dict[str, Any] = {column: value for column, value in after.items() if value != before[column]}
    if row.status == _UNSUBSCRIBED or (row.status == _APPROVED and not _covers(row.terms, wanted)):
        values["status"] = _PENDING
    return values


def _covers(seen: Terms, wanted: Terms) -> bool:
    """Whether a person who approved `seen` has seen all of what is wanted now."""
    same = (seen.condition, seen.lookups) == (wanted.condition, wanted.lookups)
    return same and set(wanted.opens) <= set(seen.opens)


def read_approval(row: Any) -> Approval:
    """An approval of the columns `APPROVAL_FIELDS`."""
    consumer, doctype, status, opens, log, from_sequence, asked_at, decided_at, resumed, condition, lookups = row
    return Approval(
        consumer,
        doctype,
        status,
        _TYPES.decode(opens),
        log,
        from_sequence,
        asked_at,
        decided_at,
        bool(resumed),
        condition,
        _TYPES.decode(lookups),
    )


def _write(types: tuple[str, ...]) -> str:
    return msgspec.json.encode(types).decode()


_TYPES = msgspec.json.Decoder(tuple[str, ...])
