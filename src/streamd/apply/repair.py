"""Puts a document right that was read again because changes of it may be missing (a gap). Pure.

The producer's document is taken as it is, but for what was edited here, or at a third site, and has not reached the
producer yet: that stays, and reaches it in time. Whether it has is told by the clocks of edits that both sites
remember. An edit that the producer made itself it knows, of course.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamd import clock as hlc
from streamd.apply.conflict import child_field
from streamd.apply.values import differing, shown
from streamd.apply.write.docwrites import update_writes
from streamd.apply.write.rowwrite import DELETE, RowWrite, known
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


@dataclass(slots=True)
class Mended:
    """What to write of a document, the clocks of its fields afterwards, and what stays as it is here."""

    clocks: dict[str, str]
    writes: list[RowWrite] = field(default_factory=list)
    stays: list[str] = field(default_factory=list)


def newer_here(ours: str, theirs: str, producer: str) -> bool:
    """Whether an edit with the clock `ours` has not reached the producer (its UUID), which knows of `theirs`."""
    return ours > theirs and not hlc.made_at(ours, producer)


class Mender:
    """Compares one document of the producer with the one that is here."""

    def __init__(
        self, doctype: DocumentType, here: Document, clocks: Mapping[str, str], there: Known, producer: str
    ) -> None:
        self._doctype = doctype
        self._here = here
        self._clocks = clocks
        self._there = there
        self._producer = producer
        self._mended = Mended(dict(clocks))

    def mend(self, fields: Row, children: Mapping[str, list[Row]]) -> Mended:
        """What to do, so that the document here is the producer's, but for what is newer here."""
        columns = {
            column: value
            for column, value in differing(self._doctype, known(self._doctype, fields), self._here.fields).items()
            if column not in self._doctype.key and self._taken(column, self._here.fields.get(column), value)
        }
        parent = update_writes(self._doctype, self._here.name, columns)
        rows = [write for child in self._doctype.children for write in self._rows(child, children.get(child.field, []))]
        # Removals first: what is unique is given up before it is taken.
        removals = [write for write in rows if write.kind == DELETE]
        self._mended.writes = [*removals, *parent, *(write for write in rows if write.kind != DELETE)]
        return self._mended

    def _rows(self, child: ChildTable, rows: list[Row]) -> Iterator[RowWrite]:
        before = {name_text(_key(child, row)): row for row in self._here.children.get(child.field, [])}
        after = {name_text(_key(child, row)): row for row in rows}
        for text, row in before.items():
            place = child_field(child.field, text)
            if text not in after and not self._edited(place):
                yield RowWrite.delete(child, self._here.name, _key(child, row))
        for text, row in after.items():
            place = child_field(child.field, text)
            if text not in before:
                if self._is_newer(place):
                    self._mended.stays.append(f"{place}: was removed here later; stays removed")
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
        mine = [name for name in self._clocks if name == place or name.startswith(place + "/")]
        if any(self._is_newer(name, place) for name in mine):
            self._mended.stays.append(f"{place}: was added or edited here later; stays")
            return True
        return False

    def _taken(self, fieldname: str, current: Any, value: Any, *outer: str) -> bool:
        """Whether the producer's value, which is another one, is to be written: not where ours is newer."""
        if self._is_newer(fieldname, *outer):
            self._mended.stays.append(
                f"{fieldname}: {shown(current)} (here, newer) stays, {shown(value)} is not applied"
            )
            return False
        clock = hlc.latest((self._clocks.get(fieldname, ""), self._there.clock_of(fieldname, *outer)))
        if clock:
            self._mended.clocks[fieldname] = clock
        return True

    def _is_newer(self, *fieldnames: str) -> bool:
        ours = hlc.latest(self._clocks.get(name, "") for name in fieldnames)
        return newer_here(ours, self._there.clock_of(*fieldnames), self._producer)


def _key(child: ChildTable, row: Row) -> tuple[Any, ...]:
    return tuple(row.get(column, "") for column in child.key)
