"""Approvals: what a consumer requested, what an operator decided, and the rules for changes."""

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
    """What an operator must see before approving a type.

    `opens`: the other types that the approval opens through links. `condition`: limits the documents; empty for all.
    `lookups`: the types in which the consumer may find documents by their values.
    """

    opens: tuple[str, ...] = ()
    condition: str = ""
    lookups: tuple[str, ...] = ()

    def stored(self) -> dict[str, str]:
        """The values of the table's columns."""
        return {"opens": _encode_types(self.opens), "condition": self.condition, "lookups": _encode_types(self.lookups)}


def terms(opens: Iterable[str], condition: str, lookups: Iterable[str]) -> Terms:
    """Terms in a normal form: equal if they mean the same, whatever the order of the types."""
    return Terms(tuple(sorted(set(opens))), condition.strip(), tuple(sorted(set(lookups))))


@dataclass(frozen=True, slots=True)
class Approval:
    """The state of one document type that a consumer requested.

    If approved, the consumer is entitled to entries of `log` after `from_sequence`. `resumed`: it was approved before,
    and is not entitled to the entries in between. For `opens`, `condition` and `lookups` see `Terms`.
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
    """What the holder of a key may read now. `site` is None before the first handshake."""

    consumer: str
    site: str | None
    acknowledged: int
    acknowledged_log: str
    approvals: tuple[Approval, ...]

    @property
    def approved(self) -> tuple[Approval, ...]:
        return tuple(row for row in self.approvals if row.status == _APPROVED)

    def statuses(self) -> dict[str, str]:
        return {row.doctype: row.status for row in self.approvals}


def merge_request(row: Approval, wanted: Terms | None) -> dict[str, Any]:
    """The columns that a new handshake changes in a known row. `wanted` is None if the consumer unsubscribes.

    An approval never grows by itself: if it would open more types than the operator saw, or has another condition or
    other lookups, it is Pending again. A rejected type stays rejected.
    """
    if wanted is None:
        return {} if row.status in (_REJECTED, _UNSUBSCRIBED) else {"status": _UNSUBSCRIBED}
    before, after = row.terms.stored(), wanted.stored()
    values: dict[str, Any] = {column: value for column, value in after.items() if value != before[column]}
    if row.status == _UNSUBSCRIBED or (row.status == _APPROVED and not _covers(row.terms, wanted)):
        values["status"] = _PENDING
    return values


def _covers(seen: Terms, wanted: Terms) -> bool:
    """Whether the operator who approved `seen` has seen everything that is requested now."""
    same = (seen.condition, seen.lookups) == (wanted.condition, wanted.lookups)
    return same and set(wanted.opens) <= set(seen.opens)


def read_approval(row: Any) -> Approval:
    """An approval from a row with the columns `APPROVAL_FIELDS`."""
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


def _encode_types(types: tuple[str, ...]) -> str:
    return msgspec.json.encode(types).decode()


_TYPES = msgspec.json.Decoder(tuple[str, ...])
