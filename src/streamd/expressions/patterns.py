"""How much work a pattern of `matches` can be.

RE2, which CEL uses, looks at each character of a text once, however the pattern is written. But for each it may have to
look at every place in the pattern, and `x{100}` is a hundred places. So patterns are measured before they are taken.
"""

from __future__ import annotations

import re

MOST_PLACES = 200
"""Places that the patterns of one expression may have together."""

LONGEST_MATCHED = 2000
"""Bytes that the texts may have together that an expression matches: 200 × 2,000 places are looked at in some 20 ms."""

_UNCOUNTED = re.compile(r"\\[pPQC]")
"""Classes of Unicode, each of which is hundreds of places; quoting, in which brackets are none; single bytes."""

_COUNTS = re.compile(r"\{(\d+)(?:,(\d*))?\}")


def places(pattern: str) -> int:
    """How many places a pattern has when its counted repetitions are written out. At least as many as RE2 makes of it.

    Raises `ValueError`, which says why, for what cannot be counted.
    """
    unknown = _UNCOUNTED.search(pattern)
    if unknown:
        raise ValueError(f"the pattern has {unknown.group()} in it, whose work cannot be told beforehand")
    outside: list[int] = []
    total = last = at = 0
    while at < len(pattern):
        counted = _COUNTS.match(pattern, at)
        if counted:
            times = max(int(counted[1][:6]), int((counted[2] or "0")[:6]), 1)
            total += last * (times - 1)
            last *= times
            at = counted.end()
            continue
        character = pattern[at]
        length = 1
        if character == "\\":
            length = 2
        elif character == "[":
            length = _class_length(pattern, at)
        if character == "(":
            outside.append(total)
            total = last = 0
        elif character == ")" and outside:
            last = total + 1
            total = outside.pop() + last
        elif character not in "*+?":  # these repeat the last without writing it out
            last = length
            total += length
        at += length
    return total + sum(outside)


def _class_length(pattern: str, at: int) -> int:
    """How long the class in square brackets is that begins at a place."""
    here = at + 1
    if pattern[here : here + 1] == "^":
        here += 1
    if pattern[here : here + 1] == "]":  # as the first, it stands for itself
        here += 1
    while here < len(pattern) and pattern[here] != "]":
        if pattern.startswith("[:", here) and ":]" in pattern[here:]:
            here = pattern.index(":]", here) + 2
        else:
            here += 2 if pattern[here] == "\\" else 1
    return here + 1 - at
