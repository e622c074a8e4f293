"""Asks what the database does by itself to documents that an applied group does not name, before and after the write.

Either the producer did the same, or the group is refused; where a type's `side_effects` allow it, it is an edit of
this site.
"""

from __future__ import annotations

from collections.abc import Sequence

from streamd.apply.write.effects import (
    Accounted,
    Effect,
    Reach,
    allowed,
    caused,
    effect_of,
    happened,
    reaches,
    refused,
    unmeant,
)
from streamd.apply.write.ordering import Planned
from streamd.db.base import Transaction
from streamd.errors import RowRefused
from streamd.model import Catalogue
from streamd.rows import bindings


class Effects:
    """The effects of writing one group of documents."""

    def __init__(self, transaction: Transaction, catalogue: Catalogue, planned: Sequence[Planned]) -> None:
        self._transaction = transaction
        self._catalogue = catalogue
        self._planned = planned
        self._after = 0

    async def foresee(self) -> list[str]:
        """What foreign keys will do that is allowed, in words. Raises `RowRefused` for what is not."""
        if self._catalogue.offers:
            self._after = await self._transaction.last_change()
        notes: list[str] = []
        found = reaches(self._planned, self._catalogue.references)
        accounted = Accounted(self._planned) if found else None
        for reach in found:
            assert accounted is not None  # noqa: S101  # made just now
            notes += await self._look(reach, accounted)
        return notes

    async def _look(self, reach: Reach, accounted: Accounted) -> list[str]:
        reference = reach.reference
        rows = reference.rows
        known = {column.name: column for column in rows.columns}
        key = [known[name] for name in reference.key.columns]
        notes = []
        for row in await self._transaction.read_rows(rows.table, rows.columns, key, reach.causes):
            cause = caused(reach, row)
            if cause is None or accounted.has(reference, row):
                continue
            if reference.doctype not in self._catalogue.open_to_effects:
                raise RowRefused(refused(reach, row, cause))
            if reference.doctype not in self._catalogue.offers:
                # No trigger sees it, so it is said here.
                notes.append(f"made this database {effect_of(reach, row)} ({reach.rule}): an edit of this site")
        return notes

    async def seen(self) -> list[str]:
        """What the database did that is allowed, in words. Raises `RowRefused` for what is not."""
        if not self._catalogue.offers:
            return []
        triggers = any(write.table in self._catalogue.triggered for each in self._planned for write in each.writes)
        changes = await self._transaction.own_changes(self._after, marked=triggers)
        if not changes:
            return []
        effects = unmeant(changes, bindings(self._catalogue), self._planned, self._catalogue.references)
        refused = [each for each in effects if not self._is_allowed(each)]
        if refused:
            raise RowRefused(happened(refused, self._planned))
        return [allowed(effects)] if effects else []

    def _is_allowed(self, effect: Effect) -> bool:
        if effect.marked:
            return self._catalogue[effect.ref[0]].accept_changes
        return effect.ref[0] in self._catalogue.open_to_effects
