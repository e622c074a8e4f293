"""The Event Sync Log: the outcome of each event of a producer at this site.

The entries of a batch are written before its transaction at the site commits, and show as *Applying* until the
checkpoint confirms them. So after a crash between the two databases an outcome may be unknown, but never wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, delete, func, insert, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from streamd.errors import NotFound
from streamd.model import Name, Operation, SyncEntry, SyncStatus, name_text
from streamd.settings import RetentionSettings
from streamd.store.engine import State, now_ms
from streamd.store.schema import is_named, producers, sync_batch, sync_log

TRIM_AT_ONCE = 5_000
"""The most entries removed in one transaction, so that writers never wait long."""

_WAITING = (SyncStatus.FAILED, SyncStatus.HELD)

_FIELDS = (
    sync_log.c.update_type,
    sync_log.c.status,
    sync_log.c.doctype,
    sync_log.c.producer,
    sync_log.c.docname,
    sync_log.c.remote_docname,
    sync_log.c.use_same_name,
    sync_log.c.data,
    sync_log.c.sequence,
    sync_log.c.error,
    sync_log.c.note,
    sync_log.c.at,
    sync_log.c.id,
)


_STORED = tuple(column.name for column in _FIELDS if column.name != "id")
_values = attrgetter(*_STORED)


class Unconfirmed(NamedTuple):
    """A batch that may or may not be committed at the site: it is, if the site has this checkpoint."""

    batch_id: str
    producer_site: str
    log: str
    sequence: int


class SyncLog:
    """The Event Sync Log of one site."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._site = state.site

    # The hot path

    async def begin(
        self,
        batch_id: str,
        producer_site: str,
        log: str,
        sequence: int,
        entries: Sequence[SyncEntry],
        *,
        confirmed: str | None = None,
    ) -> None:
        """Write a batch's entries before the site commits it. The checkpoint (log, sequence) confirms it.

        `confirmed` is an earlier batch that the site has committed; it is confirmed in the same transaction.
        """
        async with self._state.write() as connection:
            if confirmed is not None:
                await connection.execute(delete(sync_batch).where(self._batch(confirmed)))
            checkpoint = {"producer_site": producer_site, "log": log, "sequence": sequence}
            await connection.execute(insert(sync_batch).values(site=self._site, id=batch_id, **checkpoint))
            await self._insert(connection, entries, batch_id)

    async def confirm(self, batch_id: str) -> None:
        """Confirm a batch: the site has committed it."""
        await self._state.execute(delete(sync_batch).where(self._batch(batch_id)))

    async def abandon(self, batch_id: str) -> None:
        """Remove a batch with its entries: the site has not committed it."""
        async with self._state.write() as connection:
            await connection.execute(
                delete(sync_log).where(sync_log.c.batch == batch_id, sync_log.c.site == self._site)
            )
            await connection.execute(delete(sync_batch).where(self._batch(batch_id)))

    async def unconfirmed(self) -> list[Unconfirmed]:
        """The batches to compare with the checkpoints after a start or a database error."""
        c = sync_batch.c
        query = select(c.id, c.producer_site, c.log, c.sequence).where(c.site == self._site).order_by(c.id)
        return [Unconfirmed(*row) for row in await self._state.fetch(query)]

    async def add(self, entries: Sequence[SyncEntry]) -> None:
        """Write entries whose outcome is certain."""
        if not entries:
            return
        async with self._state.write() as connection:
            await self._insert(connection, entries, None)

    # Reading

    async def list(
        self,
        *,
        status: str | None = None,
        doctype: str | None = None,
        name: str | None = None,
        limit: int = 50,
    ) -> list[SyncEntry]:
        """The newest matching entries, newest first. `name` matches the local or the remote name of a document."""
        query = self._query()
        if status == SyncStatus.APPLYING:
            query = query.where(sync_batch.c.id.is_not(None))
        elif status is not None:
            query = query.where(sync_log.c.status == status, sync_batch.c.id.is_(None))
        if doctype is not None:
            query = query.where(sync_log.c.doctype == doctype)
        if name is not None:
            query = query.where((sync_log.c.docname == name) | (sync_log.c.remote_docname == name))
        return [_entry(row) for row in await self._state.fetch(query.order_by(sync_log.c.id.desc()).limit(limit))]

    async def get(self, id: int) -> SyncEntry:
        """One entry. Raises `NotFound`."""
        async with self._state.read() as connection:
            row = (await connection.execute(self._query().where(sync_log.c.id == id))).first()
        if row is None:
            raise NotFound(f"there is no entry {id} in the Event Sync Log", hint="see `streamd log syncs`")
        return _entry(row)

    async def counts(self) -> dict[str, int]:
        """The number of entries by status."""
        query = select(sync_log.c.status, func.count()).where(sync_log.c.site == self._site).group_by(sync_log.c.status)
        return {row[0]: row[1] for row in await self._state.fetch(query)}

    # Later outcomes

    async def resolve(
        self, producer: str, doctype: str, events: Sequence[tuple[int, Name]], note: str, *, docname: str | None = None
    ) -> None:
        """Mark failed or held events (sequence, name) of a producer as synced: they were applied later.

        `docname` is the local name of their document.
        """
        values = {"status": SyncStatus.SYNCED, "error": "", "note": note}
        if docname is not None:
            values["docname"] = docname
        async with self._state.write() as connection:
            others = _others(producer, await self._known_producers(connection))
            for sequence, name in events:
                await self._settle(connection, others, doctype, name_text(name), sequence, values)

    async def open_gaps(self, producer: str) -> dict[str, int]:
        """The types with unresolved gaps in the producer's log: type → sequence of the last gap."""
        c = sync_log.c
        query = select(c.doctype, func.max(c.sequence)).where(self._is_open_gap(producer), c.sequence > 0)
        return {row[0]: row[1] for row in await self._state.fetch(query.group_by(c.doctype))}

    async def gaps(self, producer: str | None = None) -> dict[str, int]:
        """The number of unresolved gaps by type, of all producers or of one."""
        c = sync_log.c
        query = select(c.doctype, func.count()).where(self._is_open_gap(producer))
        return {row[0]: row[1] for row in await self._state.fetch(query.group_by(c.doctype).order_by(c.doctype))}

    async def resolve_gaps(self, producer: str, doctype: str, note: str) -> None:
        """Mark the gaps of a type as synced: a snapshot of it was taken from the producer."""
        of_type = and_(self._is_open_gap(producer), sync_log.c.doctype == doctype)
        await self._state.execute(update(sync_log).where(of_type).values(status=SyncStatus.SYNCED, error="", note=note))

    def _is_open_gap(self, producer: str | None) -> ColumnElement[bool]:
        c = sync_log.c
        whose = true() if producer is None else c.producer == producer
        return and_(c.site == self._site, c.update_type == Operation.GAP, c.status == SyncStatus.FAILED, whose)

    async def resolve_all_but(self, waiting: Set[tuple[str, str, str, int]]) -> None:
        """Mark failed or held events as synced that are not `waiting`: they were applied before the daemon stopped.

        `waiting` has (producer's UUID, type, remote name, sequence) of each event that still waits.
        """
        c = sync_log.c
        query = select(c.id, c.producer, c.doctype, c.remote_docname, c.sequence).where(
            c.site == self._site, c.status.in_(_WAITING), c.update_type != Operation.GAP
        )
        kept: dict[tuple[str, str, int], set[str]] = {}
        for site, doctype, name, sequence in waiting:
            kept.setdefault((doctype, name, sequence), set()).add(site)
        known = select(producers.c.name, producers.c.producer_site).where(producers.c.site == self._site)
        async with self._state.write() as connection:
            sites = {row.name: row.producer_site for row in await connection.execute(known)}
            for row in (await connection.execute(query)).all():
                waiting_at = kept.get((row.doctype, row.remote_docname, row.sequence), set())
                # A producer whose UUID is unknown may be any site, so its events are not marked.
                others = set(sites.values()) - {sites[row.producer]} if row.producer in sites else set()
                if waiting_at <= others:
                    await connection.execute(
                        update(sync_log)
                        .where(c.id == row.id)
                        .values(status=SyncStatus.SYNCED, error="", note="applied later")
                    )

    async def discard(self, entries: Sequence[SyncEntry]) -> None:
        """Mark the failed or held events of these entries as Discarded. Entries that were trimmed are added again."""
        async with self._state.write() as connection:
            unknown = []
            known = await self._known_producers(connection)
            for entry in entries:
                others = _others(entry.producer, known)
                values = {"status": SyncStatus.DISCARDED, "note": entry.note}
                if not await self._settle(
                    connection, others, entry.doctype, entry.remote_docname, entry.sequence, values
                ):
                    unknown.append(entry)
            await self._insert(connection, unknown, None)

    async def trim(self, retention: RetentionSettings) -> int:
        """Remove entries beyond the limits, at most `TRIM_AT_ONCE`. Returns how many.

        Call again while it returns `TRIM_AT_ONCE`. Entries of unconfirmed batches stay.
        """
        mine = sync_log.c.site == self._site
        async with self._state.write() as connection:
            newest = await connection.scalar(select(func.max(sync_log.c.id)).where(mine))
            if newest is None:
                return 0
            old = now_ms() - retention.sync_log_seconds * 1000
            # Sites that share the state database share its ids, so this may keep fewer entries, never more.
            surplus = int(newest) - retention.sync_log_entries
            open_batches = select(sync_batch.c.id).where(sync_batch.c.site == self._site)
            removable = (
                select(sync_log.c.id)
                .where(
                    mine,
                    (sync_log.c.at < old) | (sync_log.c.id <= surplus),
                    sync_log.c.batch.is_(None) | sync_log.c.batch.not_in(open_batches),
                )
                .order_by(sync_log.c.id)
                .limit(TRIM_AT_ONCE)
            )
            removed = await connection.execute(delete(sync_log).where(sync_log.c.id.in_(removable)))
            return removed.rowcount

    async def _known_producers(self, connection: AsyncConnection) -> set[str]:
        query = select(producers.c.name).where(producers.c.site == self._site)
        return set((await connection.scalars(query)).all())

    async def _settle(
        self,
        connection: AsyncConnection,
        others: Set[str],
        doctype: str,
        remote: str,
        sequence: int,
        values: Mapping[str, str],
    ) -> bool:
        """Set these values on the failed or held entries of an event. Returns whether there were any.

        An event is identified by its producer, which is none of the `others`, its type, the remote name and the
        sequence. The local name does not identify it: it may have been given, or changed, after the event failed.
        """
        c = sync_log.c
        # Most documents have the same local name, or none yet: the index finds them. Then search all waiting entries.
        for condition in (is_named(c.docname, remote), true()):
            updated = await connection.execute(
                update(sync_log)
                .where(
                    c.site == self._site,
                    c.doctype == doctype,
                    condition,
                    c.remote_docname == remote,
                    c.sequence == sequence,
                    c.producer.not_in(others),
                    c.status.in_(_WAITING),
                )
                .values(**values)
            )
            if updated.rowcount:
                return True
        return False

    async def _insert(self, connection: AsyncConnection, entries: Sequence[SyncEntry], batch_id: str | None) -> None:
        if not entries:
            return
        now = now_ms()
        await connection.execute(
            insert(sync_log),
            [
                {
                    **dict(zip(_STORED, _values(entry), strict=True)),
                    "site": self._site,
                    "batch": batch_id,
                    "at": entry.at or now,
                }
                for entry in entries
            ],
        )

    def _query(self) -> Any:
        """A query for entries, each with whether its batch is unconfirmed."""
        open_batch = and_(sync_batch.c.site == sync_log.c.site, sync_batch.c.id == sync_log.c.batch)
        return (
            select(*_FIELDS, sync_batch.c.id.is_not(None))
            .select_from(sync_log.outerjoin(sync_batch, open_batch))
            .where(sync_log.c.site == self._site)
        )

    def _batch(self, batch_id: str) -> Any:
        return and_(sync_batch.c.site == self._site, sync_batch.c.id == batch_id)


def _others(producer: str, known: Set[str]) -> Set[str]:
    """The producers that are certainly not this one. An unknown name may be an earlier name of any producer."""
    return known - {producer} if producer in known else set()


def _entry(row: Any) -> SyncEntry:
    *values, applying = row
    entry = SyncEntry(*values)
    return replace(entry, status=SyncStatus.APPLYING.value) if applying else entry
