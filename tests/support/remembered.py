"""What is made once for many tests, and fails once: `remembered(make)`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

Key = TypeVarTuple("Key")
T = TypeVar("T")


def remembered(make: Callable[[*Key], T]) -> Callable[[*Key], T]:
    """Like `functools.cache`, also for failures: each further call raises what the first one raised.

    A template that cannot be made would otherwise be tried again by each test that wants it, and those would fail
    for what the first try left behind instead of for its reason. That there is no server (a skip) is no failure.
    """
    made: dict[tuple[*Key], T] = {}
    failed: dict[tuple[*Key], Exception] = {}

    def once(*key: *Key) -> T:
        if key in failed:
            raise failed[key]
        if key not in made:
            try:
                made[key] = make(*key)
            except Exception as error:  # whatever it is, it is raised, now and each further time
                failed[key] = error
                raise
        return made[key]

    return once
