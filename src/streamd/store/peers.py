"""Consumers, their API keys, and their approvals.

Nothing is cached: a revoked key or a rejected type takes effect at once, whichever process changed it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from streamd.errors import InvalidRequest, NotFound, StreamdError
from streamd.model import ApprovalStatus
from streamd.store.approvals import (
    APPROVAL_FIELDS,
    Approval,
    Standing,
    Terms,
    merge_request,
    read_approval,
    terms,
)
from streamd.store.engine import now_ms
from streamd.store.keys import ApiKey, Keys
from streamd.store.schema import api_keys, approvals, consumers, log_head

__all__ = ["ApiKey", "Approval", "Consumer", "Introduction", "Peers", "Standing"]

ASKED_LIMIT = 1000
"""Document types stored per consumer. Beyond that, types that were never decided on are removed first."""

_PENDING, _APPROVED = ApprovalStatus.PENDING, ApprovalStatus.APPROVED
_REJECTED, _UNSUBSCRIBED = ApprovalStatus.REJECTED, ApprovalStatus.UNSUBSCRIBED


class Asked(Protocol):
    """One document type that a consumer names in its handshake."""

    @property
    def doctype(self) -> str: ...
    @property
    def unsubscribe(self) -> bool: ...
    @property
    def condition(self) -> str: ...
    @property
    def lookups(self) -> Sequence[str]: ...


class Introduction(Protocol):
    """What a consumer sends in its handshake."""

    @property
    def site(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def doctypes(self) -> Sequence[Asked]: ...
    @property
    def trial(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Consumer:
    """A site that subscribes to this one. Its key was created for `name`; `consumer_name` is its own name."""

    name: str
    consumer_site: str | None
    consumer_name: str | None
    version: str | None
    registered_at: int
    last_seen_at: int | None
    acknowledged: int
    acknowledged_log: str


class Peers(Keys):
    """The consumers of one site, their keys and approvals."""

    # Access

    async def standing(self, api_key: str) -> Standing | None:
        """What the holder of this key may read now; None if the key is not valid. Reads everything in one query."""
        query = (
            select(
                api_keys.c.consumer,
                consumers.c.consumer_site,
                func.coalesce(consumers.c.acknowledged, 0),
                func.coalesce(consumers.c.acknowledged_log, ""),
                *APPROVAL_FIELDS,
            )
            .select_from(
                api_keys.outerjoin(
                    consumers,
                    and_(consumers.c.site == api_keys.c.site, consumers.c.name == api_keys.c.consumer),
                ).outerjoin(
                    approvals,
                    and_(approvals.c.site == consumers.c.site, approvals.c.consumer == consumers.c.name),
                )
            )
            .where(api_keys.c.site == self._site, api_keys.c.api_key == api_key, api_keys.c.revoked_at.is_(None))
            .order_by(approvals.c.doctype)
        )
        async with self._state.read() as connection:
            rows = (await connection.execute(query)).all()
        if not rows:
            return None
        granted = tuple(read_approval(row[4:]) for row in rows if row[4] is not None)
        return Standing(rows[0][0], rows[0][1], rows[0][2], rows[0][3], granted)

    async def approved_doctypes(self, consumer_site: str | None = None) -> set[str]:
        """The types that at least one consumer is approved for; with `consumer_site` (a UUID), one of that site."""
        c = approvals.c
        query = select(c.doctype).distinct().where(c.site == self._site, c.status == _APPROVED)
        if consumer_site is not None:
            mine = (consumers.c.site == self._site, consumers.c.consumer_site == consumer_site)
            query = query.where(c.consumer.in_(select(consumers.c.name).where(*mine)))
        async with self._state.read() as connection:
            return set((await connection.scalars(query)).all())

    async def acknowledge(self, name: str, sequence: int, log: str) -> None:
        """Record that the consumer has stored everything up to `sequence`. Writes only if that is new."""
        c = consumers.c
        mine = and_(c.site == self._site, c.name == name)
        further = or_(c.acknowledged_log != log, c.acknowledged < sequence)
        async with self._state.read() as connection:
            if (await connection.execute(select(c.name).where(mine, further))).first() is None:
                return
        await self._state.execute(
            update(consumers)
            .where(mine, further)
            .values(acknowledged=sequence, acknowledged_log=log, last_seen_at=now_ms())
        )

    # Consumers

    async def register(self, name: str, request: Introduction, opens: Mapping[str, Collection[str]]) -> list[Approval]:
        """Handle a handshake: bind the consumer's UUID to the name of its key, and record its requests.

        `opens` maps each requested type that is offered to the types that its approval would open. A type that is not
        offered now keeps its earlier `opens`. A trial is rolled back; the result shows what would be.
        Raises `InvalidRequest` (`duplicate_site`) if the UUID has another name, or the name another UUID.
        """
        async with self._state.write() as connection, connection.begin_nested() as savepoint:
            rows = await self._register(connection, name, request, opens)
            if request.trial:
                await savepoint.rollback()
            return rows

    async def _register(
        self, connection: AsyncConnection, name: str, request: Introduction, opens: Mapping[str, Collection[str]]
    ) -> list[Approval]:
        now = now_ms()
        await self._bind(connection, name, request, now)
        known = {row.doctype: row for row in await self._approvals(connection, name)}
        seen = {doctype: row.opens for doctype, row in known.items()}
        wanted = {
            asked.doctype: None
            if asked.unsubscribe
            else terms(opens.get(asked.doctype, seen.get(asked.doctype, ())), asked.condition, asked.lookups)
            for asked in request.doctypes
        }
        new = []
        for doctype in sorted(wanted.keys() | known.keys()):
            asks = wanted.get(doctype)
            row = known.get(doctype)
            if row is None:
                status = _UNSUBSCRIBED if asks is None else _PENDING
                new.append({"doctype": doctype, "status": status, **(asks or Terms()).stored()})
                continue
            values = merge_request(row, asks)
            if values:
                asked = {"asked_at": now} if values.get("status") == _PENDING else {}
                await connection.execute(update(approvals).where(self._row(name, doctype)).values(**asked, **values))
        if new:
            await connection.execute(
                insert(approvals),
                [{"site": self._site, "consumer": name, "asked_at": now, "resumed": False, **row} for row in new],
            )
        if len(wanted.keys() | known.keys()) > ASKED_LIMIT:
            await connection.execute(
                delete(approvals).where(
                    approvals.c.site == self._site,
                    approvals.c.consumer == name,
                    approvals.c.status == _UNSUBSCRIBED,
                    approvals.c.decided_at.is_(None),
                )
            )
        return await self._approvals(connection, name)

    async def _bind(self, connection: AsyncConnection, name: str, request: Introduction, now: int) -> None:
        c = consumers.c
        other = await connection.scalar(
            select(c.name).where(c.site == self._site, c.consumer_site == request.site, c.name != name)
        )
        if other is not None:
            raise InvalidRequest(
                f"the site {request.site} is already registered here under another name",
                hint="on a cloned site, run `streamd init --new-identity`; for a site with a new name, first run "
                "`streamd consumers remove OLD_NAME` at the producer",
                status=409,
                code="duplicate_site",
            )
        bound = (await connection.execute(select(c.consumer_site).where(c.site == self._site, c.name == name))).first()
        details = {
            "consumer_site": request.site,
            "consumer_name": request.name,
            "version": request.version,
            "last_seen_at": now,
        }
        if bound is None:
            await connection.execute(
                insert(consumers).values(
                    site=self._site, name=name, registered_at=now, acknowledged=0, acknowledged_log="", **details
                )
            )
        elif bound.consumer_site not in (None, request.site):
            raise InvalidRequest(
                f"this key was created for {name}, and {name} is another site ({bound.consumer_site})",
                hint="create a key for each site: `streamd keys create --for NAME` at the producer; if this site was "
                f"set up again, first run `streamd consumers remove {name}` there",
                status=409,
                code="duplicate_site",
            )
        else:
            await connection.execute(update(consumers).where(c.site == self._site, c.name == name).values(**details))

    async def consumers(self) -> list[Consumer]:
        """All consumers that have made a handshake, by name."""
        c = consumers.c
        query = select(*(column for column in c if column.name != "site")).where(c.site == self._site).order_by(c.name)
        return [Consumer(*row) for row in await self._state.fetch(query)]

    async def approvals(self, consumer: str | None = None) -> list[Approval]:
        """The approvals, pending and rejected ones included, of one consumer or of all."""
        async with self._state.read() as connection:
            return await self._approvals(connection, consumer)

    async def _approvals(self, connection: AsyncConnection, consumer: str | None) -> list[Approval]:
        query = select(*APPROVAL_FIELDS).where(approvals.c.site == self._site)
        if consumer is not None:
            query = query.where(approvals.c.consumer == consumer)
        found = await connection.execute(query.order_by(approvals.c.consumer, approvals.c.doctype))
        return [read_approval(row) for row in found]

    # Decisions

    async def approve(
        self, consumer: str, doctypes: Collection[str] | None, *, offers: Collection[str]
    ) -> list[Approval]:
        """Approve these types, or all Pending ones. Returns the newly approved ones.

        Each approval begins at the current end of the log. An Approved type stays unchanged. Raises `NotFound`, and
        `StreamdError` for a type that is not offered or is unsubscribed.
        """
        async with self._state.write() as connection:
            rows = await self._select_rows(connection, consumer, doctypes)
            offered = [row for row in rows if row.doctype in offers]
            refused = [row.doctype for row in rows if row.doctype not in offers]
            if refused and (doctypes or not offered):
                raise StreamdError(
                    f"{consumer} requests {', '.join(refused)}, but this site does not offer it",
                    hint="declare the type and add it to `offers` in [site]; or reject it: "
                    f"`streamd consumers reject {consumer} {refused[0]}`",
                )
            for row in offered:
                if row.status == _UNSUBSCRIBED:
                    raise StreamdError(
                        f"{consumer} has unsubscribed from {row.doctype}",
                        hint="it becomes Pending when the consumer adds it to its configuration again",
                    )
            head = (
                await connection.execute(
                    select(log_head.c.log, log_head.c.sequence).where(log_head.c.site == self._site)
                )
            ).first()
            return await self._decide(
                connection,
                consumer,
                [row for row in offered if row.status != _APPROVED],
                status=_APPROVED,
                log=head.log if head else None,
                from_sequence=head.sequence if head else 0,
            )

    async def reject(self, consumer: str, doctypes: Collection[str] | None) -> list[Approval]:
        """Reject these types, or all Pending ones. Returns the newly rejected ones."""
        async with self._state.write() as connection:
            rows = await self._select_rows(connection, consumer, doctypes)
            return await self._decide(
                connection, consumer, [row for row in rows if row.status != _REJECTED], status=_REJECTED
            )

    async def suspend(self, consumer: str, row: Approval) -> None:
        """Make an approved type Pending again, because its condition can no longer be evaluated.

        So nothing is skipped silently: a new approval starts at the end of the log, and the consumer learns of the gap.
        """
        await self._state.execute(
            update(approvals)
            .where(
                self._row(consumer, row.doctype),
                approvals.c.status == _APPROVED,
                approvals.c.condition == row.condition,
            )
            .values(status=_PENDING)
        )

    async def remove(self, consumer: str) -> None:
        """Remove a consumer and its approvals, and revoke its keys. Raises `NotFound`."""
        async with self._state.write() as connection:
            gone = await connection.execute(
                delete(consumers).where(consumers.c.site == self._site, consumers.c.name == consumer)
            )
            await connection.execute(
                delete(approvals).where(approvals.c.site == self._site, approvals.c.consumer == consumer)
            )
            revoked = await connection.execute(
                update(api_keys)
                .where(
                    api_keys.c.site == self._site,
                    api_keys.c.consumer == consumer,
                    api_keys.c.revoked_at.is_(None),
                )
                .values(revoked_at=now_ms())
            )
            if not gone.rowcount and not revoked.rowcount:
                raise NotFound(f"there is no consumer {consumer}", hint="see `streamd consumers list`")

    async def _select_rows(
        self, connection: AsyncConnection, consumer: str, doctypes: Collection[str] | None
    ) -> list[Approval]:
        """The rows to decide on: the named ones, or all Pending ones. Raises `NotFound`."""
        c = consumers.c
        if (await connection.execute(select(c.name).where(c.site == self._site, c.name == consumer))).first() is None:
            mine = (api_keys.c.site == self._site, api_keys.c.consumer == consumer, api_keys.c.revoked_at.is_(None))
            if (await connection.execute(select(api_keys.c.api_key).where(*mine))).first() is None:
                raise NotFound(f"there is no consumer {consumer}", hint="see `streamd consumers list`")
            raise NotFound(
                f"{consumer} has a key, but has not connected yet: which types it asks for is not known, and nothing "
                "was decided",
                hint=f"start {consumer}'s daemon, see in `streamd consumers list` what it asks for, and run this again",
            )
        known = {row.doctype: row for row in await self._approvals(connection, consumer)}
        if not doctypes:
            pending = [row for row in known.values() if row.status == _PENDING]
            if not pending:
                raise NotFound(
                    f"{consumer} has no Pending types",
                    hint="name the document types; see `streamd consumers list`",
                )
            return pending
        for doctype in doctypes:
            if doctype not in known:
                raise NotFound(
                    f"{consumer} has not requested {doctype}",
                    hint=f"it requested {', '.join(known) or 'nothing'}; upper and lower case matter",
                )
        return [known[doctype] for doctype in sorted(set(doctypes))]

    async def _decide(
        self, connection: AsyncConnection, consumer: str, rows: Sequence[Approval], **values: Any
    ) -> list[Approval]:
        for row in rows:
            resumed = row.from_sequence is not None and values["status"] == _APPROVED
            await connection.execute(
                update(approvals)
                .where(self._row(consumer, row.doctype))
                .values(decided_at=now_ms(), resumed=resumed, **values)
            )
        changed = {row.doctype for row in rows}
        return [row for row in await self._approvals(connection, consumer) if row.doctype in changed]

    def _row(self, consumer: str, doctype: str) -> Any:
        return and_(approvals.c.site == self._site, approvals.c.consumer == consumer, approvals.c.doctype == doctype)
