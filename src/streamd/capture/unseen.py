"""Child rows as consumers know them, while events are formed: nothing is told of those without a document. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from streamd.capture.happening import Happening, under_name
from streamd.capture.untold import Ref, Standing, Untold
from streamd.model import Change, ChangeOp, Name, Operation
from streamd.rows import Binding, namings, read_name


class Unseen:
    """What becomes of child rows without a change; and the documents that do not exist, from transaction to
    transaction."""

    def __init__(self, standing: Standing, bound: Mapping[str, Sequence[Binding]]) -> None:
        self._bound = bound
        self._untold: dict[tuple[int, bool], list[Untold]] = {}
        for each in standing.untold:
            self._untold.setdefault((each.id, each.early), []).append(each)
        self._gone: set[Ref] = {*standing.orphaned, *standing.absent}

    def begin(self, changes: Sequence[Change]) -> None:
        """A transaction begins. What gets a document in it belongs to that from the beginning."""
        for change in changes if self._gone else ():
            for binding in self._bound.get(change.table, ()):
                name = None if binding.child is not None else read_name(binding.name_of, change.after)
                if name is not None:
                    self._gone.discard((binding.doctype.name, name))

    def end(self, closed: Sequence[Happening], given_up: Mapping[Ref, Happening]) -> None:
        """A transaction ends, in which this happened, and these names were given up, and taken by no other document."""
        for found in closed:
            if found.operation == Operation.DELETE:
                self._gone.add((found.doctype.name, found.name))
            elif found.parent_touched:
                self._gone.discard((found.doctype.name, found.name))
        self._gone.update(given_up)

    def changes(self, change: Change, *, early: bool) -> Iterator[tuple[Change, Binding]]:
        """Those that come right before a change, or with it, as if a trigger had seen them."""
        for each in self._untold.get((change.id, early), ()):
            op, before, after = (ChangeOp.INSERT, None, each.row) if each.comes else (ChangeOp.DELETE, each.row, None)
            made = replace(change, op=op, before=before, after=after)
            for binding in (binding for some in self._bound.values() for binding in some):
                if binding.child is not None and (binding.doctype.name, binding.child.field) == each.of:
                    yield made, binding

    def known(self, binding: Binding, row: bytes | None, given_up: Mapping[Ref, Happening]) -> bytes | None:
        """A child row as consumers know it: under its document's last name; None where they know of none."""
        if row is None or not binding.matches(row):
            return None
        name = binding.name_of(row)
        if name is None or binding.child is None:
            return row
        if (binding.doctype.name, name) in self._gone:
            return None
        known: Name = name
        while (renamed := given_up.get((binding.doctype.name, known))) is not None:
            known = renamed.name
        return row if known == name else under_name(binding.child, row, known)


def renames_in(changes: Sequence[Change], bound: Mapping[str, Sequence[Binding]]) -> set[tuple[str, Name, Name]]:
    """Which documents change their names (from, to), so that child rows that follow are not taken for moved ones."""
    updates = (change for change in changes if change.op == ChangeOp.UPDATE)
    return {(kind, old, new) for kind, old, new in namings(updates, bound) if old is not None and new is not None}


def was_moved(change: Change, binding: Binding, renames: set[tuple[str, Name, Name]]) -> bool:
    """Whether a child row gets a name that its document gets too, in this transaction, maybe after it."""
    old, new = read_name(binding.name_of, change.before), read_name(binding.name_of, change.after)
    return old is not None and new is not None and (binding.doctype.name, old, new) in renames
