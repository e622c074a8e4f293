"""Keys that the database gives, while they are on their way into a row, and after they did not get there.

A sequence, or an auto-increment counter, does not come back when a transaction is rolled back. What it gave to us is
ours: it is kept here, and used next time, so that a batch that fails uses nothing up. What is lost is what a process
that is killed had taken.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from streamd.errors import SiteError
from streamd.model import Scalar

AT_ONCE = 10_000
"""Numbers that are asked of a sequence at once, at most."""

ASKED_FOR = 200_000
"""Numbers that are asked for, at most, where a sequence is behind the values that stand in the table."""

Keys = list[Scalar]


class Place(NamedTuple):
    """A column that the database gives keys for."""

    table: str
    column: str


class KeyPool:
    """The keys of one site that were given to us, and are in no row."""

    def __init__(self) -> None:
        self._free: dict[Place, dict[Scalar, None]] = {}

    def take(self, place: Place) -> list[Scalar]:
        """All of them, in order; they are not here any more."""
        return sorted(self._free.pop(place, ()), key=lambda key: (isinstance(key, str), key))

    def give_back(self, place: Place, keys: Iterable[Scalar]) -> None:
        """They are in no row after all."""
        self._free.setdefault(place, {}).update(dict.fromkeys(keys))


class TakenKeys:
    """The keys that one transaction has taken, in order.

    Some are *ours*: the database gave them to us, and to nobody else. Others are *foreseen*: the database would give
    them next, and they are nobody's yet.
    """

    def __init__(self, pool: KeyPool) -> None:
        self.pool = pool
        self._taken: list[tuple[Place, Scalar]] = []
        self._foreseen: dict[Place, dict[int, None]] = {}

    def take(self, place: Place, keys: Iterable[Scalar]) -> None:
        """Take keys that are ours."""
        self._taken += [(place, key) for key in keys]

    def foresee(self, place: Place, keys: Sequence[int]) -> None:
        """Take keys that are foreseen: higher ones than those before."""
        self.take(place, keys)
        self._foreseen.setdefault(place, {}).update(dict.fromkeys(keys))

    def foreseen(self, place: Place) -> list[int]:
        """The keys that are foreseen, in order."""
        return list(self._foreseen.get(place, ()))

    def foreseen_in(self, table: str) -> list[Place]:
        """The columns of a table for which keys are foreseen."""
        return [place for place, keys in self._foreseen.items() if place.table == table and keys]

    def highest(self, place: Place) -> int:
        """The highest key that is foreseen, or 0."""
        return next(reversed(self._foreseen.get(place) or {0: None}))

    def own(self, place: Place) -> None:
        """What was foreseen is ours now."""
        self._foreseen.pop(place, None)

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """What is taken within is given back if an error leaves it: then it is in no row."""
        before = len(self._taken)
        try:
            yield
        except BaseException:
            undone, self._taken = self._taken[before:], self._taken[:before]
            for place, key in undone:
                foreseen = self._foreseen.get(place)
                if foreseen is not None and key in foreseen:
                    del foreseen[key]  # type: ignore[arg-type]  # it is there, so it is a number
                else:
                    self.pool.give_back(place, (key,))
            raise


async def from_sequence(
    taken: TakenKeys,
    place: Place,
    count: int,
    usable: Callable[[Keys], Awaitable[Keys]],
    draw: Callable[[int], Awaitable[Keys]],
    missing: Callable[[Keys], Awaitable[Keys]],
) -> Keys:
    """`count` keys that a sequence gives (`draw`) and that are not in the table yet (`missing`).

    Those that were given back before come first, as far as they still are `usable`. Raises `SiteError`.
    """
    left = taken.pool.take(place)
    found = await missing(await usable(left)) if left else []
    asked, size = 0, count - len(found)
    try:
        while len(found) < count:
            if asked >= ASKED_FOR:
                raise SiteError(
                    f"the sequence behind {place.table}.{place.column} is far behind the values that stand there",
                    hint="set it to the highest of them, with setval()",
                )
            found += await missing(await draw(size))
            asked += size
            # It is behind what was written with keys of other sites; so more and more are asked for at once.
            size = max(count - len(found), min(size * 4, AT_ONCE))
    except BaseException:
        taken.pool.give_back(place, found)
        raise
    taken.pool.give_back(place, found[count:])
    taken.take(place, found[:count])
    return found[:count]
