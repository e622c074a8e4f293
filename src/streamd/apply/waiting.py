"""Which events of a batch can be written now, and which wait: for their own document's queue, or for another's."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from streamd.apply.batch import BEHIND, PAUSED, Kept, Unit
from streamd.apply.event.incoming import ref_of
from streamd.apply.localnames.names import Names
from streamd.apply.source import Ref
from streamd.db.base import Reader
from streamd.model import QueueState, name_label


async def sort_out(
    reader: Reader, units: Sequence[Unit], queued: Collection[Ref], names: Names, paused: Mapping[str, str]
) -> tuple[list[Unit], list[Kept]]:
    """The units that can be written, and those that are kept back.

    `queued` are the documents that have a queue; `paused` the types that wait as a whole, with the reasons.
    """
    sorter = _Sorter(units, queued, names, paused)
    kept = sorter.kept_back(())
    if kept:
        sorter.here = await names.here(reader, {ref for unit in units for ref in unit.coming})
        kept = sorter.kept_back(())
        while len(known := sorter.with_dependents(kept)) > len(kept):
            kept = sorter.kept_back(known)
    return [unit for place, unit in enumerate(units) if place not in kept], list(kept.values())


class _Sorter:
    """Judges units in their order. `here` are documents that they link to, and that are here."""

    def __init__(self, units: Sequence[Unit], queued: Collection[Ref], names: Names, paused: Mapping[str, str]) -> None:
        self._units = units
        self._queued = queued
        self._names = names
        self._paused = paused
        self.here: Collection[Ref] = ()
        self._makers: dict[Ref, int] = {}
        for place, unit in enumerate(units):
            self._makers.setdefault(unit.refs[-1], place)

    def with_dependents(self, kept: Collection[int]) -> set[int]:
        """These places, and those of all units that wait for them although they stand before them."""
        needers: dict[int, list[int]] = {}
        for place, unit in enumerate(self._units):
            for ref in unit.coming:
                if ref in self._makers and ref not in self.here and self._names.local(ref) is None:
                    needers.setdefault(self._makers[ref], []).append(place)
        found, new = set(kept), list(kept)
        while new:
            more = set(needers.get(new.pop(), ())) - found
            found |= more
            new += more
        return found

    def kept_back(self, known: Collection[int]) -> dict[int, Kept]:
        """The units that have to wait, by their places; of those at the places `known` that is known already."""
        kept: dict[int, Kept] = {}
        behind = set(self._queued)
        failed = behind.union(*(self._units[place].refs for place in known))
        for place, unit in enumerate(self._units):
            lacking = [ref for ref in unit.coming if ref not in self.here and self._stays_away(ref, kept, known)]
            reason = self._reason(unit, lacking, behind, failed)
            if reason is not None:
                kept[place] = reason
                behind |= set(unit.refs)
                failed |= set(unit.refs)
        return kept

    def _stays_away(self, ref: Ref, kept: Collection[int], known: Collection[int]) -> bool:
        """Whether no unit makes (or renames) the document now. `kept` are those before the one that needs it.

        What stands before the document waits for it only where that has no name here yet: its link would lead to
        another document, that has that name here.
        """
        maker = self._makers.get(ref)
        return maker is None or maker in kept or (maker in known and self._names.local(ref) is None)

    def _reason(
        self, unit: Unit, lacking: Sequence[Ref], behind: Collection[Ref], failed: Collection[Ref]
    ) -> Kept | None:
        doctype = unit.incoming.event.doctype
        if unit.waits_as_type(self._paused):
            return Kept(unit, QueueState.HELD, f"{doctype}{PAUSED}{self._paused[doctype]}")
        if any(ref in behind for ref in unit.refs):
            return Kept(unit, QueueState.HELD, BEHIND)
        refused = unit.refused or next((each.fault for each in unit.all if each.fault), "")
        if refused:
            first = next((ref for ref in map(ref_of, unit.before) if ref in failed), None)
            if first is not None:
                return Kept(unit, QueueState.HELD, waits_for_failed(first), first)
            return Kept(unit, QueueState.PARKED, refused)
        if unit.renamed:
            first = unit.renamed[0]
            error = f"waits for {_label(first)}, whose rename has to be applied first"
            return Kept(unit, QueueState.HELD, error, first)
        first = next(iter((*unit.missing, *lacking)), None)
        if first is None:
            return None
        if first[0] in self._paused:
            error = f"waits for {_label(first)}, whose type{PAUSED}{self._paused[first[0]]}"
            return Kept(unit, QueueState.HELD, error, first)
        if first in failed:
            return Kept(unit, QueueState.HELD, waits_for_failed(first), first)
        if not unit.missing:
            return Kept(unit, QueueState.HELD, comes_later(first), first)
        return Kept(unit, QueueState.PARKED, unit.why_missing, first)


def comes_later(ref: Ref) -> str:
    """Why an event waits whose link leads to a document that a later event makes."""
    return f"waits for {_label(ref)}, which comes later"


def waits_for_failed(ref: Ref) -> str:
    """Why an event waits whose link leads to a document that failed."""
    return f"waits for {_label(ref)}, which failed"


def _label(ref: Ref) -> str:
    return f"{ref[0]} {name_label(ref[1])}"
