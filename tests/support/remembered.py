"""What is made once for many tests, and fails once: `remembered(make)`."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def remembered(make: Callable[P, T]) -> Callable[P, T]:
    """Like `functools.cache`, also for failures: each further call raises what the first one raised.

    A template that cannot be made would otherwise be tried again by each test that wants it, and those would fail
    for what the first try left behind instead of for its reason.
    """
    made: dict[Hashable, T] = {}
    failed: dict[Hashable, Exception] = {}

    def once(*arguments: P.args, **named: P.kwargs) -> T:
        key = (arguments, tuple(sorted(named.items())))
        if key in failed:
            raise failed[key]
        if key not in made:
            try:
                made[key] = make(*arguments, **named)
            except Exception as error:
                failed[key] = error
                raise
        return made[key]

    return once
