"""Asks what the database does by itself to documents that an applied group does not name, before and after the write.

Either the producer did the same, or the group is refused; where a type's `side_effects` allow it, it is an edit of
this site. A row that was changed is put back where the producer has the word: what its own database made of that row
comes as an event of its own, perhaps in another page.
"""

from __future__ import annotations

from collections.abc import Sequence

from streamd.apply.write.effects import (
    Accounted,
    Effect,
    Reach,
    allowed,
    beyond,
    caused,
    effect_of,
    happened,
    put_back,
    reaches,
    refused,
    unmeant,
)
from streamd.apply.write.ordering import Planned
from streamd.apply.write.writer import Columns
from streamd.db.base import Transaction
from streamd.errors import RowRefused
from streamd.model import Catalogue, Name, Row
from streamd.rows import bindings


class Effects:
    """The effects of writing one group of documents."""

    def __init__(
        self, transaction: Transaction, catalogue: Catalogue, planned: Sequence[Planned], columns: Columns, log: str
    ) -> None:
        """`log` is the producer's log that the group comes from."""
        self._transaction = transaction
        self._catalogue = catalogue
        self._planned = planned
        self._columns = columns
        self._log = log
        self.after = 0
        self.undone = False

    async def foresee(self) -> list[str]:
        """What foreign keys will do that is allowed, in words. Raises `RowRefused` for what is not."""
        if self._catalogue.offers:
            self.after = await self._transaction.last_change()
        notes: list[str] = []
        found = reaches(self._planned, self._catalogue.references)
        accounted = Accounted(self._planned) if found else None
        for reach in found:
            assert accounted is not None  # noqa: S101  # made just now
            notes += await self._look(reach, accounted)
        return notes

    async def _look(self, reach: Reach, accounted: Accounted) -> list[str]:
        reference = reach.reference
        known = {column.name: column for column in reference.rows.columns}
        key = [known[name] for name in reference.key.columns]
        found: list[tuple[Row, Planned]] = []
        for row in await self._transaction.read_rows(reference.rows.table, reference.rows.columns, key, reach.causes):
            cause = caused(reach, row)
            if cause is not None and not accounted.has(reference, row):
                found.append((row, cause))
        notes = []
        if not reference.doctype:
            for further in beyond(reach, found, self._catalogue.references):
                notes += await self._look(further, accounted)
            return notes
        for row, cause in found:
            if reference.doctype not in self._catalogue.open_to_effects:
                raise RowRefused(refused(reach, row, cause))
            if reference.doctype not in self._catalogue.offers:
                # No trigger sees it, so it is said here.
                notes.append(f"made this database {effect_of(reach, row)} ({reach.rule}): an edit of this site")
        return notes

    async def seen(self) -> list[str]:
        """Undo what the database did to rows of which the producer has the word. Returns what was done, in words.

        To be called after `verify`, which has triggers do what they put off. Raises `RowRefused` for what is neither
        allowed nor can be undone.
        """
        effects = await self._happened()
        strange = [each for each in effects if not self._is_allowed(each)]
        kept = allowed([each for each in effects if self._is_allowed(each)])
        if not strange:
            return kept
        ours = await self._not_the_producers(strange)
        if not ours:
            await self._transaction.write([each.undone(self._columns) for each in strange])
            await self._transaction.fire_deferred()
            ours = [each for each in await self._happened() if not self._is_allowed(each)]
        if ours:
            raise RowRefused(happened(ours, self._planned))
        self.undone = True
        return [*kept, put_back(strange)]

    async def _happened(self) -> list[Effect]:
        if not self._catalogue.offers:
            return []
        triggers = any(write.table in self._catalogue.triggered for each in self._planned for write in each.writes)
        changes = await self._transaction.own_changes(self.after, marked=triggers)
        if not changes:
            return []
        tables = {change.table for change in changes}
        some = {
            name: doctype
            for name, doctype in self._catalogue.doctypes.items()
            if not tables.isdisjoint((doctype.table, *(child.table for child in doctype.children)))
        }
        return unmeant(changes, bindings(Catalogue(some, frozenset())), self._planned)

    async def _not_the_producers(self, effects: Sequence[Effect]) -> list[Effect]:
        """Those that made or removed a row, or changed a document of which the producer never said anything."""
        names: dict[str, set[Name]] = {}
        for each in effects:
            names.setdefault(each.ref[0], set()).add(each.ref[1])
        known = {
            (doctype, name)
            for doctype, some in names.items()
            for name, record in (await self._transaction.records(doctype, some)).items()
            if self._log in record.seen
        }
        return [
            each
            for each in effects
            if each.before is None or each.after is None or not (each.marked or each.ref in known)
        ]

    def _is_allowed(self, effect: Effect) -> bool:
        if effect.marked:
            return self._catalogue[effect.ref[0]].accept_changes
        return effect.ref[0] in self._catalogue.open_to_effects
