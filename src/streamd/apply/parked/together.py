"""Which parked documents are tried together, since each may wait for a value that another one of them has. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TypeVar

MOST = 50
"""Documents of one type that are tried together."""

FEW = 10
"""So many, and parts of them are tried as well."""

Each = TypeVar("Each")


def groupings(parked: Sequence[Each]) -> Iterator[list[Each]]:
    """All of them; then, if they are few, all but one, then any two: some may be refused for another reason."""
    some = list(parked[:MOST])
    if len(some) > 1:
        yield some
    if 2 < len(some) <= FEW:
        if len(some) > 3:
            yield from (some[:place] + some[place + 1 :] for place in range(len(some)))
        yield from map(list, combinations(some, 2))
