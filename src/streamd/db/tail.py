"""How changes are taken from engines that give ids before transactions commit. Pure.

Ordering what is visible by id, and removing exactly what was taken, loses nothing: the second writer of a row cannot
get its id before the first one has committed. A cursor over ids, or the order of transaction numbers, does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from streamd.model import Change

STEP = 500
"""After this many further ids, check again whether the low watermark can be raised."""


def in_commit_order(changes: Iterable[Change]) -> list[Change]:
    """By the last ids of their transactions, within one by id.

    By their first ids, rows would end wrong: a transaction that began first may write a row after another one did.
    """
    found = list(changes)
    last: dict[int, int] = {}
    for change in found:
        last[change.tx] = max(last.get(change.tx, 0), change.id)
    return sorted(found, key=lambda change: (last[change.tx], change.id))


def whole_transactions(
    window: Sequence[tuple[int, int]], going_on: Collection[int], limit: int
) -> tuple[list[int], bool]:
    """Which changes of a window to take, and whether a transaction may be cut by that.

    `window` has (id, transaction) in the order of ids; `going_on` are the transactions that have changes behind it.
    Whole transactions, in the order of their last ids, until there are `limit` changes; only a transaction that is
    larger than the window is cut.
    """
    by_transaction: dict[int, list[int]] = {}
    for number, tx in window:
        by_transaction.setdefault(tx, []).append(number)
    taken: list[int] = []
    for tx, ids in sorted(by_transaction.items(), key=lambda item: item[1][-1]):
        if tx not in going_on:
            taken += ids
            if len(taken) >= limit:
                break
    if taken or not window:
        return taken, False
    return [number for number, _ in window[:limit]], True


class LowWatermark:
    """An id below which no change can appear any more, so that a look need not begin at the beginning.

    A long reader (a dump) keeps the removed changes alive, and going through them takes ever longer.

    A change that is seen has got its id after all lower ones were given. Their transactions had numbers by then. When
    all transactions of that time have ended, everything up to that id is visible, or will never be.
    """

    def __init__(self) -> None:
        self.id = 0
        self._candidate = 0
        self._until = 0
        self._final = 0

    def wants_look(self, seen: int) -> bool:
        """Whether it is worth asking for transaction numbers: `seen` is the highest id that was taken."""
        return self._candidate > 0 or seen >= self._final + STEP

    def look(self, seen: int, oldest: int, following: int) -> None:
        """Learn that all transactions below `oldest` have ended, and that the next one will be `following`."""
        if self._candidate and oldest >= self._until:
            self._final, self._candidate = self._candidate, 0
        if not self._candidate and seen > self._final:
            self._candidate, self._until = seen, following

    def saw(self, first: int | None) -> None:
        """Learn the lowest id that was not taken yet, in a view that is younger than the last `look`."""
        self.id = self._final + 1 if first is None else min(self._final + 1, first)
