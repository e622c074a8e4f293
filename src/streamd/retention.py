"""Trims the Event Update Log."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row, and_, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from streamd.model import ApprovalStatus
from streamd.settings import RetentionSettings
from streamd.store.engine import State, now_ms
from streamd.store.schema import approvals, consumers, log_head, update_log

TRIM_AT_ONCE = 5_000
"""The most entries removed in one transaction, so that writers never wait long."""


async def trim_update_log(state: State, retention: RetentionSettings) -> int:
    """Remove the oldest entries: those that every consumer has, and those beyond the limits. Returns how many.

    Call again while it returns `TRIM_AT_ONCE`.
    """
    now = now_ms()
    async with state.write() as connection:
        head = (await connection.execute(select(log_head).where(log_head.c.site == state.site))).first()
        if head is None:
            return 0
        mine = update_log.c.site == state.site
        acknowledged = await _acknowledged(state, connection, head)
        limit_sequence = max(head.sequence - retention.max_events, 0)
        removable = or_(
            and_(
                update_log.c.sequence <= acknowledged,
                update_log.c.at < now - retention.keep_acknowledged_seconds * 1000,
            ),
            update_log.c.at < now - retention.max_age_seconds * 1000,
            update_log.c.sequence <= limit_sequence,
        )
        # Only a prefix can be removed: stop before the first entry that must stay.
        kept = (await connection.execute(select(func.min(update_log.c.sequence)).where(mine, ~removable))).scalar()
        upto = min((kept or head.sequence + 1) - 1, head.trimmed_to + TRIM_AT_ONCE)
        last = (
            await connection.execute(
                select(update_log.c.sequence, update_log.c.nonce)
                .where(mine, update_log.c.sequence <= upto)
                .order_by(update_log.c.sequence.desc())
                .limit(1)
            )
        ).first()
        if last is None:
            return 0
        gone = await connection.execute(delete(update_log).where(mine, update_log.c.sequence <= last.sequence))
        await connection.execute(
            update(log_head)
            .where(log_head.c.site == state.site)
            .values(trimmed_to=last.sequence, trimmed_nonce=last.nonce)
        )
        return gone.rowcount


async def _acknowledged(state: State, connection: AsyncConnection, head: Row[Any]) -> int:
    """The last sequence that every consumer with an approval has; the log's end if there is no consumer."""
    waiting = (
        select(consumers.c.acknowledged, consumers.c.acknowledged_log)
        .join(
            approvals,
            and_(approvals.c.site == consumers.c.site, approvals.c.consumer == consumers.c.name),
        )
        .where(consumers.c.site == state.site, approvals.c.status == ApprovalStatus.APPROVED)
        .distinct()
    )
    rows = (await connection.execute(waiting)).all()
    return min((row.acknowledged if row.acknowledged_log == head.log else 0 for row in rows), default=head.sequence)
