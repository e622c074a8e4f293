"""Patterns of `matches`: those regular expressions whose work can be told beforehand.

Python's `re` tries one way after the other. Without groups, nothing is repeated within something repeated; so the
number of ways is the product of those of each repetition, and a pattern that has too many is refused.
"""

from __future__ import annotations

import re

from streamd.expressions import hints
from streamd.expressions.values import Fault, Value

LONGEST_MATCHED = 1000
"""Characters of the longest text that is matched."""

MOST_WORK = 20_000_000
"""Characters that the patterns of one expression may look at together, in the worst case."""

_PIECE = re.compile(
    r"""(?: \. | \\[dDwWsS] | \\[^A-Za-z0-9] | [^\\.\[\](){}*+?|^$]
          | \[\^?(?:(?!--|&&|~~|\|\|)[^\]\\\[] | \\[dDwWsS] | \\[^A-Za-z0-9])+\] )
        (?: (?P<sign>[*+?]) | \{(?P<least>[0-9]{1,3})(?P<to>,(?P<most>[0-9]{1,3})?)?\} )?""",
    re.VERBOSE | re.DOTALL,
)


def compile_pattern(place: int, pattern: Value = None) -> tuple[re.Pattern[str], int]:
    """What searches a text for a pattern, and its work. Raises `Fault` for one that cannot be used, or is not known."""
    if not isinstance(pattern, str):
        raise Fault(place, *hints.PATTERN)
    at = 4 if pattern.startswith("(?i)") else 0
    anchored = pattern.startswith("^", at)
    ways, length, at = 1 if anchored else LONGEST_MATCHED, 1, at + anchored
    last = len(pattern) - (pattern.endswith("$") and not pattern.endswith("\\$"))
    while at < last:
        piece = _PIECE.match(pattern, at, last)
        if piece is None:
            raise Fault(place, f"“{pattern[at : at + 8]}” cannot stand in a pattern", hints.PATTERN.hint)
        least = int(piece["least"] or piece["sign"] in (None, "+"))
        if piece["sign"] or piece["to"]:
            most = int(piece["most"] or (1 if piece["sign"] == "?" else LONGEST_MATCHED))
            ways *= max(most - least, 0) + 1
        length += max(least, 1)
        at = piece.end()
    try:
        return re.compile(pattern[:last] + r"\Z" * (last < len(pattern)), re.ASCII), ways * length
    except re.error as error:
        raise Fault(place, f"the pattern cannot be used: {error.msg}", hints.PATTERN.hint) from error


def found(pattern: re.Pattern[str], text: str) -> bool:
    """Whether the text has what the pattern searches. Raises `ValueError` for a text that is too long."""
    if len(text) > LONGEST_MATCHED:
        raise ValueError(f"the text is longer than the {LONGEST_MATCHED} characters that are matched")
    return pattern.search(text) is not None
