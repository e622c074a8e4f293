"""Merges a document that came whole with the one that is here: one rule, whichever way it came. Pure.

What came is taken as it is, but for what was edited here, or at a third site, and has not reached its producer yet:
that stays, and reaches it in time. Whether it has is told by the clocks of edits that both sites remember. An edit that
the producer made itself it knows, of course. Where only their word counts, nothing is known of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamd.apply.decide.conflict import child_field
from streamd.apply.decide.values import differing, shown
from streamd.apply.write.rowwrite import DELETE, RowWrite, known, update_writes
from streamd.common import clock as hlc
from streamd.model import ChildTable, Document, DocumentType, Row, name_text


@dataclass(frozen=True, slots=True)
class Known:
    """What the producer remembers of a document that it gave: where it came from, and the clocks of edited fields.

    The clock of all other fields stands under the empty name.
    """

    source: str = ""
    clocks: Mapping[str, str] = field(default_factory=dict)

    def clock_of(self, *fieldnames: str) -> str:
        return hlc.latest(self.clocks.get(name, "") for name in ("", *fieldnames))


NOTHING_KNOWN = Known()


@dataclass(frozen=True, slots=True)
class State:
    """A document as it came: its fields, its child rows by field, and what is known of them.

    `everything` is False where it says nothing of child rows that it does not have: then those stay.
    """

    fields: Row
    children: Mapping[str, list[Row]]
    known: Known = NOTHING_KNOWN
    everything: bool = True


@dataclass(slots=True)
class Merged:
    """What to write of a document, the clocks of its fields afterwards, and what was said of it.

    `stays` tells what is newer here, and `replaced` what was written over, each with both values.
    """

    clocks: dict[str, str]
    writes: list[RowWrite] = field(default_factory=list)
    stays: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)


def newer_here(ours: str, theirs: str, producer: str) -> bool:
    """Whether an edit with the clock `ours` has not reached the producer (its UUID), which knows of `theirs`."""
    return ours > theirs and not hlc.made_at(ours, producer)


def merge_state(doctype: DocumentType, here: Document, ours: Known, there: State, producer: str) -> Merged:
    """What makes the document `here`, of which `ours` is known, the one that came from `producer` (a UUID, or "").

    What is newer here stays.
    """
    return _Merge(doctype, here, ours, there, producer).merged()


class _Merge:
    def __init__(self, doctype: DocumentType, here: Document, ours: Known, there: State, producer: str) -> None:
        self._doctype = doctype
        self._here = here
        self._ours = ours
        self._there = there
        self._producer = producer
        self._merged = Merged({name: clock for name, clock in ours.clocks.items() if name})

    def merged(self) -> Merged:
        fields = known(self._doctype, self._there.fields)
        columns = {
            column: value
            for column, value in differing(self._doctype, fields, self._here.fields).items()
            if column not in self._doctype.key and self._taken(column, self._here.fields.get(column), value)
        }
        parent = update_writes(self._doctype, self._here.name, columns)
        children = self._there.children
        rows = [write for child in self._doctype.children for write in self._rows(child, children.get(child.field, []))]
        # Removals first: what is unique is given up before it is taken.
        removals = [write for write in rows if write.kind == DELETE]
        self._merged.writes = [*removals, *parent, *(write for write in rows if write.kind != DELETE)]
        return self._merged

    def _rows(self, child: ChildTable, rows: list[Row]) -> Iterator[RowWrite]:
        before = {name_text(_key(child, row)): row for row in self._here.children.get(child.field, [])}
        after = {name_text(_key(child, row)): row for row in rows}
        for text, row in before.items():
            place = child_field(child.field, text)
            if self._there.everything and text not in after and not self._edited(place):
                yield RowWrite.delete(child, self._here.name, _key(child, row))
        for text, row in after.items():
            place = child_field(child.field, text)
            if text not in before:
                if self._is_newer(place):
                    self._merged.stays.append(f"{place}: was removed here later; stays removed")
                else:
                    placed = row | dict(zip(child.parent_key, self._here.name, strict=True))
                    yield RowWrite.insert(child.table, known(child, placed))
                continue
            columns = {
                column: value
                for column, value in differing(child, known(child, row), before[text]).items()
                if column not in (*child.key, *child.parent_key)
                and self._taken(child_field(place, column), before[text].get(column), value, place)
            }
            yield from RowWrite.update_child(child, self._here.name, _key(child, row), columns)

    def _edited(self, place: str) -> bool:
        """Whether a child row that the producer has not got was added or edited here, and is not known there."""
        mine = [name for name in self._ours.clocks if name == place or name.startswith(place + "/")]
        if any(self._is_newer(name, place) for name in mine):
            self._merged.stays.append(f"{place}: was added or edited here later; stays")
            return True
        return False

    def _taken(self, fieldname: str, current: Any, value: Any, *outer: str) -> bool:
        """Whether the producer's value, which is another one, is to be written: not where ours is newer."""
        if self._is_newer(fieldname, *outer):
            self._merged.stays.append(
                f"{fieldname}: {shown(current)} (here, newer) stays, {shown(value)} is not applied"
            )
            return False
        self._merged.replaced.append(f"{fieldname}: {shown(value)} replaces {shown(current)}")
        clock = hlc.latest((self._ours.clocks.get(fieldname, ""), self._there.known.clock_of(fieldname, *outer)))
        if clock:
            self._merged.clocks[fieldname] = clock
        return True

    def _is_newer(self, *fieldnames: str) -> bool:
        return newer_here(self._ours.clock_of(*fieldnames), self._there.known.clock_of(*fieldnames), self._producer)


def _key(child: ChildTable, row: Row) -> tuple[Any, ...]:
    return tuple(row.get(column, "") for column in child.key)
