"""Where a batch of changes may end. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamd.model import Change, ChangeOp, Name
from streamd.rows import Binding, documents_of, read_name


def between_documents(changes: Sequence[Change], bound: Mapping[str, Sequence[Binding]]) -> tuple[int, bool]:
    """How many of these to take, so that the document of the last ones is not cut in two; and whether it is renamed.

    A full batch may end anywhere. 0 where they are all of one document: it is larger than a batch. A document that
    changes its name has to be in one batch with all its rows; else they would be taken for rows that move.
    """
    size = len(changes)
    while True:
        last = documents_of(changes[size - 1], bound)
        size -= 1
        while size and not last.isdisjoint(found := documents_of(changes[size - 1], bound)):
            last |= found
            size -= 1
        moved = _first_moved(changes[:size], bound) if size else None
        if moved is None:
            return size, not size and _first_moved(changes, bound, renamed=True) is not None
        if moved == 0:
            return 0, True
        size = moved


def _first_moved(
    changes: Sequence[Change], bound: Mapping[str, Sequence[Binding]], *, renamed: bool = False
) -> int | None:
    """The first of these that takes a row to another document (or, with `renamed`, to another name) which is not
    renamed among them: that may be still to come."""
    moves: dict[tuple[str, Name, Name], int] = {}
    renames: set[tuple[str, Name, Name]] = set()
    for index, change in enumerate(changes):
        if change.op != ChangeOp.UPDATE:
            continue
        for binding in bound.get(change.table, ()):
            old, new = read_name(binding.name_of, change.before), read_name(binding.name_of, change.after)
            if old is None or new is None or old == new:
                continue
            move = (binding.doctype.name, old, new)
            moves.setdefault(move, index)
            if binding.child is None and not renamed:
                renames.add(move)
    return min((index for move, index in moves.items() if move not in renames), default=None)
