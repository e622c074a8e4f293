"""The Event Sync Log: how each event of a producer fared here.

The rows of a batch are written before its transaction at the site commits, and read as *Applying* until the
checkpoint confirms them: so a crash between the two databases leaves a question, never a false answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import and_, delete, func, insert, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from streamd.errors import NotFound
from streamd.model import Name, Operation, SyncEntry, SyncStatus, name_text
from streamd.settings import RetentionSettings
from streamd.store.engine import State, now_ms
from streamd.store.schema import is_named, producers, sync_batch, sync_log

TRIM_AT_ONCE = 5_000
"""Entries removed in one transaction, at most, so that writers never wait long."""

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


class Unconfirmed(NamedTuple):
    """A batch that may or may not have been committed at the site: it was, if the checkpoint is there."""

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
        """Write a batch's entries before the site commits it; the checkpoint (log, sequence) confirms it.

        `confirmed` is an earlier batch that the site has committed: said in the same transaction.
        """
        async with self._state.write() as connection:
            if confirmed is not None:
                await connection.execute(delete(sync_batch).where(self._batch(confirmed)))
            await connection.execute(
                insert(sync_batch),
                [
                    {
                        "site": self._site,
                        "id": batch_id,
                        "producer_site": producer_site,
                        "log": log,
                        "sequence": sequence,
                    }
                ],
            )
            await self._insert(connection, entries, batch_id)

    async def confirm(self, batch_id: str) -> None:
        """The site has committed the batch."""
        async with self._state.write() as connection:
            await connection.execute(delete(sync_batch).where(self._batch(batch_id)))

    async def abandon(self, batch_id: str) -> None:
        """The site has not committed the batch: its entries never happened."""
        async with self._state.write() as connection:
            await connection.execute(
                delete(sync_log).where(sync_log.c.batch == batch_id, sync_log.c.site == self._site)
            )
            await connection.execute(delete(sync_batch).where(self._batch(batch_id)))

    async def unconfirmed(self) -> list[Unconfirmed]:
        """The batches to hold against the checkpoints after a start or a database error."""
        c = sync_batch.c
        query = select(c.id, c.producer_site, c.log, c.sequence).where(c.site == self._site).order_by(c.id)
        async with self._state.read() as connection:
            return [Unconfirmed(*row) for row in await connection.execute(query)]

    async def add(self, entries: Sequence[SyncEntry]) -> None:
        """Write entries whose outcome is certain already."""
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
        """The newest entries that fit, newest first. `name` is compared with either name of the document."""
        query = self._readable()
        if status == SyncStatus.APPLYING:
            query = query.where(sync_batch.c.id.is_not(None))
        elif status is not None:
            query = query.where(sync_log.c.status == status, sync_batch.c.id.is_(None))
        if doctype is not None:
            query = query.where(sync_log.c.doctype == doctype)
        if name is not None:
            query = query.where((sync_log.c.docname == name) | (sync_log.c.remote_docname == name))
        async with self._state.read() as connection:
            found = await connection.execute(query.order_by(sync_log.c.id.desc()).limit(limit))
            return [_entry(row) for row in found]

    async def get(self, id: int) -> SyncEntry:
        """One entry. Raises `NotFound`."""
        async with self._state.read() as connection:
            row = (await connection.execute(self._readable().where(sync_log.c.id == id))).first()
        if row is None:
            raise NotFound(f"there is no entry {id} in the Event Sync Log", hint="see `streamd log syncs`")
        return _entry(row)

    async def counts(self) -> dict[str, int]:
        """How many entries there are of each status."""
        query = select(sync_log.c.status, func.count()).where(sync_log.c.site == self._site).group_by(sync_log.c.status)
        async with self._state.read() as connection:
            return {row[0]: row[1] for row in await connection.execute(query)}

    # Afterwards

    async def resolve(
        self, producer: str, doctype: str, events: Sequence[tuple[int, Name]], note: str, *, docname: str | None = None
    ) -> None:
        """These events (sequence, name) of a producer, which failed or were held, have been applied after all.

        `docname` is the name that their document has got here.
        """
        values = {"status": SyncStatus.SYNCED, "error": "", "note": note}
        if docname is not None:
            values["docname"] = docname
        async with self._state.write() as connection:
            others = _others(producer, await self._known_producers(connection))
            for sequence, name in events:
                await self._settle(connection, others, doctype, name_text(name), sequence, values)

    async def open_gaps(self, producer: str) -> dict[str, int]:
        """The types of which the producer's log said that changes are missing: type → where it said so last."""
        c = sync_log.c
        query = (
            select(c.doctype, func.max(c.sequence))
            .where(
                c.site == self._site,
                c.producer == producer,
                c.update_type == Operation.GAP,
                c.status == SyncStatus.FAILED,
                c.sequence > 0,
            )
            .group_by(c.doctype)
        )
        async with self._state.read() as connection:
            return {row[0]: row[1] for row in await connection.execute(query)}

    async def gaps(self, producer: str | None = None) -> dict[str, int]:
        """What waits for the types to be read again: type → notices of missing changes that nobody has settled.

        All of them, or those of one producer.
        """
        c = sync_log.c
        whose = () if producer is None else (c.producer == producer,)
        query = (
            select(c.doctype, func.count())
            .where(c.site == self._site, c.update_type == Operation.GAP, c.status == SyncStatus.FAILED, *whose)
            .group_by(c.doctype)
            .order_by(c.doctype)
        )
        async with self._state.read() as connection:
            return {row[0]: row[1] for row in await connection.execute(query)}

    async def resolve_gaps(self, producer: str, doctype: str, note: str) -> None:
        """All documents of the type were read again from the producer: its gaps are closed."""
        async with self._state.write() as connection:
            await connection.execute(
                update(sync_log)
                .where(
                    sync_log.c.site == self._site,
                    sync_log.c.producer == producer,
                    sync_log.c.doctype == doctype,
                    sync_log.c.update_type == Operation.GAP,
                    sync_log.c.status == SyncStatus.FAILED,
                )
                .values(status=SyncStatus.SYNCED, error="", note=note)
            )

    async def resolve_all_but(self, waiting: Set[tuple[str, str, str, int]]) -> None:
        """Failed or held events that are not `waiting` were applied before we stopped.

        `waiting` are the producers' UUIDs, and of each event the type, the name that its document has there, and the
        sequence.
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
                of = kept.get((row.doctype, row.remote_docname, row.sequence), set())
                # Where it is not known who a producer is, or was, it may be the one: nothing is called synced for that.
                others = set(sites.values()) - {sites[row.producer]} if row.producer in sites else set()
                if of <= others:
                    await connection.execute(
                        update(sync_log)
                        .where(c.id == row.id)
                        .values(status=SyncStatus.SYNCED, error="", note="applied later")
                    )

    async def discard(self, entries: Sequence[SyncEntry]) -> None:
        """A person let go of the events of these entries: what stands as failed or held becomes Discarded.

        Where nothing stands any more (it was trimmed), the entry is added.
        """
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
        """Remove what is too old or too much, a bounded step at a time. Returns how many went.

        Call again while it returns `TRIM_AT_ONCE`. Entries of unconfirmed batches are left alone.
        """
        mine = sync_log.c.site == self._site
        async with self._state.write() as connection:
            newest = await connection.scalar(select(func.max(sync_log.c.id)).where(mine))
            if newest is None:
                return 0
            old = now_ms() - retention.sync_log_seconds * 1000
            # Several sites in one state database take turns with ids: this keeps at most so many, never more.
            surplus = int(newest) - retention.sync_log_entries
            open_batches = select(sync_batch.c.id).where(sync_batch.c.site == self._site)
            doomed = (
                select(sync_log.c.id)
                .where(
                    mine,
                    (sync_log.c.at < old) | (sync_log.c.id <= surplus),
                    sync_log.c.batch.is_(None) | sync_log.c.batch.not_in(open_batches),
                )
                .order_by(sync_log.c.id)
                .limit(TRIM_AT_ONCE)
            )
            gone = await connection.execute(delete(sync_log).where(sync_log.c.id.in_(doomed)))
            return gone.rowcount

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
        """Give what stands of an event as failed or held these values. Returns whether anything stood.

        An event is known by its producer, which is none of the `others`, its type, the name that its document has
        there, and its sequence: the name here may have been given after it failed, or given otherwise since.
        """
        c = sync_log.c
        # Most have the same name here, or none yet, and are found by the index; the others among all that wait.
        for way in (is_named(c.docname, remote), true()):
            found = await connection.execute(
                update(sync_log)
                .where(
                    c.site == self._site,
                    c.doctype == doctype,
                    way,
                    c.remote_docname == remote,
                    c.sequence == sequence,
                    c.producer.not_in(others),
                    c.status.in_(_WAITING),
                )
                .values(**values)
            )
            if found.rowcount:
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
                    "site": self._site,
                    "at": entry.at or now,
                    "batch": batch_id,
                    "update_type": entry.update_type,
                    "status": entry.status,
                    "doctype": entry.doctype,
                    "producer": entry.producer,
                    "docname": entry.docname,
                    "remote_docname": entry.remote_docname,
                    "use_same_name": entry.use_same_name,
                    "data": entry.data,
                    "sequence": entry.sequence,
                    "error": entry.error,
                    "note": entry.note,
                }
                for entry in entries
            ],
        )

    def _readable(self) -> Any:
        """Entries with the id of their batch where that one is not confirmed yet."""
        open_batch = and_(sync_batch.c.site == sync_log.c.site, sync_batch.c.id == sync_log.c.batch)
        return (
            select(*_FIELDS, sync_batch.c.id.is_not(None))
            .select_from(sync_log.outerjoin(sync_batch, open_batch))
            .where(sync_log.c.site == self._site)
        )

    def _batch(self, batch_id: str) -> Any:
        return and_(sync_batch.c.site == self._site, sync_batch.c.id == batch_id)


def _others(producer: str, known: Set[str]) -> Set[str]:
    """The producers that certainly are other ones. One that is not known may have been called otherwise."""
    return known - {producer} if producer in known else set()


def _entry(row: Any) -> SyncEntry:
    *values, applying = row
    entry = SyncEntry(*values)
    return replace(entry, status=SyncStatus.APPLYING.value) if applying else entry
