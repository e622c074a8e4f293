"""Takes changes from the site's database, and appends what they make to the update log: claim, then append.

The claim is committed at the site, durably, before anything is appended; only what is appended is served. So
after a crash, or a power cut, or a restore, the two databases tell which of them is ahead, and by how much:
by nothing (clean), by one batch (it is appended again from the same changes), or otherwise (one of them went
back in time, so the log begins anew and consumers are told).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec
import structlog

from streamd.capture.cutting import between_documents
from streamd.capture.formed import Formed
from streamd.capture.forming import form
from streamd.capture.happening import as_update, as_whole
from streamd.capture.identifying import RowBook, Told, changes_identities, documents_in, identify, ids_in, tell_again
from streamd.capture.remembering import latest, records_of, remember, without_document
from streamd.capture.standing import look, touched
from streamd.capture.untold import NOTHING, Standing
from streamd.common import clock as hlc
from streamd.common.instrumentation import crash_point
from streamd.common.values import id_ranges, names_by_type
from streamd.db.base import SiteDatabase, Transaction
from streamd.errors import RowRefused, SchemaChanged
from streamd.identity import Identities
from streamd.model import (
    LOCAL,
    Catalogue,
    Change,
    Claim,
    DocumentId,
    Name,
    Operation,
    Record,
    name_from_text,
    name_label,
)
from streamd.rowids import RowIds
from streamd.rows import bindings, names_touched
from streamd.store.engine import now_ms
from streamd.update_log import Head, UpdateLog, Watermarks

log = structlog.get_logger("streamd.capture")

_TOLD = msgspec.json.Decoder(Told)

RENAMED_BATCHES = 16
"""A batch may become so many times as large, so that a large document is renamed in one."""


class Capture:
    """The capture of one site. `run_once` takes one batch; `drain` takes all there is."""

    def __init__(
        self,
        database: SiteDatabase,
        update_log: UpdateLog,
        catalogue: Catalogue,
        *,
        site: str,
        logged: Callable[[], Awaitable[set[str]]],
        remembered: frozenset[str],
        batch: int,
    ) -> None:
        self._database = database
        self._update_log = update_log
        self._bound = bindings(catalogue)
        self._offers = catalogue.offers
        self._doctypes = catalogue.doctypes
        self._site = site
        self._logged = logged
        self._remembered = remembered
        self._batch = batch
        self._claim: Claim | None = None
        self._logged_to = 0
        self.watermarks = Watermarks()
        self._busy = asyncio.Lock()
        self.taken = 0
        """The changes that were read since the start, with those that came from other sites."""
        self.captured = 0
        """Those that were made at this site."""
        self._not_remembered: set[str] = set()
        used = catalogue.offers | remembered
        self._told = {
            table: [each for each in some if each.doctype.name in used] for table, some in self._bound.items()
        }
        self.orphans = 0
        self._warned: set[str] = set()

    @property
    def claimed(self) -> Claim | None:
        """The last claim that is known to be committed; None while that is not known."""
        return self._claim

    async def recover(self) -> str:
        """Bring site and log together after whatever happened. Returns why the log began anew, or nothing."""
        async with self._busy:
            return await self._recovered()

    async def _recovered(self) -> str:
        async with self._database.snapshot() as reader:
            claim = await reader.last_claim()
        head = await self._update_log.head()
        why = await self._recover(claim, head)
        if why:
            log.warning("log_restarted", reason=why)
        head = await self._update_log.head()
        self._logged_to = head.sequence if head is not None else 0
        return why

    async def _recover(self, claim: Claim | None, head: Head | None) -> str:
        if claim is not None and head is not None and claim.log == head.log:
            if (claim.batch, claim.digest) == (head.batch, head.digest):
                self._claim = claim
                return ""
            if claim.batch == head.batch + 1:
                changes = await self._database.read_claimed(claim)
                if _digest(changes) == claim.digest:
                    formed = await self._form(changes, claim.previous_clock, await self._look(claim, changes))
                    async with self._database.snapshot() as reader:
                        self._say_what_is_known(formed, await records_of(reader, self._edited(changes)))
                        told = await reader.ids_told(claim.batch)
                    if told is not None:
                        tell_again(formed, _TOLD.decode(told))
                    await self._update_log.append(claim.batch, claim.digest, formed.entries, log=claim.log)
                    self._claim = claim
                    log.info("batch_appended_again", batch=claim.batch, changes=len(changes))
                    return ""
        why = ""
        if claim is not None and head is None:
            why = "the state database is new, or older than the site's database"
        elif claim is None and head is not None:
            why = "the site's database is new, or older than the state database"
        elif claim is not None:
            why = (
                "the site's database or the state database was restored from an older copy, "
                "or another daemon ran here with another state database"
            )
        head = await self._update_log.begin()
        anew = Claim(head.log, 0, 0, "", "")
        if claim is not None:
            anew = Claim(head.log, 0, claim.last_change, "", claim.clock, ids=claim.ids)
        async with self._database.transaction() as transaction:
            await transaction.put_claim(None, anew)
        self._claim = anew
        return why

    async def drain(self) -> None:
        """Bring the log up to date with what the site's database held when this was called."""
        while await self.run_once():
            pass

    async def run_once(self) -> int:
        """Take one batch of changes. Returns how many there were; 0 when there is nothing to take.

        Raises `Fenced` where another daemon claims changes of this site, and `SiteBusy` or `StateBusy`. After an error,
        or when it was cancelled, the next call recovers first.
        """
        async with self._busy:
            if self._claim is None:
                await self._recovered()
            assert self._claim is not None  # noqa: S101  # recovering sets it, or raises
            began = now_ms()
            changes, everything = await self._next_changes(self._claim)
            if not changes:
                if everything:
                    self.watermarks.add(self._claim.log, self._logged_to, began)
                return 0
            # From here on only the databases know: whoever cancels this may do so while the claim is committed, and
            # if the append fails the claim stands one ahead. Recovering looks, and appends it again.
            last, self._claim = self._claim, None
            claim, formed = await self._take(last, changes)
            crash_point("capture.claimed")
            try:
                head = await self._update_log.append(claim.batch, claim.digest, formed.entries, log=claim.log)
            except BaseException:
                log.warning("append_failed", batch=claim.batch)
                raise
            self._claim, self._logged_to = claim, head.sequence
            if everything:
                self.watermarks.add(claim.log, head.sequence, began)
            crash_point("capture.appended")
            self.taken += len(changes)
            self.captured += sum(change.origin == LOCAL for change in changes)
            if formed.entries:
                log.debug("captured", changes=len(changes), events=len(formed.entries))
            return len(changes)

    async def _next_changes(self, claim: Claim) -> tuple[Sequence[Change], bool]:
        """A batch, cut between two documents; larger, where a document is renamed that is larger than a batch.

        And whether it is everything that was committed before.
        """
        limit = self._batch
        while True:
            read = await self._database.read_changes(claim, limit)
            changes = read.rows
            if not read.cut:
                return changes, read.everything
            size, renaming = between_documents(changes, self._bound)
            if size or not renaming or limit >= self._batch * RENAMED_BATCHES:
                return (changes[:size] if size else changes), False
            limit *= 2

    async def _take(self, last: Claim, changes: Sequence[Change]) -> tuple[Claim, Formed]:
        standing = await self._look(last, changes)
        edited = self._edited(changes)
        formed = None
        clock = last.clock
        if not edited:
            formed = await self._form(changes, clock, standing)
            self._say_what_is_known(formed, {})
        async with self._database.transaction() as transaction:
            if formed is None:
                # Records change under the applier's hands, so they are read where they are written.
                records = await records_of(transaction, edited)
                # A local edit is later than everything that was applied to its document before.
                clock = hlc.latest((clock, *(latest(record) for record in records.values())))
                formed = await self._form(changes, clock, standing)
                edits, freed = remember(records, formed.edits, self._site, self._doctypes)
                self._say_what_is_known(formed, records)
                for ref in freed:
                    await transaction.forget_record(*ref)
                await transaction.put_records([each for each in edits if self._can_remember(transaction, each)])
            told = await self._identify(transaction, formed)
            if told:
                await transaction.put_ids_told(last.batch + 1, msgspec.json.encode(told))
            claim = Claim(
                last.log,
                last.batch + 1,
                max(last.last_change, *(change.id for change in changes)),
                _digest(changes),
                formed.clock,
                previous_change=last.last_change,
                previous_clock=clock,
                ids=id_ranges(change.id for change in changes),
            )
            await transaction.put_claim(last, claim)
            crash_point("capture.claiming")
        return claim, formed

    async def _identify(self, transaction: Transaction, formed: Formed) -> Told:
        """Write into the entries which documents they mean, and remember what became of documents' names."""
        has_rows = await transaction.has_row_ids()
        known = has_rows or await transaction.has_identities()
        if not known and not changes_identities(formed):
            return []
        refs = documents_in(formed, self._doctypes) if known else ()
        by_type = names_by_type(refs)
        rows = [row for doctype, names in by_type.items() for row in await transaction.identities(doctype, names)]
        identities = Identities(rows)
        row_ids: dict[tuple[str, DocumentId], RowIds] = {}
        if has_rows:
            for doctype, ids in ids_in(formed, identities).items():
                row_ids |= {(doctype, id): found for id, found in (await transaction.row_ids(doctype, ids)).items()}
        book = RowBook(row_ids, self._site)
        told = identify(formed, identities, self._doctypes, book)
        await transaction.put_identities(*identities.changes())
        await transaction.put_row_ids(book.changed)
        return told

    def _say_what_is_known(self, formed: Formed, records: Mapping[tuple[str, Name], Record]) -> None:
        """Write into the entries of this site's own changes which documents these are, as far as that is remembered."""
        for entry in formed.entries:
            ref = (entry.doctype, name_from_text(entry.name))
            if entry.operation != Operation.CREATE:
                if entry.renamed_from is not None and ref in formed.incomplete:
                    as_whole(entry)
                continue
            record = records.get(ref) if entry.origin is None else None
            made = record.clock if record is not None and record.was_here(self._site, entry.clock) else ""
            if made or ref in formed.incomplete:
                as_update(entry, self._doctypes[entry.doctype], made=made, whole=ref in formed.incomplete)

    def _edited(self, changes: Sequence[Change]) -> set[tuple[str, Name]]:
        """The documents that were changed, as far as what their users edit is remembered."""
        return {(doctype, name) for doctype, name in names_touched(changes, self._bound) if doctype in self._remembered}

    def _can_remember(self, transaction: Transaction, record: Record) -> bool:
        """Whether a record can be put. One that cannot must not hold up the changes of all other documents."""
        if transaction.can_remember(record.name):
            return True
        if record.doctype not in self._not_remembered:
            self._not_remembered.add(record.doctype)
            log.warning(
                "edits_not_remembered",
                doctype=record.doctype,
                name=name_label(record.name)[:60],
                because="its name is longer than this database can remember; its changes travel all the same, but "
                "where two sites edit one field, the other site's edit wins",
                hint="give it a shorter name",
            )
        return False

    async def _form(self, changes: Sequence[Change], clock: str, standing: Standing) -> Formed:
        logged = await self._logged()
        return form(
            changes,
            self._bound,
            site=self._site,
            clock=clock,
            logged=frozenset(logged) & self._offers,
            remembered=self._remembered,
            standing=standing,
        )

    async def _look(self, claim: Claim, changes: Sequence[Change]) -> Standing:
        here = touched(changes, self._told)
        if not here.in_doubt:
            return NOTHING
        taken, most = {change.id for change in changes}, self._batch * RENAMED_BATCHES
        try:
            async with self._database.snapshot() as reader:
                standing = await look(reader, claim, here, taken, self._told, self._doctypes, most)
                doubtful = {ref for ref in standing.doubtful if ref[0] in self._remembered}
                over = await without_document(reader, doubtful)
                standing = standing.taken_whole(frozenset(doubtful - over))
        except (RowRefused, SchemaChanged) as error:
            # A table cannot be read: no reason to hold up what triggers saw.
            if "" not in self._warned:
                self._warned.add("")
                log.warning("child_rows_not_checked", error=str(error))
            return NOTHING
        for doctype, name in sorted(standing.orphaned, key=repr):
            self._say_orphan(doctype, name)
        return standing

    def _say_orphan(self, doctype: str, name: Name) -> None:
        self.orphans += 1
        if doctype not in self._warned:
            self._warned.add(doctype)
            log.warning(
                "orphan_rows",
                doctype=doctype,
                name=name_label(name),
                because="child rows of this document were changed, and it does not exist: nobody is told",
                hint="nothing, or remove such rows; if the document is made, they travel with it",
            )


def _digest(changes: Iterable[Change]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for change in changes:
        digest.update(b"%d\0%s\0%s\0" % (change.id, change.table.encode(), change.op.encode()))
        digest.update(change.before or b"")
        digest.update(b"\0")
        digest.update(change.after or b"")
    return digest.hexdigest()
