"""The Event Producers that this site subscribes to, with their status, and how complete their types are here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import ColumnElement, and_, delete, insert, select, update

from streamd.common.spelling import did_you_mean
from streamd.errors import NotFound
from streamd.model import ApprovalStatus
from streamd.store.engine import State
from streamd.store.schema import producers, subscriptions

CONNECTING = "connecting"
CONNECTED = "connected"
"""It answers, and this site has fetched all its events. `SubscribedType.complete` says how complete each type is."""

CATCHING_UP = "catching up"
WAITING = "waiting for approval"
AWAY = "away"
REFUSED = "refused"
RESYNC_REQUIRED = "resync required"
PAUSED = "paused"


@dataclass(frozen=True, slots=True)
class Producer:
    """One producer. Its events are applied up to `sequence`; its log ended at `head`. Times are in ms since 1970."""

    name: str
    url: str
    producer_site: str | None
    producer_name: str | None
    version: str | None
    paused: bool
    status: str
    error: str
    sequence: int
    head: int
    last_contact_at: int | None
    last_event_at: int | None


@dataclass(frozen=True, slots=True)
class CompleteUpTo:
    """The watermark of one type of a producer, after its events were applied here.

    All in milliseconds; moments since 1970. `moment` is by the producer's clock. `age` is how old `moment` was when
    the producer sent it, by the same clock. `heard_at` is when it arrived, by this site's clock.
    """

    moment: int
    age: int
    heard_at: int

    def age_at(self, now: int) -> int:
        """The age of the watermark in milliseconds at `now` (ms since 1970, this site's clock)."""
        return max(now - self.heard_at, 0) + max(self.age, 0)


@dataclass(frozen=True, slots=True)
class SubscribedType:
    """The state of one requested type, as the producer last reported it.

    `paused`: why its events cannot be applied here, or empty; `paused_at`: since when (ms since 1970, our clock).
    """

    doctype: str
    status: str
    opens: tuple[str, ...] = ()
    approved_at: int | None = None
    unmapped: tuple[str, ...] = ()
    complete: CompleteUpTo | None = None
    paused: str = ""
    paused_at: int | None = None


@dataclass(frozen=True, slots=True)
class Obstacles:
    """What keeps types of one producer from being complete at this site, by this site's name for the type."""

    paused: Mapping[str, str] = field(default_factory=dict)
    """Types whose events cannot be applied, and why."""
    queued: Collection[str] = ()
    gaps: Collection[str] = ()
    requested: Collection[str] = ()
    """Types for which a snapshot is requested or running."""

    def before(self, doctype: str, approval: str) -> str:
        """Why this type is not complete, in words; empty if nothing prevents it."""
        if approval != ApprovalStatus.APPROVED:
            return approval
        if doctype in self.paused:
            return f"paused: {self.paused[doctype]}"
        if doctype in self.gaps:
            return "changes are missing"
        if doctype in self.requested:
            return "being read again"
        return "events are parked or held" if doctype in self.queued else ""


class Producers:
    """The producers of one site, by their names in the configuration."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._site = state.site

    async def upsert(self, name: str, url: str) -> None:
        """Add a producer of the configuration, or update its URL. Everything else stays."""
        async with self._state.write() as connection:
            found = await connection.execute(update(producers).where(self._mine(name)).values(url=url))
            if not found.rowcount:
                await connection.execute(
                    insert(producers).values(
                        site=self._site,
                        name=name,
                        url=url,
                        paused=False,
                        status=CONNECTING,
                        error="",
                        sequence=0,
                        head=0,
                    )
                )

    async def set_identity(self, name: str, producer_site: str, producer_name: str, version: str) -> None:
        """Store what the producer sent in its handshake."""
        await self._change(name, producer_site=producer_site, producer_name=producer_name, version=version)

    async def set_status(self, name: str, status: str, error: str = "") -> None:
        """Set the status, one of the constants above, and the error."""
        await self._change(name, status=status, error=error)

    async def progress(
        self,
        name: str,
        *,
        sequence: int,
        head: int,
        last_contact_at: int | None = None,
        last_event_at: int | None = None,
        complete: Mapping[str, CompleteUpTo] | None = None,
    ) -> None:
        """Store the progress, and the times of the last contact and event (ms since 1970). None keeps a time.

        `complete` has the new watermarks of types.
        """
        times = {"last_contact_at": last_contact_at, "last_event_at": last_event_at}
        values = {"sequence": sequence, "head": head, **{key: at for key, at in times.items() if at is not None}}
        doctypes_by_watermark: dict[CompleteUpTo, list[str]] = {}
        for doctype, watermark in (complete or {}).items():
            doctypes_by_watermark.setdefault(watermark, []).append(doctype)
        async with self._state.write() as connection:
            await connection.execute(update(producers).where(self._mine(name)).values(**values))
            for watermark, doctypes in doctypes_by_watermark.items():
                await connection.execute(
                    update(subscriptions)
                    .where(self._subscribed(name), subscriptions.c.doctype.in_(doctypes))
                    .values(
                        complete_to=watermark.moment,
                        complete_age=watermark.age,
                        complete_heard_at=watermark.heard_at,
                    )
                )

    async def set_paused(self, name: str, paused: bool) -> None:
        """Pause or resume a producer. Raises `NotFound`."""
        await self.get(name)
        await self._change(name, paused=paused)

    async def all(self) -> list[Producer]:
        """All producers, by name."""
        return await self._select(producers.c.site == self._site)

    async def get(self, name: str) -> Producer:
        """One producer. Raises `NotFound`."""
        found = await self._select(self._mine(name))
        if not found:
            names = [producer.name for producer in await self.all()]
            raise NotFound(
                f"there is no producer {name}",
                hint=did_you_mean(name, names, "use the name of a producer")
                if names
                else "no producer is configured: add [producers.NAME]",
            )
        return found[0]

    async def set_subscriptions(self, name: str, states: Iterable[SubscribedType]) -> None:
        """Replace the subscriptions that the producer reported. Watermarks and pauses stay."""
        rows = [
            {
                "site": self._site,
                "producer": name,
                "doctype": state.doctype,
                "status": state.status,
                "opens": msgspec.json.encode(sorted(state.opens)).decode(),
                "approved_at": state.approved_at,
                "unmapped": msgspec.json.encode(state.unmapped).decode(),
            }
            for state in states
        ]
        c = subscriptions.c
        kept = select(c.doctype, *(c[column] for column in _OURS)).where(self._subscribed(name))
        async with self._state.write() as connection:
            known = {row.doctype: row._mapping for row in await connection.execute(kept)}
            rows = [{**_OURS, **known.get(str(row["doctype"]), {}), **row} for row in rows]
            await connection.execute(delete(subscriptions).where(self._subscribed(name)))
            if rows:
                await connection.execute(insert(subscriptions), rows)

    async def subscriptions(self, name: str) -> list[SubscribedType]:
        """The subscriptions that the producer last reported, by type."""
        c = subscriptions.c
        theirs = (c.doctype, c.status, c.opens, c.approved_at, c.unmapped)
        query = select(*theirs, c.paused, c.paused_at, c.complete_to, c.complete_age, c.complete_heard_at)
        async with self._state.read() as connection:
            rows = await connection.execute(query.where(self._subscribed(name)).order_by(c.doctype))
        return [
            SubscribedType(
                doctype,
                status,
                _TYPES.decode(opens),
                approved_at,
                _TYPES.decode(unmapped),
                None if complete[0] is None else CompleteUpTo(*complete),
                paused,
                paused_at,
            )
            for doctype, status, opens, approved_at, unmapped, paused, paused_at, *complete in rows
        ]

    async def set_paused_types(self, name: str, reasons: Mapping[str, str], at: int) -> None:
        """Store which types are paused, and why; all others are not. `at` (ms since 1970) is when that was found."""
        c = subscriptions.c
        async with self._state.write() as connection:
            rows = await connection.execute(select(c.doctype, c.paused, c.paused_at).where(self._subscribed(name)))
            for doctype, before, since in rows.all():
                if (reason := reasons.get(doctype, "")) != before:
                    await connection.execute(
                        update(subscriptions)
                        .where(self._subscribed(name), c.doctype == doctype)
                        .values(paused=reason, paused_at=(since or at) if reason else None)
                    )

    async def forget(self, names: Iterable[str]) -> None:
        """Remove producers that are no longer in the configuration."""
        gone = list(names)
        if not gone:
            return
        async with self._state.write() as connection:
            for table, column in ((subscriptions, subscriptions.c.producer), (producers, producers.c.name)):
                await connection.execute(delete(table).where(table.c.site == self._site, column.in_(gone)))

    async def _change(self, name: str, **values: object) -> None:
        await self._state.execute(update(producers).where(self._mine(name)).values(**values))

    async def _select(self, which: ColumnElement[bool]) -> list[Producer]:
        columns = [column for column in producers.c if column.name != "site"]
        return [
            Producer(*row) for row in await self._state.fetch(select(*columns).where(which).order_by(producers.c.name))
        ]

    def _mine(self, name: str) -> ColumnElement[bool]:
        return and_(producers.c.site == self._site, producers.c.name == name)

    def _subscribed(self, name: str) -> ColumnElement[bool]:
        return and_(subscriptions.c.site == self._site, subscriptions.c.producer == name)


_OURS = {"complete_to": None, "complete_age": None, "complete_heard_at": None, "paused": "", "paused_at": None}
"""What this site knows of a subscription by itself, and what stands there at first."""

_TYPES = msgspec.json.Decoder(tuple[str, ...])
